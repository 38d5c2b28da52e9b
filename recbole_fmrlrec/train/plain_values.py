"""Values of any kind that training changes, as plain records, and back again.

A record is made of tensors, numbers, text, lists and dicts, so that a checkpoint with it is read
without running anything. What a record cannot hold is named by :class:`Unrecordable`.
"""

from __future__ import annotations

import collections
import hashlib
import random
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

#: Tensors of more bytes count as changed by identity and version: reading them costs too long.
READ_BYTES = 2**26

_SOURCES = (random.Random, np.random.RandomState, np.random.Generator, torch.Generator)
_SCALARS = (bool, int, float, str, bytes, type(None))
_LISTS: dict[type, str] = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset"}
_LISTS[collections.deque] = "deque"


class Unrecordable(Exception):
    """A value of a kind that no record holds; the message is its type."""


class Weights:
    """Parameters and persistent buffers: they are in ``state_dict``, and others may look at them.

    A tensor that shares memory with one is recorded as that, so that it still does after a resume.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.named = {
            f"{root}.{name}": value
            for root, module in modules.items()
            for name, value in module.state_dict(keep_vars=True).items()
            if isinstance(value, Tensor)
        }
        self._at = {
            _storage(value): name for name, value in self.named.items() if value.numel()
        } | {None: None}

    def name_of(self, value: Tensor) -> str | None:
        """Name of the weight whose memory a tensor uses."""
        return self._at.get(_storage(value))


def _storage(value: Tensor) -> int | None:
    if value.layout != torch.strided or not value.numel():
        return None
    return value.untyped_storage().data_ptr()


def record(value: Any, weights: Weights) -> Any:
    """A value as plain values; scalars as they are, others as ``{"kind": ...}``.

    Raises:
        Unrecordable: it, or something in it, is of another kind.
    """
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Tensor):
        return _record_tensor(value, weights)
    if isinstance(value, np.ndarray | np.generic):
        return _record_array(value, weights)
    if sparse.issparse(value):
        return _record_sparse(value)
    if type(value) in _LISTS:
        items = _packed(list(value)) or [record(item, weights) for item in value]
        return {"kind": _LISTS[type(value)], "items": items, "most": getattr(value, "maxlen", None)}
    if isinstance(value, tuple) and not isinstance(value, torch.Size):  # of named entries
        return {"kind": "entries", "items": [record(item, weights) for item in value]}
    if isinstance(value, dict):
        return {
            "kind": "dict",
            "keys": [record(key, weights) for key in value],
            "items": [record(item, weights) for item in value.values()],
        }
    if isinstance(value, Enum):
        return {"kind": "enum", "name": value.name}
    if is_source(value):
        return {"kind": "source", "state": record(_state_of_source(value), weights)}
    if _is_stateful(value):
        return {"kind": "stateful", "state": record(dict(value.state_dict()), weights)}
    raise Unrecordable(f"{type(value).__module__}.{type(value).__qualname__}")


def is_recorded(value: Any) -> bool:
    """Whether `record` knows this kind of value; containers are left to what is in them."""
    return (
        type(value) in _SCALARS
        or type(value) in _LISTS
        or isinstance(value, dict | tuple | Tensor | np.ndarray | np.generic | Enum)
        or sparse.issparse(value)
        or is_source(value)
        or _is_stateful(value)
    )


def is_source(value: Any) -> bool:
    """Whether a value is a source of random numbers."""
    return isinstance(value, _SOURCES)


def _is_stateful(value: Any) -> bool:
    return callable(getattr(value, "state_dict", None)) and hasattr(value, "load_state_dict")


def _packed(items: list[Any]) -> dict[str, Any] | None:
    """Numbers of one type in one tensor: a million of them are read at once."""
    kind = next(iter({*map(type, items)})) if len({*map(type, items)}) == 1 else None
    if kind is None or not issubclass(kind, int | float | np.number) or kind is bool:
        return None
    array = np.array(items)
    if array.dtype not in (np.int64, np.float64, np.int32, np.float32) or array.ndim != 1:
        return None
    if issubclass(kind, np.generic) and array.dtype != kind:
        return None
    return {"numpy": issubclass(kind, np.generic), "data": torch.from_numpy(array)}


def _unpacked(items: Any) -> list[Any] | None:
    if not isinstance(items, dict):
        return None
    array = items["data"].cpu().numpy()
    return list(array) if items["numpy"] else array.tolist()


def _record_tensor(value: Tensor, weights: Weights) -> dict[str, Any]:
    if name := weights.name_of(value):
        place = [list(value.shape), list(value.stride()), value.storage_offset()]
        return {"kind": "weight", "of": name, "place": place}
    return {
        "kind": "tensor",
        "data": value.detach(),
        "on_cpu": value.device.type == "cpu",
        "trained": value.is_leaf and value.requires_grad,
    }


def _record_array(value: Any, weights: Weights) -> dict[str, Any]:
    shape, scalar = list(value.shape), isinstance(value, np.generic)
    if value.dtype.hasobject:
        if value.dtype != object:
            raise Unrecordable(f"numpy array of {value.dtype}")
        items = [record(item, weights) for item in value.flat]
        return {"kind": "objects", "shape": shape, "items": items}
    raw = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
    if not raw.flags.writeable:
        raw = raw.copy()
    kind = "number" if scalar else "array"
    return {"kind": kind, "shape": shape, "type": value.dtype.str, "data": torch.from_numpy(raw)}


def _record_sparse(value: Any) -> dict[str, Any]:
    coo, nothing = value.tocoo(), Weights({})
    parts = {name: _record_array(getattr(coo, name), nothing) for name in ("data", "row", "col")}
    new = isinstance(value, getattr(sparse, "sparray", ()))
    return {"kind": "sparse", "shape": list(value.shape), "as": value.format, "new": new, **parts}


def _state_of_source(value: Any) -> Any:
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, np.random.RandomState):
        return value.get_state(legacy=True)
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    return value.get_state()


def restored(kept: Any, current: Any, weights: Weights) -> Any:
    """The value of a record.

    Args:
        kept: what `record` gave.
        current: the value that a new object has there; sources of random numbers and what has a
            ``load_state_dict`` are put back in it, and it lends its type to others.
        weights: of the new object.
    """
    if not isinstance(kept, dict):
        return kept
    kind = kept["kind"]
    if kind in ("tensor", "weight"):
        return _restored_tensor(kept, weights)
    if kind in ("array", "number", "objects"):
        return _restored_array(kept, weights)
    if kind == "sparse":
        data, row, col = (_restored_array(kept[name], weights) for name in ("data", "row", "col"))
        make = sparse.coo_array if kept["new"] else sparse.coo_matrix
        return make((data, (row, col)), shape=tuple(kept["shape"])).asformat(kept["as"])
    if kind == "enum":
        return type(current)[kept["name"]]
    if kind == "source":
        _set_source(current, restored(kept["state"], None, weights))
        return current
    if kind == "stateful":
        current.load_state_dict(restored(kept["state"], None, weights))
        return current
    return _restored_container(kept, current, weights)


def _restored_container(kept: dict[str, Any], current: Any, weights: Weights) -> Any:
    items = _unpacked(kept["items"])
    if items is None:
        inside = _matching(kept, current)
        items = [restored(item, inside(n), weights) for n, item in enumerate(kept["items"])]
    if kept["kind"] == "dict":
        keys = [restored(key, None, weights) for key in kept["keys"]]
        if isinstance(current, dict):  # defaultdict, Counter, OrderedDict
            found = current.copy()
            found.clear()
        else:
            found = {}
        for key, item in zip(keys, items, strict=True):  # a Counter's update would count them
            found[key] = item
        return found
    if kept["kind"] == "entries":
        return type(current)(*items) if hasattr(current, "_fields") else type(current)(items)
    if kept["kind"] == "deque":
        return collections.deque(items, kept["most"])
    return {name: make for make, name in _LISTS.items()}[kept["kind"]](items)


def _matching(kept: dict[str, Any], current: Any) -> Any:
    """The present value for each item of a container, where its shape is the same."""
    values: list[Any] = []
    if isinstance(current, list | tuple) and len(current) == len(kept["items"]):
        values = list(current)
    elif isinstance(current, dict) and list(current) == kept.get("keys"):
        values = list(current.values())
    return lambda n: values[n] if values else None


def _restored_tensor(kept: dict[str, Any], weights: Weights) -> Tensor:
    if kept["kind"] == "weight":
        size, stride, offset = kept["place"]
        return weights.named[kept["of"]].detach().as_strided(size, stride, offset)
    data: Tensor = kept["data"].cpu() if kept["on_cpu"] else kept["data"]
    return data.requires_grad_() if kept["trained"] else data


def _restored_array(kept: dict[str, Any], weights: Weights) -> Any:
    shape = tuple(kept["shape"])
    if kept["kind"] == "objects":
        objects = np.empty(len(kept["items"]), dtype=object)
        for n, item in enumerate(kept["items"]):
            objects[n] = restored(item, None, weights)
        return objects.reshape(shape)
    array = kept["data"].cpu().numpy().view(np.dtype(kept["type"])).reshape(shape)
    return array[()] if kept["kind"] == "number" else array.copy()


def _set_source(source: Any, state: Any) -> None:
    if isinstance(source, random.Random):
        source.setstate(state)
    elif isinstance(source, np.random.RandomState):
        source.set_state(state)
    elif isinstance(source, np.random.Generator):
        source.bit_generator.state = state
    else:
        source.set_state(state)


def digest(kept: Any) -> bytes:
    """What changes when a record does."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in _bytes_of(kept):
        hashed.update(part)
    return hashed.digest()


def _bytes_of(kept: Any) -> Iterator[Any]:
    if isinstance(kept, Tensor):
        yield repr((kept.dtype, tuple(kept.shape), kept.layout)).encode()
        yield from _tensor_bytes(kept)
    elif isinstance(kept, dict):
        for key, value in kept.items():
            yield f"{key}:".encode()
            yield from _bytes_of(value)
    elif isinstance(kept, list):
        yield f"[{len(kept)}]".encode()
        for item in kept:
            yield from _bytes_of(item)
    else:
        yield f"{type(kept).__name__} {kept!r};".encode()


def _tensor_bytes(tensor: Tensor) -> Iterator[Any]:
    if tensor.layout != torch.strided:
        coo = tensor.to_sparse_coo()
        yield from _tensor_bytes(coo._indices())
        yield from _tensor_bytes(coo._values())
    elif tensor.nbytes > READ_BYTES:
        yield repr((tensor.data_ptr(), tensor._version)).encode()
    else:
        yield tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
