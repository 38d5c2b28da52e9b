"""Columns that keys name and the default ``load_col`` leaves out: they are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recbole_fmrlrec.config.side_columns import AUTO, attribute_columns
from recbole_fmrlrec.errors import UsageError

_LISTS = ("numerical_features", "normalize_field", "alias_of_user_id", "alias_of_item_id")
_MAPPINGS = ("val_interval", "discretization", "seq_len")


def load_needed(values: dict[str, Any], given: set[str], dataset: str) -> None:
    """Add to ``load_col`` the columns that the user's other keys name, where a file has them.

    A ``load_col`` of the user's own stays as it is; what it lacks is refused when the data are
    loaded. A column of discretised numbers is a numerical feature.

    Args:
        values: the configuration, with the dataset's folder as ``data_path``; it is changed.
        given: the keys that the user set.

    Raises:
        UsageError: ``load_col`` and ``unload_col`` are both set.
    """
    if values["unload_col"] and values["load_col"] and {"load_col", "unload_col"} <= given:
        raise UsageError("load_col and unload_col exclude each other: set load_col to null, or one")
    if values["unload_col"] and "load_col" not in given:
        values["load_col"] = None  # all but those
    if values["discretization"]:
        known = list(values["numerical_features"] or [])
        more = [field for field in values["discretization"] if field not in known]
        values["numerical_features"] = known + more
    if values.get("selected_features") == AUTO:
        _choose_attributes(values, given, dataset)
    headers: dict[str, list[str]] | None = None
    if values["benchmark_filename"]:
        headers = _headers(values, dataset)
        _take_lists(values, given, headers.get("inter", []))
    if values["load_col"] is None or "load_col" in given:
        return
    for suffixes, field in _named(values, given):
        if any(field in (values["load_col"].get(suffix) or []) for suffix in suffixes):
            continue
        headers = _headers(values, dataset) if headers is None else headers
        suffix = next((name for name in suffixes if field in headers.get(name, [])), None)
        if suffix is not None:
            _add(values, suffix, field)


def _choose_attributes(values: dict[str, Any], given: set[str], dataset: str) -> None:
    """Name the columns that ``auto`` finds; where it finds none, the model says so."""
    columns = _read_columns(values, Path(values["data_path"]) / f"{dataset}.item")
    left_out = set((values["unload_col"] or {}).get("item") or [])
    if values["load_col"] is not None and "load_col" in given:
        asked = values["load_col"].get("item") or []
        left_out |= {name for name, _ in columns if asked != "*" and name not in asked}
    there = [column for column in columns if column[0] not in left_out]
    found = attribute_columns(there, values["ITEM_ID_FIELD"])
    values["selected_features"] = found or AUTO


def _take_lists(values: dict[str, Any], given: set[str], columns: list[str]) -> None:
    """Benchmark files whose rows hold lists of items: RecBole's, which are rows of one prefix."""
    lists = values["ITEM_ID_FIELD"] + values["LIST_SUFFIX"]
    if lists not in columns:
        return
    aliases = list(values["alias_of_item_id"] or [])
    if lists not in aliases:  # else the items of the lists would get numbers of their own
        values["alias_of_item_id"] = [*aliases, lists]
    if "training_windows" in values and "training_windows" not in given:
        values["training_windows"] = "prefix"


def _named(values: Mapping[str, Any], given: set[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The columns that keys name, and the files that may have them."""
    anywhere = ("inter", "user", "item")
    for key in _LISTS:
        yield from ((anywhere, field) for field in values.get(key) or [])
    for key in _MAPPINGS:
        yield from ((anywhere, field) for field in values.get(key) or {})
    yield from ((("inter", "item"), field) for field in values["threshold"] or {})
    yield from ((("item",), field) for field in values.get("selected_features") or [])
    if values.get("item_attribute"):  # S3Rec
        yield ("item",), values["item_attribute"]
    labelled = "labeled" in str((values["eval_args"] or {}).get("mode"))
    if values["threshold"] is None and (labelled or "LABEL_FIELD" in given):
        yield ("inter",), values["LABEL_FIELD"]
    if values.get("inter_matrix_type") == "rating":  # DMF
        yield ("inter",), values["RATING_FIELD"]


def _headers(values: Mapping[str, Any], dataset: str) -> dict[str, list[str]]:
    """The columns of the files that are there; a fault in one is told when it is loaded."""
    parts = values["benchmark_filename"] or [None]
    names = {"inter": f"{dataset}.{parts[0]}.inter" if parts[0] else f"{dataset}.inter"}
    names |= {suffix: f"{dataset}.{suffix}" for suffix in ("user", "item")}
    headers = {}
    for suffix, name in names.items():
        if columns := _read_columns(values, Path(values["data_path"]) / name):
            headers[suffix] = [field for field, _ in columns]
    return headers


def _read_columns(values: Mapping[str, Any], file: Path) -> list[tuple[str, Any]]:
    """Names and types of a file's columns; none where it is not there or has a fault."""
    from recbole_fmrlrec.atomic_files.reader import read_header
    from recbole_fmrlrec.errors import DataError

    try:
        columns = read_header(file, values["field_separator"], values.get("encoding") or "utf-8")
    except (OSError, DataError):
        return []
    return [(column.field, column.kind) for column in columns]


def _add(values: dict[str, Any], suffix: str, field: str) -> None:
    own = {"inter": [], "user": [values["USER_ID_FIELD"]], "item": [values["ITEM_ID_FIELD"]]}
    load_col = {name: list(columns) for name, columns in values["load_col"].items()}
    columns = load_col.get(suffix) or own[suffix]
    load_col[suffix] = [*columns, field]
    values["load_col"] = load_col
