"""A first stage by faiss, where it is installed: IVF over the first dimensions."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.errors import missing_package

Kind = Literal["ivf"]


class FaissShortlister:
    """Approximate inner-product search over the first ``prefix`` dimensions.

    The index is IVF, lists around centres. A graph (HNSW) was slower than exact search at 12,000,
    100,000 and 1,000,000 items: on vectors whose variance falls from dimension to dimension it
    visits too many nodes before the recall is good.

    Args:
        vectors: ``(N+1, s)`` item table.
        prefix: dimensions that are indexed; they are copied into the index.
        effort: lists read by a query; more finds more. A sixteenth of the lists when None.

    Raises:
        DeployError: faiss is not installed.
    """

    def __init__(self, vectors: Tensor, prefix: int, effort: int | None = None) -> None:
        try:
            import faiss
        except ModuleNotFoundError as error:
            raise DeployError(
                f"{missing_package(error)}; exact and two-stage search do without it"
            ) from None
        heads = np.ascontiguousarray(vectors[1:, :prefix].numpy())
        lists = max(1, min(4 * int(len(heads) ** 0.5), len(heads) // 39))
        self._centres = faiss.IndexFlatIP(prefix)  # the index holds no reference of its own to it
        self.index: Any = faiss.IndexIVFFlat(
            self._centres, prefix, lists, faiss.METRIC_INNER_PRODUCT
        )
        self.index.train(heads)
        self.index.add(heads)
        self.effort = effort or max(8, self.index.nlist // 16)

    def __call__(self, heads: Tensor, count: int) -> Tensor:
        """Rows ``(B, count)``, 0 where the index found fewer."""
        self.index.nprobe = self.effort
        _, found = self.index.search(np.ascontiguousarray(heads.numpy()), count)
        return torch.from_numpy(found) + 1

    def size_in_bytes(self) -> int:
        """Bytes of the index as faiss writes it."""
        import faiss

        return int(faiss.serialize_index(self.index).nbytes)


def check_kind(kind: object) -> None:
    """Refuse all kinds of index but ``"ivf"``.

    Raises:
        DeployError: another kind; ``"hnsw"``, which earlier versions had, is told why.
    """
    if kind == "hnsw":
        raise DeployError(
            'faiss="hnsw" is no longer supported: it was slower than exact search at every size '
            'of catalogue; use faiss="ivf"'
        )
    if kind != "ivf":
        raise DeployError(f'faiss must be "ivf" or None, not {kind!r}')
