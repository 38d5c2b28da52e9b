"""Every model of this package on a tiny dataset, on any device: built, one step, one evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from recbole.utils import init_seed
from torch import Tensor, nn

from recbole_fmrlrec import compat
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.model_api.registry import SHIPPED
from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.train.trainer import trainer_class
from tests.data.test_prefix_rows import small
from tests.text_encoders import save_encoder

compat.apply()

MODELS = list(SHIPPED)
#: Those that train on windows of their own loader, which lays batches out in the host's memory.
ON_WINDOWS = ["fMRLRec", "fMRLRecID", "SASRecM", "LRURec"]
SAMPLED = ["sampled_uniform", "sampled_popularity", "sampled_in_batch"]
#: Small widths, and what a model needs on the tiny data.
KEYS: dict[str, dict[str, Any]] = {
    "RecFormer": {"encoder": "encoder", "text_columns": ["words"], "first_stage_epochs": 1},
    "DIFF": {"selected_features": ["words"]},
    **{name: {"sizes": [4, 8, 16]} for name in ("fMRLRec", "fMRLRecID")},
}


class Built(NamedTuple):
    """A model as a run makes it, and its data."""

    config: Any
    train: Any
    valid: Any
    test: Any
    model: Any


def prepare(root: Path, model: str) -> None:
    """Skip what cannot be built here, and write what a model reads."""
    if model == "VQRec":
        pytest.importorskip("faiss", reason="VQRec needs the package faiss")
    if model == "RecFormer":
        pytest.importorskip("transformers", reason="RecFormer needs the package transformers")
        save_encoder(root / "encoder", ["words", "w0", "w1", "w2", "w3"])


def build(root: Path, model: str, dropout: bool = False, **keys: Any) -> Built:
    """A model in the host's memory; the same weights every time.

    Args:
        root: the folder of the dataset ``rich``.
        model: its name.
        dropout: keep the rates of dropout; else nothing is dropped, as random numbers are others
            on another device.
    """
    config = small(root, model, **{"train_batch_size": 16, **KEYS.get(model, {}), **keys})
    init_seed(1, True)
    loaders = data_preparation(config, create_dataset(config))
    init_seed(1, True)
    built = config.model_class(config, loaders[0]._dataset)
    if not dropout:
        for part in built.modules():
            if isinstance(part, Dropout | nn.Dropout):
                part.p = 0.0
    return Built(config, *loaders, built)


def batches(built: Built, count: int = 1) -> list[Any]:
    """The first batches of an epoch, the same ones every time."""
    init_seed(2, True)
    found = []
    for batch in built.train:
        found.append(batch)
        if len(found) == count:
            break
    return found


def step(model: Any, batch: Any, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a batch and the gradients by name, zeros where there is none."""
    init_seed(3, True)
    model.train().zero_grad()
    loss = model.calculate_loss(batch.to(device))
    loss = sum(loss) if isinstance(loss, tuple) else loss
    loss.backward()
    return loss.detach(), {
        name: torch.zeros_like(value) if value.grad is None else value.grad.clone()
        for name, value in model.named_parameters()
        if value.requires_grad
    }


def trainer_on(built: Built, device: torch.device) -> Any:
    """The trainer of a model that is put on a device."""
    built.config["device"] = device
    return trainer_class(built.config)(built.config, built.model.to(device))
