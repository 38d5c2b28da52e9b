"""The mends of single models and trainers: what RecBole does without them, and with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.trainer.trainer import Trainer

from recbole_fmrlrec import compat
from recbole_fmrlrec.compat import models as compat_models
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.train.trainer import Trainer as OurTrainer
from tests.conftest import MakeConfig, as_shipped, write_inter
from tests.data.test_loaders import UNIFORM
from tests.pretend_gpu import DEVICE, pretend_gpu

compat.apply()


def counted(config: Any, count: Any) -> Any:
    """Pop after one epoch in which ``count`` took each batch, and its dataset."""
    from recbole.model.general_recommender.pop import Pop

    train = data_preparation(config, create_dataset(config))[0]
    model = Pop(config, train._dataset)
    for batch in train:
        count(model, batch)
    return model, train._dataset


def test_pop_counts_interactions(config: MakeConfig, tmp_path: Path) -> None:
    from recbole.model.general_recommender.pop import Pop

    # The last two of a user are validation and test. Of the others, 12 have a, 4 have b.
    rows = [(f"u{u}", item, t) for u in range(12) for t, item in enumerate("acde")]
    rows += [(f"v{u}", item, t) for u in range(4) for t, item in enumerate("bcde")]
    write_inter(tmp_path, rows)
    # With a drawn negative for each interaction, as RecBole trains Pop, and without.
    settings = config("Pop", train_batch_size=100, train_neg_sample_args=UNIFORM)
    model, dataset = counted(settings, Pop.calculate_loss)
    alone, _ = counted(config("Pop", train_batch_size=100), Pop.calculate_loss)
    assert torch.equal(model.item_cnt, alone.item_cnt)
    a, b, c = (dataset.token2id("item_id", name) for name in "abc")
    assert model.item_cnt[[a, b, c], 0].tolist() == [12, 4, 16]
    assert model.item_cnt.sum() == 32 and model.max_cnt.tolist() == [16]
    assert model.item_cnt.dtype == torch.int64
    shipped, _ = counted(settings, Pop.calculate_loss.__wrapped__)
    assert int((shipped.item_cnt > 0).sum()) > 3  # items that nobody had in training are counted
    shipped, _ = counted(config("Pop", train_batch_size=100), Pop.calculate_loss.__wrapped__)
    assert shipped.item_cnt[[a, b, c], 0].tolist() == [1, 1, 1]  # all were in the one batch


def test_pop_is_mended_once_and_only_when_it_is_imported() -> None:
    script = """
import sys
from recbole_fmrlrec import compat
from recbole_fmrlrec.compat import models as compat_models
compat.apply()
name = "recbole.model.general_recommender.pop"
assert name not in sys.modules
compat_models.interactions_of_pop()
from recbole.model.general_recommender import Pop
mended = Pop.calculate_loss
compat_models.interactions_of_pop()
assert Pop.calculate_loss is mended and not hasattr(mended.__wrapped__, "__wrapped__")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_loss_that_is_nan_says_what_to_try(config: MakeConfig, rich: Path) -> None:
    shipped = as_shipped("recbole.trainer.trainer").Trainer._check_nan
    with pytest.raises(ValueError, match=r"^Training loss is nan$"):
        shipped(None, torch.tensor(torch.nan))
    settings = config("SASRec", "rich", learning_rate=0.25)
    train = data_preparation(settings, create_dataset(settings))[0]
    model = settings.model_class(settings, train._dataset)
    torch.nn.init.constant_(model.item_embedding.weight, torch.nan)
    for trainer in (Trainer, OurTrainer):
        with pytest.raises(RunError, match=r"NaN at learning_rate 0\.25: .*try a smaller") as error:
            trainer(settings, model).fit(train, saved=False)
        assert "clip_grad_norm" in str(error.value) and "enable_amp" in str(error.value)
    assert compat_models.advice_on_divergence() is None  # again: nothing else happens
    Trainer._check_nan(None, torch.tensor(1.0))


def step_with_a_scaler(module: Any, scaler: Any) -> torch.Tensor:
    """A parameter at 0 after RecBole's own sequence of calls, with gradients 3 and 4."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    loss = (parameter * torch.tensor([3.0, 4.0])).sum()
    scaler.scale(loss).backward()
    module.clip_grad_norm_([parameter], max_norm=1.0)
    scaler.step(optimizer)
    scaler.update()
    return parameter.detach()


def test_scaled_gradients_are_clipped_by_their_own_length() -> None:
    import recbole.trainer.trainer as mended

    shipped = as_shipped("recbole.trainer.trainer")
    clipped = step_with_a_scaler(shipped, torch.amp.GradScaler("cpu", init_scale=1024.0))
    torch.testing.assert_close(clipped, -torch.tensor([0.6, 0.8]) / 1024)  # the fault
    scaler = mended.amp.GradScaler.func("cpu", init_scale=1024.0)
    torch.testing.assert_close(step_with_a_scaler(mended, scaler), -torch.tensor([0.6, 0.8]))
    off = mended.amp.GradScaler.func("cpu", enabled=False)
    torch.testing.assert_close(step_with_a_scaler(mended, off), -torch.tensor([0.6, 0.8]))


def test_batches_go_to_a_gpu_without_waiting_for_it() -> None:
    from recbole.data.interaction import Interaction

    batch = Interaction({"user_id": torch.tensor([1, 2]), "item_id": torch.tensor([3, 4])})
    with pretend_gpu() as gpu:
        there, part = batch.to(DEVICE), batch.to(DEVICE, "user_id")
        assert not gpu.waits
        assert there["item_id"].device == DEVICE and there["item_id"].tolist() == [3, 4]
        assert [part[name].device.type for name in ("user_id", "item_id")] == ["meta", "cpu"]
        unmended = as_shipped("recbole.data.interaction").Interaction(dict(batch.interaction))
        gpu.waits.clear()
        unmended.to(DEVICE)
        assert len(gpu.waits) == 2
