"""Losses of a target against negatives of each position's own: gBCE and the plain sampled softmax.

`recbole_fmrlrec.nn.sampled_loss` has candidates that a whole batch shares, and corrects for how
likely each was; here every position draws its own, uniformly from all items with replacement, and
nothing is corrected: a draw that hits the target counts as a negative, as in the papers' code.

Sources: Petrov and Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation
Trained with Negative Sampling", RecSys 2023 (arXiv 2308.07192); Tikhonovich et al.,
"eSASRec: Enhancing Transformer-based Recommendations in a Modular Fashion", RecSys 2025
(arXiv 2508.06450).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recbole_fmrlrec.nn.devices import at_once, send

#: Bytes of item vectors that are read at once: they should stay in the cache.
CACHED_BYTES = 4 * 2**20


def draw_negatives(
    num_items: int, number: int, targets: Tensor, known: Tensor | None = None
) -> Tensor:
    """Candidates ``(T, 1 + k)``, 0..N-1: a position's target, then its k = ``number`` draws.

    Drawn from torch's global generator on the CPU, whatever the device: a checkpoint holds it.

    Args:
        num_items: N.
        number: k.
        targets: ``(T,)``.
        known: the items that may be drawn, on the CPU; all when None.
    """
    if known is not None:
        drawn = known[torch.randint(len(known), (len(targets), number))]
    else:
        drawn = torch.randint(num_items, (len(targets), number))
    return torch.cat([targets[:, None], send(drawn, targets.device)], dim=1)


class _Scores(torch.autograd.Function):
    """Products of outputs with a few items each; nothing ``(T, C, d)`` is held for the gradient."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, items: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, items, rows)
        scores = hidden.new_empty(rows.shape)
        read_bytes = rows.shape[1] * items.shape[1] * items.element_size()
        step = max(1, at_once(CACHED_BYTES, items.device) // read_bytes)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            read = items.index_select(0, rows[part].flatten()).unflatten(0, rows[part].shape)
            scores[part] = (read @ hidden[part, :, None]).squeeze(2)
        return scores

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, items, rows = ctx.saved_tensors
        grad = grads[0].contiguous()
        of_hidden = functional.embedding_bag(rows, items, mode="sum", per_sample_weights=grad)
        # The same product from the items' side: for each item the positions that ranked it.
        ordered, order = rows.flatten().int().sort(stable=True)
        first = torch.searchsorted(ordered, torch.arange(len(items), device=rows.device).int())
        of_items = functional.embedding_bag(
            order // rows.shape[1],
            hidden,
            first,
            mode="sum",
            per_sample_weights=grad.flatten()[order],
        )
        return of_hidden, of_items, None


def candidate_scores(hidden: Tensor, items: Tensor, rows: Tensor) -> Tensor:
    """Scores ``(T, C)`` of each position's own candidates.

    Args:
        hidden: ``(T, d)`` outputs.
        items: ``(N, d)`` vectors of all items.
        rows: ``(T, C)`` the candidates, 0..N-1; an item may be there more than once.
    """
    scores: Tensor = _Scores.apply(hidden.to(items.dtype), items, rows)
    return scores


def candidate_scores_reference(hidden: Tensor, items: Tensor, rows: Tensor) -> Tensor:
    """`candidate_scores` by its definition: for the tests."""
    return (items[rows] * hidden[:, None]).sum(2)


def gbce_beta(num_items: int, number: int, t: float) -> float:
    """The exponent beta = alpha (t (1 - 1 / alpha) + 1 / alpha) = 1 - t (1 - alpha) of gBCE.

    Args:
        num_items: N.
        number: k, negatives of a position; alpha = k / (N - 1) is the rate of sampling.
        t: calibration: 0 gives the binary cross-entropy, 1 probabilities that are calibrated.

    Source: the gSASRec paper and its authors' README.
    """
    alpha = number / (num_items - 1)
    return 1 - t * (1 - alpha)


def gbce(scores: Tensor, beta: float) -> Tensor:
    """Generalised binary cross-entropy, the mean over positions of

        -(log sigmoid(s+)^beta + sum over the negatives of log(1 - sigmoid(s-))) / (k + 1)

    Args:
        scores: ``(T, 1 + k)`` of the target s+, then of its negatives s-.
        beta: see `gbce_beta`.

    Source: the gSASRec paper. The authors' code turns s+ into the score whose plain
    binary cross-entropy this is, in float64; softplus needs neither.
    """
    positive = beta * functional.softplus(-scores[:, 0])
    return (positive + functional.softplus(scores[:, 1:]).sum(1)).mean() / scores.shape[1]


def own_softmax(scores: Tensor) -> Tensor:
    """Softmax cross-entropy of the target, the first of ``(T, 1 + k)``, among its candidates."""
    return functional.cross_entropy(scores, scores.new_zeros(len(scores), dtype=torch.int64))
