"""How good the deployed files are: test metrics with each kind of item table at each size."""

from __future__ import annotations

from collections.abc import Sequence
from logging import getLogger

import torch
from torch import Tensor

from recbole_fmrlrec.deploy.description import TABLE_DTYPES
from recbole_fmrlrec.deploy.items import restore_vectors, store_vectors
from recbole_fmrlrec.evaluation.collectors import RankCollector
from recbole_fmrlrec.evaluation.ranking import nested_scores
from recbole_fmrlrec.export.open_checkpoint import Trained
from recbole_fmrlrec.nn.history_shift import HistoryShift
from recbole_fmrlrec.nn.network import FMRLRecNetwork

Metrics = dict[str, float]

#: Users encoded at once.
BATCH = 1024

#: Above this a metric measured now is another than the one that the run wrote down.
TOLERANCE = 2e-4


@torch.no_grad()
def deployed_metrics(trained: Trained, sizes: Sequence[int]) -> dict[int, dict[str, Metrics]]:
    """Test metrics by size and by type of the item table.

    The table is stored and restored as a deployed model does it, and serves both as input of the
    encoder and as candidates. A float table of a size is the first columns of the largest one, so
    one pass measures all sizes; an int8 table has a scale of its own at each size.

    Args:
        trained: the model and its test rows.
        sizes: nested sizes wanted, ascending.
    """
    network, table = trained.model.network, trained.model.item_table()
    found: dict[int, dict[str, Metrics]] = {size: {} for size in sizes}
    for dtype in TABLE_DTYPES:
        if dtype != "int8":
            vectors = restore_vectors(store_vectors(table, dtype))
            for size, metrics in _metrics(trained, network, vectors, network.sizes).items():
                if size in found:
                    found[size][dtype] = metrics
            continue
        for size in sizes:
            vectors = restore_vectors(store_vectors(table[:, :size], dtype))
            found[size][dtype] = _metrics(trained, network.cut(size), vectors, (size,))[size]
    _compare_with_record(trained, found)
    return found


def _metrics(
    trained: Trained, network: FMRLRecNetwork, vectors: Tensor, sizes: Sequence[int]
) -> dict[int, Metrics]:
    rows = trained.test
    about = rows.histories, len(sizes), rows.unranked, rows.catalogue
    collector = RankCollector(trained.config, *about)
    shifts = trained.model.history_shifts()
    if shifts is not None:
        shifts = shifts[[trained.model.sizes.index(size) for size in sizes]]
    network.eval()
    for at in range(0, len(rows.targets), BATCH):
        part = slice(at, at + BATCH)
        targets = rows.targets[part]
        hidden = network.encode_last(vectors, rows.items[part], rows.lengths[part])
        with collector.batch(targets) as reader:
            shift = None if shifts is None else HistoryShift.of_rows(rows.items[part], shifts)
            nested_scores(reader, hidden, vectors[1:], targets - 1, sizes, shift)
    return dict(zip(sizes, collector.metrics(), strict=True))


def _compare_with_record(trained: Trained, found: dict[int, dict[str, Metrics]]) -> None:
    """Say where the float32 model is not what the run measured at the end of its training."""
    for size, by_type in found.items():
        recorded = trained.recorded.get(size, {})
        off = [
            f"{name} {by_type['float32'][name]:.4f}, recorded {value:.4f}"
            for name, value in recorded.items()
            if name in by_type["float32"] and abs(by_type["float32"][name] - value) > TOLERANCE
        ]
        if off:
            getLogger().warning(
                "size %d: %s: the dataset or its features have changed since the training",
                size,
                "; ".join(off),
            )
