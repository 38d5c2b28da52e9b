"""Full ranking at every nested size in one pass, by counting instead of sorting.

Tie rule: an item with the same score as the target counts half, rounded down, so the target of a
constant scorer stands in the middle of the list. RecBole's own top-k breaks ties arbitrarily.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.layers import chunk_bounds

#: Bytes of scores worked through at once, so that they stay in the cache.
BLOCK_BYTES = 6 * 2**20

#: Metrics of one target per user that follow from its rank alone; each maps float64 ranks and k
#: to values. RecBole's definitions (recbole.evaluator.metrics) with a single relevant item.
RANK_METRICS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "recall": lambda rank, k: torch.ones_like(rank),
    "hit": lambda rank, k: torch.ones_like(rank),
    "precision": lambda rank, k: torch.full_like(rank, 1 / k),
    "ndcg": lambda rank, k: 1 / torch.log2(rank + 1),
    "mrr": lambda rank, k: 1 / rank,
    "map": lambda rank, k: 1 / rank,
}


def nested_ranks(hidden: Tensor, items: Tensor, targets: Tensor, sizes: Sequence[int]) -> Tensor:
    """Rank of each target among all items at every size.

    Args:
        hidden: ``(B, d)`` outputs of the sequence encoder.
        items: ``(N, d)`` item table without padding.
        targets: ``(B,)`` row of ``items`` that was next.
        sizes: nested sizes, strictly ascending.

    Returns:
        ``(K, B)`` int64 ranks, 1 is best.

    Raises:
        RunError: the outputs or the table hold NaN or infinite values.
    """
    if not (torch.isfinite(hidden).all() and torch.isfinite(items).all()):
        raise RunError("the model's outputs hold NaN or infinite values: the training diverged")
    rows = max(16, BLOCK_BYTES // (4 * max(1, len(items))))
    parts = zip(hidden.split(rows), targets.split(rows), strict=True)
    return torch.cat([_block_ranks(h, items, t, sizes) for h, t in parts], dim=1)


def _block_ranks(hidden: Tensor, items: Tensor, targets: Tensor, sizes: Sequence[int]) -> Tensor:
    logits = hidden.new_empty(len(hidden), len(items))
    scratch = torch.empty_like(logits)
    ranks = []
    for start, end in chunk_bounds(sizes):
        chunk, items_t = hidden[:, start:end], items[:, start:end].t()
        if start == 0:
            torch.mm(chunk, items_t, out=logits)
        else:
            logits.addmm_(chunk, items_t)
        ranks.append(rank_of_target(logits, targets, scratch))
    return torch.stack(ranks)


def rank_of_target(scores: Tensor, targets: Tensor, scratch: Tensor | None = None) -> Tensor:
    """Rank ``(B,)`` of column ``targets[i]`` in row i of ``scores`` ``(B, N)``, ties half.

    Comparisons are written as numbers and summed, which runs at memory speed where sums of
    booleans do not; a float32 sum of ones is exact up to 2^24 items.

    Args:
        scores: ``(B, N)``, of at least float32.
        targets: ``(B,)`` columns.
        scratch: ``(B, N)`` work space of the dtype of ``scores``; made when None.
    """
    scratch = torch.empty_like(scores) if scratch is None else scratch
    target = scores.gather(1, targets[:, None])
    better = torch.gt(scores, target, out=scratch).sum(1).long()
    ties = torch.eq(scores, target, out=scratch).sum(1).long() - 1
    return 1 + better + ties // 2


def can_rank(metrics: Sequence[str]) -> bool:
    """Whether all these metrics follow from ranks alone."""
    return all(metric.lower() in RANK_METRICS for metric in metrics)


def rank_metrics(
    ranks: Tensor, metrics: Sequence[str], topk: Sequence[int], decimals: int
) -> OrderedDict[str, float]:
    """Means over users, keyed as RecBole keys them (``ndcg@10``), rounded as RecBole rounds.

    Args:
        ranks: ``(B,)`` rank of each user's target.
        metrics: names, of `RANK_METRICS`.
        topk: cut-offs.
        decimals: places kept.
    """
    exact = ranks.to(torch.float64)
    result: OrderedDict[str, float] = OrderedDict()
    for metric in metrics:
        for k in topk:
            values = RANK_METRICS[metric.lower()](exact, k) * (ranks <= k)
            result[f"{metric.lower()}@{k}"] = round(float(values.mean()), decimals)
    return result
