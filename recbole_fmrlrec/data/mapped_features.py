"""Item features that stay on disk: memory-mapped float16, rows read and normalised on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dataset_tools.features.store_files import blocks


@dataclass(frozen=True)
class MappedModality:
    """One modality: item i has row ``row[i]`` of ``matrix`` ``(M, width)``, -1 where it has none.

    Attributes:
        row: ``(N+1,)``.
        norm: ``(N+1,)`` float32 length of each item's row, 1 where it is zero.
    """

    matrix: np.ndarray
    row: np.ndarray
    norm: np.ndarray

    @classmethod
    def open(cls, matrix: np.ndarray, rows: np.ndarray) -> MappedModality:
        """Measure the rows of items 1..N, ``rows`` ``(N,)``; reads the matrix once."""
        row = np.concatenate([[-1], rows])
        norm = np.ones(len(row), dtype=np.float32)
        order = np.argsort(row, kind="stable")
        order = order[row[order] >= 0]
        for block in blocks(len(order)):
            read = matrix[row[order[block]]].astype(np.float32)
            length = np.linalg.norm(read, axis=1)
            norm[order[block]] = np.where(length > 0, length, 1)
        return cls(matrix, row, norm)

    def fill(self, out: Tensor, ids: np.ndarray) -> None:
        """Write unit rows of items ``(n,)`` into ``out`` ``(n, width)``, zeros where none are."""
        at = self.row[ids]
        there = np.flatnonzero(at >= 0)
        unit = torch.from_numpy(self.matrix[at[there]]).float()
        unit /= torch.from_numpy(self.norm[ids[there]])[:, None]
        if len(there) == len(ids):
            out.copy_(unit)
        else:
            out.zero_()
            out[torch.from_numpy(there)] = unit


class MappedFeatures:
    """Concatenated unit-length features on disk, as `recbole_fmrlrec.nn.projection` takes them.

    Args:
        parts: the modalities, in the order of concatenation.
        scale: multiplies every row.
        block_size: rows held at once by a projection; chosen from the width when None.
    """

    def __init__(
        self, parts: Sequence[MappedModality], scale: float = 1.0, block_size: int | None = None
    ) -> None:
        self.parts, self.scale, self.block_size = list(parts), scale, block_size
        self.order = torch.from_numpy(np.argsort(self.parts[0].row, kind="stable"))

    @property
    def shape(self) -> tuple[int, int]:
        """(N+1, F)."""
        return len(self.order), sum(part.matrix.shape[1] for part in self.parts)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows of items ``(n,)`` as float32 ``(n, F)``; item 0 has zeros."""
        wanted = ids.numpy()
        out = torch.empty(len(wanted), self.shape[1])
        start = 0
        for part in self.parts:
            end = start + part.matrix.shape[1]
            part.fill(out[:, start:end], wanted)
            start = end
        return out.mul_(self.scale)

    def in_memory(self) -> Tensor:
        """All rows as float32 ``(N+1, F)``."""
        matrix = torch.empty(self.shape)
        for block in blocks(len(matrix)):
            matrix[block] = self.rows(torch.arange(block.start, block.stop))
        return matrix
