"""What training changes outside ``state_dict``: attributes of a model, of its parts, of a trainer.

RecBole's models count updates, keep histories of losses, tables and graphs in plain attributes; a
run that continues without them is another run. Their values at the start of a training are those of
every new object of the same configuration and seed, so a checkpoint holds what differs from them.
"""

from __future__ import annotations

import functools
import logging
import re
import types
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from recbole_fmrlrec.train.plain_values import (
    Unrecordable,
    Weights,
    digest,
    is_recorded,
    is_source,
    record,
    restored,
)

#: Values that training does not change, or that are no part of what it computes.
_INERT = (
    *(type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType),
    *(functools.partial, re.Pattern, PurePath, logging.Logger, range, slice),
    *(torch.device, torch.dtype, torch.Size, torch.layout),
)
#: Packages of objects that hold the data, the settings, or what is shown.
_INERT_PACKAGES: tuple[str, ...] = (
    "recbole.config",
    "recbole.data",
    "recbole.evaluator",
    "recbole.utils",
)
_INERT_PACKAGES += ("recbole.sampler", "pandas", "tensorboard", "torch.utils", "tqdm", "wandb")
_OF_EVERY_MODULE = frozenset(vars(nn.Module())) | {"training"}

Entry = tuple[str, Any, Any, Any]  # path, its holder, name or index there, value


class TrainingState:
    """The plain attributes of a model and its trainer, as they are when it is made.

    Args:
        roots: objects by name; what they hold is looked through as well.
        skip: attributes of the roots themselves that are recorded elsewhere, or are paths.

    Attributes:
        opaque: what is there and cannot be recorded: path to type. It may be a source of data, a
            thread, an object of another library; a run with it is not resumed exactly.
    """

    def __init__(self, roots: Mapping[str, Any], skip: Collection[str] = ()) -> None:
        self.roots, self.skip = dict(roots), frozenset(skip)
        self.opaque: dict[str, str] = {}
        self._start = {path: (value, digest(kept)) for path, _, value, kept in self._records()}

    def changed(self) -> dict[str, Any]:
        """A record of every attribute that is not as it was."""
        found = {}
        for path, name, value, kept in self._records():
            first, seal = self._start.get(path, (None, b""))
            if digest(kept) != seal:
                same = value is first and isinstance(value, Tensor | np.ndarray)
                found[path] = {"name": name, "value": kept, "in_place": same}
        return found

    def put_back(self, changed: Mapping[str, Any]) -> list[str]:
        """Give the attributes the values that `changed` recorded in another process.

        Returns:
            Paths that do not exist any more.
        """
        weights, entries = self._weights(), {entry[0]: entry for entry in self._entries()}
        holders, lost = dict(self._holders()), []
        for path, content in changed.items():
            above = path.removesuffix(f".{content['name']}")
            _, holder, name, current = entries.get(
                path, (path, holders.get(above), content["name"], None)
            )
            try:
                value = restored(content["value"], current, weights)
                if not (content["in_place"] and _overwrite(current, value)):
                    _assign(holder, name, value)
            except (AttributeError, IndexError, KeyError, TypeError):
                lost.append(path)
        return lost

    def _weights(self) -> Weights:
        return Weights({k: root for k, root in self.roots.items() if isinstance(root, nn.Module)})

    def _records(self) -> Iterator[Entry]:
        """Path, name, value and record of every entry that can be recorded."""
        weights = self._weights()
        for path, _, name, value in self._entries():
            try:
                kept = record(value, weights)
            except Unrecordable as error:
                self.opaque.setdefault(path, str(error))
            else:
                yield path, name, value, kept

    def _holders(self) -> Iterator[tuple[str, Any]]:
        """Every object whose attributes, or whose elements, are looked through."""
        seen = {id(root) for root in self.roots.values()}
        waiting = list(self.roots.items())
        while waiting:
            path, holder = waiting.pop()
            yield path, holder
            for name, value in self._inside(path, holder):
                if id(value) not in seen and _has_parts(value):
                    seen.add(id(value))
                    waiting.append((f"{path}.{name}", value))

    def _entries(self) -> Iterator[Entry]:
        """Every value that is recorded as a whole."""
        modules = [root for root in self.roots.values() if isinstance(root, nn.Module)]
        known = {id(part) for module in modules for part in module.modules()}
        for path, holder in list(self._holders()):
            for name, value in self._inside(path, holder):
                unknown = isinstance(value, nn.Module) and id(value) not in known
                if unknown or not _has_parts(value):
                    yield f"{path}.{name}", holder, name, value

    def _inside(self, path: str, holder: Any) -> list[tuple[Any, Any]]:
        if isinstance(holder, dict):
            found = list(holder.items())
        elif isinstance(holder, list | tuple):
            found = list(enumerate(holder))
        else:
            found = [(k, v) for k, v in _attributes(holder) if not self._skipped(path, k)]
        return [(name, value) for name, value in found if not _is_inert(value)]

    def _skipped(self, path: str, name: str) -> bool:
        return path in self.roots and name in self.skip


