"""The scan's cost against the length of the sequences, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import median, seconds
from recbole_fmrlrec.nn.recurrence import packed_scan


def measure(
    width: int = 256, sequences: int = 64, lengths: tuple[int, ...] = (50, 200, 1000)
) -> list[dict[str, Any]]:
    """Nanoseconds a position and dimension, for as many sequences of every length.

    Linear cost in valid positions means the same figure in every row.
    """
    torch.manual_seed(0)
    lam = torch.polar(torch.rand(width) * 0.9, torch.rand(width) * 6).requires_grad_()
    rows = []
    for length in lengths:
        positions = sequences * length
        inputs = torch.randn(positions, width, dtype=torch.complex64, requires_grad=True)

        def step(inputs: Tensor = inputs, batch_sizes: list[int] = [sequences] * length) -> None:
            packed_scan(inputs, lam, batch_sizes).real.sum().backward()

        step()
        taken = median(seconds(step) for _ in range(7))
        rows.append(
            {
                "length": length,
                "positions": positions,
                "seconds": taken,
                "ns_per_number": 1e9 * taken / (positions * width),
            }
        )
    return rows
