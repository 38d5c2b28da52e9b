"""Causal self-attention on packed sequences: see `recbole_fmrlrec.nn.packing`.

Everything but the attention itself runs on the T valid positions. For the attention, sequences of
like length are padded together, each group to its longest: about twice the valid places at most,
where a batch padded as a whole has several times as many. Padding is on the right, so that a
causal query never sees it, and its contents do not matter.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017; Kang and McAuley,
"Self-Attentive Sequential Recommendation", ICDM 2018 (SASRec).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.nn.packing import Packing

#: Sequences up to this length are one group: a group of its own costs more than their padding.
SHORT = 8


@dataclass(frozen=True)
class LengthGroups:
    """Sequences of a packed batch in groups of like length; P padded places in all.

    Attributes:
        shapes: for each group its sequences and the length to which they are padded, (n, l); where
            l is above `SHORT`, every sequence of the group is longer than l / 2.
        sources: ``(P,)`` packed position that is read into each padded place. A place behind the
            end of its sequence reads some other one.
        places: ``(T,)`` padded place of each packed position.
    """

    shapes: list[tuple[int, int]]
    sources: Tensor
    places: Tensor

    @classmethod
    def of(cls, packing: Packing) -> LengthGroups:
        """The groups of a batch. They follow from its steps, which the host knows."""
        reached, device = packing.batch_sizes, packing.index.device
        shapes = _shapes(reached)
        counts = torch.tensor(reached)
        offsets = counts.cumsum(0) - counts
        first_rank = [0, *accumulate(number for number, _ in shapes)]
        first_place = [0, *accumulate(number * length for number, length in shapes)]
        sources = [
            (offsets[:length] + torch.minimum(ranks[:, None], counts[:length] - 1)).flatten()
            for (_, length), (low, high) in zip(shapes, pairwise(first_rank), strict=True)
            for ranks in [torch.arange(low, high)]
        ]
        step = torch.repeat_interleave(torch.arange(len(reached)), counts)
        rank = torch.arange(len(step)) - offsets[step]
        group = torch.bucketize(rank, torch.tensor(first_rank[1:]), right=True)
        length_of = torch.tensor([length for _, length in shapes])[group]
        start = torch.tensor(first_place)[group]
        places = start + (rank - torch.tensor(first_rank)[group]) * length_of + step
        return cls(shapes, send(torch.cat(sources), device), send(places, device))

    def pad(self, packed: Tensor) -> Tensor:
        """From ``(T, ...)`` to ``(P, ...)``."""
        padded: Tensor = _Pad.apply(packed, self.sources, self.places)
        return padded

    def pack(self, padded: Tensor) -> Tensor:
        """From ``(P, ...)`` to ``(T, ...)``."""
        return padded.index_select(0, self.places)


def _shapes(reached: list[int]) -> list[tuple[int, int]]:
    """Sequences and longest length of each group; `Packing.batch_sizes` in."""
    shapes, done, length = [], 0, len(reached)
    while length:
        # Those of more than half the length.
        longer = reached[length // 2] if length > SHORT else reached[0]
        shapes.append((longer - done, length))
        done = longer
        length = sum(count > done for count in reached)
    return shapes


class _Pad(torch.autograd.Function):
    """Rows read into padded places; only those of the sequences themselves hand gradients back."""

    @staticmethod
    def forward(ctx: object, packed: Tensor, sources: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)  # type: ignore[attr-defined]
        return packed.index_select(0, sources)

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (places,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grads[0].index_select(0, places), None, None


def causal_attention(
    qkv: Tensor, heads: int, groups: LengthGroups, dropout: Dropout | None = None
) -> Tensor:
    """Softmax attention of each position over the positions of its sequence up to itself.

    Args:
        qkv: packed queries, keys and values side by side ``(T, 3d)``.
        heads: h, a divisor of d.
        groups: of the batch.
        dropout: of the attention weights.

    Returns:
        ``(T, d)``.
    """
    width = qkv.shape[1] // 3
    padded, results, start = groups.pad(qkv), [], 0
    for number, length in groups.shapes:
        part = padded[start : start + number * length]
        q, k, v = part.view(number, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        mixed = _attend(q, k, v, dropout)
        results.append(mixed.transpose(1, 2).reshape(number * length, width))
        start += number * length
    return groups.pack(torch.cat(results))


def _attend(q: Tensor, k: Tensor, v: Tensor, dropout: Dropout | None) -> Tensor:
    """``(n, h, l, d / h)`` each, and so the result."""
    rate = dropout.p if dropout is not None and dropout.training else 0.0
    if rate == 0 or q.device.type != "cpu":
        return functional.scaled_dot_product_attention(q, k, v, dropout_p=rate, is_causal=True)
    # On a CPU torch draws the random numbers of this dropout one by one: `Dropout` says more.
    assert dropout is not None
    later = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1)
    scores = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3)
    weights = torch.softmax(scores.masked_fill(later, -torch.inf), dim=3)
    mixed: Tensor = dropout(weights) @ v
    return mixed


def causal_attention_reference(qkv: Tensor, heads: int, lengths: list[int]) -> Tensor:
    """`causal_attention` of sequences one after another, ``(T, 3d)``, by its definition."""
    results = []
    for rows in qkv.split(lengths):
        heads_of = [part.chunk(heads, dim=1) for part in rows.chunk(3, dim=1)]
        mixed = []
        for q, k, v in zip(*heads_of, strict=True):
            weights = torch.exp(q @ k.t() / q.shape[1] ** 0.5).tril()
            mixed.append(weights / weights.sum(1, keepdim=True) @ v)
        results.append(torch.cat(mixed, dim=1))
    return torch.cat(results)


class AttentionBlock(nn.Module):
    """Post-norm block: causal attention, then a feed-forward layer with GELU.

    ``x = norm(x + dropout(attention(x)))``, then ``norm(x + dropout(out(gelu(in(x)))))``.

    Args:
        width: d.
        heads: h, a divisor of d.
        inner: width of the feed-forward layer.
        dropout: rate after the attention and after the feed-forward layer.
        attention_dropout: rate of the attention weights.
        eps: added to the variance of the norms.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        dropout: float,
        attention_dropout: float,
        eps: float,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm_attention = nn.LayerNorm(width, eps)
        self.expand, self.reduce = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm_feedforward = nn.LayerNorm(width, eps)
        self.dropout, self.attention_dropout = Dropout(dropout), Dropout(attention_dropout)

    def forward(self, x: Tensor, groups: LengthGroups) -> Tensor:
        """Map packed ``(T, d)`` to ``(T, d)``."""
        mixed = causal_attention(self.qkv(x), self.heads, groups, self.attention_dropout)
        x = self.norm_attention(x + self.dropout(self.mix(mixed)))
        added = self.dropout(self.reduce(functional.gelu(self.expand(x))))
        result: Tensor = self.norm_feedforward(x + added)
        return result


