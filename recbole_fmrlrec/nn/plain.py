"""fMRLRec on one page: the whole model as plain, slow torch in the symbols of the paper.

This is the text to read first, and the twin that the fast form (`recbole_fmrlrec.nn.network`) is
tested against, in outputs, losses and every gradient. It takes padded rows, full matrices with
their zeros, complex numbers as such, and one step of the recurrence after the other.

Letters: sizes s_1 < ... < s_K = d, B rows of L positions, N items, F feature width. Chunk k is
positions s_{k-1}..s_k. Padding is item 0, at the left or at the right end of a row.

Sources: Wang et al., "Train Once, Deploy Anywhere: Matryoshka Representation Learning for
Multimodal Recommendation", Findings of EMNLP 2024, section 3; Orvieto et al., "Resurrecting
Recurrent Neural Networks for Long Sequences", ICML 2023 (the recurrence and its first values).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class NestedLinear(nn.Module):
    """``W x + b`` where outputs of chunk k read inputs 0..s_k only: W is block-lower-triangular."""

    mask: Tensor

    def __init__(self, sizes: Sequence[int], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        d = sizes[-1]
        self.weight = nn.Parameter(torch.zeros(d, d, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(d, dtype=dtype))
        nn.init.trunc_normal_(self.weight.real, std=0.02, a=-0.04, b=0.04)  # B and C start real
        mask = torch.zeros(d, d, dtype=torch.bool)
        for start, end in pairwise([0, *sizes]):
            mask[start:end, :end] = True
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., d)`` to ``(..., d)``."""
        return functional.linear(x, self.weight * self.mask, self.bias)


class NestedNorm(nn.Module):
    """An ordinary layer norm on each chunk by itself."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.bounds = list(pairwise([0, *sizes]))
        self.norms = nn.ModuleList(nn.LayerNorm(end - start) for start, end in self.bounds)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., d)`` to ``(..., d)``."""
        pairs = zip(self.bounds, self.norms, strict=True)
        return torch.cat([norm(x[..., start:end]) for (start, end), norm in pairs], dim=-1)


def scan(v: Tensor, Lambda: Tensor) -> Tensor:
    """States ``h_t = Lambda * h_{t-1} + v_t`` ``(B, L, d)``, from ``h_0 = 0``."""
    h, states = torch.zeros_like(v[:, 0]), []
    for v_t in v.unbind(1):
        h = Lambda * h + v_t
        states.append(h)
    return torch.stack(states, dim=1)


class LinearRecurrence(nn.Module):
    """``h_t = Lambda h_{t-1} + gamma (B x_t + b_B)``, ``y_t = Re(C h_t + b_C)``; Lambda diagonal.

    ``Lambda_j = exp(-exp(nu_j) + i exp(theta_j))`` starts uniform on the ring r_min..r_max.
    """

    def __init__(self, sizes: Sequence[int], r_min: float, r_max: float) -> None:
        super().__init__()
        self.B, self.C = (NestedLinear(sizes, torch.complex64) for _ in range(2))
        u1, u2 = torch.rand(sizes[-1]), torch.rand(sizes[-1])
        nu_log = torch.log(-0.5 * torch.log(u1 * (r_max**2 - r_min**2) + r_min**2))
        self.nu_log = nn.Parameter(nu_log)
        self.theta_log = nn.Parameter(torch.log(2 * math.pi * u2))
        self.gamma_log = nn.Parameter(torch.log(1 - self.Lambda().detach().abs() ** 2) / 2)
        self.scan: Callable[[Tensor, Tensor], Tensor] = scan

    def Lambda(self) -> Tensor:
        """``(d,)`` complex eigenvalues."""
        return torch.exp(torch.complex(-torch.exp(self.nu_log), torch.exp(self.theta_log)))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """``(B, L, d)`` to ``(B, L, d)``; nothing enters the state where ``valid`` is False."""
        v = torch.exp(self.gamma_log) * self.B(x.to(self.B.weight.dtype))
        h = self.scan(v * valid[..., None], self.Lambda())
        y: Tensor = self.C(h).real
        return y


class Block(nn.Module):
    """Recurrence, then gated feed-forward, each on a norm of its input and added to it."""

    def __init__(self, sizes: Sequence[int], dropout: float, r_min: float, r_max: float) -> None:
        super().__init__()
        self.norm_recurrence = NestedNorm(sizes)
        self.recurrence = LinearRecurrence(sizes, r_min, r_max)
        self.norm_feedforward = NestedNorm(sizes)
        self.gate, self.up, self.down = (NestedLinear(sizes) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """``(B, L, d)`` and ``(B, L)`` to ``(B, L, d)``."""
        x = x + self.dropout(self.recurrence(self.norm_recurrence(x), valid))
        y = self.norm_feedforward(x)
        y = self.down(self.dropout(functional.silu(self.gate(y)) * self.up(y)))
        return x + self.dropout(y)


class PlainModel(nn.Module):
    """The whole model, of features alone.

    Args:
        sizes: nested sizes, ascending.
        features: ``(N+1, F)`` frozen features f, row 0 zeros.
        num_blocks: blocks.
        dropout: after the recurrence and in the feed-forward.
        input_dropout: of the item vectors that enter the first block.
        r_min: bounds of the eigenvalues at the start ...
        r_max: ... of a training.
    """

    features: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        features: Tensor,
        num_blocks: int = 1,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        r_min: float = 0.0,
        r_max: float = 0.1,
    ) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.register_buffer("features", features, persistent=False)
        self.projector = nn.Linear(features.shape[1], sizes[-1])
        self.input_dropout = nn.Dropout(input_dropout)
        blocks = (Block(sizes, dropout, r_min, r_max) for _ in range(num_blocks))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, rows: Tensor) -> list[Tensor]:
        """Logits ``<h[:s], e_i[:s]>`` of all items ``(B, L, N+1)``, at every size s."""
        h = self.input_dropout(self.projector(self.features[rows]))
        for block in self.blocks:
            h = block(h, rows > 0)
        e = self.projector(self.features)  # e_i = W f_i + b
        return [h[..., :size] @ e[:, :size].t() for size in self.sizes]

    def loss(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Mean over sizes and positions of the cross-entropy of the next item over items 1..N.

        Args:
            rows: items ``(B, L)``, 0 where there is none.
            labels: next items ``(B, L)``, 0 where none is to be trained.
        """
        targets = labels.flatten() - 1
        logits = [part[..., 1:].flatten(0, 1) for part in self(rows)]
        losses = [functional.cross_entropy(part, targets, ignore_index=-1) for part in logits]
        return torch.stack(losses).mean()
