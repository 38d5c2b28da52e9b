"""Item vectors out of discrete codes: the mean of a learned vector for each code (VQ-Rec).

Source: Hou et al., "Learning Vector-Quantized Item Representation for Transferable Sequential
Recommenders", WWW 2023 (arXiv 2210.12316): an item is D codes, one for each part of its features,
out of M; each part has a table of M vectors; they are looked up and pooled by the mean.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class CodeVectors(nn.Module):
    """Pooled vectors ``(n, d)`` of items with codes ``(n, D)``.

    Args:
        parts: D, the codes of an item.
        centroids: M, the values that a code may have.
        width: d.
        std: deviation of the first values.
    """

    offset: Tensor

    def __init__(self, parts: int, centroids: int, width: int, std: float = 0.02) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1 + parts * centroids, width))
        nn.init.normal_(self.weight, std=std)
        with torch.no_grad():
            self.weight[0] = 0.0  # of the padding, which has no codes
        self.register_buffer("offset", 1 + centroids * torch.arange(parts), persistent=False)

    def rows(self, codes: Tensor) -> Tensor:
        """Rows ``(n, D)`` of the tables below one another for codes 0..M-1 ``(n, D)``."""
        return codes + self.offset

    def forward(self, rows: Tensor) -> Tensor:
        """The mean over the rows ``(n, D)`` of each item; zeros for an item whose rows are 0."""
        return functional.embedding_bag(rows, self.weight, mode="mean", padding_idx=0)


def code_vectors_reference(codes: Tensor, tables: Tensor) -> Tensor:
    """The mean of the looked-up vectors by its definition.

    Args:
        codes: ``(n, D)``.
        tables: ``(D, M, d)``.
    """
    vectors = []
    for item in codes:
        looked_up = [table[code] for table, code in zip(tables, item, strict=True)]
        vectors.append(torch.stack(looked_up).mean(0))
    return torch.stack(vectors)
