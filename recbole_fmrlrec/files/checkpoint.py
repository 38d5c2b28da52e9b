"""Checkpoints of plain tensors and plain values: written atomically, read without pickled code."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.files.atomic import replacing

FORMAT = 1
_TAG = "__plain__"
_SPARSE = ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` beside ``path`` and rename it into place.

    Raises:
        RunError: a value that is neither a tensor nor plain, or the disk has no room (`NoRoom`).
    """
    content = _content(state)
    with replacing(path, _bytes_of(content)) as beside, beside.open("wb") as file:
        torch.save(content, file)


def checkpoint_bytes(state: dict[str, Any]) -> bytes:
    """What `save_checkpoint` would write."""
    file = io.BytesIO()
    torch.save(_content(state), file)
    return file.getvalue()


def _content(state: dict[str, Any]) -> Any:
    return to_plain({"format": FORMAT, **state})


def _bytes_of(value: Any) -> int:
    """Bytes of all tensors in a plain value: about the length of its file."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(_bytes_of, value.values()))
    return sum(map(_bytes_of, value)) if isinstance(value, list | tuple) else 0


def load_checkpoint(path: Path | io.BytesIO, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint of ours; nothing in the file is executed.

    Raises:
        RunError: the file is missing, damaged, or not a checkpoint of this package.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise RunError(f"there is no checkpoint {path}") from error
    except Exception as error:
        raise RunError(f"{path}: not a readable checkpoint of this package{_why(error)}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RunError(f"{path}: not a checkpoint of this package, or of another format version")
    try:
        restored: dict[str, Any] = from_plain(state)
    except Exception as error:  # parts of an array that do not fit one another
        raise RunError(f"{path}: damaged ({error})") from error
    return restored


def _why(error: Exception) -> str:
    """What a reader said; of torch's refusals nothing, which go on to advise an unsafe reading."""
    if isinstance(error, pickle.UnpicklingError):
        return ""
    return f" ({str(error) or 'it ends too early'})"


def to_plain(value: Any) -> Any:
    """Tensors, numbers, text and containers of them; arrays and sparse matrices become tensors.

    Raises:
        RunError: a value of another type.
    """
    if isinstance(value, Tensor | bool | int | float | str | bytes | type(None)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {_TAG: "array", "data": torch.from_numpy(np.ascontiguousarray(value))}
    if sparse.issparse(value):
        coo = value.tocoo()
        parts = {name: to_plain(getattr(coo, name)) for name in ("data", "row", "col")}
        return {_TAG: "sparse", "shape": list(coo.shape), "kind": value.format, **parts}
    if isinstance(value, dict):
        return {key: to_plain(below) for key, below in value.items()}
    if isinstance(value, list):
        return [to_plain(below) for below in value]
    if isinstance(value, tuple):
        return tuple(to_plain(below) for below in value)
    raise RunError(f"a checkpoint holds plain values only, not {type(value).__name__}")


def from_plain(value: Any) -> Any:
    """The inverse of `to_plain`."""
    if isinstance(value, dict):
        kind = value.get(_TAG)
        if kind == "array":
            return value["data"].cpu().numpy()
        if kind == "sparse":
            return _sparse(value)
        return type(value)((key, from_plain(below)) for key, below in value.items())
    if isinstance(value, list | tuple):
        return type(value)(from_plain(below) for below in value)
    return value


def _sparse(value: dict[str, Any]) -> Any:
    """A sparse matrix; its shape may not be out of all proportion to what it holds."""
    data, row, col = (from_plain(value[name]) for name in ("data", "row", "col"))
    if value["kind"] not in _SPARSE or max(value["shape"]) > 1000 * (len(data) + 1000):
        raise RunError(f"a sparse matrix of kind {value['kind']!r} and shape {value['shape']}")
    matrix = sparse.coo_matrix((data, (row, col)), shape=value["shape"])
    return matrix.asformat(value["kind"])


def model_state(model: nn.Module) -> dict[str, Any]:
    """``state_dict`` and RecBole's ``other_parameter`` of a model.

    A few RecBole models name a submodule as "other parameter"; its tensors are in the state.
    """
    other = model.other_parameter()  # type: ignore[operator]
    kept = {key: value for key, value in other.items() if not isinstance(value, nn.Module)}
    return {"state_dict": OrderedDict(model.state_dict()), "other_parameter": kept}


def load_model_state(model: nn.Module, state: dict[str, Any]) -> None:
    """Put what `model_state` gave back into a model of the same shape.

    Raises:
        RuntimeError: the model has other tensors, or no such "other parameter": RecBole would set
            any attribute of that name.
    """
    other = state["other_parameter"] or {}
    if unknown := set(other) - set(getattr(model, "other_parameter_name", ())):
        raise RuntimeError(f"{type(model).__name__} has no other parameter {min(unknown)!r}")
    model.load_state_dict(state["state_dict"])
    model.load_other_parameter(other)  # type: ignore[operator]
