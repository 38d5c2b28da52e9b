"""Text features that need no download: TF-IDF and truncated SVD."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_tools.encoders.item_texts import FIELD, item_texts, resolve_template
from dataset_tools.errors import UsageError
from dataset_tools.features import Features, read_features, read_manifest, write_features
from dataset_tools.files.hashes import digest_of

TFIDF_NAME = "tfidf-svd"
# A manifest may be anybody's: no number in it asks for more than a matrix of this width.
_REVISION = re.compile(r"seed (\d{1,9}), at most (\d{1,9}) wide")
MAX_WIDTH = 4096


def tfidf_svd(texts: Sequence[str], width: int = 256, seed: int = 0) -> np.ndarray:
    """Latent semantic vectors, float32 ``(len(texts), width)``, rows of length 1.

    TF-IDF over words (sublinear term frequency), reduced by a truncated SVD (Deerwester et al.
    1990) whose columns are divided by the square root of their norm, so that the few strongest
    topics do not drown the rest (Caron 2001). Texts without a known word give zeros; a word
    that only one item of more than 1,000 has is not known. A catalogue with fewer items or
    words than ``width`` gives fewer columns. The same texts and seed give the same values.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        sublinear_tf=True,
        min_df=2 if len(texts) > 1000 else 1,
        token_pattern=r"(?u)\b\w+\b",
        dtype=np.float32,
        max_features=100_000,
    )
    try:
        counts = vectorizer.fit_transform(texts)
    except ValueError:  # scikit-learn's way to say that no text has a word
        return np.zeros((len(texts), 1), dtype=np.float32)
    full = min(width, *counts.shape)
    dense = _reduced(counts, max(1, min(width, min(counts.shape) - 1)), seed)
    known = np.asarray(counts.getnnz(axis=1)) > 0
    if dense.shape[1] < full and not dense[known].any(axis=1).all():
        # One column fewer than there is to tell apart leaves an item out of a small catalogue.
        dense = _reduced(counts, full, seed)
    return dense


def _reduced(counts: Any, rank: int, seed: int) -> np.ndarray:
    """Rows of length 1, float32 ``(len(texts), rank)``; zeros where next to nothing is left."""
    from sklearn.decomposition import TruncatedSVD

    if counts.shape[1] == 1:  # a single word has nothing to reduce
        dense = counts.toarray()
    else:
        with np.errstate(invalid="ignore"):  # a catalogue of equal texts has no variance
            dense = TruncatedSVD(rank, random_state=seed, n_iter=7).fit_transform(counts)
    dense /= np.sqrt(np.maximum(np.linalg.norm(dense, axis=0), 1e-6))
    norms = np.linalg.norm(dense, axis=1, keepdims=True)
    return np.divide(dense, norms, out=np.zeros_like(dense), where=norms > 1e-6).astype(np.float32)


def tfidf_settings(
    item_path: Path,
    width: int = 256,
    seed: int = 0,
    columns: Sequence[str] | None = None,
    template: str | None = None,
) -> dict[str, Any]:
    """What the manifest says of features that ``make_text_features`` makes."""
    if template is None:
        # Labels such as "Title:" would be words that every item shares.
        labelled = resolve_template(item_path, columns)
        template = "\n".join(f"{{{name}}}" for name in FIELD.findall(labelled))
    return {
        "encoder": TFIDF_NAME,
        "revision": f"seed {seed}, at most {width} wide",
        "template": resolve_template(item_path, template=template),
        "normalised": True,
        "inputs_sha256": digest_of(item_texts(item_path, template=template)[1]),
    }


def make_text_features(
    item_path: Path,
    features_folder: Path,
    width: int = 256,
    seed: int = 0,
    columns: Sequence[str] | None = None,
    template: str | None = None,
) -> Features:
    """Encode a ``.item`` file with ``tfidf_svd`` and store the result as modality ``text``.

    Raises:
        UsageError, DatasetError: as ``item_texts``.
        FeatureError: as ``write_features``.
    """
    settings = tfidf_settings(item_path, width, seed, columns, template)
    ids, texts = item_texts(item_path, template=settings["template"])
    matrix = tfidf_svd(texts, width, seed)
    empty = [ids[row] for row in np.flatnonzero(~matrix.any(axis=1)).tolist()]
    write_features(features_folder, "text", matrix, ids, {**settings, "empty_items": empty})
    return read_features(features_folder, "text")


def texts_changed(item_path: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether a ``.item`` file no longer has the texts that a modality ``text`` was made of.

    False where the manifest does not say what it was made of.
    """
    template, digest = manifest.get("template"), manifest.get("inputs_sha256")
    if not (template and digest):
        return False
    try:
        _, texts = item_texts(item_path, template=template)
    except UsageError:  # a column of the template is gone
        return True
    limit = int(manifest.get("limit") or len(texts))
    return digest_of(texts[:limit] + [""] * (len(texts) - limit)) != digest


def remake_text_features(item_path: Path, features_folder: Path) -> bool:
    """Encode a ``.item`` file again in the way that the manifest there has of ``tfidf_svd``.

    Returns:
        False, with nothing done, where another encoder was at work, or a column is gone.

    Raises:
        FeatureError: other modalities there use another item list.
    """
    manifest = read_manifest(features_folder, "text")
    made = _REVISION.fullmatch(str(manifest["revision"]))
    if manifest["encoder"] != TFIDF_NAME or made is None:
        return False
    seed, width = map(int, made.groups())
    if not 1 <= width <= MAX_WIDTH:
        return False
    try:
        make_text_features(item_path, features_folder, width, seed, template=manifest["template"])
    except UsageError:
        return False
    return True
