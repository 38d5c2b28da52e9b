"""Discrete codes of items: optimised product quantisation of their features, by faiss.

Features are rotated and cut into D parts of equal width; each part has M centroids, and an item's
code there is the number of the nearest one. Rotation and centroids are found together (Ge et al.,
"Optimized Product Quantization", CVPR 2013). They are found by faiss with its own fixed seed, in
one thread: the same features give the same codes, whatever the seed of a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_fmrlrec.console import say
from recbole_fmrlrec.data.mapped_features import MappedFeatures
from recbole_fmrlrec.errors import RunError, UsageError, missing_package
from recbole_fmrlrec.files.atomic import replacing

#: The version of the way in which codes are made, in the name of their file.
WAY = "opq1"
#: Most items that a quantiser is trained on: faiss takes no more of them for a rotation.
MOST_TRAINED = 2**16
#: Items that are read, rotated and coded together.
BLOCK = 2**14

Matrix = Tensor | MappedFeatures


def kept_codes(
    folder: Path, features: Matrix, trained: Tensor, parts: int, centroids: int
) -> Tensor:
    """`product_codes` out of a file of ``folder``, made and written there where there is none.

    The file bears the hash of all that decides the codes in its name, so it is never out of date.
    Where the folder cannot be written to, they are made again by the next run.

    Raises:
        UsageError: as `product_codes`.
    """
    file = folder / f"{codes_fingerprint(features, trained, parts, centroids)}.npy"
    try:
        found = np.load(file, allow_pickle=False)
        if found.shape == (features.shape[0], parts) and found.dtype == np.int32:
            return torch.from_numpy(found)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, EOFError):
        getLogger().warning("%s: not readable; the codes of items are made again", file)
    codes = product_codes(features, trained, parts, centroids)
    try:
        with replacing(file, codes.nbytes) as beside, beside.open("wb") as out:
            np.save(out, codes.numpy())
    except (OSError, UsageError, RunError) as error:
        getLogger().warning("the codes of items are kept in this run alone: %s", error)
    return codes


def codes_fingerprint(features: Matrix, trained: Tensor, parts: int, centroids: int) -> str:
    """A hash of all that decides the codes; see `product_codes`."""
    hashed = hashlib.blake2b(f"{WAY} {parts} {centroids}".encode(), digest_size=12)
    hashed.update(trained.numpy().tobytes())
    for _, rows in _blocks(features):
        hashed.update(rows.tobytes())
    return hashed.hexdigest()


def product_codes(features: Matrix, trained: Tensor, parts: int, centroids: int) -> Tensor:
    """Codes ``(N+1, D)`` of items, int32, 0..M-1; those of the padding, row 0, are 0.

    Args:
        features: ``(N+1, F)``, row 0 zeros.
        trained: items that rotation and centroids are found from, ascending.
        parts: D. Where F is no multiple of it, features are filled up with zeros.
        centroids: M, a power of two; fewer where there are fewer trained items, which is said.

    Raises:
        UsageError: faiss is not installed, or there are fewer than two trained items.
    """
    faiss = _faiss()
    bits = _bits(len(trained), centroids)
    with _one_thread(faiss):
        rotation, quantizer = train_quantizer(_sample(features, trained), parts, bits)
        codes = np.zeros((features.shape[0], parts), dtype=np.int32)
        for place, rows in _blocks(features):
            packed = quantizer.compute_codes(rotation.apply(rows))
            codes[place] = faiss.unpack_bitstrings(packed, parts, bits)
    codes[0] = 0
    return torch.from_numpy(codes)


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the codes of items are made by faiss: {missing_package(error)}"
        ) from None
    return faiss


def _bits(count: int, centroids: int) -> int:
    """Bits of a code, at most one centroid for each trained item."""
    if count < 2:
        raise UsageError(f"{count} training items are too few for codes of items; two are needed")
    asked = centroids.bit_length() - 1
    bits = min(asked, count.bit_length() - 1)
    if bits < asked:
        say(f"codes of items: {2**bits} in place of {centroids} values, for {count} training items")
    return bits


@contextmanager
def _one_thread(faiss: Any) -> Iterator[None]:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def train_quantizer(rows: np.ndarray, parts: int, bits: int) -> tuple[Any, Any]:
    """A rotation and a quantiser, as faiss's index factory makes them of ``OPQ{D},PQ{D}``.

    Args:
        rows: ``(n, F)`` float32, at least one for each centroid.
        parts: D.
        bits: of a code; 2^bits centroids.
    """
    faiss = _faiss()
    say(f"codes of items: {parts} of {bits} bits, found from {len(rows)} items; this takes a while")
    width = rows.shape[1]
    filled = -(-width // parts) * parts
    inner, quantizer = (faiss.ProductQuantizer(filled, parts, bits) for _ in range(2))
    for one in (inner, quantizer):
        one.cp.min_points_per_centroid = 1  # it would only complain, on standard error
    # faiss 1.15 needs a row for each column, else it writes outside its memory; repeated ones do.
    rows = np.tile(rows, (-(-filled // len(rows)), 1))
    rotation = faiss.OPQMatrix(width, parts, filled)
    rotation.pq = inner  # by itself it takes one of 8 bits
    rotation.train(rows)
    quantizer.train(rotation.apply(rows))
    return rotation, quantizer


def _sample(features: Matrix, trained: Tensor) -> np.ndarray:
    if len(trained) > MOST_TRAINED:
        drawn = np.random.default_rng(0).choice(len(trained), MOST_TRAINED, replace=False)
        trained = trained[torch.from_numpy(np.sort(drawn))]
    return _rows(features, trained)


def _blocks(features: Matrix) -> Iterator[tuple[slice, np.ndarray]]:
    count = features.shape[0]
    for start in range(0, count, BLOCK):
        place = slice(start, min(start + BLOCK, count))
        yield place, _rows(features, torch.arange(place.start, place.stop))


def _rows(features: Matrix, ids: Tensor) -> np.ndarray:
    rows = features[ids] if isinstance(features, Tensor) else features.rows(ids)
    return np.ascontiguousarray(rows.numpy())
