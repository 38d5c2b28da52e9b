"""BSARec's encoder: attention beside a filter that rescales high frequencies.

Source: Shin et al., "An Attentive Inductive Bias for Sequential Recommendation beyond the
Self-Attention", AAAI 2024 (arXiv 2312.10325), and what the authors' code does beside the text.

The filter reads the whole row, what comes later included: the output of a position is no
prediction from the items up to it. Only the last one is, which has nothing after it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.nn.feed_forward import EPSILON, normal_start
from recbole_fmrlrec.nn.whole_row import WholeRowNetwork


def low_pass_matrix(length: int, frequencies: int) -> Tensor:
    """The matrix ``(L, L)`` that keeps the lowest frequencies of a sequence of L numbers.

    It is a circular convolution. A product with it costs less than the transform there and back,
    and gives single positions where only those are wanted.

    Args:
        length: L.
        frequencies: how many are kept of the L // 2 + 1, from the constant upwards.
    """
    spectrum = torch.fft.rfft(torch.eye(length, dtype=torch.float64), dim=0)
    spectrum[frequencies:] = 0
    return torch.fft.irfft(spectrum, n=length, dim=0).float()


class FrequencyRescaler(nn.Module):
    """``norm(x + dropout(low(x) + beta^2 (x - low(x))))``: low(x) is the low-frequency part of x.

    Args:
        width: d.
        length: L, the positions of a row.
        frequencies: how many of the lowest belong to low(x).
        dropout: rate.
        one_beta: for all dimensions; else one for each.

    Source: the paper's frequency rescaler; norm and dropout as in the authors' code.
    """

    low_pass: Tensor

    def __init__(
        self, width: int, length: int, frequencies: int, dropout: float, one_beta: bool = False
    ) -> None:
        super().__init__()
        self.register_buffer("low_pass", low_pass_matrix(length, frequencies), persistent=False)
        self.beta = nn.Parameter(torch.randn(1 if one_beta else width))
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """``(B, L, d)`` to its positions from ``first`` on, ``(B, L - first, d)``."""
        own, share, low_pass = x[:, first:], self.beta.square(), self.low_pass
        if len(share) == 1:  # one product does it all
            every = torch.eye(len(low_pass), dtype=low_pass.dtype, device=x.device)
            rescaled = filtered(torch.lerp(low_pass, every, share)[first:], x)
        else:
            low = filtered(low_pass[first:], x)
            rescaled = low + share * (own - low)
        out: Tensor = self.norm(own + self.dropout(rescaled))
        return out


def filtered(matrix: Tensor, x: Tensor) -> Tensor:
    """The product of ``(l, L)`` with each row of ``(B, L, d)``: one for all would copy the rows."""
    return torch.bmm(matrix.expand(len(x), -1, -1), x)


def rescaled_reference(x: Tensor, beta: Tensor, frequencies: int) -> Tensor:
    """``low(x) + beta^2 (x - low(x))`` of ``(B, L, d)`` by Fourier transforms: for the tests."""
    spectrum = torch.fft.rfft(x, dim=1, norm="ortho")
    kept = torch.arange(spectrum.shape[1], device=x.device) < frequencies
    low = torch.fft.irfft(spectrum * kept[:, None], n=x.shape[1], dim=1, norm="ortho")
    return low + beta**2 * (x - low)


def visible_positions(valid: Tensor) -> Tensor:
    """Which positions ``(B, L, L)`` each position attends to, of left-padded rows ``(B, L)``.

    An item sees the items up to it. A place without an item sees the whole row: the authors' mask
    takes the same 10,000 from each of its scores, which leaves them what they were. The filter
    of the next block brings what such places have seen to the last position.
    """
    length = valid.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=valid.device).tril()
    return (valid[:, None, :] & earlier) | ~valid[:, :, None]


class MaskedAttention(nn.Module):
    """``norm(x + dropout(attention(x)))`` with heads, a bias and an output product.

    Raises:
        ValueError: the width is no multiple of the number of heads.
    """

    def __init__(self, width: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"the width {width} must be a multiple of the {heads} heads")
        self.heads = heads
        self.query, self.key, self.value, self.dense = (nn.Linear(width, width) for _ in range(4))
        self.attention_dropout, self.dropout = Dropout(attention_dropout), Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, x: Tensor, visible: Tensor, first: int = 0) -> Tensor:
        """``(B, L, d)`` to its positions from ``first`` on; ``visible`` is ``(B, L, L)``."""
        own = x[:, first:]
        scores = self._split(self.query(own)) @ self._split(self.key(x)).transpose(2, 3)
        scores = scores * math.sqrt(self.heads / x.shape[2])
        scores = scores.masked_fill(~visible[:, None, first:], -torch.inf)
        weights = self.attention_dropout(torch.softmax(scores, dim=-1))
        context = (weights @ self._split(self.value(x))).transpose(1, 2).flatten(2)
        out: Tensor = self.norm(own + self.dropout(self.dense(context)))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """``(B, L, d)`` to ``(B, heads, L, d / heads)``."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Filter and attention of the same input, mixed by ``alpha``, then a feed-forward layer."""

    def __init__(
        self,
        width: int,
        length: int,
        heads: int,
        alpha: float,
        frequencies: int,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.filter = FrequencyRescaler(width, length, frequencies, dropout)
        self.attention = MaskedAttention(width, heads, dropout, attention_dropout)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, x: Tensor, visible: Tensor, first: int = 0) -> Tensor:
        """``(B, L, d)`` to its positions from ``first`` on."""
        filtered, attended = self.filter(x, first), self.attention(x, visible, first)
        mixed = torch.lerp(attended, filtered, self.alpha)
        added = self.dropout(self.outer(functional.gelu(self.inner(mixed))))
        out: Tensor = self.norm(mixed + added)
        return out


