"""What runs on a GPU only, run without one: `tests.pretend_gpu` says what that is worth."""

from __future__ import annotations

import contextlib
import functools
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.nn.devices import at_once, send
from recbole_fmrlrec.nn.random_state import random_state, set_random_state
from recbole_fmrlrec.nn.recurrence import packed_scan
from recbole_fmrlrec.train.gpu import gpu_arithmetic
from recbole_fmrlrec.train.late_loss import LOOK_EVERY
from recbole_fmrlrec.train.resume import _steps_on_host
from tests.every_model import MODELS, ON_WINDOWS, SAMPLED, batches, build, prepare, step, trainer_on
from tests.pretend_gpu import DEVICE, OtherDevice, Pretended, PretendGPU, pretend_gpu

CPU = torch.device("cpu")

#: MMSSL's graphs are sparse, and there is no sparse tensor on a pretended GPU.
STEPS = [name for name in MODELS if name != "MMSSL"]
#: What makes the host wait in a step, and why it stays.
WAITS = {
    # Each item of a batch once, for the alignment of items with their attributes.
    "DIFF": {"_unique2 in diff.py:calculate_loss"},
    # How long the longest text of a group of rows is: there is no text without it.
    "RecFormer": {
        "_local_scalar_dense in text_sequences.py:lay_out_texts",
        # transformers asks whether the mask of a batch masks anything.
        "_local_scalar_dense in text_sequences.py:forward",
    },
}


def held(value: torch.Tensor) -> torch.Tensor:
    """The numbers of a tensor, wherever it says it is."""
    return value.held if isinstance(value, Pretended) else value


def not_fused(made: Any, *words: Any, fused: bool = False, **options: Any) -> Any:
    """An optimiser of torch's without its fused form."""
    return made(*words, **options)


