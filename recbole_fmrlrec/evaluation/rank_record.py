"""The ranks of a run's test targets as a file, and what RecBole's metrics make of a rank.

It imports neither RecBole nor torch: a comparison reads many of these files.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation.protocol import is_masked, plain_name
from recbole_fmrlrec.files.atomic import replacing

#: The file's name in a run's folder.
TEST_RANKS = "test_ranks.npz"

#: RecBole's definitions (recbole.evaluator.metrics) where one item is relevant and stands at a
#: rank of at most k; beyond k all of them are 0.
_WITHIN_K: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "recall": lambda rank, k: np.ones_like(rank),
    "hit": lambda rank, k: np.ones_like(rank),
    "precision": lambda rank, k: np.full_like(rank, 1 / k),
    "ndcg": lambda rank, k: 1 / np.log2(rank + 1),
    "mrr": lambda rank, k: 1 / rank,
    "map": lambda rank, k: 1 / rank,
}
TOPK_METRICS = tuple(_WITHIN_K)


def metric_values(ranks: np.ndarray, metric: str, k: int) -> np.ndarray:
    """The metric at k of each row whose one relevant item has this rank.

    Args:
        ranks: whole numbers from 1, any shape.
        metric: one of `TOPK_METRICS`, in small or capital letters.
        k: cut-off.

    Returns:
        float64, of the shape of ``ranks``.
    """
    exact = np.asarray(ranks, dtype=np.float64)
    return np.where(exact <= k, _WITHIN_K[metric.lower()](exact, k), 0.0)


#: What files of earlier versions do not have.
_OPTIONAL = "masked_ranks"

#: What reading the bytes of somebody's archive raises, beside `zipfile.BadZipFile`.
ARCHIVE_DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    AttributeError,
    TypeError,
    MemoryError,
)
ARCHIVE_DAMAGE += (zlib.error, NotImplementedError, RuntimeError)
# Ids in columns of the longest one's width shrink a hundred times; zeros a thousand times.
_SMALL, _RATIO = 2**28, 200


def check_unpacked(path: Path) -> None:
    """Refuse an archive of arrays that would take far more memory than it has bytes.

    Raises:
        ValueError: it has both numbers.
        OSError, zipfile.BadZipFile: there is none.
    """
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > _SMALL + _RATIO * path.stat().st_size:
        raise ValueError(f"{path.stat().st_size:,} bytes that unpack to {unpacked:,}")


def read_arrays(
    path: Path, names: Sequence[str], optional: Collection[str]
) -> dict[str, np.ndarray]:
    """The arrays of an .npz file without pickle.

    Args:
        path: the file.
        names: of all the arrays that it may hold.
        optional: those of them that it may lack.

    Raises:
        ValueError, or another of `ARCHIVE_DAMAGE`: it holds others, lacks one, or is damaged.
        OSError, zipfile.BadZipFile: there is no such archive.
    """
    check_unpacked(path)
    with np.load(path, allow_pickle=False) as content:
        if unknown := sorted(set(content.files).difference(names)):
            raise ValueError(f"it holds {', '.join(unknown)}")
        return {name: content[name] for name in names if name not in optional or name in content}


@dataclass(frozen=True)
class RankRecord:
    """Ranks of R evaluated rows at K nested sizes.

    Attributes:
        users: user of each row as its token, (R,).
        targets: item to be found as its token, (R,).
        sizes: nested sizes, (K,) int64; one 0 for a model that has none.
        ranks: rank of the target among all items, 1 is best, (K, R) int32. Items of the same score
            count half, rounded down.
        masked_ranks: likewise among the items that are not in the user's history, (K, R) int32;
            None in files of earlier versions, and of ``history: keep``.
    """

    users: np.ndarray
    targets: np.ndarray
    sizes: np.ndarray
    ranks: np.ndarray
    masked_ranks: np.ndarray | None = None

    def __post_init__(self) -> None:
        if (fault := self._fault()) is not None:
            raise ValueError(fault)

    def _fault(self) -> str | None:
        arrays = self._arrays()
        for name, array in arrays.items():
            if array.dtype.kind not in ("U" if name in ("users", "targets") else "iu"):
                return f"{name} is of type {array.dtype}"
        rows, sizes = self.users.shape, self.sizes.shape
        ranks = [array for name, array in arrays.items() if name.endswith("ranks")]
        agree = len(rows) == 1 and self.targets.shape == rows
        if not agree or any(array.shape != sizes + rows for array in ranks):
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            return f"the shapes do not agree: {shapes}"
        if any((array < 1).any() for array in ranks):
            return "a rank is below 1"
        if self.masked_ranks is not None and (self.masked_ranks > self.ranks).any():
            return "a rank without the history is above that with it"
        return None

    def _arrays(self) -> dict[str, np.ndarray]:
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in found.items() if array is not None}

    def metric(self, name: str, k: int) -> np.ndarray:
        """Values (K, R) of a metric at k, before any mean: ``ndcg``, ``masked_ndcg`` ...

        Raises:
            ValueError: it is of ranks without the history, and there are none.
        """
        return metric_values(self.ranks_of(name), plain_name(name), k)

    def ranks_of(self, metric: str) -> np.ndarray:
        """The ranks (K, R) that a metric is of.

        Raises:
            ValueError: they are those without the history, and there are none.
        """
        if not is_masked(metric):
            return self.ranks
        if self.masked_ranks is None:
            raise ValueError("the record has no ranks without the history")
        return self.masked_ranks

    def save(self, path: Path) -> None:
        """Write an .npz file without pickle, whole or not at all."""
        with replacing(path) as beside, beside.open("wb") as file:
            np.savez_compressed(file, **self._arrays())  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> RankRecord:
        """Read what `save` has written.

        Raises:
            UsageError: there is no such file, or it is damaged or another file.
        """
        try:
            return cls(**read_arrays(path, [field.name for field in fields(cls)], (_OPTIONAL,)))
        except FileNotFoundError:
            raise UsageError(
                f"{path}: there is no such file; a run whose metrics follow from ranks writes it "
                "at its end, so run it again"
            ) from None
        except ARCHIVE_DAMAGE as error:
            raise UsageError(f"{path}: not a file of ranks, or damaged: {error}") from None
        except zipfile.BadZipFile as error:
            raise UsageError(f"{path}: cut off or damaged: {error}") from None
