"""Trainings on a GPU: nothing waits in a step, resumed to the bit, low precision, two devices."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.trainer import Trainer as RecBoleTrainer
from recbole.utils import init_seed

from recbole_fmrlrec.files.checkpoint import load_checkpoint, load_model_state
from recbole_fmrlrec.train.gpu import gpu_arithmetic
from recbole_fmrlrec.train.tensorboard import tensorboard_in
from tests.every_model import MODELS, ON_WINDOWS, SAMPLED, batches, build, prepare, trainer_on
from tests.train.test_resume_of_models import keep, outcome

pytestmark = pytest.mark.gpu


@contextlib.contextmanager
def no_waiting() -> Iterator[None]:
    """Operations that make the host wait for the GPU fail."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("loss", ["CE", *SAMPLED])
@pytest.mark.parametrize("model", ON_WINDOWS)
@pytest.mark.usefixtures("cuda_only")
def test_steps_wait_for_nothing(root: Path, gpu: torch.device, model: str, loss: str) -> None:
    """RecBole's own loop, as an epoch runs it: copies, loss, gradients, clipping, optimiser."""
    keys = {"loss_type": loss, "num_sampled_items": 4, "train_batch_size": 4}
    built = build(root, model, dropout=True, **keys)
    trainer = trainer_on(built, gpu)
    trainer._start_schedule(100)
    rows = batches(built, 6)
    assert len(rows) == 6
    for steps in (rows[:3], rows[3:]):  # the first ones allocate and compile
        waiting = contextlib.nullcontext() if steps[0] is rows[0] else no_waiting()
        losses = trainer.late(trainer.model.calculate_loss)
        with waiting:
            total = RecBoleTrainer._train_epoch(trainer, steps, 0, losses)
        assert trainer.read_late(total) > 0


def begin(root: Path, folder: Path, model: str, gpu: torch.device) -> tuple[Any, Any, Any]:
    """A trainer as a new process makes it, and the data for training and validation."""
    folder.mkdir(exist_ok=True)
    keys = {"epochs": 2, "checkpoint_dir": str(folder)}
    built = build(root, model, dropout=True, **keys)
    tensorboard_in(folder)
    return trainer_on(built, gpu), built.train, built.valid


@pytest.mark.parametrize("model", MODELS)
def test_taken_up_again_it_ends_as_undisturbed(
    root: Path, gpu: torch.device, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    if model == "MMSSL":
        pytest.skip("MMSSL's sparse products are not known to add up in one order on a GPU")
    prepare(root, model)
    run, kept = root / "run", root / "kept"
    with gpu_arithmetic(gpu, reproducible=True, allow_tf32=False):
        trainer, *data = begin(root, run, model, gpu)
        save = trainer._save_last
        monkeypatch.setattr(trainer, "_save_last", lambda epoch: (save(epoch), keep(run, kept)))
        trainer.fit(*data, verbose=False)
        undisturbed = outcome(trainer) | {"on_gpu": torch.rand(3, device=gpu).tolist()}
        for source in (random.seed, np.random.seed, torch.manual_seed):
            source(99)
        again, *data = begin(root, kept, model, gpu)
        assert again.resume()
        again.fit(*data, verbose=False)
        assert again.start_epoch == 1
        assert outcome(again) | {"on_gpu": torch.rand(3, device=gpu).tolist()} == undisturbed


@pytest.mark.parametrize("model", ["fMRLRecID", "SASRecM", "LRURec", "gSASRec"])
def test_the_same_seed_gives_the_same_digits(root: Path, gpu: torch.device, model: str) -> None:
    outcomes = []
    for name in ("one", "two"):
        with gpu_arithmetic(gpu, reproducible=True, allow_tf32=False):
            trainer, *data = begin(root, root / name, model, gpu)
            trainer.fit(*data, verbose=False)
        outcomes.append(outcome(trainer))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    "low", [{}, {"enable_amp": True}, {"enable_amp": True, "amp_dtype": "float16"}]
)
@pytest.mark.parametrize("model", ON_WINDOWS)
def test_an_epoch_lowers_the_loss(
    root: Path, gpu: torch.device, model: str, low: dict[str, Any]
) -> None:
    """As in float32 on the CPU; in low precision, whose roundings add up over steps, about so."""
    scaled = low.get("amp_dtype") == "float16"
    if scaled and gpu.type == "cpu":
        pytest.skip("a CPU has no scaler of gradients in RecBole")
    found = []
    for device, keys in ((torch.device("cpu"), {}), (gpu, {**low, "enable_scaler": scaled})):
        built = build(root, model, learning_rate=0.01, warmup_steps=0, **keys)
        trainer = trainer_on(built, device)
        trainer._start_schedule(100)
        init_seed(4, True)
        for epoch in range(4):
            trainer._train_epoch(built.train, epoch)
        found.append([epoch["train_loss"] for epoch in trainer.history])
    expected, losses = found
    assert losses[-1] < losses[0]
    # A scaler begins by leaving out steps whose gradients overflow.
    tolerance = 1e-3 if not low else 0.5 if scaled else 0.25
    assert losses == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("model", MODELS)
def test_a_checkpoint_goes_to_the_other_device(root: Path, gpu: torch.device, model: str) -> None:
    prepare(root, model)
    trainer, *data = begin(root, root / "run", model, gpu)
    trainer.fit(*data, verbose=False)
    on_gpu = {name: value.cpu() for name, value in trainer.model.state_dict().items()}
    shutil.copy(root / "run" / "last.pth", root / "copy.pth")
    for device in ("cpu", gpu):
        built = build(root, model)
        load_model_state(built.model.to(device), load_checkpoint(root / "copy.pth", device))
        for name, value in built.model.state_dict().items():
            assert value.device.type == torch.device(device).type
            assert torch.equal(value.cpu(), on_gpu[name]), name
