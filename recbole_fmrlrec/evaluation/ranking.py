"""Full ranking by counting instead of sorting, at every nested size in one pass.

The rule for all models: a target's mean rank is the mean of the places that it can take among the
items of its score, 1 + better + ties / 2; its rank is that, rounded down. So the target of a
constant scorer stands in the middle of the list. RecBole's metrics at k take what torch's top-k
puts first among ties, which is not defined; its GAUC takes the mean rank. Without ties the numbers
are RecBole's own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from recbole_fmrlrec.errors import DIVERGED, RunError
from recbole_fmrlrec.evaluation.rank_record import TOPK_METRICS, metric_values
from recbole_fmrlrec.nn.linear import chunk_bounds
from recbole_fmrlrec.nn.loss import ALIGNED

#: Bytes of scores held at once. Products need a few hundred rows to reach their full speed.
BLOCK_BYTES = 20 * 2**20

#: Bytes of scores that are counted together, so that they stay in the cache.
CACHED_BYTES = 3 * 2**20

#: Above so many items a row of scores is too long for blocks of whole rows: the table would come
#: from memory again for every few users. Users that then share one reading of the table.
LARGE, LARGE_ROWS = 98_304, 512

#: Metrics that follow from the rank of one target a row.
RANK_METRICS = (*TOPK_METRICS, "gauc")

#: Up to so many items float32 holds every mean rank, halves included.
EXACT_ITEMS = 2**23

_NO_SCORES = (
    "the model's outputs hold NaN or infinite values, or such large ones that scores would be "
    f"infinite: {DIVERGED}"
)


def _cached_rows(items: int) -> int:
    return max(1, CACHED_BYTES // (4 * max(1, items)))


def nested_mean_ranks(
    hidden: Tensor, items: Tensor, targets: Tensor, sizes: Sequence[int]
) -> Tensor:
    """Mean rank of each target among all items at every size.

    Args:
        hidden: ``(B, d)`` outputs of the sequence encoder.
        items: ``(N, d)`` item table without padding.
        targets: ``(B,)`` row of ``items`` that was next.
        sizes: nested sizes, strictly ascending.

    Returns:
        ``(K, B)`` exact mean ranks, 1 is best: float64 where ``hidden`` is or where there are more
        than 2^23 items, else float32.

    Raises:
        RunError: the outputs or the table hold NaN or infinite values, or a score could overflow.
    """
    if hidden.dtype not in (torch.float32, torch.float64):
        hidden = hidden.float()
    bound = hidden.shape[1] * _largest(hidden) * _largest(items)
    if not bound <= torch.finfo(hidden.dtype).max:  # NaN is not
        raise RunError(_NO_SCORES)
    if len(items) > LARGE:
        pairs = zip(hidden.split(LARGE_ROWS), targets.split(LARGE_ROWS), strict=True)
        return torch.cat([_ranks_by_item_blocks(h, items, t, sizes) for h, t in pairs], dim=1)
    items = items.to(hidden.dtype)
    rows = max(16, min(len(hidden), BLOCK_BYTES // (4 * max(1, len(items)))))
    # Rows that begin at aligned addresses: see loss.ALIGNED.
    padded = -(-len(items) // ALIGNED) * ALIGNED
    buffer = hidden.new_empty(rows, padded)[:, : len(items)]
    parts = zip(hidden.split(rows), targets.split(rows), strict=True)
    return torch.cat([_block_ranks(h, items, t, sizes, buffer) for h, t in parts], dim=1)


def _largest(values: Tensor) -> float:
    """The largest magnitude, NaN where a value is; without the copy that `abs` makes."""
    if values.numel() == 0:
        return 0.0
    low, high = map(float, torch.aminmax(values))
    return max(-low, high)


def _block_ranks(
    hidden: Tensor, items: Tensor, targets: Tensor, sizes: Sequence[int], buffer: Tensor
) -> Tensor:
    logits, column = buffer[: len(hidden)], targets[:, None]
    cached = _cached_rows(len(items))
    scratch = torch.empty_like(logits[:cached])
    ranks = []
    for start, end in chunk_bounds(sizes):
        chunk, items_t = hidden[:, start:end], items[:, start:end].t()
        if start == 0:
            torch.mm(chunk, items_t, out=logits)
        else:
            logits.addmm_(chunk, items_t)
        pairs = zip(logits.split(cached), logits.gather(1, column).split(cached), strict=True)
        ranks.append(torch.cat([_finite_mean_rank(part, own, scratch) for part, own in pairs]))
    return torch.stack(ranks)


def _ranks_by_item_blocks(
    hidden: Tensor, items: Tensor, targets: Tensor, sizes: Sequence[int]
) -> Tensor:
    """`_block_ranks` for a table that is far larger than the cache, a block of items at a time.

    The target's own column is left out; its score comes from a product of its own, of the same
    kind, so that items of the same vector still tie.
    """
    bounds = chunk_bounds(sizes)
    own_items = items[targets].to(hidden.dtype)
    own = torch.stack([(hidden[:, a:b] @ own_items[:, a:b].t()).diagonal() for a, b in bounds])
    own = own.cumsum(0)[:, :, None]
    # The own column counts as worse below.
    signs = own.new_ones(len(sizes), len(hidden), dtype=torch.float64)
    width = CACHED_BYTES // (4 * LARGE_ROWS)
    for start in range(0, len(items), width):
        block = items[start : start + width].to(hidden.dtype)
        if len(block) < width:  # a product of another width may round otherwise
            block = torch.cat([block, block.new_zeros(width - len(block), block.shape[1])])
        inside = torch.nonzero((targets >= start) & (targets < start + len(block))).flatten()
        logits = hidden.new_zeros(len(hidden), len(block))
        logits[inside, targets[inside] - start] = -torch.inf
        scratch = torch.empty_like(logits)
        items_here = len(items) - start
        for k, (a, b) in enumerate(bounds):
            logits.addmm_(hidden[:, a:b], block[:, a:b].t())
            signs[k] += torch.sub(logits, own[k], out=scratch).sign_()[:, :items_here].sum(1)
    ranks = (signs + (len(items) + 1)) / 2
    return ranks if len(items) > EXACT_ITEMS else ranks.to(hidden.dtype)


def _finite_mean_rank(scores: Tensor, own: Tensor, scratch: Tensor) -> Tensor:
    """`mean_rank` where no score is infinite: better minus worse is a sum of signs."""
    signs = torch.sub(scores, own, out=scratch[: len(scores)]).sign_().sum(1)
    return (signs + (scores.shape[1] + 1)) / 2


def mean_rank(scores: Tensor, targets: Tensor, scratch: Tensor | None = None) -> Tensor:
    """Mean rank ``(B,)`` of column ``targets[i]`` in row i of ``scores`` ``(B, N)``.

    Comparisons are written as numbers and summed, which runs at memory speed where sums of
    booleans do not; float32 holds the result exactly up to 2^23 items.

    Args:
        scores: ``(B, N)``, float32 or float64.
        targets: ``(B,)`` columns.
        scratch: ``(B, N)`` work space of the dtype of ``scores``; made when None.
    """
    scratch = torch.empty_like(scores) if scratch is None else scratch
    target = scores.gather(1, targets[:, None])
    better = torch.gt(scores, target, out=scratch).sum(1)
    ties = torch.eq(scores, target, out=scratch).sum(1) - 1
    return 1 + better + ties / 2


def score_ranks(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ranks of targets in ready scores, a block of rows at a time.

    Args:
        scores: ``(B, N+1)`` of any number type; what is no candidate (the padding, a masked
            history) is -inf.
        targets: ``(B,)`` columns.

    Returns:
        Mean ranks ``(B,)``, float64 where scores are float64 or whole numbers, else float32; and
        ``(B,)`` how many candidates a row has, as RecBole counts them: scores above -inf.

    Raises:
        RunError: a score is NaN.
    """
    exact = scores.dtype == torch.float64 or not scores.dtype.is_floating_point
    dtype = torch.float64 if exact else torch.float32
    ranks, candidates = [], []
    rows = _cached_rows(scores.shape[1])
    for block, wanted in zip(scores.split(rows), targets.split(rows), strict=True):
        values = block.to(dtype)
        if torch.isnan(values).any():
            raise RunError(f"the model's scores hold NaN: {DIVERGED}")
        ranks.append(mean_rank(values, wanted))
        candidates.append((values > -torch.inf).sum(1))
    return torch.cat(ranks), torch.cat(candidates)


