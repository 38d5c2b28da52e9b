"""The recommendation lists of a whole evaluation, put together from its batches."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation.best_lists import BestLists
from recbole_fmrlrec.evaluation.counting import RankCounter, ScoreBlock
from recbole_fmrlrec.evaluation.list_metric_names import is_diversity, is_of_lists
from recbole_fmrlrec.evaluation.list_metrics import Lists
from recbole_fmrlrec.evaluation.list_record import KeepLists, ListRecord


class Catalogue(Protocol):
    """What metrics of lists need to know of the training and of the items."""

    @property
    def counts(self) -> np.ndarray:
        """How often training has each item, (N+1,)."""

    @property
    def tail_ratio(self) -> float | None:
        """As in `Lists`."""

    @property
    def features_fingerprint(self) -> str:
        """Of the features that distances are by."""

    def distances(self, items: Tensor) -> Tensor:
        """Mean distance of two of the first j items of each list ``(..., k)``, for j = 1..k."""


class CountAndList:
    """A `ScoreReader` that counts ranks and keeps lists, in one pass.

    Args:
        counter: sees every block first, and refuses scores that are none.
        best: keeps the lists.
    """

    def __init__(self, counter: RankCounter, best: BestLists) -> None:
        self._readers = counter, best

    def read(self, block: ScoreBlock) -> None:
        """Show a block to both."""
        for reader in self._readers:
            reader.read(block)


class CollectedLists:
    """Takes the lists of each batch, and gives those of all rows.

    Args:
        keep: their length, and whether distances between items are measured.
        catalogue: the items.
        num_sizes: K.
    """

    def __init__(self, keep: KeepLists, catalogue: Catalogue, num_sizes: int) -> None:
        self.keep, self.catalogue, self.num_sizes = keep, catalogue, num_sizes
        self._kinds: list[list[Tensor]] = [[], []]
        self._distances: list[list[Tensor]] = [[], []]

    def reader(self, counter: RankCounter) -> BestLists:
        """What is to be shown the next batch, beside the counter of its ranks."""
        rows = len(counter.targets)
        length, sizes = self.keep.length, self.num_sizes
        return BestLists(length, rows, sizes, counter.history, counter.unranked)

    def add(self, best: BestLists) -> None:
        """Take what a batch came to."""
        found = [best.lists()]
        if best.history is not None:
            found.append(best.masked_lists())
        for kind, (lists, part) in enumerate(zip(self._kinds, found, strict=False)):
            lists.append(part.cpu())
            if self.keep.distances:
                self._distances[kind].append(self.catalogue.distances(part.cpu()))

    def lists(self, size: int, masked: bool) -> Lists:
        """The lists at one of the sizes, counted from 0."""
        found = self.record((0,) * self.num_sizes)
        items, apart = found.items, found.distances
        if masked:
            assert found.masked_items is not None
            items, apart = found.masked_items, found.masked_distances
        ratio = self.catalogue.tail_ratio
        return Lists(items[size], found.counts, ratio, None if apart is None else apart[size])

    def record(self, sizes: tuple[int, ...]) -> ListRecord:
        """The lists of all rows.

        Args:
            sizes: nested sizes, K of them; empty for a model without.
        """
        items, masked = map(_together, self._kinds)
        distances, masked_distances = map(_together, self._distances)
        assert items is not None
        apart = self.keep.distances
        return ListRecord(
            sizes=np.array(sizes or (0,), dtype=np.int64),
            length=np.array(self.keep.length),
            items=items,
            counts=self.catalogue.counts,
            tail_ratio=np.array(self.catalogue.tail_ratio or 0.0),
            masked_items=masked,
            distances=distances,
            masked_distances=masked_distances,
            features=np.array(self.catalogue.features_fingerprint) if apart else None,
        )


def _together(parts: list[Tensor]) -> np.ndarray | None:
    if not parts:
        return None
    if len(parts) > 1:  # once: every size asks
        parts[:] = [torch.cat(parts, dim=1)]
    found: np.ndarray = parts[0].numpy()
    return found


def wanted_lists(
    config: Any, catalogue: Catalogue | None, num_sizes: int, keep: KeepLists | None = None
) -> CollectedLists | None:
    """What collects the lists that an evaluation needs; None where it needs none.

    Args:
        config: metrics and cut-offs.
        catalogue: the items; None where nothing is known of the training.
        num_sizes: K.
        keep: lists that are wanted whatever the metrics.

    Raises:
        UsageError: a metric needs lists, and nothing is known of the training.
    """
    metrics = [metric.lower() for metric in config["metrics"] if is_of_lists(metric)]
    if not metrics and keep is None:
        return None
    if catalogue is None:
        raise UsageError(
            f"{', '.join(metrics) or 'lists'}: this evaluation does not know the training; it "
            "needs the loaders of recbole_fmrlrec.data.loaders"
        )
    length, apart = (0, False) if keep is None else keep
    if metrics:
        length, apart = max(length, *config["topk"]), apart or any(map(is_diversity, metrics))
    return CollectedLists(KeepLists(length, apart), catalogue, num_sizes)
