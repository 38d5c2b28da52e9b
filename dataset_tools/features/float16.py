"""Features as float16, and what is done where their numbers lie outside it.

float16 keeps numbers from 6.1e-5 to 65,504 to a relative 2^-11. A matrix with a row that lies
outside has all its rows divided by their lengths first: the direction, which is what a feature
says, is kept, and the lengths are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLOAT16 = np.dtype("<f2")
# Twice the rounding of float16 in its normal range: what is further off has lost something.
TOLERANCE = 2.0**-10


@dataclass
class Range:
    """The numbers of a matrix, gathered block by block.

    Attributes:
        fits: whether float16 holds every row to its own precision.
        least, most: smallest and largest absolute value that is not zero; infinity and 0 where
            all are zero.
        unit: whether every row has length 1 or is zero, to 5e-3.
    """

    fits: bool = True
    least: float = float("inf")
    most: float = 0.0
    unit: bool = True

    def add(self, rows: np.ndarray) -> None:
        """Look at finite ``rows`` (n, width) of any number type."""
        scaled, power = _scaled(rows)
        lengths = np.linalg.norm(scaled, axis=1)
        full = lengths > 0
        true = np.ldexp(lengths, np.clip(power, -1000, 1000))
        self.unit &= bool(np.all((np.abs(true - 1) < 5e-3) | ~full))
        self.fits &= _fits(rows, scaled, power, lengths)
        sizes = np.abs(rows)
        if full.any():
            self.least = min(self.least, float(sizes[sizes > 0].min()))
            self.most = max(self.most, float(sizes.max()))

    @classmethod
    def of(cls, rows: np.ndarray) -> Range:
        """That of one block."""
        found = cls()
        found.add(rows)
        return found

    def __str__(self) -> str:
        return f"numbers from {self.least:.3g} to {self.most:.3g}"


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Finite rows (n, width) of any size as float64 rows of length 1; zeros stay zeros."""
    scaled, _ = _scaled(rows)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit: np.ndarray = scaled / np.where(lengths > 0, lengths, 1)
    return unit


def to_float16(rows: np.ndarray) -> np.ndarray:
    """Rows as little-endian float16; numbers that are too large become infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(rows, dtype=FLOAT16)


def _scaled(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows as float64 divided by a power of two each, and that power: squares stay in range."""
    wide = np.asarray(rows, dtype=np.float64)
    if not wide.shape[1]:
        return wide, np.zeros(len(wide), dtype=np.int32)
    power = np.frexp(np.abs(wide).max(axis=1))[1]
    return np.ldexp(wide, -power[:, None]), power


def _fits(rows: np.ndarray, scaled: np.ndarray, power: np.ndarray, lengths: np.ndarray) -> bool:
    """Whether rounded rows stand within ``TOLERANCE`` of themselves."""
    rounded = to_float16(rows).astype(np.float64)
    if not np.isfinite(rounded).all():
        return False
    error = np.linalg.norm(np.ldexp(rounded, -power[:, None]) - scaled, axis=1)
    return bool(np.all(error <= TOLERANCE * lengths))
