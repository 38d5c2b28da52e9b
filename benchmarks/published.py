"""The published formulation of fMRLRec: the yardstick of the benchmarks, not for use.

It computes what `recbole_fmrlrec` computes, the way the authors' code is described to do it:
sequences padded on the left to a power of two, complex linear layers as full matrices with zeros in
them, a recursive doubling scan, the items of a sequence and the item table projected wherever they
are used, and the logits of every size concatenated before one cross-entropy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.recorded import EIGENVALUES, FEEDFORWARD, NORMS, gradient
from recbole_fmrlrec.nn.linear import chunk_bounds, nested_mask


def left_padded(sequences: Tensor, lengths: Tensor) -> Tensor:
    """Move right-padded rows ``(B, L)`` to the right end of rows ``(B, 2^n)``, 2^n >= L."""
    width = 1 << (sequences.shape[1] - 1).bit_length()
    rows = sequences.new_zeros(len(sequences), width)
    for row, length in enumerate(lengths.tolist()):
        rows[row, width - length :] = sequences[row, :length]
    return rows


class PaddedLinear(nn.Module):
    """A nested linear layer as one full product with a weight that has zeros in it."""

    def __init__(self, sizes: Sequence[int], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        width = sizes[-1]
        self.weight = nn.Parameter(torch.empty(width, width, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(width, dtype=dtype))
        nn.init.normal_(self.weight, std=0.02)
        self.register_buffer("mask", nested_mask(sizes), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., d)`` to ``(..., d)``."""
        return functional.linear(x, self.weight * self.mask, self.bias)


class ChunkNorm(nn.Module):
    """A layer norm for each chunk."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.bounds = chunk_bounds(sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(end - start) for start, end in self.bounds)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., d)`` to ``(..., d)``."""
        pairs = zip(self.bounds, self.norms, strict=True)
        return torch.cat([norm(x[..., start:end]) for (start, end), norm in pairs], dim=-1)


class DoublingRecurrence(nn.Module):
    """The linear recurrence by recursive doubling over a padded width that is a power of two."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        width = sizes[-1]
        self.in_proj = PaddedLinear(sizes, torch.complex64)
        self.out_proj = PaddedLinear(sizes, torch.complex64)
        self.nu_log = nn.Parameter(torch.zeros(width))
        self.theta_log = nn.Parameter(torch.zeros(width))
        self.gamma_log = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """``(B, L, d)`` and ``(B, L)`` to ``(B, L, d)``."""
        decay = torch.exp(torch.complex(-torch.exp(self.nu_log), torch.exp(self.theta_log)))
        h = self.in_proj(x.to(self.in_proj.weight.dtype)) * torch.exp(self.gamma_log)
        return self.out_proj(self._scan(h * valid[..., None], decay)).real

    @staticmethod
    def _scan(h: Tensor, decay: Tensor) -> Tensor:
        """Join neighbouring halves of 1, 2, 4, ... steps; each half knows its inner states."""
        batch, length, width = h.shape
        powers = decay[None]
        half = 1
        while half < length:
            halves = h.reshape(-1, 2, half, width)
            first, second = halves[:, 0], halves[:, 1]
            joined = second + powers * first[:, -1:]
            h = torch.cat([first, joined], dim=1).reshape(batch, length, width)
            powers = torch.cat([powers, powers * powers[-1]])
            half *= 2
        return h


class PublishedBlock(nn.Module):
    """Recurrence and gated feed-forward, each on a norm of its input and added to it."""

    def __init__(self, sizes: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.norm_recurrence = ChunkNorm(sizes)
        self.recurrence = DoublingRecurrence(sizes)
        self.norm_feedforward = ChunkNorm(sizes)
        self.gate, self.up, self.down = (PaddedLinear(sizes) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """``(B, L, d)`` and ``(B, L)`` to ``(B, L, d)``."""
        x = x + self.dropout(self.recurrence(self.norm_recurrence(x), valid))
        y = self.norm_feedforward(x)
        y = self.down(self.dropout(functional.silu(self.gate(y)) * self.up(y)))
        return x + self.dropout(y)


class PublishedModel(nn.Module):
    """The whole model on left-padded rows.

    Args:
        sizes: nested sizes, ascending.
        features: ``(N+1, F)``, row 0 zeros.
        num_blocks: blocks.
        dropout: after the recurrence and in the feed-forward.
    """

    features: Tensor

    def __init__(
        self, sizes: Sequence[int], features: Tensor, num_blocks: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.register_buffer("features", features, persistent=False)
        self.projector = nn.Linear(features.shape[1], sizes[-1])
        self.blocks = nn.ModuleList(PublishedBlock(sizes, dropout) for _ in range(num_blocks))

    def forward(self, rows: Tensor) -> list[Tensor]:
        """Logits ``(B, L, N+1)`` at every size."""
        x = self.projector(self.features[rows])
        for block in self.blocks:
            x = block(x, rows > 0)
        table = self.projector(self.features)
        return [x[..., :size] @ table[:, :size].t() for size in self.sizes]

    def loss(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over items 1..N, over sizes and the positions with a label."""
        logits = torch.cat([part[..., 1:].flatten(0, 1) for part in self(rows)])
        targets = labels.flatten().repeat(len(self.sizes)) - 1
        return functional.cross_entropy(logits, targets, ignore_index=-1)

    @torch.no_grad()
    def top_items(self, rows: Tensor, k: int) -> Tensor:
        """The best ``k`` items at every size for the last position of each row, ``(K, B, k)``."""
        return torch.stack([part[:, -1, 1:].topk(k).indices + 1 for part in self(rows)])

    @torch.no_grad()
    def load(self, parameters: Mapping[str, Tensor]) -> None:
        """Take over parameters under the names of the recordings (``block0.recurrence.nu_log``)."""
        self.projector.weight.copy_(parameters["projector.weight"])
        self.projector.bias.copy_(parameters["projector.bias"])
        for index, block in enumerate(self.blocks):
            prefix = f"block{index}."
            own = {k.removeprefix(prefix): v for k, v in parameters.items() if prefix in k}
            assert isinstance(block, PublishedBlock)
            _load_block(block, own)

    def gradients(self) -> dict[str, Tensor]:
        """Gradients of all parameters under the names of the recordings."""
        found = {f"projector.{n}": gradient(p) for n, p in self.projector.named_parameters()}
        for index, block in enumerate(self.blocks):
            assert isinstance(block, PublishedBlock)
            own = _block_gradients(block)
            found |= {f"block{index}.{name}": value for name, value in own.items()}
        return found


