"""Similar items: cosines worked out by hand, and against numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from recbole_fmrlrec.deploy import DeployError, Recommender
from tests.deploy.conftest import ITEMS, features_of

VECTORS = {"a": [1.0, 1.0], "b": [4.0, 0.0], "c": [-1.0, -1.0], "d": [0.0, 1.0], "e": [2.0, -2.0]}
HALF = 0.5**0.5


@pytest.fixture
def model(echo_model: Callable[..., Recommender]) -> Recommender:
    return echo_model(VECTORS, start=[0.0, 1.0])


def test_cosines_by_hand(model: Recommender) -> None:
    found = model.similar("b", k=4)
    assert found.ids == ["e", "a", "d", "c"] or found.ids == ["a", "e", "d", "c"]
    assert found.scores == pytest.approx([HALF, HALF, 0.0, -HALF])
    assert found.titles[2:] == ["D", "C"]
    # By the first dimension: d is zero there, and like nothing.
    narrow = model.similar("b", k=9, size=1)
    assert narrow.scores == pytest.approx([1.0, 1.0, 0.0, -1.0])
    assert set(narrow.ids[:2]) == {"a", "e"} and narrow.ids[2:] == ["d", "c"]
    assert model.similar("b", filter=lambda item: item in "cd").ids == ["d", "c"]


def test_a_batch_is_answered_like_its_parts(model: Recommender) -> None:
    both = model.similar(["d", "c"], k=3)
    assert [one.scores for one in both] == [
        pytest.approx(model.similar(item, k=3).scores) for item in ("d", "c")
    ]
    assert model.similar([], k=3) == []


@pytest.mark.parametrize("size", [None, 4, 8, 16])
def test_every_size_against_numpy(random_model: Recommender, size: int | None) -> None:
    vectors = random_model.item_vectors(size=size).numpy().astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for at in (0, 7, ITEMS - 1):
        cosines = unit @ unit[at]
        cosines[at] = -2
        found = random_model.similar(f"i{at + 1}", k=12, size=size)
        assert found.scores == pytest.approx(np.sort(cosines)[::-1][:12], abs=1e-5)
        assert [cosines[int(item[1:]) - 1] for item in found.ids] == pytest.approx(found.scores)


def test_the_raw_features_beside_the_model(random_model: Recommender) -> None:
    given = {name: 7 * rows.numpy() for name, rows in features_of(ITEMS).items()}
    given["image"][3] = 0  # missing
    sides = [
        rows / np.maximum(np.linalg.norm(rows, axis=1)[:, None], 1e-9) for rows in given.values()
    ]
    both = np.concatenate(sides, axis=1)
    unit = both / np.linalg.norm(both, axis=1, keepdims=True)
    for at in (3, 20):
        cosines = unit @ unit[at]
        cosines[at] = -2
        found = random_model.similar(f"i{at + 1}", k=5, features=given)
        assert found.scores == pytest.approx(np.sort(cosines)[::-1][:5], abs=1e-5)
    side_by_side = np.concatenate(list(given.values()), axis=1)
    assert random_model.similar("i21", k=5, features=side_by_side).ids == found.ids


def test_added_items_are_found(random_model: Recommender) -> None:
    own = {name: rows[:1].numpy() for name, rows in features_of(ITEMS).items()}
    random_model.add_items(["twin"], own)
    found = random_model.similar("twin", k=1)
    assert found.ids == ["i1"] and found.scores == pytest.approx([1.0], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"item": "nobody"}, "1 unknown item.*nobody"),
        ({"item": "i1", "size": 5}, r"size = 5: this model has the sizes \[4, 8, 16\]"),
        ({"item": "i1", "k": 0}, "k must be an integer of at least 1"),
        ({"item": "i1", "features": np.ones((ITEMS, 8)), "size": 4}, "features have no sizes"),
        ({"item": "i1", "features": {"text": np.ones((3, 5))}}, r"shape \(3, 5\), not \(60, 5\)"),
        ({"item": "i1", "features": {"sound": np.ones((ITEMS, 5))}}, "no modality 'sound'"),
    ],
)
def test_wrong_use_is_refused(random_model: Recommender, arguments: dict, message: str) -> None:
    with pytest.raises(DeployError, match=message):
        random_model.similar(**arguments)


def test_a_model_of_ids_has_no_features(echo_model: Callable[..., Recommender]) -> None:
    model = echo_model(VECTORS, [0.0, 0.0])
    model.description = replace(model.description, modalities=(), uses_ids=True)
    with pytest.raises(DeployError, match="trained on ids alone: it has no features"):
        model.similar("a", features=np.ones((5, 2)))