def whole_ranks(mean_ranks: Tensor) -> Tensor:
    """Ranks as int32: mean ranks, rounded down."""
    return mean_ranks.floor().to(torch.int32)


def can_rank(metrics: Sequence[str]) -> bool:
    """Whether all these metrics follow from ranks alone."""
    return all(metric.lower() in RANK_METRICS for metric in metrics)


def rank_metrics(
    mean_ranks: Tensor,
    candidates: Tensor | int,
    metrics: Sequence[str],
    topk: Sequence[int],
    decimals: int,
) -> OrderedDict[str, float]:
    """Means over rows, keyed as RecBole keys them (``ndcg@10``), rounded as RecBole rounds.

    They are summed as RecBole sums them, so that not even the last bit differs.

    Args:
        mean_ranks: ``(R,)`` mean rank of each row's target.
        candidates: how many items each row ranks, ``(R,)`` or one number.
        metrics: names, of `RANK_METRICS`.
        topk: cut-offs.
        decimals: places kept.
    """
    result: OrderedDict[str, float] = OrderedDict()
    largest = max(topk, default=1)
    place = whole_ranks(mean_ranks).clamp(max=largest + 1).cpu().numpy() - 1
    for metric in (name.lower() for name in metrics):
        if metric == "gauc":
            result[metric] = _gauc(mean_ranks, candidates, decimals)
            continue
        places = np.arange(1, largest + 2)
        table = [metric_values(places, metric, k) for k in range(1, largest + 1)]
        means = np.stack(table, axis=1)[place].mean(axis=0)
        for k in topk:
            result[f"{metric}@{k}"] = round(float(means[k - 1]), decimals)
    return result


def _gauc(mean_ranks: Tensor, candidates: Tensor | int, decimals: int) -> float:
    """RecBole's own formula, in the precision in which it gets its numbers and rounds them."""
    from recbole.evaluator.metrics import GAUC

    ranks = mean_ranks.cpu().numpy()
    counts = torch.as_tensor(candidates).cpu().numpy().astype(ranks.dtype)
    counts = np.broadcast_to(counts, ranks.shape)
    ranks = np.minimum(ranks, counts)  # a target that is no candidate itself comes after all
    metric = GAUC({"metric_decimal_place": None})
    value = metric.metric_info(ranks[:, None], counts, np.ones_like(ranks))
    return round(float(round(value, decimals)), decimals)