class SASRecEncoder(nn.Module):
    """Positions counted from the start of a sequence are added, then `AttentionBlock` follow.

    Args:
        width: d.
        length: the longest sequence L.
        num_blocks: number of blocks.
        heads: h, a divisor of d.
        inner: width of the feed-forward layers.
        dropout: rate after the positions are added, and in the blocks.
        attention_dropout: rate of the attention weights.
        eps: added to the variance of the norms.
        std: standard deviation of the weights at the start.

    Raises:
        ValueError: ``heads`` does not divide ``width``.
    """

    def __init__(
        self,
        width: int,
        length: int,
        num_blocks: int = 2,
        heads: int = 2,
        inner: int = 256,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        eps: float = 1e-12,
        std: float = 0.02,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.positions = nn.Embedding(length, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps), Dropout(dropout)
        self.blocks = nn.ModuleList(
            AttentionBlock(width, heads, inner, dropout, attention_dropout, eps)
            for _ in range(num_blocks)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """Map packed item vectors ``(T, d)`` to packed outputs ``(T, d)``."""
        counts = send(torch.tensor(packing.batch_sizes), x.device)
        positions = self.positions.weight[: len(counts)]
        x = x + positions.repeat_interleave(counts, dim=0, output_size=len(x))
        x, groups = self.dropout(self.norm(x)), LengthGroups.of(packing)
        for block in self.blocks:
            x = block(x, groups)
        return x
