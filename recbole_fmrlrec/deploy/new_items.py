"""Vectors of items that did not exist in training, from their features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from recbole_fmrlrec.deploy.description import Description
from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.nn.network import FMRLRecNetwork


def project(
    description: Description,
    network: FMRLRecNetwork,
    features: ArrayLike | Mapping[str, ArrayLike],
    count: int,
) -> Tensor:
    """Item vectors ``(count, s)``: each modality of length 1, side by side, scaled, projected.

    Args:
        description: names, order and widths of the modalities, and the scale.
        network: holds the projector.
        features: a matrix a modality, or one of all side by side; see `Recommender.add_items`.
        count: rows that are expected.

    Raises:
        DeployError: the model has no features, or these do not fit it.
    """
    if network.projector is None:
        raise DeployError(
            f"{description.model} was trained on ids alone: it has no vector for a new item"
        )
    matrix = unit_features(description, features, count) * description.feature_scale
    projected: Tensor = network.projector(matrix)
    return projected


def unit_features(
    description: Description, features: ArrayLike | Mapping[str, ArrayLike], count: int
) -> Tensor:
    """Features ``(count, F)`` float32: each modality of length 1, side by side; zeros for none.

    Raises:
        DeployError: these do not fit the model, or it has none.
    """
    if not description.modalities:
        raise DeployError(f"{description.model} was trained on ids alone: it has no features")
    parts = _by_modality(description, features)
    columns = [
        _unit_rows(parts.get(modality.name), count, modality.width, modality.name)
        for modality in description.modalities
    ]
    return torch.from_numpy(np.concatenate(columns, axis=1))


def _by_modality(
    description: Description, features: ArrayLike | Mapping[str, ArrayLike]
) -> dict[str, Any]:
    modalities = description.modalities
    names = [modality.name for modality in modalities]
    if isinstance(features, Mapping):
        if unknown := [name for name in features if name not in names]:
            raise DeployError(f"the model has no modality {unknown[0]!r}; it has {names}")
        if not features:
            raise DeployError(f"no features given; the model's modalities are {names}")
        return dict(features)
    matrix = np.asarray(features)
    if matrix.ndim != 2 or matrix.shape[1] != description.feature_width:
        raise DeployError(
            f"features have shape {matrix.shape}, not (n, {description.feature_width}): "
            + " + ".join(f"{modality.name} {modality.width}" for modality in modalities)
        )
    ends = np.cumsum([modality.width for modality in modalities])[:-1]
    return dict(zip(names, np.split(matrix, ends, axis=1), strict=True))


def _unit_rows(part: Any, count: int, width: int, name: str) -> np.ndarray:
    """Rows of length 1 in float32; rows of zeros, and a modality that is not given, stay zeros."""
    if part is None:
        return np.zeros((count, width), dtype=np.float32)
    rows = _in_range(np.asarray(part))
    if rows.shape != (count, width):
        raise DeployError(f"{name} features have shape {rows.shape}, not {(count, width)}")
    if not np.isfinite(rows).all():
        raise DeployError(f"{name} features hold NaN or infinite values")
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: np.ndarray = rows / np.where(norms > 0, norms, 1).astype(np.float32)
    return unit


def _in_range(rows: np.ndarray) -> np.ndarray:
    """Rows as float32; one whose squares float32 would not hold is divided by a power of two.

    Rows are only directions here, so that a row of float64 numbers such as 1e-60 is as good as
    any. A power of two changes no digit of them.
    """
    if rows.ndim == 2 and rows.shape[1] and rows.dtype.kind == "f":
        largest = np.abs(rows).max(axis=1, initial=0)
        outside = np.isfinite(largest) & (largest > 0) & ~((largest > 1e-12) & (largest < 1e12))
        if outside.any():
            power = np.where(outside, np.frexp(largest)[1], 0)
            rows = np.ldexp(rows, -power[:, None])
    return rows.astype(np.float32, copy=False)
