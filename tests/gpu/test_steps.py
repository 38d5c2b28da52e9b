"""Every model on a GPU against itself on the CPU: losses, gradients, ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from recbole_fmrlrec.model_api.protocols import NestedModel
from tests.every_model import MODELS, ON_WINDOWS, SAMPLED, batches, build, prepare, step, trainer_on

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")
Step = tuple[Tensor, dict[str, Tensor]]

#: Largest distance of the loss, and of all gradients as one vector, relative to float32 on the CPU.
#: TF32 keeps 10 bits of a factor, bfloat16 7: 5e-4 and 4e-3 for one rounding. Losses of cosines
#: over a temperature of 0.05 or 0.07 multiply a rounding by as much.
TF32, BFLOAT16 = (5e-3, 2e-2), (2e-2, 0.1)
SHARP = {"UniSRec": 5.0, "VQRec": 5.0, "RecFormer": 5.0, "DIFF": 5.0}


def both(
    root: Path, model: str, gpu: torch.device, low: torch.dtype | None = None, **keys: Any
) -> tuple[Step, Step]:
    """The same step on the CPU in float32 and on the GPU, there in autocast where asked for."""
    prepare(root, model)
    built, again = (build(root, model, **keys) for _ in range(2))
    (batch,), (same,) = batches(built), batches(again)
    expected = step(built.model, batch, CPU)
    moved = again.model.to(gpu)
    with torch.autocast(gpu.type, dtype=low, enabled=low is not None):
        loss, found = step(moved, same, gpu)
    return expected, (loss.cpu(), {name: value.cpu() for name, value in found.items()})


def assert_equal(expected: Step, found: Step) -> None:
    """Equal to rounding: each gradient by its own largest number and by that of all."""
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
    largest = max(float(value.abs().max()) for value in expected[1].values() if value.numel())
    assert found[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        allowed = 2e-4 * float(value.abs().max()) + 2e-6 * largest
        assert float((found[1][name] - value).abs().max()) <= allowed, name


def distances(expected: Step, found: Step) -> tuple[float, float]:
    """Of the loss and of all gradients as one vector, relative."""
    true, given = (
        torch.cat([value.flatten().double() for value in one[1].values()])
        for one in (expected, found)
    )
    loss = float((found[0] - expected[0]).abs() / expected[0].abs())
    return loss, float((given - true).norm() / true.norm())


@pytest.mark.parametrize("model", MODELS)
def test_float32(root: Path, gpu: torch.device, model: str) -> None:
    assert_equal(*both(root, model, gpu))


@pytest.mark.parametrize("model", MODELS)
def test_tf32(root: Path, gpu: torch.device, model: str) -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    loss, gradients = distances(*both(root, model, gpu))
    more = SHARP.get(model, 1.0)
    assert loss <= TF32[0] * more and gradients <= TF32[1] * more, (loss, gradients)


@pytest.mark.parametrize("model", MODELS)
def test_bfloat16(root: Path, gpu: torch.device, model: str) -> None:
    loss, gradients = distances(*both(root, model, gpu, torch.bfloat16))
    more = SHARP.get(model, 1.0)
    assert loss <= BFLOAT16[0] * more and gradients <= BFLOAT16[1] * more, (loss, gradients)


@pytest.mark.parametrize("loss", SAMPLED)
@pytest.mark.parametrize("model", ON_WINDOWS)
def test_sampled_losses(root: Path, gpu: torch.device, model: str, loss: str) -> None:
    assert_equal(*both(root, model, gpu, loss_type=loss, num_sampled_items=4))


@pytest.mark.parametrize("loss", ["CE", "sampled_uniform"])
@pytest.mark.parametrize("model", ["fMRLRec", "fMRLRecID", "SASRecM", "UniSRec"])
def test_features_on_disk(root: Path, gpu: torch.device, model: str, loss: str) -> None:
    keys = {"use_features": True, "feature_memory_mb": 0, "feature_block_size": 7}
    assert_equal(*both(root, model, gpu, loss_type=loss, num_sampled_items=4, **keys))


@pytest.mark.parametrize("keys", [{"training_windows": "prefix"}, {"training_windows": "latest"}])
@pytest.mark.parametrize("model", ON_WINDOWS)
def test_other_rows(root: Path, gpu: torch.device, model: str, keys: dict[str, Any]) -> None:
    assert_equal(*both(root, model, gpu, **keys))


def test_first_items_several_blocks_and_distillation(root: Path, gpu: torch.device) -> None:
    keys = {"num_blocks": 2, "predict_first_item": True, "self_distillation": 0.3}
    keys["history_bias"] = True
    assert_equal(*both(root, "fMRLRec", gpu, **keys))


@pytest.mark.parametrize("model", MODELS)
def test_ranks_with_the_history_and_without(root: Path, gpu: torch.device, model: str) -> None:
    """A rank is the CPU's, or moved by items whose scores are near the target's alone.

    Near is within 1e-4 of the largest score of the row: float32 keeps seven digits, and a score is
    a sum of some products.
    """
    prepare(root, model)
    found = []
    for device in (CPU, gpu):
        built = build(root, model, history="both")
        trainer = trainer_on(built, device)
        trainer.evaluate(built.test, load_best_model=False)
        found.append((trainer.ranks, trainer.masked_ranks))
        if device == CPU:
            lowest, highest = bounds(built)
    (ranks, masked), (on_gpu, masked_on_gpu) = found
    assert ((lowest <= ranks) & (ranks <= highest)).all()
    assert ((lowest <= on_gpu) & (on_gpu <= highest)).all()
    clear = lowest == highest
    assert clear.float().mean() > 0.25  # texts of RecFormer that are the same tie
    assert torch.equal(on_gpu[clear], ranks[clear])
    assert torch.equal(masked_on_gpu[clear], masked[clear])


@torch.no_grad()
def bounds(built: Any) -> tuple[Tensor, Tensor]:
    """Lowest and highest rank ``(K, R)`` that a target may have, scores being near one another."""
    model, lows, highs = built.model.cpu().eval(), [], []
    for size in model.sizes if isinstance(model, NestedModel) else [None]:
        if size is not None:
            model.size = size
        low, high = [], []
        for rows, _, _, positives in built.test:
            scores = model.full_sort_predict(rows).view(len(positives), -1)[:, 1:].double()
            own = scores.gather(1, positives[:, None] - 1)
            near = 1e-4 * scores.abs().amax(1, keepdim=True)
            low.append(1 + (scores > own + near).sum(1))
            high.append((scores >= own - near).sum(1))
        lows.append(torch.cat(low))
        highs.append(torch.cat(high))
    return torch.stack(lows), torch.stack(highs)
