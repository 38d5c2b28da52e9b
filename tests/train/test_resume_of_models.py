"""A run that is interrupted and taken up again is the undisturbed run, for every model there is."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.utils import init_seed

from recbole_fmrlrec import compat
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.files.checkpoint import load_checkpoint, save_checkpoint
from recbole_fmrlrec.model_api.registry import list_models
from recbole_fmrlrec.train.tensorboard import tensorboard_in
from recbole_fmrlrec.train.trainer import Trainer, trainer_class
from tests.data.test_prefix_rows import COLUMNS, small
from tests.data.test_prefix_rows import KEYS as ROWS
from tests.text_encoders import save_encoder

compat.apply()

#: Settings without which a model cannot be built on the tiny data, or is slow on them.
KEYS: dict[str, dict[str, Any]] = {
    **ROWS,
    "RaCT": {"train_stage": "actor_pretrain", "pretrain_epochs": 2, "save_step": 1},
    **{k: {"use_features": False, "use_id_embedding": True} for k in ("fMRLRec", "fMRLRecID")},
    **{k: {"load_col": {"inter": COLUMNS["inter"]}} for k in ("DIEN", "DIN")},
    "NCL": {"num_clusters": 5, "warm_up_step": 0, "m_step": 2},
    "S3Rec": {"item_attribute": "words", "train_stage": "finetune", "mask_ratio": 0.5},
    "RecFormer": {"encoder": "encoder", "text_columns": ["words"], "first_stage_epochs": 1},
    "RippleNet": {"n_memory": 4, "embedding_size": 8},
    "Caser": {"nh": 2, "nv": 2},
}
KEYS["fMRLRecID"]["history_bias"] = True
for name in list_models()["context_aware"]:
    KEYS[name] = {"threshold": {"rating": 3}}
KEYS["DSSM"]["load_col"] = {"inter": COLUMNS["inter"], "item": ["item_id", "words"]}
KEYS["DSSM"]["load_col"]["user"] = ["user_id", "age"]
#: Models whose state no checkpoint can hold: the run says so when it starts.
NOT_EXACT: set[str] = set()
#: Trees grow in libraries of their own; RecBole's trainer of them cannot go on.
TREES = set(list_models()["exlib"])
PRETRAINED = {"S3Rec", "KD_DAGFM"}  # they need a file of an earlier training
MODELS = sorted({n for kind in list_models().values() for n in kind} - TREES - PRETRAINED)


def keep(run: Path, kept: Path) -> None:
    """Keep what is there after the first epoch, where a process may end."""
    if not kept.is_dir():
        shutil.copytree(run, kept)


def begin(root: Path, folder: Path, model: str) -> tuple[Any, Any, Any]:
    """A trainer as a new process makes it, and the data for training and validation."""
    folder.mkdir(exist_ok=True)
    config = small(
        root,
        model,
        epochs=2,
        checkpoint_dir=str(folder),
        train_batch_size=64,
        **KEYS.get(model, {}),
    )
    init_seed(1, True)
    train, valid, _ = data_preparation(config, create_dataset(config))
    tensorboard_in(folder)
    trainer = trainer_class(config)(config, config.model_class(config, train._dataset))
    return trainer, train, valid


def outcome(trainer: Any) -> dict[str, Any]:
    """Every number that a training leaves."""
    timeless = [
        {k: v for k, v in epoch.items() if not k.endswith("seconds")} for epoch in trainer.history
    ]
    numbers = {"history": timeless, "best": trainer.best_valid_result}
    numbers |= {name: value.tolist() for name, value in trainer.model.state_dict().items()}
    return numbers | {"drawn": [torch.rand(2).tolist(), np.random.rand(2).tolist()]}


@pytest.mark.parametrize("model", MODELS)
def test_taken_up_again_it_ends_as_undisturbed(
    rich: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, model: str
) -> None:
    if model == "VQRec":
        pytest.importorskip("faiss", reason="VQRec needs the package faiss")
    monkeypatch.chdir(rich.parent)
    if model == "RecFormer":
        pytest.importorskip("transformers", reason="RecFormer needs the package transformers")
        save_encoder(rich.parent / "encoder", ["words", "w0", "w1", "w2", "w3"], dropout=0.1)
    run, kept = rich.parent / "run", rich.parent / "kept"
    try:
        trainer, *data = begin(rich.parent, run, model)
        save = trainer._save_last
        monkeypatch.setattr(trainer, "_save_last", lambda epoch: (save(epoch), keep(run, kept)))
        trainer.fit(*data, verbose=False)
    except ModuleNotFoundError as error:
        pytest.skip(f"{model} needs the package {error.name}")
    assert isinstance(trainer, Trainer)
    undisturbed = outcome(trainer)
    assert ("cannot be resumed exactly" in caplog.text) == (model in NOT_EXACT)
    for source in (random.seed, np.random.seed, torch.manual_seed):
        source(99)
    again, *data = begin(rich.parent, kept, model)
    assert again.resume()
    again.fit(*data, verbose=False)
    assert again.start_epoch == 1
    assert outcome(again) == undisturbed or model in NOT_EXACT


def test_what_no_checkpoint_holds_is_said_when_the_run_starts(
    rich: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(rich.parent)
    trainer, *data = begin(rich.parent, rich.parent / "run", "BPR")
    trainer.model.stream = iter([1, 2])
    trainer.fit(*data, verbose=False)
    (said,) = [r.getMessage() for r in caplog.records if "resumed exactly" in r.getMessage()]
    assert said.startswith(
        "BPR cannot be resumed exactly: no checkpoint can hold its model.stream "
        "(builtins.list_iterator)."
    )


def test_checkpoints_of_before_are_taken_up(rich: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(rich.parent)
    kept = rich.parent / "kept"
    trainer, *data = begin(rich.parent, rich.parent / "run", "BPR")
    trainer.fit(*data, verbose=False, callback_fn=lambda *_: keep(rich.parent / "run", kept))
    undisturbed = outcome(trainer)
    old = load_checkpoint(kept / "last.pth")
    for key in ("beside", "sources", "best_file", "optimizer_in_turn"):
        del old[key]
    save_checkpoint(kept / "last.pth", old)
    again, *data = begin(rich.parent, kept, "BPR")
    assert again.resume()
    again.fit(*data, verbose=False)
    assert outcome(again) == undisturbed
