"""The network in real arithmetic with fused products: for streaming, and for ONNX.

ONNX has no complex numbers, and one event of one user is bound by the number of operations, not by
their size. A complex state is held as its real parts followed by its imaginary parts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.nn.linear import MatryoshkaLinear
from recbole_fmrlrec.nn.network import Block, FMRLRecNetwork


class RealBlock(nn.Module):
    """`Block` with full weight matrices; gamma is multiplied into the input projection."""

    decay_same: Tensor
    decay_cross: Tensor

    def __init__(self, block: Block) -> None:
        super().__init__()
        recurrence, feedforward = block.recurrence, block.feedforward
        self.norm_recurrence, self.norm_feedforward = block.norm_recurrence, block.norm_feedforward
        gamma = torch.exp(recurrence.gamma_log).repeat_interleave(2)
        weight, bias = recurrence.in_proj.full_weight(), recurrence.in_proj.bias
        self.into = _linear(_parts_first(gamma[:, None] * weight), _parts_first(gamma * bias))
        weight = _parts_first(recurrence.out_proj.full_weight().t()).t()
        self.out = _linear(weight, recurrence.out_proj.bias)
        gate, up = _full(feedforward.gate), _full(feedforward.up)
        self.gate_up = _linear(torch.cat([gate[0], up[0]]), torch.cat([gate[1], up[1]]))
        self.down = _linear(*_full(feedforward.down))
        decay = recurrence.decay()
        self.register_buffer("decay_same", torch.cat([decay.real, decay.real]))
        self.register_buffer("decay_cross", torch.cat([-decay.imag, decay.imag]))

    def input_projection(self, x: Tensor) -> Tensor:
        """What enters the state, ``(T, 2s)``, for inputs ``(T, s)``."""
        projected: Tensor = self.into(self.norm_recurrence(x))
        return projected

    def next_state(self, state: Tensor, projected: Tensor) -> Tensor:
        """``lam * h + v``: states ``(B, 2s)`` and what enters them to the new states."""
        swapped = state.roll(state.shape[1] // 2, 1)
        kept = torch.addcmul(projected, state, self.decay_same)
        return torch.addcmul(kept, swapped, self.decay_cross)

    def output(self, x: Tensor, state: Tensor) -> Tensor:
        """Output ``(T, s)`` of the block for its inputs and the states after them."""
        x = x + self.out(state)
        gate, up = self.gate_up(self.norm_feedforward(x)).chunk(2, dim=1)
        result: Tensor = x + self.down(functional.silu(gate) * up)
        return result


class RealStep(nn.Module):
    """One event of B sequences.

    Args:
        network: it is not changed; its parameters are copied.
    """

    def __init__(self, network: FMRLRecNetwork) -> None:
        super().__init__()
        self.blocks = real_blocks(network)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Item vectors ``(B, s)`` and states ``(blocks, B, 2s)`` to outputs and new states."""
        states = []
        for block, old in zip(self.blocks, state.unbind(0), strict=True):
            assert isinstance(block, RealBlock)
            new = block.next_state(old, block.input_projection(x))
            x = block.output(x, new)
            states.append(new)
        return x, torch.stack(states)


@torch.no_grad()
def real_blocks(network: FMRLRecNetwork) -> nn.ModuleList:
    """The blocks of a network in evaluation mode, without gradients."""
    blocks = [RealBlock(block) for block in network.blocks if isinstance(block, Block)]
    return nn.ModuleList(blocks).requires_grad_(False).eval()


def _parts_first(rows: Tensor) -> Tensor:
    """Rows (re, im, re, im, ...) as (re, re, ..., im, im, ...)."""
    return torch.cat([rows[0::2], rows[1::2]])


def _full(layer: MatryoshkaLinear) -> tuple[Tensor, Tensor]:
    return layer.full_weight(), layer.bias


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    return layer
