"""Items that did not exist in training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_fmrlrec.deploy import DeployError, Recommender
from tests.deploy.conftest import IMAGE, ITEMS, TEXT, features_of


def test_the_features_of_a_trained_item_give_its_vector(random_model: Recommender) -> None:
    known = features_of(ITEMS)
    # Lengths must not matter: the features are brought to length 1 before the projection.
    random_model.add_items(
        ["twin3", "twin7"],
        {"image": known["image"][[2, 6]] * 0.1, "text": known["text"][[2, 6]] * 40},
        titles=["Three", None],
    )
    vectors = random_model.items.vectors
    torch.testing.assert_close(vectors[-2:], vectors[[3, 7]], rtol=1e-5, atol=1e-5)
    found = random_model.recommend(["i5"], k=ITEMS + 1)
    scores = dict(zip(found.ids, found.scores, strict=True))
    assert scores["twin3"] == pytest.approx(scores["i3"], rel=1e-4)
    others = [f"i{row}" for row in range(10, ITEMS)]
    after = [random_model.recommend([item], candidates=others).ids for item in ("twin3", "i3")]
    assert after[0] == after[1]


def test_one_matrix_with_the_modalities_side_by_side(random_model: Recommender) -> None:
    new = features_of(2, seed=5)
    random_model.add_items(["a"], {name: rows[:1] for name, rows in new.items()})
    random_model.add_items(["b"], torch.cat([new["text"], new["image"]], dim=1)[:1])
    torch.testing.assert_close(random_model.items.vectors[-1], random_model.items.vectors[-2])


def test_a_missing_modality_counts_as_zeros(random_model: Recommender) -> None:
    text = features_of(1)["text"].numpy()
    random_model.add_items(["a"], {"text": text})
    random_model.add_items(["b"], {"text": text, "image": np.zeros((1, IMAGE))})
    assert torch.equal(random_model.items.vectors[-1], random_model.items.vectors[-2])


def test_by_hand(echo_model: Callable[..., Recommender]) -> None:
    model = echo_model({"x": [1.0, 0.0]}, start=[0.0, 0.0], feature_scale=2.0)
    assert model.network.projector is not None
    model.network.projector.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    model.network.projector.bias.copy_(torch.tensor([0.5, 0.0]))
    model.add_items(["new"], [[3.0, 4.0]], titles=["New"])
    # (3, 4) of length 1 is (.6, .8), times 2 (1.2, 1.6): W f + b = (1.7, 2.8).
    torch.testing.assert_close(model.items.vectors[2], torch.tensor([1.7, 2.8]))
    found = model.recommend(["x"], k=1)
    assert (found.ids, found.titles) == (["new"], ["New"])
    assert found.scores == pytest.approx([1.7])


@pytest.mark.parametrize("size", [1e-60, 1e-25, 1e25, 1e60])
def test_by_hand_whatever_the_size_of_the_numbers(
    echo_model: Callable[..., Recommender], size: float
) -> None:
    model = echo_model({"x": [1.0, 0.0]}, start=[0.0, 0.0], feature_scale=1.0)
    assert model.network.projector is not None
    model.network.projector.weight.copy_(torch.eye(2))
    model.network.projector.bias.zero_()
    model.add_items(["new", "old"], np.array([[3.0 * size, 4.0 * size], [3.0, 4.0]]))
    torch.testing.assert_close(model.items.vectors[2], torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(model.items.vectors[2], model.items.vectors[3])


def test_new_items_are_saved(random_model: Recommender, tmp_path: Path) -> None:
    random_model.use_two_stage(4, 5)
    random_model.add_items(["new"], {"text": np.ones((1, TEXT))}, titles=["New"])
    random_model.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    assert loaded.description.num_items == ITEMS + 1
    assert loaded.description.trained_items == ITEMS
    assert loaded.recommend(["new"], k=5) == random_model.recommend(["new"], k=5)
    assert loaded.items.titles[-1] == "New"


@pytest.mark.parametrize(
    ("ids", "features", "message"),
    [
        (["i1"], {"text": np.ones((1, TEXT))}, "'i1' is already in the model"),
        (["a", "a"], {"text": np.ones((2, TEXT))}, "'a' occurs twice"),
        (["a"], {"text": np.ones((1, TEXT + 1))}, r"text features have shape \(1, 6\)"),
        (["a"], {"text": np.ones((2, TEXT))}, r"not \(1, 5\)"),
        (["a"], {"sound": np.ones((1, 2))}, "no modality 'sound'"),
        (["a"], {}, "no features given"),
        (["a"], np.ones((1, TEXT)), r"not \(n, 8\): text 5 \+ image 3"),
        (["a"], {"text": np.full((1, TEXT), np.nan)}, "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(
    random_model: Recommender, ids: list[str], features: Any, message: str
) -> None:
    with pytest.raises(DeployError, match=message):
        random_model.add_items(ids, features)
    assert len(random_model.items) == ITEMS == len(random_model.items.vectors) - 1
    assert random_model.description.num_items == ITEMS


def test_titles_must_be_as_many(random_model: Recommender) -> None:
    with pytest.raises(DeployError, match="2 titles for 1 items"):
        random_model.add_items(["a"], {"text": np.ones((1, TEXT))}, titles=["x", "y"])
