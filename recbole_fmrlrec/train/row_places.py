"""Which tensors of a model have a place for each item or user, and where."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from recbole_fmrlrec.nn.random_state import random_state, set_random_state

# Added to the number of each kind: no length grows by one of these for another reason.
_MORE = {"items": 7, "users": 11}
_KINDS = {more: kind for kind, more in _MORE.items()}


class Misfit(Exception):
    """A tensor that cannot be taken over; it says why."""


@dataclass(frozen=True)
class Axis:
    """A dimension of a tensor whose places are ids of a kind.

    Attributes:
        kind: ``items`` or ``users``; other words where the length depends on them otherwise.
        extra: places beside those of the ids and the padding, see `Match.shifted`.
    """

    dimension: int
    kind: str
    extra: int


def unmatched(config: Any) -> str | None:
    """Why a model's state is not a set of tensors by item and user; None where it is."""
    from recbole.utils import ModelType

    if config["MODEL_TYPE"] == ModelType.TRADITIONAL:
        return "is computed from all interactions at once and has nothing to go on from"
    if config["MODEL_TYPE"] not in (ModelType.GENERAL, ModelType.SEQUENTIAL):
        return "has rows of columns, entities or trees besides items and users"
    if config["selected_features"]:
        return "has vectors of the values in selected_features, which have other numbers here"
    return None


def row_places(model: Any, config: Any, dataset: Any) -> dict[str, list[Axis]]:
    """The dimensions of a model's state that are items or users, by the names of its tensors.

    Neither name nor length of a tensor says so: a layer may be as wide as there are items. So the
    model is made once more for a few more items and users than there are, and what is longer then
    is a place for each of them.

    Raises:
        Misfit: it cannot be made so.
    """
    counts = {"items": dataset.item_num, "users": dataset.user_num}
    try:
        with _unnoticed():
            larger = config.model_class(_on_disk(config), _larger(dataset)).state_dict()
            lengths = {name: tuple(tensor.shape) for name, tensor in larger.items()}
            del larger
    except Exception as error:
        raise Misfit(
            f"its rows of items and users cannot be told, for making {type(model).__name__} for "
            f"more of them fails ({type(error).__name__}: {error})"
        ) from error
    found: dict[str, list[Axis]] = {}
    for name, tensor in model.state_dict().items():
        for dimension, (length, more) in enumerate(zip(tensor.shape, lengths[name], strict=True)):
            if length != more:
                kind = _KINDS.get(more - length, "items and users together")
                extra = length - counts.get(kind, length)
                found.setdefault(name, []).append(Axis(dimension, kind, extra))
    return found


def _larger(dataset: Any) -> Any:
    """The dataset, with more items and users as far as it is asked for their number."""
    more = {dataset.iid_field: _MORE["items"], dataset.uid_field: _MORE["users"]}
    larger, count = copy.copy(dataset), dataset.num
    larger.num = lambda field: count(field) + more.get(field, 0)
    return larger


def _on_disk(config: Any) -> Any:
    """The configuration, with features left on disk: memory holds those of the model beside it."""
    settings = config.final_config_dict
    if "feature_memory_mb" not in settings:
        return config
    other = copy.copy(config)
    other.final_config_dict = {**settings, "feature_memory_mb": 0}
    return other


@contextmanager
def _unnoticed() -> Iterator[None]:
    """Meanwhile nothing is said, and what is drawn counts for nobody else."""
    before, disabled = random_state(None), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
        set_random_state(before, None)
