"""The nearest items by their features, to judge an encoder by eye."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dataset_tools.errors import UsageError
from dataset_tools.features import Features, list_modalities, read_features
from dataset_tools.features.store_files import blocks
from dataset_tools.files.dataset_folder import FEATURES_NAME, dataset_file
from dataset_tools.formats.atomic_files import read_item_table
from dataset_tools.inspection.facts import title_and_rest


def find_neighbours(
    dataset: Path, item: str, count: int = 10, modality: str | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Modality -> the item itself and its ``count`` nearest others by cosine, nearest first.

    Raises:
        UsageError: no features, no such modality, or the item has no features.
    """
    store = dataset / FEATURES_NAME
    there = list_modalities(store)
    chosen = there if modality is None else [name for name in there if name == modality]
    if not chosen:
        raise UsageError(
            f"{store}: no features {modality}; there are {', '.join(there)}"
            if there
            else f"{store}: no features; encode-text and encode-images make them"
        )
    rows = {row.pop("item_id"): row for row in read_item_table(dataset_file(dataset, "item"))[1]}
    found: dict[str, list[dict[str, Any]]] = {}
    for name in chosen:
        features = read_features(store, name)
        scores = cosines(features, item)
        if scores is not None:
            found[name] = _cards(features, scores, item, count, rows)
    if not found:
        raise UsageError(f"item {item!r} has no features in {store}; `inspect` shows some ids")
    return found


def cosines(features: Features, item: str) -> np.ndarray | None:
    """Cosine (M,) of every row with that of ``item``, -inf for empty rows; None without a row."""
    try:
        row = features.items.index(item)
    except ValueError:
        return None
    query = features.matrix[row].astype(np.float32)
    length = np.linalg.norm(query)
    if not length:
        return None
    scores = np.full(len(features.items), -np.inf, dtype=np.float32)
    for block in blocks(len(features.items)):
        part = features.matrix[block].astype(np.float32)
        norms = np.linalg.norm(part, axis=1)
        full = norms > 0
        scores[block][full] = (part[full] @ query) / (norms[full] * length)
    return scores


def _cards(
    features: Features,
    scores: np.ndarray,
    item: str,
    count: int,
    rows: Mapping[str, Mapping[str, str]],
) -> list[dict[str, Any]]:
    order = np.argsort(-scores, kind="stable").tolist()
    others = [row for row in order if features.items[row] != item and scores[row] > -np.inf][:count]
    return [
        {
            "item": features.items[row],
            "cosine": float(scores[row]),
            **title_and_rest(rows.get(features.items[row], {})),
        }
        for row in [features.items.index(item), *others]
    ]