class BSARecNetwork(WholeRowNetwork):
    """Positions, then blocks over rows padded on the left to one length.

    Args:
        width: d.
        length: L, the positions of a row.
        blocks: number of blocks.
        heads: heads of the attention.
        alpha: share of the filter in what a block adds up, in [0, 1]; the rest is attention.
        c: the filter leaves the c // 2 + 1 lowest frequencies as they are.
        dropout: rate of everything but attention weights.
        attention_dropout: rate of attention weights.
        init_std: standard deviation of the weights at the start.

    Raises:
        ValueError: ``alpha`` is not in [0, 1], ``c`` is below 1, or the heads do not divide d.
    """

    def __init__(
        self,
        width: int,
        length: int,
        blocks: int = 2,
        heads: int = 1,
        alpha: float = 0.7,
        c: int = 5,
        dropout: float = 0.5,
        attention_dropout: float = 0.5,
        init_std: float = 0.02,
    ) -> None:
        super().__init__(width, length, dropout)
        if not 0 <= alpha <= 1 or c < 1:
            raise ValueError(f"alpha must lie in [0, 1] and c be 1 or more, got {alpha} and {c}")
        shape = width, length, heads, alpha, c // 2 + 1, dropout, attention_dropout
        self.blocks = nn.ModuleList(Block(*shape) for _ in range(blocks))
        normal_start(self, init_std)

    def forward(self, x: Tensor, valid: Tensor, first: int = 0) -> Tensor:
        """Outputs of left-padded rows.

        Args:
            x: ``(B, L, d)`` item vectors.
            valid: ``(B, L)`` where there is an item.
            first: the positions before it are worked out only where later ones read them.

        Returns:
            ``(B, L - first, d)``.
        """
        visible = visible_positions(valid)
        x = self.start(x)
        for block in self.blocks[:-1]:
            x = block(x, visible)
        for block in self.blocks[-1:]:
            return block(x, visible, first)
        return x[:, first:]

    def at_last(self, x: Tensor, valid: Tensor) -> Tensor:
        """``(B, d)``, the last position of what `forward` gives."""
        return self(x, valid, self.length - 1)[:, 0]
