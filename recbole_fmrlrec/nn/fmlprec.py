"""FMLP-Rec's encoder: a learned filter of the whole row in place of attention.

Source: Zhou et al., "Filter-enhanced MLP is All You Need for Sequential Recommendation", WWW 2022
(arXiv 2202.13556), and what the authors' code does beside the text.

A product with a filter in the frequency domain is a circular convolution: what it gives at a
position depends on every position of the row, the later ones included. Only the output at the last
position is a prediction from what came before.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.nn.feed_forward import EPSILON, FeedForward, normal_start
from recbole_fmrlrec.nn.whole_row import WholeRowNetwork

#: The standard deviation of the filters' weights at the start, as in the authors' code.
FILTER_STD = 0.02


def circular_convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """``out[t] = sum_s kernel[(t - s) mod L] x[s]``: what a filter comes to, for the tests.

    Args:
        x: ``(B, L, d)``.
        kernel: ``(L, d)``.
    """
    place = torch.arange(len(kernel), device=x.device)
    shifts = (place[:, None] - place) % len(kernel)
    return (kernel[shifts] * x[:, None]).sum(2)


class LearnedFilter(nn.Module):
    """Multiplies the spectrum of each dimension with complex weights.

    Args:
        width: d.
        length: L, the positions of a row.

    Source: section 3.2 of the paper, equations 3 to 5.
    """

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.length = length
        # Real and imaginary parts apart: optimizers and checkpoints know real numbers best.
        self.weight = nn.Parameter(FILTER_STD * torch.randn(length // 2 + 1, width, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Filter ``(B, L, d)`` at every position."""
        spectrum = torch.fft.rfft(x.to(self.weight.dtype), dim=1)  # bfloat16 has no transform
        spectrum = spectrum * torch.view_as_complex(self.weight)
        return torch.fft.irfft(spectrum, n=self.length, dim=1)

    def kernel(self) -> Tensor:
        """The ``(L, d)`` with which `forward` is a circular convolution."""
        return torch.fft.irfft(torch.view_as_complex(self.weight), n=self.length, dim=0)

    def at_last(self, x: Tensor) -> Tensor:
        """``(B, d)``, the last position of what `forward` gives, by the convolution's one sum."""
        return torch.einsum("bld,ld->bd", x, self.kernel().flip(0))


class FilterBlock(nn.Module):
    """``y = norm(x + dropout(filter(x)))``, then a feed-forward layer four times as wide."""

    def __init__(self, width: int, length: int, dropout: float) -> None:
        super().__init__()
        self.filter = LearnedFilter(width, length)
        self.dropout, self.norm = Dropout(dropout), nn.LayerNorm(width, eps=EPSILON)
        self.feed_forward = FeedForward(width, 4 * width, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, L, d)`` to the same shape."""
        out: Tensor = self.feed_forward(self.norm(x + self.dropout(self.filter(x))))
        return out

    def at_last(self, x: Tensor) -> Tensor:
        """``(B, d)``, the last position of what `forward` gives."""
        filtered = self.norm(x[:, -1] + self.dropout(self.filter.at_last(x)))
        out: Tensor = self.feed_forward(filtered)
        return out


class FMLPRecNetwork(WholeRowNetwork):
    """Positions, then blocks over rows padded on the left to one length.

    Args:
        width: d.
        length: L, the positions of a row.
        blocks: number of blocks, 1 or more.
        dropout: rate.
        init_std: standard deviation of products and positions at the start.
    """

    def __init__(
        self, width: int, length: int, blocks: int = 2, dropout: float = 0.5, init_std: float = 0.02
    ) -> None:
        super().__init__(width, length, dropout)
        self.blocks = nn.ModuleList(FilterBlock(width, length, dropout) for _ in range(blocks))
        normal_start(self, init_std)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(B, L, d)`` at every position; each knows the whole row."""
        x = self.start(x)
        for block in self.blocks:
            x = block(x)
        return x

    def at_last(self, x: Tensor, valid: Tensor) -> Tensor:
        """``(B, d)``, the last position of what `forward` gives; the padding is read too."""
        x, last = self.start(x), self.blocks[-1]
        for block in self.blocks[:-1]:
            x = block(x)
        return last.at_last(x)  # type: ignore[operator]
