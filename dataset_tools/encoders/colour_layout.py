"""A small classical picture descriptor that needs no download.

Colour layout: the discrete cosine transform of an 8 x 8 grid of mean colours in YCbCr, low
frequencies first (Kasutani and Yamada, ICIP 2001; the MPEG-7 Color Layout Descriptor). Shape:
histograms of oriented gradients on a 4 x 4 grid (Dalal and Triggs, CVPR 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_tools.encoders.pictures import map_pictures
from dataset_tools.encoders.shards import Batch

if TYPE_CHECKING:
    from PIL.Image import Image

NAME = "colour-layout"
VERSION = "1"
SIDE, GRID, CELLS, ORIENTATIONS = 64, 8, 4, 9
KEPT = (28, 15, 15)  # coefficients of Y, Cb, Cr
WIDTH = sum(KEPT) + CELLS * CELLS * ORIENTATIONS


def _cosines() -> np.ndarray:
    """The orthonormal DCT-II matrix (GRID, GRID)."""
    at = np.arange(GRID)
    matrix = np.cos(np.pi * (2 * at[None, :] + 1) * at[:, None] / (2 * GRID))
    matrix[0] /= np.sqrt(2)
    return matrix * np.sqrt(2 / GRID)


def _zigzag() -> np.ndarray:
    """Flat positions in an 8 x 8 block from low to high frequency."""
    cells = [(row + column, row, column) for row in range(GRID) for column in range(GRID)]
    ordered = sorted(cells, key=lambda c: (c[0], c[1] if c[0] % 2 else c[2]))
    return np.array([row * GRID + column for _, row, column in ordered])


def colour_part(pixels: np.ndarray) -> np.ndarray:
    """Pixels (SIDE, SIDE, 3) YCbCr in 0..255 -> (sum(KEPT),), each channel around grey."""
    step = SIDE // GRID
    means = pixels.reshape(GRID, step, GRID, step, 3).mean(axis=(1, 3)) / 127.5 - 1
    cosines, order = _cosines(), _zigzag()
    parts = []
    for channel, kept in enumerate(KEPT):
        block = cosines @ means[:, :, channel] @ cosines.T
        parts.append(block.ravel()[order][:kept])
    return np.concatenate(parts)


def gradient_part(light: np.ndarray) -> np.ndarray:
    """Lightness (SIDE, SIDE) in 0..255 -> (CELLS * CELLS * ORIENTATIONS,), of length at most 1."""
    down, across = np.gradient(light.astype(np.float64))
    strength = np.hypot(down, across)
    angle = np.mod(np.arctan2(down, across), np.pi) / np.pi * ORIENTATIONS
    kind = np.minimum(angle.astype(np.int64), ORIENTATIONS - 1)
    cell = np.arange(SIDE) * CELLS // SIDE
    bins = (cell[:, None] * CELLS + cell[None, :]) * ORIENTATIONS + kind
    size = CELLS * CELLS * ORIENTATIONS
    histogram = np.bincount(bins.ravel(), strength.ravel(), size)
    clipped = np.minimum(histogram / (np.linalg.norm(histogram) + 1e-9), 0.2)
    return clipped / (np.linalg.norm(clipped) + 1e-9)


def describe(picture: Image) -> np.ndarray:
    """An RGB picture -> (WIDTH,) float32 of length 1, half of it colour, half shape."""
    from PIL.Image import Resampling

    small = picture.resize((SIDE, SIDE), Resampling.BOX).convert("YCbCr")
    pixels = np.asarray(small, dtype=np.float64)
    colours = colour_part(pixels)
    colours /= np.linalg.norm(colours) + 1e-9
    vector = np.concatenate([colours, gradient_part(pixels[:, :, 0])])
    return (vector / (np.linalg.norm(vector) + 1e-9)).astype(np.float32)


class ColourLayout:
    """The descriptor as an encoder of picture files."""

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers
        self.settings: dict[str, Any] = {
            "encoder": NAME,
            "revision": VERSION,
            "pooling": None,
            "normalised": True,
        }

    def encode(self, batch: Sequence[Path]) -> Batch:
        """Vectors (len(batch), WIDTH); zeros and a reason for pictures that cannot be used."""
        vectors, reasons = map_pictures(batch, describe, self._workers)
        matrix = np.zeros((len(batch), WIDTH), dtype=np.float32)
        for row, vector in vectors.items():
            matrix[row] = vector
        return matrix, reasons