def _linears(block: PublishedBlock) -> dict[str, PaddedLinear]:
    return {f"feedforward.{name}": getattr(block, name) for name in FEEDFORWARD}


def _load_block(block: PublishedBlock, own: Mapping[str, Tensor]) -> None:
    for name in NORMS:
        layer = getattr(block, name)
        for (start, end), norm in zip(layer.bounds, layer.norms, strict=True):
            norm.weight.copy_(own[f"{name}.weight"][start:end])
            norm.bias.copy_(own[f"{name}.bias"][start:end])
    for name in EIGENVALUES:
        getattr(block.recurrence, name).copy_(own[f"recurrence.{name}"])
    for name in ("in_proj", "out_proj"):
        layer, path = getattr(block.recurrence, name), f"recurrence.{name}"
        for part in ("weight", "bias"):
            real, imag = own[f"{path}.{part}_real"], own[f"{path}.{part}_imag"]
            getattr(layer, part).copy_(torch.complex(real, imag))
    for path, layer in _linears(block).items():
        layer.weight.copy_(own[f"{path}.weight"])
        layer.bias.copy_(own[f"{path}.bias"])


def _block_gradients(block: PublishedBlock) -> dict[str, Tensor]:
    found = {}
    for name in NORMS:
        norms = getattr(block, name).norms
        for part in ("weight", "bias"):
            found[f"{name}.{part}"] = torch.cat([gradient(getattr(norm, part)) for norm in norms])
    for name in EIGENVALUES:
        found[f"recurrence.{name}"] = gradient(getattr(block.recurrence, name))
    for name in ("in_proj", "out_proj"):
        layer = getattr(block.recurrence, name)
        for part in ("weight", "bias"):
            grad = gradient(getattr(layer, part))
            found[f"recurrence.{name}.{part}_real"] = grad.real
            found[f"recurrence.{name}.{part}_imag"] = grad.imag
    for path, layer in _linears(block).items():
        found |= {f"{path}.{part}": gradient(getattr(layer, part)) for part in ("weight", "bias")}
    return found
