"""A finished run in Python: its model, and the vectors of items and of histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recbole_fmrlrec import compat
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.model_api.protocols import NestedModel, VectorModel
from recbole_fmrlrec.models.history_bias import HistoryBias
from recbole_fmrlrec.runs.folder import BEST
from recbole_fmrlrec.train.restore import saved_config, saved_model

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config


@dataclass(frozen=True)
class TrainedRun:
    """A trained model with its data.

    Attributes:
        model: the RecBole model of the best epoch, in evaluation mode on the CPU.
        config: the configuration it was trained with.
        dataset: the RecBole dataset, whose ``field2id_token`` has the ids.
    """

    model: Any
    config: Config
    dataset: Any

    @property
    def item_ids(self) -> list[str]:
        """The ids of the items, in the order of the item table."""
        return [str(token) for token in self.dataset.field2id_token[self.dataset.iid_field][1:]]

    @torch.no_grad()
    def item_vectors(self, ids: Sequence[str] | None = None, size: int | None = None) -> Tensor:
        """Vectors ``(n, s)`` of items: their score for a user is the product with the user's.

        To the scores of the items of the user's history `history_bias` is added.

        Args:
            ids: items; all in the order of `item_ids` when None.
            size: a nested size s; the largest when None, and for a model without sizes.

        Raises:
            UsageError: an unknown item or size, or a model without such vectors.
        """
        width = self._width(size)
        vectors: Tensor = self.model.ranked_vectors()[:, :width]
        return vectors.clone() if ids is None else vectors[torch.tensor(self._rows(ids)) - 1]

    @torch.no_grad()
    def user_vector(self, history: Sequence[str], size: int | None = None) -> Tensor:
        """The vector ``(s,)`` of a user with this history, the oldest item first.

        The latest ``MAX_ITEM_LIST_LENGTH`` items count, as in training.

        Raises:
            UsageError: an empty history, an unknown item or size, or a model without such vectors.
        """
        width = self._width(size)
        if not history:
            raise UsageError("history: empty; give one item id or more, the oldest first")
        rows = self._rows(history)[-int(self.config["MAX_ITEM_LIST_LENGTH"]) :]
        found = self.model.history_vectors(torch.tensor([rows]), torch.tensor([len(rows)]))
        vector: Tensor = found[0, :width]
        return vector.clone()

    @torch.no_grad()
    def history_bias(self, size: int | None = None) -> float:
        """What is added to the scores of the items of a history; 0 without the key.

        Raises:
            UsageError: an unknown size, or a model without such vectors.
        """
        self._width(size)
        shifts = self.model.history_shifts() if isinstance(self.model, HistoryBias) else None
        if shifts is None:
            return 0.0
        return float(shifts[-1 if size is None else self.model.sizes.index(size)])

    def _width(self, size: int | None) -> int | None:
        """How many numbers of a vector are wanted; None for all."""
        if not isinstance(self.model, VectorModel):
            raise UsageError(
                f"{self.config['model']}: only fMRLRec and the sequential models that this package "
                "adds to RecBole's have item and user vectors here"
            )
        if size is None:
            return None
        sizes = self.model.sizes if isinstance(self.model, NestedModel) else ()
        if size not in sizes:
            has = f"the sizes {list(sizes)}" if sizes else "one size; leave it out"
            raise UsageError(f"size = {size}: the model has {has}")
        return size

    def _rows(self, ids: Sequence[str]) -> list[int]:
        known = self.dataset.field2token_id[self.dataset.iid_field]
        if unknown := [item for item in ids if item not in known]:
            raise UsageError(f"unknown item {unknown[0]!r}: the model has not been trained with it")
        return [int(known[item]) for item in ids]


def open_run(path: str | Path, data_path: str | None = None) -> TrainedRun:
    """Open a finished run.

    Args:
        path: the folder of the run, or its ``best.pth``.
        data_path: the folder of the datasets, if it is not where training had it.

    Raises:
        UsageError: there is no checkpoint or no dataset, or one does not fit the other.
    """
    compat.apply()
    from recbole_fmrlrec.data.loaders import create_dataset, data_preparation

    checkpoint = Path(path) / BEST if Path(path).is_dir() else Path(path)
    config, state = saved_config(checkpoint, data_path)
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    return TrainedRun(saved_model(checkpoint, config, state, loaders[0]), config, dataset)
