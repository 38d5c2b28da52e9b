"""``model.json``: what a deployed model is, with every field checked when it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.files.names import name_fault
from recbole_fmrlrec.rules import is_number, is_whole, shown

FORMAT = "recbole-fmrlrec-deploy"
FORMAT_VERSION = 1
#: The field of the file with the hash of its other fields.
OWN_HASH = "sha256"
TABLE_DTYPES = ("float32", "float16", "int8")


@dataclass(frozen=True)
class Modality:
    """One kind of item feature: its name, its width and what encoded it."""

    name: str
    width: int
    encoder: str


@dataclass(frozen=True)
class TwoStage:
    """The settings of a two-stage search; see `SearchSettings.use_two_stage`."""

    prefix: int
    shortlist: int
    faiss: str | None = None
    copy_prefix: bool = False
    effort: int | None = None


@dataclass(frozen=True)
class Description:
    """What ``model.json`` holds beside the format and its version.

    Attributes:
        model: name of the model class that was trained.
        size: width of the deployed model, s.
        sizes: nested sizes up to ``size``, ascending.
        trained_sizes: all nested sizes of the training.
        num_blocks: blocks of the sequence encoder.
        modalities: item features in the order of concatenation; none for a model of ids only.
        feature_scale: what the concatenated unit-length features are multiplied with.
        uses_ids: whether a learned vector is added to each trained item; a new item has none.
        start_trained: whether training predicted first items from the empty input
            (``predict_first_item``); if not, what an empty history gives was never trained.
        max_history: latest items of a history that the training saw at once.
        dataset: name of the training dataset.
        num_items: items of the table, N.
        trained_items: how many of these, the first ones, had interactions in training.
        table_dtype: how ``items.safetensors`` stores vectors, of `TABLE_DTYPES`.
        metrics: ``rows`` and ``candidates`` of the evaluation, and ``test``: metrics at this size
            by type of the item table; empty where nothing was evaluated.
        onnx: ``opset`` and the names of the ONNX files; None where there are none.
        made_with: versions of the packages that wrote it.
        files: bytes and SHA-256 by file name.
        version: counts the updates of the folder, from 1; 1 in files that do not say it.
        search: how the best items are found; exactly when None, which files do not say.
        history_bias: what is added to the scores of the items that a history holds; 0 in files
            that do not say it.
    """

    model: str
    size: int
    sizes: tuple[int, ...]
    trained_sizes: tuple[int, ...]
    num_blocks: int
    modalities: tuple[Modality, ...]
    feature_scale: float
    uses_ids: bool
    start_trained: bool
    max_history: int
    dataset: str
    num_items: int
    trained_items: int
    table_dtype: str
    metrics: dict[str, Any] = field(default_factory=dict)
    onnx: dict[str, Any] | None = None
    made_with: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    version: int = 1
    search: TwoStage | None = None
    history_bias: float = 0.0

    @property
    def feature_width(self) -> int:
        """F, the width of all features together."""
        return sum(modality.width for modality in self.modalities)

    def to_json(self) -> dict[str, Any]:
        """Values that JSON knows."""
        values = asdict(self)
        # Left out where they say nothing: earlier versions, which do not know them, read the file.
        if self.search is None:
            del values["search"]
        if not self.history_bias:
            del values["history_bias"]
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **values}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], path: Path) -> Description:
        """Check what was read from ``path``.

        Raises:
            DeployError: another format or version, a field missing, unknown or impossible.
        """
        if content.get("format") != FORMAT:
            raise DeployError(f"{path}: not the description of a deployed model")
        if content.get("format_version") != FORMAT_VERSION:
            raise DeployError(
                f"{path}: format version {shown(content.get('format_version'))}, this package "
                f"reads {FORMAT_VERSION}; export again, or install the version that wrote it"
            )
        beside = ("format", "format_version", OWN_HASH)
        defaults = {"version": 1, "search": None, "history_bias": 0.0}
        values = defaults | {k: v for k, v in content.items() if k not in beside}
        _check_fields(values, path)
        values["modalities"] = tuple(Modality(**entry) for entry in values["modalities"])
        values["sizes"] = tuple(values["sizes"])
        values["trained_sizes"] = tuple(values["trained_sizes"])
        if values["search"] is not None:
            values["search"] = TwoStage(**values["search"])
        description = cls(**values)
        _check_together(description, path)
        return description


def _whole(value: Any, least: int = 1) -> bool:
    return is_whole(value) and value >= least


def _sizes(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(map(_whole, value))
        and all(low < high for low, high in pairwise(value))
    )


def _modality(value: Any) -> bool:
    names = {entry.name for entry in fields(Modality)}
    return (
        isinstance(value, dict)
        and set(value) == names
        and _whole(value["width"])
        and isinstance(value["name"], str)
        and isinstance(value["encoder"], str)
    )


def _search(value: Any) -> bool:
    if value is None:
        return True
    names = {entry.name for entry in fields(TwoStage)}
    return (
        isinstance(value, dict)
        and set(value) == names
        and _whole(value["prefix"])
        and _whole(value["shortlist"])
        and value["faiss"] in (None, "ivf")
        and isinstance(value["copy_prefix"], bool)
        and (value["effort"] is None or (value["faiss"] is not None and _whole(value["effort"])))
    )


def _scale(value: Any) -> bool:
    return is_number(value) and value > 0


def _file(entry: tuple[Any, Any]) -> bool:
    """A plain name: a path would let a description reach outside its folder."""
    name, facts = entry
    return name_fault(name) is None and isinstance(facts, dict)


_Check = tuple[Callable[[Any], bool], str]
_TEXT: _Check = (lambda value: isinstance(value, str), "a string")
_FLAG: _Check = (lambda value: isinstance(value, bool), "true or false")
_COUNT: _Check = (_whole, "an integer of at least 1")
_SIZES: _Check = (_sizes, "ascending integers of at least 1")
_MAPPING: _Check = (lambda value: isinstance(value, dict), "an object")
_CHECKS: dict[str, _Check] = {
    "model": _TEXT,
    "size": _COUNT,
    "sizes": _SIZES,
    "trained_sizes": _SIZES,
    "num_blocks": _COUNT,
    "modalities": (
        lambda value: isinstance(value, list) and all(map(_modality, value)),
        "a list of objects with name, width and encoder",
    ),
    "feature_scale": (_scale, "a number above 0"),
    "uses_ids": _FLAG,
    "start_trained": _FLAG,
    "max_history": _COUNT,
    "dataset": _TEXT,
    "num_items": _COUNT,
    "trained_items": _COUNT,
    "table_dtype": (lambda value: value in TABLE_DTYPES, f"one of {', '.join(TABLE_DTYPES)}"),
    "metrics": _MAPPING,
    "onnx": (lambda value: value is None or isinstance(value, dict), "null or an object"),
    "made_with": _MAPPING,
    "files": (
        lambda value: isinstance(value, dict) and all(map(_file, value.items())),
        "an object of plain file names",
    ),
    "version": _COUNT,
    "history_bias": (is_number, "a number"),
    "search": (_search, "null, or the prefix, shortlist, faiss, copy_prefix, effort of a search"),
}


def _check_fields(values: Mapping[str, Any], path: Path) -> None:
    for name, (fits, what) in _CHECKS.items():
        if name not in values:
            raise DeployError(f"{path}: field {name} is missing")
        if not fits(values[name]):
            raise DeployError(f"{path}: {name} must be {what}, not {shown(values[name])}")
    if unknown := sorted(set(values) - set(_CHECKS)):
        raise DeployError(f"{path}: unknown field {unknown[0]}; format {FORMAT_VERSION} has none")


def _check_together(description: Description, path: Path) -> None:
    size, sizes, trained = description.size, description.sizes, description.trained_sizes
    if sizes[-1] != size or trained[: len(sizes)] != sizes:
        raise DeployError(
            f"{path}: size {size} and sizes {list(sizes)} do not match the trained sizes "
            f"{list(trained)}"
        )
    search = description.search
    if search is not None and search.prefix not in sizes[:-1]:
        raise DeployError(
            f"{path}: search shortlists by {search.prefix} dimensions, and the smaller sizes are "
            f"{list(sizes[:-1])}"
        )
    if description.trained_items > description.num_items:
        raise DeployError(f"{path}: more trained items than items")
    if not description.modalities and not description.uses_ids:
        raise DeployError(f"{path}: neither features nor ids make an item's vector")
