"""Full ranking by counting instead of sorting, at every nested size in one pass.

The rule for all models: a target's mean rank is the mean of the places that it can take among the
items of its score, 1 + better + ties / 2; its rank is that, rounded down. So the target of a
constant scorer stands in the middle of the list. RecBole's metrics at k take what torch's top-k
puts first among ties, which is not defined; its GAUC takes the mean rank. Without ties the numbers
are RecBole's own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from recbole_fmrlrec.errors import DIVERGED, RunError
from recbole_fmrlrec.evaluation.counting import (
    CACHED_BYTES,
    RankCounter,
    ScoreBlock,
    ScoreReader,
    read_scores,
)
from recbole_fmrlrec.evaluation.rank_record import TOPK_METRICS, metric_values
from recbole_fmrlrec.nn.devices import at_once
from recbole_fmrlrec.nn.history_shift import HistoryShift
from recbole_fmrlrec.nn.linear import chunk_bounds
from recbole_fmrlrec.nn.loss import ALIGNED

#: Bytes of scores held at once. Products need a few hundred rows to reach their full speed.
BLOCK_BYTES = 20 * 2**20

#: Above so many items a row of scores is too long for blocks of whole rows: the table would come
#: from memory again for every few users. Users that then share one reading of the table.
LARGE, LARGE_ROWS = 98_304, 512

#: Metrics that follow from the rank of one target per row.
RANK_METRICS = (*TOPK_METRICS, "gauc")

#: Id of the item in the first row of a table without padding.
FIRST_ITEM = 1

_NO_SCORES = (
    "the model's outputs hold NaN or infinite values, or such large ones that scores would be "
    f"infinite: {DIVERGED}"
)


def nested_mean_ranks(
    hidden: Tensor, items: Tensor, targets: Tensor, sizes: Sequence[int]
) -> Tensor:
    """Mean rank of each target among all items at every size.

    Args, Raises: as `nested_scores`.

    Returns:
        ``(K, B)`` exact mean ranks, 1 is best: float64 where ``hidden`` is or where there are more
        than 2^23 items, else float32.
    """
    counter = RankCounter(targets + 1, len(sizes))
    nested_scores(counter, hidden, items, targets, sizes)
    return counter.mean_ranks()


def nested_scores(
    reader: ScoreReader,
    hidden: Tensor,
    items: Tensor,
    targets: Tensor,
    sizes: Sequence[int],
    shift: HistoryShift | None = None,
) -> None:
    """Show a reader the scores of all items at every size, in one pass.

    Args:
        reader: takes what it needs of each block, see `counting.ScoreReader`.
        hidden: ``(B, d)`` outputs of the sequence encoder.
        items: ``(N, d)`` item table without padding.
        targets: ``(B,)`` row of ``items`` that was next.
        sizes: nested sizes, strictly ascending.
        shift: what is added to the scores of the items that a row has read.

    Raises:
        RunError: the outputs or the table hold NaN or infinite values, or a score could overflow.
    """
    if hidden.dtype not in (torch.float32, torch.float64):
        hidden = hidden.float()
    bound = hidden.shape[1] * _largest(hidden) * _largest(items)
    if not bound <= torch.finfo(hidden.dtype).max:  # NaN is not
        raise RunError(_NO_SCORES)
    # Scores of a size are those of the size before it with its own part added, the shift likewise.
    added = None if shift is None else shift.increments()
    if len(items) > LARGE:
        for rows in _stretches(len(hidden), LARGE_ROWS):
            _read_item_blocks(reader, rows, hidden[rows], items, targets[rows], sizes, added)
        return
    items = items.to(hidden.dtype)
    together = at_once(BLOCK_BYTES, hidden.device)
    step = max(16, min(len(hidden), together // (4 * max(1, len(items)))))
    # Rows that begin at aligned addresses: see loss.ALIGNED.
    padded = -(-len(items) // ALIGNED) * ALIGNED
    buffer = hidden.new_empty(step, padded)[:, : len(items)]
    for rows in _stretches(len(hidden), step):
        _read_rows(reader, rows, hidden[rows], items, targets[rows], sizes, buffer, added)


def _stretches(count: int, step: int) -> Iterator[slice]:
    return (slice(at, min(at + step, count)) for at in range(0, count, step))


def _largest(values: Tensor) -> float:
    """The largest magnitude, NaN where a value is; without the copy that `abs` makes."""
    if values.numel() == 0:
        return 0.0
    low, high = map(float, torch.aminmax(values))
    return max(-low, high)


def _read_rows(
    reader: ScoreReader,
    rows: slice,
    hidden: Tensor,
    items: Tensor,
    targets: Tensor,
    sizes: Sequence[int],
    buffer: Tensor,
    added: HistoryShift | None,
) -> None:
    logits, column = buffer[: len(hidden)], targets[:, None]
    for k, (start, end) in enumerate(chunk_bounds(sizes)):
        chunk, items_t = hidden[:, start:end], items[:, start:end].t()
        if start == 0:
            torch.mm(chunk, items_t, out=logits)
        else:
            logits.addmm_(chunk, items_t)
        if added is not None:
            added.add(logits, rows, k)
        own = logits.gather(1, column)
        reader.read(ScoreBlock(k, rows, FIRST_ITEM, logits, own, finite=True))


def _read_item_blocks(
    reader: ScoreReader,
    rows: slice,
    hidden: Tensor,
    items: Tensor,
    targets: Tensor,
    sizes: Sequence[int],
    added: HistoryShift | None,
) -> None:
    """`_read_rows` for a table that is far larger than the cache, a block of items at a time.

    The target's own score comes from a product of its own, of the same kind as the others, so that
    items of the same vector still tie; it takes its place in the block.
    """
    bounds = chunk_bounds(sizes)
    own_items = items[targets].to(hidden.dtype)
    own = torch.stack([(hidden[:, a:b] @ own_items[:, a:b].t()).diagonal() for a, b in bounds])
    if added is not None:
        added = added.inside(rows, 0, len(items))
        own += torch.stack([added.of(targets, k) for k in range(len(sizes))])
    own = own.cumsum(0)[:, :, None]
    width = at_once(CACHED_BYTES, hidden.device) // (4 * LARGE_ROWS)
    for start in range(0, len(items), width):
        block = items[start : start + width].to(hidden.dtype)
        here = len(block)
        if here < width:  # a product of another width may round otherwise
            block = torch.cat([block, block.new_zeros(width - here, block.shape[1])])
        inside = torch.nonzero((targets >= start) & (targets < start + here)).flatten()
        place = inside, targets[inside] - start
        logits = hidden.new_zeros(len(hidden), width)
        here_added = None if added is None else added.inside(slice(None), start, width)
        for k, (a, b) in enumerate(bounds):
            logits.addmm_(hidden[:, a:b], block[:, a:b].t())
            if here_added is not None:
                here_added.add(logits, slice(None), k)
            logits[place] = own[k, inside, 0]
            first = start + FIRST_ITEM
            reader.read(ScoreBlock(k, rows, first, logits[:, :here], own[k], finite=True))


def mean_rank(scores: Tensor, targets: Tensor) -> Tensor:
    """The rule by itself: mean rank ``(B,)`` of column ``targets[i]`` in row i of ``scores``.

    `RankCounter` counts the same faster, in blocks.
    """
    own = scores.gather(1, targets[:, None])
    better, ties = (scores > own).sum(1), (scores == own).sum(1) - 1
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
    counter = RankCounter(targets)
    read_scores(counter, scores, targets)
    return counter.mean_ranks()[0], counter.candidates()[0]


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
