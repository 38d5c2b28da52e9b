"""Keys that name files and columns of a dataset, held against what it has; filters counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole.utils import FeatureType

from recbole_fmrlrec.atomic_files.parquet import is_there
from recbole_fmrlrec.atomic_files.reader import read_header
from recbole_fmrlrec.config.side_columns import AUTO
from recbole_fmrlrec.errors import DataError
from recbole_fmrlrec.keys.schema import is_interval
from recbole_fmrlrec.rules import is_number, is_whole

_FLOATS = (FeatureType.FLOAT, FeatureType.FLOAT_SEQ)
_TOKENS = (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)
#: Models of side information that read no numbers.
_TOKENS_ALONE = ("DIFF",)
_SEQUENCES = (FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ)
#: Atomic files that RecBole reads without being told their suffix.
_SUFFIXES = ("inter", "user", "item", "kg", "link", "net")
_ALIASES = ("alias_of_user_id", "alias_of_item_id", "alias_of_entity_id", "alias_of_relation_id")


def check_benchmark(parts: list[str] | None) -> None:
    """Refuse a ``benchmark_filename`` that does not name three files.

    Raises:
        DataError: it says what the three are.
    """
    if parts is not None and len(parts) != 3:
        raise DataError(
            f"benchmark_filename = {parts}: it must name three files, for training, validation "
            "and test"
        )


def check_files(dataset: Any) -> None:
    """Refuse suffixes that name no file, before anything is read.

    Raises:
        DataError: it names the key and the file.
    """
    config, folder = dataset.config, Path(dataset.dataset_path)
    more = list(config["additional_feat_suffix"] or [])
    for suffix in more:
        file = folder / f"{dataset.dataset_name}.{suffix}"
        if suffix in _SUFFIXES[:3] or not is_there(file):
            why = "it is read anyway" if suffix in _SUFFIXES else f"there is no {file.absolute()}"
            raise DataError(f"additional_feat_suffix names {suffix!r}: {why}")
    for key in ("load_col", "unload_col", "unused_col"):
        for suffix in config[key] or {}:
            if suffix not in [*_SUFFIXES, *more]:
                raise DataError(
                    f"{key} names the file suffix {suffix!r}; there are "
                    f"{', '.join([*_SUFFIXES, *more])}, and additional_feat_suffix adds others"
                )
    for suffix, field in (("user", dataset.uid_field), ("item", dataset.iid_field)):
        _check_own_file(dataset, suffix, field)


def _check_own_file(dataset: Any, suffix: str, field: str) -> None:
    """The file of users or items, where ``load_col`` asks for columns of it."""
    asked = (dataset.config["load_col"] or {}).get(suffix)
    if not asked:
        return
    file = Path(dataset.dataset_path) / f"{dataset.dataset_name}.{suffix}"
    if not is_there(file):
        raise DataError(f"load_col asks for columns of {file.absolute()}, which is not there")
    if asked != "*" and field not in asked:
        raise DataError(f"load_col.{suffix} = {asked}: add {field}, which tells the rows apart")


def check_columns(dataset: Any) -> None:
    """Refuse keys that name a column which is not loaded, or whose type they cannot take.

    Raises:
        DataError: it names the key, the column, its type, and what is allowed.
    """
    config = dataset.config
    numerical = list(config["numerical_features"] or [])
    for key in ("numerical_features", "normalize_field"):
        for field in config[key] or []:
            _require(dataset, key, field, _FLOATS)
    for field, how in (config["discretization"] or {}).items():
        _require(dataset, "discretization", field, _FLOATS)
        if field not in numerical:
            raise DataError(
                f"discretization names {field!r}: add it to numerical_features too, whose "
                "columns alone are embedded"
            )
        _check_discretization(field, how)
    for field, value in (config["val_interval"] or {}).items():
        _check_interval(field, value, _require(dataset, "val_interval", field, tuple(FeatureType)))
    for field, length in (config["seq_len"] or {}).items():
        _require(dataset, "seq_len", field, _SEQUENCES)
        if not (is_whole(length) and length > 0):
            raise DataError(f"seq_len.{field} = {length!r}: it must be an integer of at least 1")
    for key in _ALIASES:
        for field in config[key] or []:
            _require(dataset, key, field, _TOKENS)
    for pair in (config["preload_weight"] or {}).items():
        for field, kinds in zip(pair, ((FeatureType.TOKEN,), _FLOATS), strict=True):
            _require(dataset, "preload_weight", field, kinds)
    _check_value_fields(dataset)
    _check_threshold(dataset)
    _check_unused(dataset)
    _check_selected(dataset, numerical)


def _check_value_fields(dataset: Any) -> None:
    """The columns of ratings and labels, where the user names others than RecBole does.

    RecBole makes labels itself of a threshold, and of drawn negatives, under the name `label`.
    """
    config, given = dataset.config, getattr(dataset.config, "_given", ())
    for key, usual in (("RATING_FIELD", "rating"), ("LABEL_FIELD", "label")):
        field = config[key]
        made = key == "LABEL_FIELD" and config["threshold"] is not None
        if key not in given or field in (None, usual, *dataset.field2type) or made:
            continue
        if key == "LABEL_FIELD" or not any(field in there for _, there in _headers(dataset)):
            raise DataError(_not_loaded(dataset, key, field))


def _require(dataset: Any, key: str, field: str, kinds: tuple[FeatureType, ...]) -> FeatureType:
    """The type of a loaded column, which must be one of ``kinds``."""
    kind: FeatureType | None = dataset.field2type.get(field)
    if kind is None:
        raise DataError(_not_loaded(dataset, key, field))
    if kind not in kinds:
        raise DataError(
            f"{key} names {field!r}, which is of type {kind.value}; it takes columns of type "
            f"{' or '.join(known.value for known in kinds)}"
        )
    return kind


def _not_loaded(dataset: Any, key: str, field: str) -> str:
    """Why a column is not there: the file has none, or ``load_col`` leaves it out."""
    there = []
    for file, columns in _headers(dataset):
        if field in columns:
            return (
                f"{key} names {field!r}, a column of {file} which load_col or unload_col leaves "
                f"out: add it to load_col.{file.rpartition('.')[2]}"
            )
        there.append(f"{file}: {', '.join(columns)}")
    return (
        f"{key} names {field!r}, and no file of {Path(dataset.dataset_path).absolute()} has this "
        f"column ({'; '.join(there)})"
    )


def _headers(dataset: Any) -> Iterator[tuple[str, list[str]]]:
    """The files of interactions, users and items that are there, and their columns."""
    folder, name = Path(dataset.dataset_path), dataset.dataset_name
    config, parts = dataset.config, dataset.benchmark_filename_list
    inter = f"{name}.inter" if parts is None else f"{name}.{parts[0]}.inter"
    for file in (inter, f"{name}.user", f"{name}.item"):
        if is_there(folder / file):
            header = read_header(
                folder / file, config["field_separator"], config["encoding"] or "utf-8"
            )
            yield file, [column.field for column in header]


def _check_discretization(field: str, how: Any) -> None:
    method = how.get("method") if isinstance(how, dict) else None
    bucket: Any = how.get("bucket") if isinstance(how, dict) else None
    if method == "LD" or (method == "ED" and is_whole(bucket) and bucket > 0):
        return
    raise DataError(
        f"discretization.{field} = {how!r}: it must be {{method: LD}}, or {{method: ED, "
        "bucket: N}, with N of at least 1"
    )


def _check_interval(field: str, value: Any, kind: FeatureType) -> None:
    if kind in _FLOATS:
        good, says = is_interval(str(value)), "an interval such as '[3,inf)' as text"
    else:
        good, says = isinstance(value, list), "the list of the values to keep"
    if not good:
        raise DataError(
            f"val_interval.{field} = {value!r}: for a column of type {kind.value} it must be {says}"
        )


def _check_threshold(dataset: Any) -> None:
    threshold = dataset.config["threshold"]
    if threshold is None:
        return
    if len(threshold) != 1 or not all(map(is_number, threshold.values())):
        raise DataError(
            f"threshold = {threshold}: it must be one column and a number: {{rating: 3}}"
        )
    field = next(iter(threshold))
    _require(dataset, "threshold", field, (FeatureType.FLOAT,))
    if field not in dataset.inter_feat:
        raise DataError(f"threshold names {field!r}, which is not a column of the interactions")


def _check_unused(dataset: Any) -> None:
    needed = {dataset.uid_field: "USER_ID_FIELD", dataset.iid_field: "ITEM_ID_FIELD"}
    for suffix, fields in (dataset.config["unused_col"] or {}).items():
        feat = getattr(dataset, f"{suffix}_feat", None)
        for field in fields or []:
            if field in needed:
                raise DataError(f"unused_col names {field!r}, which {needed[field]} needs")
            if feat is None or field not in feat:
                raise DataError(_not_loaded(dataset, f"unused_col.{suffix}", field))


def _check_selected(dataset: Any, numerical: list[str]) -> None:
    """The features that SASRecF, FDSA, GRU4RecF and S3Rec learn beside the items."""
    config, item = dataset.config, dataset.item_feat
    selected = config["selected_features"] or []
    # A model of ours that finds no column for auto says so itself.
    asked = [("selected_features", field) for field in selected if selected != AUTO]
    if config["item_attribute"]:
        asked.append(("item_attribute", config["item_attribute"]))
    for key, field in asked:
        if field not in dataset.field2type:
            raise DataError(_not_loaded(dataset, f"{key} ({config['model']})", field))
        if item is None or field not in item or field == dataset.iid_field:
            raise DataError(f"{key} names {field!r}, which is not a feature of the items")
        kind = dataset.field2type[field]
        if kind in _TOKENS:
            continue
        never = key == "item_attribute" or config["model"] in _TOKENS_ALONE
        never |= config["model"] == "SASRecF" and kind == FeatureType.FLOAT_SEQ
        if never or field not in numerical:
            way = "" if never else f", and numbers with numerical_features: [{field}]"
            raise DataError(
                f"{key} names {field!r}, which is of type {kind.value}: {config['model']} takes "
                f"columns of type token and token_seq{way}"
            )


@contextmanager
def counted(dataset: Any, *keys: str) -> Iterator[None]:
    """Note what a filter leaves, and refuse one that leaves nothing.

    Args:
        keys: which rule the filter.

    Raises:
        DataError: it names the keys, their values, and what is left.
    """
    before = _sizes(dataset)
    yield
    after, values = _sizes(dataset), _values(dataset, keys)
    if after == before:
        return
    left = ", ".join(
        f"{after[name]} of {before[name]} {_what(dataset, name)}"
        for name in before
        if after[name] < before[name]
    )
    dataset.filtered = (*dataset.filtered, f"{values} leaves {left}")
    if not all(after.values()):
        raise DataError(f"{dataset.dataset_name}: nothing is left: {'; '.join(dataset.filtered)}")
    dataset.logger.info(dataset.filtered[-1])


def _sizes(dataset: Any) -> dict[str, int]:
    return {name: len(getattr(dataset, name)) for name in dataset.feat_name_list}


def _values(dataset: Any, keys: tuple[str, ...]) -> str:
    everything: Callable[[Any], bool] = lambda value: value in (None, "[0,inf)")  # noqa: E731
    asked = {key: dataset.config[key] for key in keys if not everything(dataset.config[key])}
    return " with ".join(f"{key}: {value}" for key, value in asked.items())


def _what(dataset: Any, name: str) -> str:
    if name == "inter_feat":
        return "interactions"
    return f"rows of {dataset.dataset_name}.{name.removesuffix('_feat')}"
