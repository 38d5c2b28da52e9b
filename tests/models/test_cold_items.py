"""Items that a split by time keeps from training are in no loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.nn.loss import nested_cross_entropy
from recbole_fmrlrec.nn.negatives import draw_negatives
from recbole_fmrlrec.nn.sampled_loss import CandidateSampler
from tests.data.test_time_split import arguments, january

__all__ = ["january"]  # the fixture

#: Items of the training part of January; e, f, x and y come later.
KNOWN = ["a", "b", "c", "d"]
IDS_ONLY = {"use_features": False, "use_id_embedding": True}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "nested": ("fMRLRecID", {"sizes": [4, 8], "self_distillation": 0.5, **IDS_ONLY}),
    "one size": ("SASRecM", {"hidden_size": 8, **IDS_ONLY}),
    "with a bias": ("LRURec", {"hidden_size": 8}),
    "gBCE": ("gSASRec", {"hidden_size": 8, "num_negatives": 3}),
    "own draws": ("eSASRec", {"hidden_size": 8, "num_negatives": 3}),
    "uniform": ("SASRecM", {"hidden_size": 8, "loss_type": "sampled_uniform", **IDS_ONLY}),
    "popular": ("SASRecM", {"hidden_size": 8, "loss_type": "sampled_popularity", **IDS_ONLY}),
}


def build(january: Path, name: str, **keys: Any) -> tuple[Any, Any, Any]:
    """Dataset, loader of the training and model in evaluation, so without dropout."""
    places = {"data_path": str(january.parent), "checkpoint_dir": str(january.parent / "saved")}
    made = Config(name, "toy", config_dict={**places, "use_gpu": False, **keys})
    dataset = create_dataset(made)
    train = data_preparation(made, dataset)[0]
    torch.manual_seed(1)
    return dataset, train, made.model_class(made, train._dataset).eval()


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("windows", ["overlap", "prefix"])
def test_cold_items_learn_nothing(january: Path, case: str, windows: str) -> None:
    name, keys = MODELS[case]
    dataset, train, model = build(
        january, name, training_windows=windows, eval_args=arguments(), **keys
    )
    known = dataset.token2id("item_id", KNOWN)
    cold = torch.ones(dataset.item_num, dtype=torch.bool)
    cold[[0, *known]] = False
    rows = next(iter(train))
    loss = _loss(model, rows)
    loss.backward()
    tables = [p for p in model.parameters() if p.shape[0] == dataset.item_num and p.ndim == 2]
    assert tables
    for table in tables:
        assert table.grad is not None
        assert not table.grad[cold].any() and table.grad[known].any()
        with torch.no_grad():
            table[cold] += 50
    assert _loss(model, rows).item() == loss.item()


def test_gsasrecs_beta_counts_the_items_that_are_drawn(january: Path) -> None:
    keys = {"hidden_size": 8, "num_negatives": 2, "gbce_t": 1.0}
    _, _, model = build(january, "gSASRec", eval_args=arguments(), **keys)
    assert model.beta == pytest.approx(2 / 3)  # of the three of four that are not the target
    _, _, model = build(january, "gSASRec", eval_args=arguments(), **{**keys, "num_negatives": 9})
    assert (model.num_negatives, model.beta) == (3, 1)


def _loss(model: Any, rows: Any) -> torch.Tensor:
    torch.manual_seed(2)
    loss: torch.Tensor = model.calculate_loss(rows)
    return loss


def test_the_softmax_is_that_of_the_known_items(january: Path) -> None:
    dataset, _, model = build(january, "SASRecM", eval_args=arguments(), **IDS_ONLY)
    known = torch.as_tensor(dataset.token2id("item_id", sorted(KNOWN))).sort().values - 1
    hidden, items = torch.randn(5, 8), torch.randn(dataset.item_num - 1, 8)
    targets = known[torch.tensor([0, 3, 1, 2, 0])]
    columns = torch.searchsorted(known, targets)
    wanted = nested_cross_entropy(hidden, items[known], columns, (8,))
    torch.testing.assert_close(model.softmax_loss(hidden, items, targets), wanted)


def test_other_splits_leave_no_item_out(january: Path) -> None:
    model = build(january, "SASRecM", **IDS_ONLY)[-1]
    assert model.known_items is None and model.cold_bias is None


@pytest.mark.parametrize("kind", ["uniform", "popularity"])
def test_draws_pass_over_cold_items(kind: str) -> None:
    known = torch.tensor([1, 2, 5])
    sampler = CandidateSampler(kind, 2, torch.tensor([0, 3, 1, 0, 0, 2]), known)
    drawn = torch.cat([sampler.draw(torch.tensor([2])).rows for _ in range(50)])
    assert sorted(set(drawn.tolist())) == [1, 2, 5]
    # 1 - (1 - q)^2 for item 1: a third of the known ones, and half of their targets.
    share = {"uniform": 1 / 3, "popularity": 1 / 2}[kind]
    found = sampler.probability(torch.tensor([1]), 1).item()
    assert found == pytest.approx(1 - (1 - share) ** 2)
    every = CandidateSampler(kind, 3, torch.tensor([0, 3, 1, 0, 0, 2]), known)
    assert every.draw(torch.tensor([2])).rows.tolist() == [1, 2, 5]


def test_own_draws_pass_over_cold_items() -> None:
    rows = draw_negatives(6, 100, torch.tensor([1, 5]), torch.tensor([1, 2, 5]))
    assert rows[:, 0].tolist() == [1, 5]
    assert sorted(set(rows[:, 1:].flatten().tolist())) == [1, 2, 5]
