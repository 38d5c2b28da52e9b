"""Which tensors of a model have a place for each item or user, and where."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from recbole_fmrlrec.nn.random_state import random_state, set_random_state
from recbole_fmrlrec.train.vocabulary import Match, same_columns

#: The kind of what is there for each value of a column: the numbers of values are not matched.
COLUMNS = "values of columns"
# Added to the number of each kind: no length grows by one of these for another reason.
_MORE = {"items": 7, "users": 11, COLUMNS: 13}
_KINDS = {more: kind for kind, more in _MORE.items()}


class Misfit(Exception):
    """A tensor that cannot be taken over; it says why."""


@dataclass(frozen=True)
class Axis:
    """A dimension of a tensor whose places are ids of a kind.

    Attributes:
        kind: ``items``, ``users`` or `COLUMNS`; other words where its length depends on several.
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
    return None


def moved(
    matches: Mapping[str, Match], config: Any, state: Mapping[str, Any], dataset: Any
) -> bool:
    """Whether rows of a checkpoint may stand elsewhere in a dataset.

    Args:
        matches: of items and users; none where the checkpoint does not hold them.
        config: of the model.
        state: the checkpoint.
    """
    from recbole.utils import ModelType

    if not all(one.is_same for one in matches.values()):
        return True
    reads_columns = config["MODEL_TYPE"] not in (ModelType.TRADITIONAL, ModelType.GENERAL)
    return reads_columns and "columns" in state and not same_columns(state["columns"], dataset)


def row_places(model: Any, config: Any, dataset: Any) -> dict[str, list[Axis]]:
    """The dimensions of a model's state that are items, users or values, by names of tensors.

    Neither name nor length of a tensor says so: a layer may be as wide as there are items. So the
    model is made once more for a few more of each than there are, and what is longer then is a
    place for each of them.

    Raises:
        Misfit: it cannot be made so.
    """
    counts = {"items": dataset.item_num, "users": dataset.user_num}
    found: dict[str, list[Axis]] = {}
    try:
        with _unnoticed():
            larger = config.model_class(_on_disk(config), _larger(dataset)).state_dict()
        for name, tensor in model.state_dict().items():
            lengths = zip(tensor.shape, larger[name].shape, strict=True)
            for dimension, (length, more) in enumerate(lengths):
                if length != more:
                    kind = _KINDS.get(more - length, "several kinds together")
                    extra = length - counts.get(kind, length)
                    found.setdefault(name, []).append(Axis(dimension, kind, extra))
    except Exception as error:
        raise Misfit(
            f"its rows of items and users cannot be told, for making {type(model).__name__} for "
            f"more of them fails ({type(error).__name__}: {error})"
        ) from error
    return found


def id_places(
    model: Any, config: Any, state: Mapping[str, Any], dataset: Any
) -> dict[str, list[Axis]]:
    """`row_places` of items and users, whose rows in a checkpoint can be matched by id.

    Raises:
        Misfit: as there; or a tensor has rows by values, whose numbers are others or not known.
    """
    places = row_places(model, config, dataset)
    by_value = [name for name, axes in places.items() if any(a.kind == COLUMNS for a in axes)]
    if by_value and not same_columns(state.get("columns"), dataset):
        raise Misfit(f"{by_value[0]} has rows of {COLUMNS}, whose numbers are others or not known")
    ids = {name: [a for a in axes if a.kind != COLUMNS] for name, axes in places.items()}
    return {name: axes for name, axes in ids.items() if axes}


def _larger(dataset: Any) -> Any:
    """The dataset, with more of each kind as far as it is asked for their number."""
    tables = dataset.field2id_token
    items, users = tables[dataset.iid_field], tables[dataset.uid_field]

    def num(field: str) -> int:
        table = tables.get(field)
        if table is None:
            return int(dataset.num(field))
        kind = "items" if table is items else "users" if table is users else COLUMNS
        return int(dataset.num(field)) + _MORE[kind]

    larger = copy.copy(dataset)
    larger.num = num
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
