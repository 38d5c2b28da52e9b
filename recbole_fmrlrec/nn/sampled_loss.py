"""Sampled softmax: the nested cross-entropy over a few candidates that a whole batch shares.

The candidates C are the batch's targets and ``num_sampled`` draws from all items, without
duplicates, so that an item is one column and no accidental hit needs a mask. Item j becomes a
candidate of a position with target t with probability ``pi_j``: 1 for t itself, else

    pi_j = 1 - (1 - q_j)^num_sampled * (1 - p_j)^(T - 1)

where q is the distribution of the draws and p that of training targets: j is drawn, or is the
target of one of the other T - 1 positions, which are taken as independent. The loss of a position
is the exact one with the partition function estimated from the candidates,

    -log(exp(o_t) / Z),    Z = exp(o_t) + sum over j in C other than t of exp(o_j) / pi_j.

Z is unbiased (Horvitz and Thompson, 1952), its logarithm is not; loss and gradient approach the
exact ones as the number of draws grows, and are the exact ones where every item is a candidate.

- ``uniform``: q is equal for all items.
- ``popularity``: q is p. Fits popular items sooner for the same number of draws.
- ``in_batch``: no draws; the other positions' targets are the negatives.

Sources: importance sampling of the softmax, Bengio and Senecal, IEEE Trans. Neural Networks 19(4),
2008. Subtracting log Q from the logits of in-batch candidates, Yi et al., RecSys 2019. A position's
own target is always there and so is not corrected, Khrylchenko et al., RecSys 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.history_shift import HistoryShift
from recbole_fmrlrec.nn.loss import nested_cross_entropy

KINDS = ("uniform", "in_batch", "popularity")


@dataclass(frozen=True)
class Candidates:
    """Candidates of a batch.

    Attributes:
        rows: ``(C,)`` items 0..N-1, ascending, none twice; every target is one of them.
        bias: ``(C,)`` ``-log(pi)``, what their logits get where they are not the target.
    """

    rows: Tensor
    bias: Tensor

    def to(self, device: torch.device) -> Candidates:
        """The same on another device."""
        return Candidates(send(self.rows, device), send(self.bias, device))

    def columns(self, targets: Tensor) -> Tensor:
        """Place ``(T,)`` among the candidates of items ``(T,)`` that are candidates."""
        return torch.searchsorted(self.rows, targets)


class CandidateSampler:
    """Draws the candidates of batches from torch's global generator.

    Args:
        kind: one of `KINDS`.
        num_sampled: draws a batch, with replacement; N or more make every item a candidate.
            ``in_batch`` makes none.
        counts: ``(N,)`` how often each item is a training target. An item that never is one
            counts as if it were once: it has to have a chance.
        known: ``(M,)`` the items that may be candidates, ascending; all when None.

    Raises:
        ValueError: another kind, or less than one draw.
    """

    def __init__(
        self, kind: str, num_sampled: int, counts: Tensor, known: Tensor | None = None
    ) -> None:
        if kind not in KINDS or num_sampled < 1:
            raise ValueError(f"kind is one of {', '.join(KINDS)} and num_sampled at least 1")
        self.known = torch.arange(len(counts)) if known is None else known.cpu()
        self.num_items = len(self.known)
        self.num_sampled = 0 if kind == "in_batch" else num_sampled
        kept = torch.zeros(len(counts), dtype=torch.float64)
        kept[self.known] = counts.cpu()[self.known].clamp(min=1).double()
        self.popularity = kept / kept.sum()
        self.cumulative = self.popularity.cumsum(0) if kind == "popularity" else None

    def draw(self, targets: Tensor) -> Candidates:
        """Candidates of a batch with ``targets`` ``(T,)`` of 0..N-1, on their device."""
        if self.num_sampled >= self.num_items:
            rows = self.known.to(targets.device)
            return Candidates(rows, torch.zeros(self.num_items, device=targets.device))
        rows = torch.cat([targets.cpu(), self._drawn()]).unique()
        bias = -self.probability(rows, len(targets)).log().float()
        return Candidates(rows.to(targets.device), bias.to(targets.device))

    def _drawn(self) -> Tensor:
        if self.cumulative is None:
            return self.known[torch.randint(self.num_items, (self.num_sampled,))]
        drawn = torch.searchsorted(
            self.cumulative, torch.rand(self.num_sampled, dtype=torch.float64), right=True
        )
        return drawn.clamp_(max=int(self.known[-1]))

    def probability(self, rows: Tensor, positions: int) -> Tensor:
        """pi ``(C,)`` of items ``(C,)``, for a position that has another target."""
        popularity = self.popularity[rows]
        drawn = popularity if self.cumulative is not None else 1 / self.num_items
        # By logarithms, which keep the digits of the tiny probabilities.
        absent = self.num_sampled * torch.log1p(torch.as_tensor(-drawn, dtype=torch.float64))
        absent = absent + (positions - 1) * torch.log1p(-popularity.clamp(max=1 - 1e-12))
        return -torch.expm1(absent).clamp(max=-torch.finfo(torch.float32).tiny)


def sampled_cross_entropy(
    hidden: Tensor,
    items: Tensor,
    candidates: Candidates,
    targets: Tensor,
    sizes: Sequence[int],
    self_distillation: float = 0.0,
    block_size: int | None = None,
    shift: HistoryShift | None = None,
) -> Tensor:
    """Mean over sizes and positions of the sampled softmax loss.

    Args:
        hidden: ``(T, d)`` outputs of the sequence encoder.
        items: ``(C, d)`` vectors of the candidates.
        candidates: what `CandidateSampler.draw` made for these targets.
        targets: ``(T,)`` the next items, 0..N-1.
        sizes: nested sizes, strictly ascending; d = sizes[-1].
        self_distillation: as in `nested_cross_entropy`; the teacher is the estimated softmax.
        block_size: positions worked through at once; chosen from the shapes when None.
        shift: as in `nested_cross_entropy`, for all items 0..N-1.

    Returns:
        Scalar loss.
    """
    columns, options = candidates.columns(targets), (sizes, self_distillation, block_size)
    if shift is not None:
        shift = shift.among(candidates.rows)
    return nested_cross_entropy(hidden, items, columns, *options, candidates.bias, shift)


def sampled_cross_entropy_reference(
    hidden: Tensor,
    items: Tensor,
    candidates: Candidates,
    targets: Tensor,
    sizes: Sequence[int],
) -> Tensor:
    """`sampled_cross_entropy` by its definition, a position at a time: for the tests."""
    losses = []
    for size in sizes:
        for h, target in zip(hidden[:, :size], targets, strict=True):
            scores = (items[:, :size] @ h).exp()
            weights = torch.where(candidates.rows == target, 1.0, candidates.bias.exp())
            own = scores[candidates.rows == target].squeeze()
            losses.append(-torch.log(own / (weights * scores).sum()))
    return torch.stack(losses).mean()
