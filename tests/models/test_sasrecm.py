"""SASRecM against RecBole's SASRec with the same weights; its three kinds of items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from recbole_fmrlrec.errors import UsageError
from tests.models.test_baselines import ITEMS, Run, write_cycles

MakeRun = Callable[..., Run]
DRY = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    monkeypatch.chdir(tmp_path)
    write_cycles(tmp_path)
    return lambda name="SASRecM", **keys: Run(tmp_path, name, **{**DRY, **keys})


def take_over(ours: Any, theirs: Any) -> None:
    """Give RecBole's SASRec, with weights drawn anew, the same weights as ours."""
    state: dict[str, Tensor] = {}
    for name, value in theirs.state_dict().items():
        state[name] = torch.randn_like(value) * 0.3
    theirs.load_state_dict(state)
    own = {"items.id_embedding.weight": "item_embedding.weight"}
    own["encoder.positions.weight"] = "position_embedding.weight"
    for kind in ("weight", "bias"):
        own[f"encoder.norm.{kind}"] = f"LayerNorm.{kind}"
        for layer in range(2):
            block, there = f"encoder.blocks.{layer}", f"trm_encoder.layer.{layer}"
            attention, inner = f"{there}.multi_head_attention", f"{there}.feed_forward"
            state[f"qkv{layer}{kind}"] = torch.cat(
                [state[f"{attention}.{part}.{kind}"] for part in ("query", "key", "value")]
            )
            own[f"{block}.qkv.{kind}"] = f"qkv{layer}{kind}"
            own[f"{block}.mix.{kind}"] = f"{attention}.dense.{kind}"
            own[f"{block}.norm_attention.{kind}"] = f"{attention}.LayerNorm.{kind}"
            own[f"{block}.expand.{kind}"] = f"{inner}.dense_1.{kind}"
            own[f"{block}.reduce.{kind}"] = f"{inner}.dense_2.{kind}"
            own[f"{block}.norm_feedforward.{kind}"] = f"{inner}.LayerNorm.{kind}"
    ours.load_state_dict({name: state[other] for name, other in own.items()})


def test_with_the_same_weights_it_scores_as_recboles_sasrec(run: MakeRun) -> None:
    ours, theirs = run(), run("SASRec", train_neg_sample_args=None)
    take_over(ours.model, theirs.model)
    scores, expected = ours.scores()[1], theirs.scores()[1]
    torch.testing.assert_close(scores[:, 1:], expected[:, 1:], rtol=1e-4, atol=1e-4)


def test_windows_and_prefix_rows_give_the_same_loss_and_gradient(run: MakeRun) -> None:
    results = []
    for rows in ("overlap", "prefix"):
        made = run(training_windows=rows, train_batch_size=10_000)
        loss = made.model.calculate_loss(next(iter(made.train)))
        loss.backward()
        results.append((loss.detach(), [p.grad for p in made.model.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("ids", "features"), [(True, False), (False, True), (True, True)])
def test_items_are_ids_features_or_both(run: MakeRun, ids: bool, features: bool) -> None:
    made = run(use_id_embedding=ids, use_features=features, epochs=40)
    model = made.model
    expected = torch.zeros(ITEMS + 1, 64)
    if features:
        expected += model.features @ model.items.projector.weight.T + model.items.projector.bias
    if ids:
        expected += model.items.id_embedding.weight
    torch.testing.assert_close(model.item_vectors(), expected)
    torch.testing.assert_close(model.item_vectors(torch.tensor([3, 1])), expected[[3, 1]])
    losses = made.losses()
    found = made.trainer.evaluate(made.test, load_best_model=False)
    assert losses[-1] < 0.5 * losses[0] and found["recall@1"] > 0.9


def test_neither_ids_nor_features_is_refused(run: MakeRun) -> None:
    with pytest.raises(UsageError, match="use_features and use_id_embedding are both False"):
        run(use_id_embedding=False, use_features=False)
