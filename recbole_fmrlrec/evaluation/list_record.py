"""The recommendation lists of a run's test rows as a file, beside their ranks.

It imports neither RecBole nor torch: a comparison reads many of these files.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation.list_metrics import Lists
from recbole_fmrlrec.evaluation.protocol import is_masked
from recbole_fmrlrec.evaluation.rank_record import ARCHIVE_DAMAGE, read_arrays
from recbole_fmrlrec.files.atomic import replacing

#: The file's name in a run's folder.
TEST_LISTS = "test_lists.npz"

_DAMAGE: tuple[type[Exception], ...] = (*ARCHIVE_DAMAGE, zipfile.BadZipFile)
_OPTIONAL = ("masked_items", "distances", "masked_distances", "features")
_KINDS = {"distances": "f", "masked_distances": "f", "tail_ratio": "f", "features": "U"}


class KeepLists(NamedTuple):
    """Lists that are to be kept.

    Attributes:
        length: items of a list.
        distances: whether distances between items are measured too: it takes features.
    """

    length: int
    distances: bool = False


@dataclass(frozen=True)
class ListRecord:
    """Lists of R evaluated rows at K nested sizes, rows in the order of the ranks' file.

    Attributes:
        sizes: nested sizes, (K,); one 0 for a model that has none.
        length: items of a list, k, ().
        items: item ids, the best first, (K, R, k) int32, 0 where a row has too few candidates.
        counts: how often training has each item, as RecBole counts for the model, (N+1,).
        tail_ratio: as in `Lists`, (); 0 where nothing is set.
        masked_items: likewise without the users' histories; None with ``history: keep``.
        distances, masked_distances: as in `Lists`, (K, R, k) float32; None without features.
        features: the fingerprint of the features that these are by, (); None without.
    """

    sizes: np.ndarray
    length: np.ndarray
    items: np.ndarray
    counts: np.ndarray
    tail_ratio: np.ndarray
    masked_items: np.ndarray | None = None
    distances: np.ndarray | None = None
    masked_distances: np.ndarray | None = None
    features: np.ndarray | None = None

    def __post_init__(self) -> None:
        if (fault := self._fault()) is not None:
            raise ValueError(fault)

    def _fault(self) -> str | None:
        arrays = self._arrays()
        for name, array in arrays.items():
            if array.dtype.kind not in _KINDS.get(name, "iu"):
                return f"{name} is of type {array.dtype}"
        wide = {name: array for name, array in arrays.items() if name.endswith(("items", "ances"))}
        shape = self.items.shape
        agree = self.length.shape == () and self.counts.ndim == 1 and len(shape) == 3
        agree = agree and shape[0] == len(self.sizes) and shape[2] == int(self.length)
        if not agree or any(array.shape != shape for array in wide.values()):
            shapes = ", ".join(f"{name} {array.shape}" for name, array in wide.items())
            return f"the shapes do not agree: {shapes}"
        ids = [array for name, array in wide.items() if name.endswith("items")]
        if any(a.size and (a.min() < 0 or a.max() >= len(self.counts)) for a in ids):
            return "an item is not among those that are counted"
        return None

    def _arrays(self) -> dict[str, np.ndarray]:
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in found.items() if array is not None}

    def lists(self, size: int, metric: str, rows: Any = slice(None)) -> Lists | None:
        """The lists that a metric is of, of some rows; None where they are not there.

        Args:
            size: nested size, 0 for a model without.
            metric: ``itemcoverage@10``, ``masked_itemcoverage@10``.
            rows: an index.
        """
        masked = is_masked(metric)
        items = self.masked_items if masked else self.items
        distances = self.masked_distances if masked else self.distances
        if items is None:
            return None
        at = self.sizes.tolist().index(size)
        ratio = float(self.tail_ratio) or None
        chosen = None if distances is None else distances[at][rows]
        return Lists(items[at][rows], self.counts, ratio, chosen)

    def reordered(self, order: np.ndarray) -> ListRecord:
        """The same with rows in another order."""
        per_row = {
            name: array[:, order] for name, array in self._arrays().items() if array.ndim == 3
        }
        return ListRecord(**{**self._arrays(), **per_row})

    def save(self, path: Path) -> None:
        """Write an .npz file without pickle, whole or not at all."""
        with replacing(path) as beside, beside.open("wb") as file:
            np.savez_compressed(file, **self._arrays())  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> ListRecord:
        """Read what `save` has written.

        Raises:
            UsageError: there is no such file, or it is damaged or another file.
        """
        try:
            return cls(**read_arrays(path, [field.name for field in fields(cls)], _OPTIONAL))
        except _DAMAGE as error:
            raise UsageError(f"{path}: not a file of lists, or damaged: {error}") from None


def holds_lists(path: Path, wanted: KeepLists, features: str = "") -> bool:
    """Whether a file has lists at least as long, and the distances if they are wanted.

    Of a damaged file it says no.

    Args:
        features: the fingerprint of those that the distances are to be by.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            if wanted.distances and str(content["features"]) != features:
                return False
            return int(content["length"]) >= wanted.length
    except _DAMAGE:
        return False