@pytest.fixture
def root(rich: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the data; a pretended GPU knows no autocast and no fused optimiser."""
    monkeypatch.chdir(rich.parent)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    monkeypatch.setattr(torch.optim, "AdamW", functools.partial(not_fused, torch.optim.AdamW))
    return rich.parent


# The pretended GPU itself


def test_a_pretended_gpu_computes_refuses_and_notes() -> None:
    with pretend_gpu() as gpu:
        x = torch.arange(6.0).view(2, 3).to(DEVICE)
        assert gpu.waits == ["_to_copy between host and GPU in test_gpu_paths.py:" + _here()]
        y = torch.ones(2, 3).to(DEVICE, non_blocking=True)
        y[1:] += x[1:]
        assert y.device == DEVICE and len(gpu.waits) == 1
        assert held(y).tolist() == [[1, 1, 1], [4, 5, 6]]
        with pytest.raises(OtherDevice):
            x + torch.ones(2, 3)
        gpu.waits.clear()
        assert float(x.sum()) == 15 and x[x > 3].tolist() == [4, 5]
        assert [wait.split(" in ")[0] for wait in gpu.waits] == [
            "_local_scalar_dense",
            "index by a mask",
            "_to_copy between host and GPU",
        ]


def _here() -> str:
    return "test_a_pretended_gpu_computes_refuses_and_notes"


# Steps


@pytest.mark.parametrize("model", STEPS)
def test_a_step_is_that_of_the_cpu_and_waits_for_nothing(root: Path, model: str) -> None:
    prepare(root, model)
    check_step(root, model)


@pytest.mark.parametrize("model, loss", [*zip(ON_WINDOWS, [*SAMPLED, SAMPLED[0]], strict=True)])
def test_sampled_losses(root: Path, model: str, loss: str) -> None:
    check_step(root, model, loss_type=loss, num_sampled_items=4)


@pytest.mark.parametrize(
    "model, loss", [("fMRLRec", "CE"), ("SASRecM", "sampled_uniform"), ("UniSRec", "CE")]
)
def test_features_on_disk(root: Path, model: str, loss: str) -> None:
    keys = {"use_features": True, "feature_memory_mb": 0, "feature_block_size": 7}
    check_step(root, model, **keys, loss_type=loss, num_sampled_items=4)


def test_first_items_and_several_blocks(root: Path) -> None:
    keys = {"num_blocks": 2, "predict_first_item": True, "self_distillation": 0.3}
    check_step(root, "fMRLRec", **keys, history_bias=True)


def check_step(root: Path, model: str, **keys: Any) -> None:
    """Loss and gradients of the second step; the first one may make what is kept."""
    expected = []
    built = build(root, model, **keys)
    for batch in batches(built, 2):
        expected.append(step(built.model, batch, CPU))
    again = build(root, model, **keys)
    with pretend_gpu() as gpu:
        on_gpu = again.model.to(DEVICE)
        for batch, (loss, gradients) in zip(batches(again, 2), expected, strict=True):
            gpu.waits.clear()
            found_loss, found = step(on_gpu, batch, DEVICE)
            torch.testing.assert_close(held(found_loss), loss)
            for name, gradient in gradients.items():
                torch.testing.assert_close(held(found[name]), gradient, rtol=1e-4, atol=1e-6)
    allowed = WAITS.get(model, set())
    assert set(gpu.waits) <= set(allowed), Counter(gpu.waits)


# Evaluation, with the history and without it


@pytest.mark.parametrize("model", STEPS)
def test_ranks_are_those_of_the_cpu(root: Path, model: str) -> None:
    prepare(root, model)
    keys = {"metrics": ["NDCG", "GAUC", "ItemCoverage"], "history": "both"}
    built = build(root, model, **keys)
    trainer = trainer_on(built, CPU)
    metrics = trainer.evaluate(built.test, load_best_model=False)
    again = build(root, model, **keys)
    with pretend_gpu():
        other = trainer_on(again, DEVICE)
        assert other.evaluate(again.test, load_best_model=False) == metrics
    assert "masked_ndcg@5" in metrics and "itemcoverage@5" in metrics
    assert torch.equal(other.ranks, trainer.ranks)
    assert torch.equal(other.masked_ranks, trainer.masked_ranks)


# Epochs


def epoch(root: Path, device: torch.device, gpu: PretendGPU | None = None, **keys: Any) -> Any:
    """A trainer after an epoch, and the loss that RecBole's loop would log."""
    built = build(root, "fMRLRec", train_batch_size=8, **keys)
    trainer = trainer_on(built, device)
    trainer._start_schedule(20)
    if gpu is not None:
        gpu.waits.clear()
    init_loss = trainer._train_epoch(built.train, 0)
    return trainer, init_loss


def test_an_epoch_reads_its_losses_once(root: Path) -> None:
    trainer, loss = epoch(root, CPU)
    with pretend_gpu() as gpu:
        other, late = epoch(root, DEVICE, gpu)
        waits = Counter(gpu.waits)
    assert isinstance(late, float) and late == pytest.approx(loss, rel=1e-6)
    assert other.history[0]["train_loss"] == pytest.approx(trainer.history[0]["train_loss"])
    steps = trainer.scheduler.last_epoch
    assert steps == 4 and other.scheduler.last_epoch == steps
    # Whether one was NaN, and their sum.
    assert set(waits) == {
        "_local_scalar_dense in models.py:check_nan",
        "_local_scalar_dense in late_loss.py:read_late",
    }
    assert set(waits.values()) == {1}


def test_a_loss_that_is_nan_ends_the_epoch(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pretend_gpu(), pytest.raises(RunError, match="the training loss is NaN at learning_rate"):
        epoch(root, DEVICE, learning_rate=1e30, warmup_steps=0)
    monkeypatch.setattr("recbole_fmrlrec.train.late_loss.LOOK_EVERY", 2)
    with pretend_gpu(), pytest.raises(RunError, match="the training loss is NaN"):
        epoch(root, DEVICE, learning_rate=1e30, warmup_steps=0)
    assert LOOK_EVERY > 100  # each look is a wait


# The parts


def test_the_scan_on_a_gpu_has_the_gradients_of_the_one_on_a_cpu() -> None:
    torch.manual_seed(0)
    sizes, angles = [5, 5, 3, 1], torch.rand(6)
    v, upstream = torch.randn(2, 14, 6, dtype=torch.complex64)
    lam = torch.polar(torch.rand(6), angles)
    leaves = [v.requires_grad_(), lam.requires_grad_()]
    expected = torch.autograd.grad(packed_scan(*leaves, sizes), leaves, upstream)
    with pretend_gpu():
        there = [leaf.detach().to(DEVICE).requires_grad_() for leaf in leaves]
        found = torch.autograd.grad(packed_scan(*there, sizes), there, upstream.to(DEVICE))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(held(other), one, rtol=1e-5, atol=1e-5)


def test_only_copies_to_a_gpu_go_on_the_side() -> None:
    x = torch.arange(3)
    assert send(x, CPU) is x
    with pretend_gpu() as gpu:
        there = send(x, DEVICE)
        assert not gpu.waits and there.device == DEVICE
        assert send(there, CPU).tolist() == [0, 1, 2]
        assert len(gpu.waits) == 1


def test_a_gpu_does_more_at_once() -> None:
    assert at_once(2**20, CPU) == 2**20
    assert at_once(2**20, torch.device("cuda")) == 512 * 2**20
    assert at_once(2**30, torch.device("cuda")) == 2**30


@pytest.mark.parametrize("raised", [False, True])
def test_what_a_run_on_a_gpu_sets_is_set_back(
    raised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)

    def state() -> list[bool]:
        cuda = torch.backends.cuda
        return [
            torch.are_deterministic_algorithms_enabled(),
            cuda.matmul.allow_tf32,
            cuda.flash_sdp_enabled(),
            cuda.mem_efficient_sdp_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        ]

    before = state()
    with contextlib.suppress(ZeroDivisionError), gpu_arithmetic(torch.device("cuda"), True, True):
        assert state() == [True, True, False, False, False]
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        if raised:
            raise ZeroDivisionError
    assert state() == before
    with gpu_arithmetic(torch.device("cuda"), False, True):
        assert state() == [before[0], True, *before[2:]]
    with gpu_arithmetic(CPU, True, True):
        assert state() == before


def test_counts_of_steps_are_kept_on_the_host() -> None:
    with pretend_gpu() as gpu:
        there = torch.tensor(3.0).to(DEVICE)
        state = {"state": {0: {"step": there, "exp_avg": there.clone()}, 1: {}}}
        moved = _steps_on_host(state)["state"][0]
        gpu.waits.clear()
        assert moved["step"].device == CPU and float(moved["step"]) == 3
        assert moved["exp_avg"].device == DEVICE and not gpu.waits


def test_a_run_of_two_gpus_goes_on_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(
        torch.cuda, "get_rng_state_all", lambda: [torch.tensor([n]) for n in (4, 5)]
    )
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, n: taken.append((state, n)))
    set_random_state(random_state(None), None)
    assert taken == [(torch.tensor([4]), 0)]
