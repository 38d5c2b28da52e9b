"""The ranks of a run's test targets as a file, and what RecBole's metrics make of a rank.

It imports neither RecBole nor torch: a comparison reads many of these files.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from recbole_fmrlrec.errors import UsageError
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


# What reading the bytes of somebody's archive raises.
_DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    AttributeError,
    TypeError,
    MemoryError,
)
_DAMAGE += (zlib.error, NotImplementedError, RuntimeError)
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


@dataclass(frozen=True)
class RankRecord:
    """Ranks of R evaluated rows at K nested sizes.

    Attributes:
        users: user of each row as its token, (R,).
        targets: item to be found as its token, (R,).
        sizes: nested sizes, (K,) int64; one 0 for a model that has none.
        ranks: rank of the target among all candidates, 1 is best, (K, R) int32. Items of the same
            score count half, rounded down.
    """

    users: np.ndarray
    targets: np.ndarray
    sizes: np.ndarray
    ranks: np.ndarray

    def __post_init__(self) -> None:
        if (fault := self._fault()) is not None:
            raise ValueError(fault)

    def _fault(self) -> str | None:
        wanted = {"users": "U", "targets": "U", "sizes": "iu", "ranks": "iu"}
        for name, kinds in wanted.items():
            if getattr(self, name).dtype.kind not in kinds:
                return f"{name} is of type {getattr(self, name).dtype}"
        rows, sizes = self.users.shape, self.sizes.shape
        if len(rows) != 1 or self.targets.shape != rows or self.ranks.shape != sizes + rows:
            shapes = ", ".join(f"{f.name} {getattr(self, f.name).shape}" for f in fields(self))
            return f"the shapes do not agree: {shapes}"
        return "a rank is below 1" if (self.ranks < 1).any() else None

    def metric(self, name: str, k: int) -> np.ndarray:
        """Values (K, R) of a metric at k, before any mean."""
        return metric_values(self.ranks, name, k)

    def save(self, path: Path) -> None:
        """Write an .npz file without pickle, whole or not at all."""
        with replacing(path) as beside, beside.open("wb") as file:
            np.savez_compressed(file, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> RankRecord:
        """Read what `save` has written.

        Raises:
            UsageError: there is no such file, or it is damaged or another file.
        """
        try:
            check_unpacked(path)
            with np.load(path, allow_pickle=False) as content:
                return cls(*(content[field.name] for field in fields(cls)))
        except FileNotFoundError:
            raise UsageError(
                f"{path}: there is no such file; a run whose metrics follow from ranks writes it "
                "at its end, so run it again"
            ) from None
        except _DAMAGE as error:
            raise UsageError(f"{path}: not a file of ranks, or damaged: {error}") from None
        except zipfile.BadZipFile as error:
            raise UsageError(f"{path}: cut off or damaged: {error}") from None
