"""The feature store: one matrix a modality, its item list and its manifest.

``<dataset>/features/`` holds ``items.txt`` (one item token a line, UTF-8) and for each modality
``MODALITY.npy`` (float16, row i = line i of ``items.txt``) with ``MODALITY.json`` beside it.
The manifest is written last: without it a matrix does not count as finished.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np

from dataset_tools.errors import FeatureError
from dataset_tools.features.float16 import FLOAT16, Range, to_float16, unit_rows
from dataset_tools.features.store_files import (
    FORMAT_VERSION,
    ITEMS_NAME,
    MANIFEST_DEFAULTS,
    blocks,
    check_finite,
    check_items,
    items_hash,
    list_modalities,
    open_matrix,
    read_items,
    read_manifest,
)
from dataset_tools.files.atomic_write import needing, replacing
from dataset_tools.files.unfinished import remove_left_behind

__all__ = [
    "Features",
    "align_features",
    "attach_features",
    "find_rows",
    "list_modalities",
    "read_features",
    "read_items",
    "read_manifest",
    "write_features",
]


@dataclass(frozen=True)
class Features:
    """One modality: ``matrix`` (M, width) float16, memory-mapped; row i is ``items[i]``."""

    modality: str
    matrix: np.ndarray
    items: list[str]
    manifest: dict[str, Any]
    path: Path


def read_features(folder: Path, modality: str, width: int | None = None) -> Features:
    """Open one modality memory-mapped, checked in full.

    Args:
        folder: the ``features`` folder of a dataset.
        modality: ``text``, ``image`` or another name.
        width: the width that is expected, if any.

    Raises:
        FeatureError: naming the file that is missing, cut off, of another width, of another
            length than the item list, not finite, or made for another item list.
    """
    manifest = read_manifest(folder, modality)
    items = read_items(folder)
    path = folder / f"{modality}.npy"
    matrix = open_matrix(path)
    if matrix.dtype != np.float16:
        raise FeatureError(f"{path}: stored as {matrix.dtype}, not float16; attach it again")
    for wanted, source in ((manifest["width"], f"{modality}.json"), (width, "the caller")):
        if wanted is not None and matrix.shape[1] != wanted:
            raise FeatureError(f"{path}: width {matrix.shape[1]}, but {source} says {wanted}")
    if not len(matrix) == len(items) == manifest["num_items"]:
        raise FeatureError(
            f"{path}: {len(matrix)} rows, but {ITEMS_NAME} has {len(items)} items and "
            f"{modality}.json says {manifest['num_items']}"
        )
    if manifest["items_sha256"] != items_hash(items):
        raise FeatureError(
            f"{folder / ITEMS_NAME}: not the item list that {path.name} was made for "
            "(hashes differ); make the features again"
        )
    check_finite(matrix, path)
    return Features(modality, matrix, items, manifest, path)


def write_features(
    folder: Path,
    modality: str,
    matrix: np.ndarray,
    items: Sequence[str],
    manifest: Mapping[str, Any],
) -> Path:
    """Store ``matrix`` (M, width) of any number type as float16; returns the ``.npy`` path.

    Where float16 cannot hold a row, all rows are divided by their lengths, which is said and
    stands in the manifest. Version, width, number of items and the hash are filled in;
    ``manifest`` gives the rest.

    Raises:
        FeatureError: lengths differ, no columns, values that are not finite, an item twice, or
            another modality of the folder stands on another item list.
    """
    path = folder / f"{modality}.npy"
    if matrix.ndim != 2 or len(matrix) != len(items) or not matrix.shape[1]:
        raise FeatureError(f"{path}: matrix {matrix.shape} for {len(items)} items")
    check_items(items, folder / ITEMS_NAME)
    _check_same_items(folder, modality, items)
    remove_left_behind(folder)
    numbers = measure(matrix, path)
    scaled = scaled_note(numbers, path)
    # From here until the new manifest stands, the modality counts as unfinished.
    (folder / f"{modality}.json").unlink(missing_ok=True)
    with needing(path, FLOAT16.itemsize * math.prod(matrix.shape)), replacing(path, "wb") as stream:
        header = {"descr": FLOAT16.str, "fortran_order": False, "shape": tuple(matrix.shape)}
        np.lib.format.write_array_header_1_0(stream, header)
        for block in blocks(len(matrix)):
            rows = unit_rows(matrix[block]) if scaled else matrix[block]
            stream.write(to_float16(rows).tobytes())
    with replacing(folder / ITEMS_NAME) as stream:
        stream.writelines(f"{item}\n" for item in items)
    full = {
        "format_version": FORMAT_VERSION,
        "modality": modality,
        **MANIFEST_DEFAULTS,
        **manifest,
        **scaled,
        "width": int(matrix.shape[1]),
        "num_items": len(items),
        "items_sha256": items_hash(items),
    }
    with replacing(folder / f"{modality}.json") as stream:
        stream.write(json.dumps(full, indent=2, ensure_ascii=False) + "\n")
    return path


def measure(matrix: np.ndarray, path: Path) -> Range:
    """The range of ``matrix`` (M, width); raises ``FeatureError`` where one is not finite."""
    numbers = Range()
    for block in blocks(len(matrix)):
        check_finite(matrix[block], path, block.start)
        numbers.add(matrix[block])
    return numbers


def scaled_note(numbers: Range, path: Path) -> dict[str, Any]:
    """What the manifest says of rows that float16 does not hold; empty where it does."""
    if numbers.fits:
        return {}
    getLogger(__name__).warning(  # the whole path may be that of a hidden, unfinished folder
        "%s/%s: %s lie outside the range of float16; every row is divided by its length",
        path.parent.name,
        path.name,
        numbers,
    )
    return {"normalised": True, "scaled": f"rows divided by their lengths; {numbers}"}


def _check_same_items(folder: Path, modality: str, items: Sequence[str]) -> None:
    others = [name for name in list_modalities(folder) if name != modality]
    if others and read_items(folder) != list(items):
        raise FeatureError(
            f"{folder / ITEMS_NAME}: holds another item list, which {', '.join(others)} was "
            f"made for; give {modality} the same items, or delete {folder} and make all of it again"
        )


def attach_features(
    folder: Path,
    modality: str,
    npy_path: Path,
    items: Sequence[str],
    manifest: Mapping[str, Any] | None = None,
) -> Features:
    """Put a ready ``.npy`` matrix, row i = ``items[i]``, into the store.

    Rows of zeros are listed as items that had nothing to encode; whether rows have length 1
    is measured, unless ``manifest`` says either.

    Raises:
        FeatureError: the file is damaged or has not one finite row an item.
    """
    matrix = open_matrix(npy_path)
    if len(matrix) != len(items):
        raise FeatureError(f"{npy_path}: {len(matrix)} rows, but there are {len(items)} items")
    full = [matrix[block].any(axis=1) for block in blocks(len(matrix))]
    empty = np.flatnonzero(~np.concatenate([*full, np.zeros(0, dtype=bool)]))
    measured = {
        "encoder": f"file {npy_path.name}",
        "normalised": measure(matrix, npy_path).unit,
        "empty_items": [items[row] for row in empty.tolist()],
    }
    write_features(folder, modality, matrix, items, {**measured, **(manifest or {})})
    return read_features(folder, modality)


def align_features(features: Features, tokens: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Rows for ``tokens``, by name: float32 ``(len(tokens), width)`` and who has none.

    The second value lists tokens, in their order, that have no row or had nothing to encode;
    their rows are zeros. Only the rows asked for are read from the memory map.
    """
    rows, missing = find_rows(features, tokens)
    aligned = np.zeros((len(tokens), features.matrix.shape[1]), dtype=np.float32)
    for block in blocks(len(tokens)):
        here = np.flatnonzero(rows[block] >= 0)
        aligned[block.start + here] = features.matrix[rows[block][here]]
    return aligned, missing


def find_rows(features: Features, tokens: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Where ``tokens`` stand in the matrix: rows (len(tokens),) and who has none.

    The row is -1 for tokens that have none or had nothing to encode; the second value lists them.
    """
    row_of = {item: row for row, item in enumerate(features.items)}
    for item in features.manifest["empty_items"]:
        row_of.pop(item, None)
    rows = np.fromiter((row_of.get(token, -1) for token in tokens), np.int64, len(tokens))
    return rows, [tokens[at] for at in np.flatnonzero(rows < 0).tolist()]
