"""Items that lie in one direction: cosines of item vectors, or of their features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from recbole_fmrlrec.deploy.retrieval import ExactSearch


class CosineSearch:
    """Cosines of all items with a vector, the best of them.

    ``cos(q, e_i) = <q, e_i> / (|q| |e_i|)``; 0 where a vector is zero. One number an item is held
    beside the vectors, which are not copied.

    Args:
        vectors: ``(N+1, w)``; row 0 is not a candidate.
    """

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors
        self._lengths = _lengths(vectors)

    def of_rows(self, rows: list[int]) -> Tensor:
        """Vectors ``(B, w)`` of length 1 of table rows."""
        where = torch.tensor(rows, dtype=torch.int64)
        return self.vectors[where] / self._lengths[where, None]

    def __call__(self, directions: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The ``count`` items of the largest cosines with each direction ``(B, w)`` of length 1."""
        return ExactSearch(self.vectors, self._lengths)(directions, count)


def _lengths(vectors: Tensor) -> Tensor:
    """Lengths ``(N+1,)``; 1 for a zero vector, whose cosine with everything then is 0."""
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    return torch.where(lengths > 0, lengths, 1.0)


def unit_rows(vectors: Tensor) -> Tensor:
    """Rows of length 1; zeros stay zeros."""
    return functional.normalize(vectors, dim=1)
