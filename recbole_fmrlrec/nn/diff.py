"""DIFF's encoder: filtered sequences of items and attributes, fused early and in the attention.

Source: Kim et al., "DIFF: Dual Side-Information Filtering and Fusion for Sequential
Recommendation", SIGIR 2025 (arXiv 2505.13974), and what the authors' code does beside the text.

The filters are those of BSARec with one beta for all dimensions. They, and the fusion of attention
scores by ``concat`` or ``gate``, read a whole row: only the output at the last item is a prediction
from what came before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.nn.bsarec import FrequencyRescaler
from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.nn.feed_forward import EPSILON, FeedForward, normal_start

FUSIONS = ("sum", "concat", "gate")


class Fusion(nn.Module):
    """Several tensors of one shape to one of that shape, by their last axis.

    ``sum``; ``concat``: a product with all of them side by side; ``gate``: their mean with weights
    that a small network gives each of them. Tensors that lack leading axes are the same there.

    Args:
        kind: one of `FUSIONS`.
        parts: how many there are.
        width: of the last axis.

    Raises:
        ValueError: another kind.
    """

    def __init__(self, kind: str, parts: int, width: int) -> None:
        super().__init__()
        if kind not in FUSIONS:
            raise ValueError(f"fusion_type must be one of {', '.join(FUSIONS)}, got {kind!r}")
        self.kind, self.width = kind, width
        self.product = nn.Linear(parts * width, width) if kind == "concat" else None
        self.gate: nn.Sequential | None = None
        if kind == "gate":  # without a bias at its end: the weights would be the same
            layers = nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1, bias=False)
            self.gate = nn.Sequential(*layers)

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        """Fuse tensors ``(..., w)``."""
        if self.product is not None:
            weights = self.product.weight.split(self.width, dim=1)
            parts = [functional.linear(x, w) for x, w in zip(parts, weights, strict=True)]
            parts = [*parts, self.product.bias]
        if self.gate is not None:
            energies = torch.broadcast_tensors(*(self.gate(x) for x in parts))
            shares = torch.softmax(torch.stack(energies), dim=0)
            parts = [x * share for x, share in zip(parts, shares, strict=True)]
        fused = parts[0]
        for part in parts[1:]:
            fused = fused + part
        return fused


class FusedAttention(nn.Module):
    """``norm(x + dropout(attention))``: scores of several sequences fused, values of x alone.

    Args:
        width: d.
        heads: of the attention.
        parts: how many sequences have scores.
        fusion: fuses their scores; None for one sequence.
        dropout: rate of the output.
        attention_dropout: rate of the weights.

    Raises:
        ValueError: the width is no multiple of the number of heads.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        parts: int,
        fusion: Fusion | None,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"hidden_size {width} must be a multiple of the {heads} heads")
        self.heads, self.fusion = heads, fusion
        self.queries = nn.ModuleList(nn.Linear(width, width) for _ in range(parts))
        self.keys = nn.ModuleList(nn.Linear(width, width) for _ in range(parts))
        self.value, self.dense = nn.Linear(width, width), nn.Linear(width, width)
        self.attention_dropout, self.dropout = Dropout(attention_dropout), Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=EPSILON)

    def forward(
        self, x: Tensor, sequences: Sequence[Tensor], visible: Tensor, at: Tensor | None
    ) -> Tensor:
        """Attend from every position, or from one of each row.

        Args:
            x: ``(B, L, d)``, the values.
            sequences: ``(B, L, d)`` or ``(L, d)`` each.
            visible: ``(B, Q, L)`` which positions each of the Q asking ones may see.
            at: ``(B,)`` the position that asks; all do when None.

        Returns:
            ``(B, Q, d)``.
        """
        projections = zip(sequences, self.queries, self.keys, strict=True)
        score = self._scores if at is None else self._scores_of_one
        parts = [score(query(picked(y, at)), key, y) for y, query, key in projections]
        scores = parts[0] if self.fusion is None else self.fusion(parts)
        scores = scores * math.sqrt(self.heads / x.shape[2])
        scores = scores.masked_fill(~visible[:, None], torch.finfo(scores.dtype).min)
        weights = self.attention_dropout(torch.softmax(scores, dim=-1))
        context = self._context(weights, x) if at is None else self._context_of_one(weights, x)
        out: Tensor = self.norm(picked(x, at) + self.dropout(self.dense(context)))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """``(..., L, d)`` to ``(..., heads, L, d / heads)``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def _scores(self, asking: Tensor, key: nn.Module, y: Tensor) -> Tensor:
        """Products ``(..., heads, Q, L)`` of queries ``(..., Q, d)`` with the keys of y."""
        return self._split(asking) @ self._split(key(y)).transpose(-1, -2)

    def _context(self, weights: Tensor, x: Tensor) -> Tensor:
        """Means ``(B, Q, d)`` of the values of x with weights ``(B, heads, Q, L)``."""
        return (weights @ self._split(self.value(x))).transpose(1, 2).flatten(2)

    # Where one position asks, its query goes through the weights of the keys once, and the mean of
    # the inputs through those of the values, instead of all L positions through both.

    def _scores_of_one(self, asking: Tensor, key: nn.Module, y: Tensor) -> Tensor:
        """As `_scores`, of queries ``(B, 1, d)``."""
        assert isinstance(key, nn.Linear)
        heads = asking.unflatten(2, (self.heads, -1))[:, 0].transpose(0, 1)  # (heads, B, d / heads)
        weights = key.weight.unflatten(0, (self.heads, -1))
        through = (heads @ weights).transpose(0, 1)
        bias = (heads * key.bias.unflatten(0, (self.heads, 1, -1))).sum(2).t()
        return (through @ y.transpose(-1, -2) + bias[..., None])[:, :, None]

    def _context_of_one(self, weights: Tensor, x: Tensor) -> Tensor:
        """As `_context`, with weights ``(B, heads, 1, L)``."""
        weights, value = weights[:, :, 0], self.value
        means = (weights @ x).transpose(0, 1)  # (heads, B, d)
        context = means @ value.weight.unflatten(0, (self.heads, -1)).transpose(1, 2)
        # Dropped weights no longer add up to 1.
        bias = weights.sum(2).t()[..., None] * value.bias.unflatten(0, (self.heads, 1, -1))
        return (context + bias).transpose(0, 1).flatten(1)[:, None]


def picked(x: Tensor, at: Tensor | None) -> Tensor:
    """``(B, L, d)`` or ``(L, d)`` at one position of each row ``(B, 1, d)``; all of it for None."""
    if at is None:
        return x
    if x.dim() == 2:
        return functional.embedding(at, x)[:, None]
    return x[torch.arange(len(at), device=at.device), at][:, None]


class Block(nn.Module):
    """Filters of all sequences, attention of items and of the early fusion, one feed-forward layer.

    Args:
        width: d.
        length: L, the positions of a row.
        attributes: m, sequences of attributes.
        heads: of the attention.
        inner_width: of the feed-forward layer.
        frequencies: that the filters leave as they are.
        fusion: how the scores of items, attributes and positions are fused.
        dropout: rate of everything but attention weights.
        attention_dropout: rate of attention weights.
    """

    def __init__(
        self,
        width: int,
        length: int,
        attributes: int,
        heads: int,
        inner_width: int,
        frequencies: int,
        fusion: str,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        rates = dropout, attention_dropout
        self.filters = nn.ModuleList(
            FrequencyRescaler(width, length, frequencies, dropout, one_beta=True)
            for _ in range(attributes + 2)
        )
        fused = Fusion(fusion, attributes + 2, length)
        self.attention = FusedAttention(width, heads, attributes + 2, fused, *rates)
        self.early_attention = FusedAttention(width, heads, 1, None, *rates)
        self.feed_forward = FeedForward(width, inner_width, dropout)

    def forward(
        self,
        ids: Tensor,
        attributes: Sequence[Tensor],
        early: Tensor,
        positions: Tensor,
        visible: Tensor,
        at: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Map the sequences ``(B, L, d)`` of items and of the early fusion to ``(B, Q, d)``."""
        inputs = zip(self.filters, [ids, early, *attributes], strict=True)
        ids, early, *attributes = [one(x) for one, x in inputs]
        attended = self.attention(ids, [*attributes, ids, positions], visible, at)
        early = self.early_attention(early, [early], visible, at)
        return self.feed_forward(attended), self.feed_forward(early)


