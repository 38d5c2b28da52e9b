"""The linear recurrence (LRU) on packed, time-major sequences: see `recbole_fmrlrec.nn.packing`.

Source: Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", ICML 2023
(the LRU and its initialisation); Wang et al., fMRLRec, Findings of EMNLP 2024, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recbole_fmrlrec.nn.linear import MatryoshkaLinear


class _PackedScan(torch.autograd.Function):
    """``h_t = lam * h_{t-1} + v_t`` over shrinking batches, state zero before the first step."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, lam: Tensor, batch_sizes: list[int]) -> Tensor:
        h = v.clone()
        previous, start = 0, batch_sizes[0] if batch_sizes else 0
        for count in batch_sizes[1:]:
            h[start : start + count].addcmul_(h[previous : previous + count], lam)
            previous, start = start, start + count
        ctx.save_for_backward(h, lam)
        ctx.batch_sizes = batch_sizes
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        h, lam = ctx.saved_tensors
        grad_v = grads[0].clone()
        conj = lam.conj().resolve_conj()
        grad_lam = torch.zeros_like(lam)
        # A GPU starts one operation a step here and sums once; for a CPU a step is in the cache.
        stepwise, before = h.device.type == "cpu", []
        start = len(h)
        for step in range(len(ctx.batch_sizes) - 1, 0, -1):
            count = ctx.batch_sizes[step]
            start -= count
            previous = start - ctx.batch_sizes[step - 1]
            carried = grad_v[start : start + count]
            earlier = h[previous : previous + count]
            if stepwise:
                grad_lam += (carried * earlier.conj()).sum(0)
            else:
                before.append(earlier)
            grad_v[previous : previous + count].addcmul_(carried, conj)
        if before:
            states = torch.cat(before[::-1]).conj()
            grad_lam = (grad_v[ctx.batch_sizes[0] :] * states).sum(0)
        return grad_v, grad_lam, None


def packed_scan(v: Tensor, lam: Tensor, batch_sizes: Sequence[int]) -> Tensor:
    """Scan packed complex inputs.

    Args:
        v: ``(T, d)`` complex, the inputs in packed order.
        lam: ``(d,)`` complex, the decay of each position.
        batch_sizes: sequences that reach each step, falling, summing to T.

    Returns:
        ``(T, d)`` complex states.
    """
    result: Tensor = _PackedScan.apply(v, lam, list(batch_sizes))
    return result


def packed_scan_reference(v: Tensor, lam: Tensor, batch_sizes: Sequence[int]) -> Tensor:
    """`packed_scan` by plain differentiable steps: slow, for the tests."""
    states = []
    previous = v.new_zeros(batch_sizes[0], v.shape[1])
    for inputs in v.split(list(batch_sizes)):
        previous = lam * previous[: len(inputs)] + inputs
        states.append(previous)
    return torch.cat(states)


def final_states(table: Tensor, ids: Tensor, lam: Tensor, batch_sizes: Sequence[int]) -> Tensor:
    """Last states of `packed_scan` over rows of a table; no state before them is kept.

    It works in place and has no gradient: torch refuses it where one is asked for.

    Args:
        table: ``(N, d)`` complex inputs.
        ids: ``(T,)`` rows of the table in packed order.
        lam: ``(d,)`` complex decay.
        batch_sizes: sequences that reach each step.

    Returns:
        ``(B, d)`` complex, the longest sequence first (`Packing.rank`).
    """
    steps = ids.split(list(batch_sizes))
    states = table[steps[0]]
    for rows in steps[1:]:
        reached = states[: len(rows)]
        torch.addcmul(table[rows], reached, lam, out=reached)
    return states


class LinearRecurrence(nn.Module):
    """``h_t = lam * h_{t-1} + gamma * (B x_t + b_B)``, output ``Re(C h_t) + b_C``.

    ``lam_j = exp(-exp(nu_j) + i exp(theta_j))``. B maps real to complex and C complex to real, so
    that each is one real product: the input projection holds (Re B, Im B) and the output
    projection (Re C, -Im C) side by side for every position.

    Args:
        sizes: nested sizes, strictly ascending; d = sizes[-1].
        r_min: lower bound of |lam| at the start.
        r_max: upper bound of |lam| at the start.
        states: complex numbers in the state for each of the d positions; where it is s, the state
            is s * d wide.
    """

    def __init__(
        self, sizes: Sequence[int], r_min: float = 0.0, r_max: float = 0.1, states: int = 1
    ) -> None:
        super().__init__()
        self.in_proj = MatryoshkaLinear(sizes, out_copies=2 * states)
        self.out_proj = MatryoshkaLinear(sizes, in_copies=2 * states)
        width = states * sizes[-1]
        self.nu_log = nn.Parameter(torch.empty(width))
        self.theta_log = nn.Parameter(torch.empty(width))
        self.gamma_log = nn.Parameter(torch.empty(width))
        self.reset_parameters(r_min, r_max)

    @torch.no_grad()
    def reset_parameters(self, r_min: float, r_max: float) -> None:
        """Eigenvalues uniform on the ring r_min..r_max; B and C real."""
        u1, u2 = torch.rand_like(self.nu_log), torch.rand_like(self.theta_log)
        # An exact zero has no logarithm; the clamp moves only draws below 1e-7.
        ring = (u1 * (r_max**2 - r_min**2) + r_min**2).clamp_min(1e-14)
        self.nu_log.copy_(torch.log(-0.5 * torch.log(ring)))
        self.theta_log.copy_(torch.log(2 * math.pi * u2.clamp_min(1e-7)))
        self.gamma_log.copy_(torch.log(torch.sqrt(1 - self.decay().abs() ** 2)))
        for weight in self.in_proj.weights:
            weight[1::2] = 0
        for weight in self.out_proj.weights:
            weight[:, 1::2] = 0

    def decay(self) -> Tensor:
        """``(s d,)`` complex eigenvalues lam."""
        return torch.polar(torch.exp(-torch.exp(self.nu_log)), torch.exp(self.theta_log))

    def input_projection(self, x: Tensor) -> Tensor:
        """``gamma * (B x + b_B)``: ``(T, d)`` real to ``(T, s d)`` complex."""
        projected = self.in_proj(x).to(self.gamma_log.dtype).unflatten(1, (-1, 2))
        return torch.view_as_complex(projected) * torch.exp(self.gamma_log)

    def read_out(self, h: Tensor) -> Tensor:
        """``Re(C h) + b_C``: ``(T, s d)`` complex to ``(T, d)`` real."""
        result: Tensor = self.out_proj(torch.view_as_real(h).flatten(1))
        return result

    def forward(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """Map packed ``(T, d)`` to ``(T, d)``."""
        return self.read_out(packed_scan(self.input_projection(x), self.decay(), batch_sizes))

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One event of B sequences.

        Args:
            x: ``(B, d)`` inputs.
            state: ``(B, s d)`` complex states, zeros at the start.

        Returns:
            ``(B, d)`` outputs and ``(B, s d)`` complex new states.
        """
        state = self.decay() * state + self.input_projection(x)
        return self.read_out(state), state
