"""fMRLRec in plain torch: item table, sequence encoder, one step, and the cut to a smaller size.

Knows nothing of RecBole, so that a deployed model needs nothing of it.

Source: Wang et al., "Train Once, Deploy Anywhere: Matryoshka Representation Learning for
Multimodal Recommendation", Findings of EMNLP 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.nn.items import ItemVectors
from recbole_fmrlrec.nn.linear import (
    MatryoshkaFeedForward,
    MatryoshkaLayerNorm,
    MatryoshkaLinear,
    check_sizes,
)
from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.nn.recurrence import LinearRecurrence, final_states, packed_scan


class Block(nn.Module):
    """Pre-norm residual block: linear recurrence, then gated feed-forward."""

    def __init__(self, sizes: Sequence[int], dropout: float, r_min: float, r_max: float) -> None:
        super().__init__()
        self.norm_recurrence = MatryoshkaLayerNorm(sizes)
        self.recurrence = LinearRecurrence(sizes, r_min, r_max)
        self.norm_feedforward = MatryoshkaLayerNorm(sizes)
        self.feedforward = MatryoshkaFeedForward(sizes, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """Map packed ``(T, d)`` to ``(T, d)``."""
        x = x + self.dropout(self.recurrence(self.norm_recurrence(x), batch_sizes))
        return self._add_feedforward(x)

    def input_projection(self, x: Tensor) -> Tensor:
        """What ``(T, d)`` inputs add to the recurrence's state, ``(T, d)`` complex."""
        projected: Tensor = self.recurrence.input_projection(self.norm_recurrence(x))
        return projected

    def output(self, x: Tensor, state: Tensor) -> Tensor:
        """From ``(B, d)`` inputs and complex states after them to ``(B, d)`` outputs."""
        return self._add_feedforward(x + self.dropout(self.recurrence.read_out(state)))

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One event of B sequences: ``(B, d)`` inputs and complex states to the same."""
        out, state = self.recurrence.step(self.norm_recurrence(x), state)
        return self._add_feedforward(x + self.dropout(out)), state

    def _add_feedforward(self, x: Tensor) -> Tensor:
        added: Tensor = self.dropout(self.feedforward(self.norm_feedforward(x)))
        return x + added


class FMRLRecNetwork(ItemVectors):
    """The network: ``items = W features + b (+ id vectors)``, then blocks over the sequence.

    Args:
        sizes: nested sizes, strictly ascending; d = sizes[-1].
        feature_width: F, width of the concatenated frozen features; 0 for none.
        num_id_items: rows of the id embedding (padding row 0 included), 0 for none.
        num_blocks: number of blocks.
        dropout: probability inside and after the recurrence and the feed-forward.
        input_dropout: probability on the item vectors that enter the first block.
        r_min: lower bound of the recurrence's eigenvalues at the start.
        r_max: upper bound of the recurrence's eigenvalues at the start.

    Raises:
        ValueError: sizes are not ascending, or there are neither features nor ids.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        feature_width: int,
        num_id_items: int = 0,
        num_blocks: int = 1,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        r_min: float = 0.0,
        r_max: float = 0.1,
    ) -> None:
        sizes = check_sizes(sizes)
        super().__init__(sizes[-1], feature_width, num_id_items)
        self.sizes = sizes
        self.settings: dict[str, Any] = {
            "feature_width": feature_width,
            "num_id_items": num_id_items,
            "num_blocks": num_blocks,
            "dropout": dropout,
            "input_dropout": input_dropout,
            "r_min": r_min,
            "r_max": r_max,
        }
        self.blocks = nn.ModuleList(
            Block(self.sizes, dropout, r_min, r_max) for _ in range(num_blocks)
        )
        self.input_dropout = Dropout(input_dropout)
        self.init_weights()

    @property
    def width(self) -> int:
        """d, the largest size."""
        return self.sizes[-1]

    def encode(self, x: Tensor, packing: Packing) -> Tensor:
        """Run packed item vectors ``(T, d)`` through the blocks; ``(T, d)`` outputs."""
        x = self.input_dropout(x)
        for block in self.blocks:
            x = block(x, packing.batch_sizes)
        return x

    def encode_last(
        self,
        table: Tensor,
        item_seq: Tensor,
        item_seq_len: Tensor,
        input_projections: Tensor | None = None,
    ) -> Tensor:
        """Output at the last item of each right-padded sequence.

        What only the other positions' outputs need is left out.

        Args:
            table: ``(N+1, d)`` item vectors.
            item_seq: ``(B, L)`` items, right-padded with 0.
            item_seq_len: ``(B,)`` valid positions of each row, 1 or more.
            input_projections: `item_input_projections` of the same table; spares the products of
                every position.

        Returns:
            ``(B, d)``.
        """
        packing = Packing.from_lengths(item_seq_len, item_seq.shape[1])
        ids = packing.pack(item_seq)
        last = self.blocks[-1]
        assert isinstance(last, Block)
        decay = last.recurrence.decay()
        if input_projections is not None:
            states = final_states(input_projections, ids, decay, packing.batch_sizes)
            return last.output(table[ids[packing.last]], states[packing.rank])
        # The gradient of an index would be summed in any order where there are several threads.
        x = self.input_dropout(functional.embedding(ids, table))
        for block in self.blocks[:-1]:
            x = block(x, packing.batch_sizes)
        states = packed_scan(last.input_projection(x), decay, packing.batch_sizes)
        return last.output(x[packing.last], states[packing.last])

    def item_input_projections(self, table: Tensor) -> Tensor | None:
        """What each item adds to the recurrence's state, ``(N+1, d)`` complex, for `encode_last`.

        It depends on the item alone where there is one block and no dropout.

        Args:
            table: ``(N+1, d)`` item vectors.

        Returns:
            None with several blocks.
        """
        first = self.blocks[0]
        assert isinstance(first, Block)
        return first.input_projection(table) if len(self.blocks) == 1 else None

    def initial_state(self, batch: int) -> list[Tensor]:
        """A zero complex state ``(batch, d)`` for each block."""
        parameter = next(self.parameters())
        dtype = torch.complex128 if parameter.dtype == torch.float64 else torch.complex64
        zeros = torch.zeros(batch, self.width, dtype=dtype, device=parameter.device)
        return [zeros for _ in self.blocks]

    def step(self, x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """One event of B sequences: item vectors ``(B, d)`` and states to outputs and states."""
        states = []
        for block, old in zip(self.blocks, state, strict=True):
            assert isinstance(block, Block)
            x, new = block.step(x, old)
            states.append(new)
        return x, states

    def parameter_count(self, size: int | None = None) -> int:
        """Numbers learned by the model cut to ``size``; zeros of nested layers do not count."""
        network = self if size in (None, self.width) else self.cut(size)
        held = sum(parameter.numel() for parameter in network.parameters())
        linear = [m for m in network.modules() if isinstance(m, MatryoshkaLinear)]
        return held - sum(module.zero_count() for module in linear)

    @torch.no_grad()
    def cut(self, size: int | None) -> FMRLRecNetwork:
        """The model's own first ``size`` dimensions as a network of its own (copied).

        Raises:
            ValueError: ``size`` is not one of the nested sizes.
        """
        if size not in self.sizes:
            raise ValueError(f"size must be one of {list(self.sizes)}, got {size}")
        sizes = self.sizes[: self.sizes.index(size) + 1]
        with torch.random.fork_rng(devices=[]):  # building draws numbers; training must not see it
            small = FMRLRecNetwork(sizes, **self.settings).to(next(self.parameters()))
        small.train(self.training)
        for own, other in zip(small.modules(), self.modules(), strict=True):
            _copy_cut(own, other, size)
        return small


def _copy_cut(own: nn.Module, other: nn.Module, size: int) -> None:
    """Copy into one module of a cut network its part of the same module of the larger one."""
    if isinstance(own, MatryoshkaLinear) and isinstance(other, MatryoshkaLinear):
        rows, cols = size * own.out_copies, size * own.in_copies
        own.load_full(other.full_weight()[:rows, :cols], other.bias[:rows])
    elif isinstance(own, nn.Embedding) and isinstance(other, nn.Embedding):
        own.weight.copy_(other.weight[:, :size])
    elif isinstance(own, nn.Linear | MatryoshkaLayerNorm | LinearRecurrence):
        for name, parameter in own.named_parameters(recurse=False):
            parameter.copy_(getattr(other, name)[:size])