class DIFFNetwork(nn.Module):
    """Early fusion, then blocks over rows padded on the right to one length.

    Args:
        width: d.
        length: L, the positions of a row.
        attributes: m, sequences of attributes; 0 for items alone.
        blocks: number of blocks, 1 or more.
        heads: of the attention.
        inner_width: of the feed-forward layers.
        c: the filters leave the c // 2 + 1 lowest frequencies as they are.
        alpha: the share of the items' sequence in the output, in [0, 1]; the early fusion's rest.
        fusion: one of `FUSIONS`.
        dropout: rate of everything but attention weights.
        attention_dropout: rate of attention weights.
        init_std: standard deviation of products and positions at the start.

    Raises:
        ValueError: ``alpha`` is not in [0, 1], ``c`` or ``blocks`` is below 1, the fusion is not
            known, or the heads do not divide d.
    """

    def __init__(
        self,
        width: int,
        length: int,
        attributes: int,
        blocks: int = 2,
        heads: int = 2,
        inner_width: int = 256,
        c: int = 5,
        alpha: float = 0.3,
        fusion: str = "concat",
        dropout: float = 0.5,
        attention_dropout: float = 0.3,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        if not 0 <= alpha <= 1 or c < 1:
            raise ValueError(f"alpha must lie in [0, 1] and c be 1 or more, got {alpha} and {c}")
        if blocks < 1:
            raise ValueError(f"n_layers must be 1 or more, got {blocks}")
        self.length, self.alpha = length, alpha
        self.positions = nn.Embedding(length, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=EPSILON), Dropout(dropout)
        self.fusion = Fusion(fusion, attributes + 2, width)
        shape = width, length, attributes, heads, inner_width, c // 2 + 1, fusion
        self.blocks = nn.ModuleList(
            Block(*shape, dropout, attention_dropout) for _ in range(blocks)
        )
        normal_start(self, init_std)

    def forward(
        self, ids: Tensor, attributes: Sequence[Tensor], lengths: Tensor, only_last: bool = False
    ) -> Tensor:
        """Outputs of right-padded rows.

        Args:
            ids: ``(B, L, d)`` item vectors, padding included.
            attributes: ``(B, L, d)`` each.
            lengths: ``(B,)`` how many positions are items.
            only_last: give the output at each row's last item alone.

        Returns:
            ``(B, L, d)``, or ``(B, 1, d)``.
        """
        place, positions = torch.arange(self.length, device=lengths.device), self.positions.weight
        visible = (place < lengths[:, None])[:, None] & (place <= place[:, None])
        items = self.dropout(self.norm(ids))
        early = self.fusion([items, *attributes, positions])
        for block in self.blocks[:-1]:
            items, early = block(items, attributes, early, positions, visible)
        at = None
        if only_last:
            at = (lengths - 1).clamp(min=0)
            visible = picked(visible, at)
        items, early = self.blocks[-1](items, attributes, early, positions, visible, at)
        return torch.lerp(early, items, self.alpha)


def alignment_loss(
    items: Tensor, attributes: Tensor, same: Tensor, lengths: Tensor, temperature: float
) -> Tensor:
    """What draws the vector of an item and those of its attributes together.

    For each item of a row the softmax over the row's cosines with attributes (and for its
    attributes that with items) is to be on those with the same attributes. The mean is over all L
    positions, padding included, as in the authors' code.

    Args:
        items: ``(B, L, d)`` item vectors of length 1, padding included.
        attributes: ``(B, L, d)`` sums of the vectors of an item's attributes, of length 1; zeros
            for padding and for items without any.
        same: ``(B, L, L)`` which items have the same attributes.
        lengths: ``(B,)`` items of each row.
        temperature: divides the cosines.
    """
    cosines = items @ attributes.transpose(1, 2) / temperature
    log_shares = cosines.log_softmax(2) + cosines.transpose(1, 2).log_softmax(2)
    found = log_shares.masked_fill(~same, 0).sum((1, 2))
    return -(found / lengths.clamp(min=1)).mean() / items.shape[1]
