"""Recommendations of a model whose scores are products of hand-written vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_fmrlrec.deploy import DeployError, Recommendation, Recommender
from tests.deploy.conftest import ITEMS, lively_network, table_of

# After "a" the scores are a 2, b 4, c -2, d 1, e 0: those of (1, 1) with each vector.
VECTORS = {"a": [1.0, 1.0], "b": [4.0, 0.0], "c": [-1.0, -1.0], "d": [0.0, 1.0], "e": [2.0, -2.0]}


@pytest.fixture
def model(echo_model: Callable[..., Recommender]) -> Recommender:
    return echo_model(VECTORS, start=[0.0, 1.0])


def test_the_best_unseen_items_in_order(model: Recommender) -> None:
    found = model.recommend(["b", "a"], k=2)
    assert (found.ids, found.titles, found.scores) == (["d", "e"], ["D", "E"], [1.0, 0.0])
    assert list(found) == [Recommendation("d", "D", 1.0), Recommendation("e", "E", 0.0)]
    assert model.recommend(["b", "a"], k=3, exclude_seen=False).ids == ["b", "a", "d"]


def test_fewer_items_than_asked_for(model: Recommender) -> None:
    assert model.recommend(["a"], k=100).ids == ["b", "d", "e", "c"]
    assert model.recommend(list("abcde"), k=3).ids == []


def test_candidates_and_filter(model: Recommender) -> None:
    assert model.recommend(["a"], candidates=["c", "e", "a"]).ids == ["e", "c"]
    assert model.recommend(["a"], candidates=["c", "nothing"]).ids == ["c"]
    with pytest.raises(DeployError, match=r"1 unknown item.*nothing"):
        model.recommend(["a"], candidates=["c", "nothing"], unknown="error")
    asked = []

    def keep(item: str) -> bool:
        asked.append(item)
        return item in "ec"

    assert model.recommend(["a"], k=1, filter=keep).ids == ["e"]
    assert asked[-1] == "e" and "c" not in asked  # it is asked only as far as needed
    assert model.recommend(["a"], k=5, filter=lambda item: item in "ec").ids == ["e", "c"]
    assert model.recommend(["a"], filter=lambda item: False).ids == []


def test_a_batch_is_answered_like_its_parts(random_model: Recommender) -> None:
    histories = [["i1"], [], ["i9", "i3", "i9", "i4"], ["nobody"], ["i2"] * 30]
    batch = random_model.recommend(histories, k=7)
    for history, found in zip(histories, batch, strict=True):
        alone = random_model.recommend(history, k=7)
        assert found.ids == alone.ids and found.unknown == alone.unknown
        np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-5)
    assert random_model.recommend([[], []])[0].ids == random_model.recommend([]).ids


def test_unknown_items_are_named(model: Recommender) -> None:
    found = model.recommend(["x", "a", "y"], k=1)
    assert found.unknown == ["x", "y"] and found.ids == model.recommend(["a"], k=1).ids
    with pytest.raises(DeployError, match=r"2 unknown item.*x, y"):
        model.recommend(["x", "a", "y"], unknown="error")


def test_an_empty_history_gives_the_models_start(model: Recommender) -> None:
    # (0, 1) with each vector: a 1, b 0, c -1, d 1, e -2.
    found = model.recommend([], k=5)
    assert set(found.ids[:2]) == {"a", "d"} and found.ids[2:] == ["b", "c", "e"]
    assert found.scores == [1.0, 1.0, 0.0, -1.0, -2.0]
    assert model.recommend(["x"], k=5).ids == found.ids


def test_scores_are_those_of_the_network(random_model: Recommender) -> None:
    network = lively_network()
    table = table_of(network)
    row = torch.tensor([[5, 9, 2, 60]])
    with torch.no_grad():
        expected = network.encode_last(table, row, torch.tensor([4]))[0] @ table[1:].t()
    torch.testing.assert_close(
        random_model.scores(["i5", "i9", "i2", "i60"]), expected, rtol=1e-6, atol=1e-5
    )


def test_a_long_history_counts_as_far_as_the_training_saw(random_model: Recommender) -> None:
    history = [f"i{1 + n * 7 % ITEMS}" for n in range(40)]
    latest = random_model.scores(history[-20:])
    torch.testing.assert_close(random_model.scores(history), latest)
    random_model.max_history = None
    assert not torch.allclose(random_model.scores(history), latest, rtol=1e-3)


def test_numbers_as_ids(echo_model: Callable[..., Recommender]) -> None:
    model = echo_model({"1": [1.0, 0.0], "2": [2.0, 0.0], "3": [3.0, 0.0]}, start=[0.0, 0.0])
    assert model.recommend([3], k=2).ids == ["2", "1"]
    assert model.recommend(list(np.array([3])), k=2).ids == ["2", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"history": "abc"}, "not one text"),
        ({"history": [["a"], "b"]}, "not one text"),
        ({"history": ["a"], "k": 0}, "k must be"),
        ({"history": ["a"], "unknown": "drop"}, "unknown must be 'skip' or 'error'"),
    ],
)
def test_wrong_use_is_refused(model: Recommender, arguments: dict, message: str) -> None:
    with pytest.raises(DeployError, match=message):
        model.recommend(**arguments)


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 0.0), ("float16", 0.01), ("int8", 0.1)])
def test_a_saved_model_gives_the_same_answers(
    random_model: Recommender, tmp_path: Path, dtype: str, atol: float
) -> None:
    random_model.save(tmp_path / dtype, dtype)
    loaded = Recommender.load(tmp_path / dtype)
    assert loaded.description.table_dtype == dtype
    history = ["i3", "i1", "i4"]
    ours, theirs = random_model.scores(history), loaded.scores(history)
    assert float(ours.std()) > 5 * max(atol, 0.01)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=atol)
    table = (tmp_path / dtype / "items.safetensors").stat().st_size
    width = {"float32": 4 * 16, "float16": 2 * 16, "int8": 16 + 4}[dtype]
    assert table - (ITEMS * width + 4 * 16) < 300  # the header


def test_vectors_for_an_index_of_ones_own(random_model: Recommender) -> None:
    history = random_model.items.ids[:3]
    for size in random_model.description.sizes:
        user, items = random_model.user_vector(history, size), random_model.item_vectors(size=size)
        assert user.shape == (size,) and items.shape == (len(random_model.items.ids), size)
        smaller = random_model.encode_rows([[1, 2, 3]])[0, :size]
        torch.testing.assert_close(user, smaller)
    torch.testing.assert_close(
        random_model.item_vectors() @ random_model.user_vector(history),
        random_model.scores(history),
    )
    some = random_model.item_vectors([random_model.items.ids[4], random_model.items.ids[0]])
    assert torch.equal(some, random_model.items.vectors[[5, 1]])
    with pytest.raises(DeployError, match="size = 3: this model has the sizes"):
        random_model.item_vectors(size=3)
    with pytest.raises(DeployError, match="nobody"):
        random_model.item_vectors(["nobody"])
