"""A first stage by faiss, where it is installed: HNSW or IVF over the first dimensions."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.errors import missing_package

Kind = Literal["hnsw", "ivf"]


class FaissShortlister:
    """Approximate inner-product search over the first ``prefix`` dimensions.

    Args:
        vectors: ``(N+1, s)`` item table.
        prefix: dimensions that are indexed; they are copied into the index.
        kind: ``hnsw`` (a graph, fast to ask, slow to build) or ``ivf`` (lists around centres).
        effort: nodes visited (hnsw; never fewer than the asked count) or lists read (ivf) by a
            query; more finds more. 64, or a sixteenth of the lists, when None.

    Raises:
        DeployError: faiss is not installed, or another kind.
    """

    def __init__(
        self, vectors: Tensor, prefix: int, kind: Kind = "hnsw", effort: int | None = None
    ) -> None:
        try:
            import faiss
        except ModuleNotFoundError as error:
            raise DeployError(
                f"{missing_package(error)}; exact and two-stage search do without it"
            ) from None
        self.kind = kind
        heads = np.ascontiguousarray(vectors[1:, :prefix].numpy())
        if kind == "hnsw":
            self.index: Any = faiss.IndexHNSWFlat(prefix, 32, faiss.METRIC_INNER_PRODUCT)
            self.index.hnsw.efConstruction = 80
        elif kind == "ivf":
            lists = max(1, min(4 * int(len(heads) ** 0.5), len(heads) // 39))
            centres = faiss.IndexFlatIP(prefix)
            self.index = faiss.IndexIVFFlat(centres, prefix, lists, faiss.METRIC_INNER_PRODUCT)
            self._centres = centres  # the index holds no reference of its own to it
            self.index.train(heads)
        else:
            raise DeployError(f"the kind of a faiss index is 'hnsw' or 'ivf', not {kind!r}")
        self.index.add(heads)
        self.effort = effort or (64 if kind == "hnsw" else max(8, self.index.nlist // 16))

    def __call__(self, heads: Tensor, count: int) -> Tensor:
        """Rows ``(B, count)``, 0 where the index found fewer."""
        if self.kind == "hnsw":
            self.index.hnsw.efSearch = max(self.effort, count)
        else:
            self.index.nprobe = self.effort
        _, found = self.index.search(np.ascontiguousarray(heads.numpy()), count)
        return torch.from_numpy(found) + 1

    def size_in_bytes(self) -> int:
        """Bytes of the index as faiss writes it."""
        import faiss

        return int(faiss.serialize_index(self.index).nbytes)
