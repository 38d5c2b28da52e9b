"""The single files of the feature store: item list, manifest and matrix, each checked."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_tools.errors import FeatureError

FORMAT_VERSION = 1
ITEMS_NAME = "items.txt"
BLOCK_ROWS = 16_384
MANIFEST_DEFAULTS: dict[str, Any] = {
    "encoder": "unknown",
    "revision": None,
    "pooling": None,
    "template": None,
    "normalised": False,
    "empty_items": [],
}


def list_modalities(folder: Path) -> list[str]:
    """Names of the finished modalities: text, image, then others by name."""
    names = {path.stem for path in folder.glob("*.json") if path.with_suffix(".npy").is_file()}
    order = {"text": 0, "image": 1}
    return sorted(names, key=lambda name: (order.get(name, 2), name))


def items_hash(items: Sequence[str]) -> str:
    """SHA-256 of the item list, that is of the bytes of ``items.txt``."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(item.encode("utf-8") + b"\n")
    return digest.hexdigest()


def read_items(folder: Path) -> list[str]:
    """The item tokens of ``items.txt`` in the order of the matrix rows.

    Raises:
        FeatureError: missing, not UTF-8, an empty line, or an item on two lines.
    """
    path = folder / ITEMS_NAME
    _check_plain(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise FeatureError(f"{path}: missing; one item token per line, line i = row i") from None
    except UnicodeDecodeError as error:
        raise FeatureError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    items = text.removesuffix("\n").split("\n") if text else []
    check_items(items, path)
    return items


def check_items(items: Sequence[str], path: Path) -> None:
    """Raise ``FeatureError`` for an empty item, one with a line break, or one twice."""
    seen: dict[str, int] = {}
    for line, item in enumerate(items, start=1):
        if not item or "\n" in item or "\r" in item:
            raise FeatureError(f"{path}, line {line}: item {item!r} is empty or has a line break")
        if item in seen:
            raise FeatureError(f"{path}, line {line}: item {item!r} also on line {seen[item]}")
        seen[item] = line


def read_manifest(folder: Path, modality: str) -> dict[str, Any]:
    """The manifest of a modality.

    Raises:
        FeatureError: missing, not JSON, a key missing, or a format version from the future.
    """
    path = folder / f"{modality}.json"
    _check_plain(path)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = ", ".join(list_modalities(folder)) or "none"
        raise FeatureError(f"{path}: missing; finished modalities there: {found}") from None
    except (ValueError, RecursionError) as error:
        raise FeatureError(f"{path}: not JSON ({error}); make the features again") from None
    if not isinstance(manifest, dict):
        raise FeatureError(f"{path}: not a JSON object; make the features again")
    for key in ("format_version", "width", "num_items", "items_sha256"):
        if key not in manifest:
            raise FeatureError(f"{path}: key {key!r} is missing")
    _check_types(manifest, path)
    if manifest["format_version"] != FORMAT_VERSION:
        raise FeatureError(
            f"{path}: format version {manifest['format_version']!r}, this version reads "
            f"{FORMAT_VERSION}"
        )
    return {**MANIFEST_DEFAULTS, **manifest}


def _check_plain(path: Path) -> None:
    """Raise ``FeatureError`` for what cannot be read as a file, or only by waiting (a pipe)."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise FeatureError(f"{path}: not a regular file")
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        return  # each caller says what it misses
    except OSError as error:
        raise FeatureError(f"{path}: cannot be read ({error.strerror})") from None


def _check_types(manifest: dict[str, Any], path: Path) -> None:
    for key in ("width", "num_items"):
        if type(manifest[key]) is not int:
            raise FeatureError(f"{path}: {key} {manifest[key]!r} is not a whole number")
    if type(manifest.get("limit")) not in (int, type(None)):
        raise FeatureError(f"{path}: limit {manifest['limit']!r} is not a whole number")
    if not isinstance(manifest.get("template"), (str, type(None))):
        raise FeatureError(f"{path}: template {manifest['template']!r} is not text")
    empty = manifest.get("empty_items", [])
    if not isinstance(empty, list) or not all(isinstance(item, str) for item in empty):
        raise FeatureError(f"{path}: empty_items is not a list of item ids")


def open_matrix(path: Path) -> np.ndarray:
    """Memory-map a two-dimensional ``.npy`` file of numbers; nothing in it is executed.

    Raises:
        FeatureError: missing, no plain file, cut off, not an ``.npy`` file, or not
            two-dimensional.
    """
    _check_plain(path)
    try:
        # Not np.load: that would look into an archive (.npz), and into pickles if it were told to.
        matrix = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise FeatureError(f"{path}: missing") from None
    except OSError as error:
        raise FeatureError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # a damaged header raises nearly any type
        raise FeatureError(f"{path}: cut off or not an .npy matrix ({error})") from None
    number = matrix.dtype.kind in "fiu" and matrix.dtype.itemsize <= 8
    if matrix.ndim != 2 or not matrix.shape[1] or not number:
        raise FeatureError(
            f"{path}: not a two-dimensional matrix of float16, 32 or 64 or of integers, but "
            f"{matrix.dtype} of shape {matrix.shape}"
        )
    return matrix


def blocks(rows: int) -> Iterator[slice]:
    """Slices that cover ``rows`` rows, a block of 16,384 each."""
    for start in range(0, rows, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, rows))


def check_finite(matrix: np.ndarray, path: Path, first: int = 0) -> None:
    """Raise ``FeatureError`` with the first row of ``matrix`` (M, width) that is not finite.

    ``first`` is the number of the matrix's first row in the file.
    """
    for block in blocks(len(matrix)):
        bad = ~np.isfinite(matrix[block]).all(axis=1)
        if bad.any():
            row = first + block.start + int(bad.argmax())
            raise FeatureError(f"{path}: NaN or infinite values, first in row {row}")