def _attributes(holder: Any) -> list[tuple[str, Any]]:
    """Attributes of an object; of a module without its weights, with its parts and the buffers
    that are not in ``state_dict``."""
    if not isinstance(holder, nn.Module):
        return list(getattr(holder, "__dict__", {}).items())
    found: dict[str, Any] = dict(holder.named_children())
    if not type(holder).__module__.startswith("torch."):
        found |= {k: v for k, v in vars(holder).items() if k not in _OF_EVERY_MODULE}
        found |= {k: holder._buffers[k] for k in holder._non_persistent_buffers_set}
    return list(found.items())


def _is_inert(value: Any) -> bool:
    if isinstance(value, _INERT):
        return True
    if is_recorded(value):
        return False
    modules = (base.__module__ for base in type(value).__mro__)
    return any(module.startswith(_INERT_PACKAGES) for module in modules)


def _has_parts(value: Any) -> bool:
    """Whether a value is looked through; others are recorded as a whole."""
    if isinstance(value, dict | list | tuple):
        inside = value.values() if isinstance(value, dict) else value
        return any(_has_parts(part) or _is_inert(part) for part in inside)
    if isinstance(value, nn.Module):
        return True
    if is_recorded(value) or _is_inert(value):
        return False
    return hasattr(value, "__dict__")


def _overwrite(current: Any, value: Any) -> bool:
    """Write into a tensor or an array that others may hold too; whether that was possible."""
    if type(current) is not type(value) or current.shape != value.shape:
        return False
    if current.dtype != value.dtype:
        return False
    if isinstance(current, np.ndarray):
        np.copyto(current, value)
        return True
    if current.layout != torch.strided or value.layout != torch.strided:
        return False
    with torch.no_grad():
        current.copy_(value)
    return True


def _assign(holder: Any, key: Any, value: Any) -> None:
    if isinstance(holder, dict | list):
        holder[key] = value
    elif not isinstance(holder, tuple):
        setattr(holder, key, value)


def random_sources(*loaders: Any) -> list[Any]:
    """Every source of random numbers that loaders, the loaders in them and their samplers own."""
    found: dict[int, Any] = {}
    waiting = [loader for loader in loaders if loader is not None]
    for owner in waiting:  # grows
        for name, value in getattr(owner, "__dict__", {}).items():
            if is_source(value):
                found[id(value)] = value
            elif name == "_sampler" or isinstance(value, DataLoader):
                waiting.append(value)
    return list(found.values())


def random_states(*loaders: Any) -> list[Any]:
    """States of `random_sources`, as plain values."""
    return [record(source, Weights({})) for source in random_sources(*loaders)]


def set_random_states(states: Collection[Any], *loaders: Any) -> None:
    """Put `random_sources` back to where `random_states` found them.

    Raises:
        ValueError: there are not as many.
    """
    for source, state in zip(random_sources(*loaders), states, strict=True):
        restored(state, source, Weights({}))
