"""A number added to the scores of the history's items, in everything that a deployed model says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from recbole_fmrlrec.deploy import DeployError, Recommender
from recbole_fmrlrec.deploy.description import Description
from recbole_fmrlrec.deploy.model_folder import DESCRIPTION as FILE

HISTORY = ["i3", "i9", "i3", "i27"]


def biased(model: Recommender, value: float) -> Recommender:
    model.description = replace(model.description, history_bias=value)
    return model


def by_force(model: Recommender, history: list[str], value: float) -> Tensor:
    """Scores of all items: products, and the number for each different item of the history."""
    rows = model.items.rows(history, "skip")[0]
    scores = model.encode_rows([rows])[0] @ model.items.vectors[1:].t()
    for row in set(rows[-(model.max_history or 10**9) :]):
        scores[row - 1] += value
    return scores


@pytest.mark.parametrize("value", [-2.5, 0.7, 30.0])
@pytest.mark.parametrize("k", [1, 5, 59, 60])
def test_recommendations_are_those_of_the_shifted_scores(
    random_model: Recommender, value: float, k: int
) -> None:
    model = biased(random_model, value)
    wanted = by_force(model, HISTORY, value)
    torch.testing.assert_close(model.scores(HISTORY), wanted)
    found = model.recommend(HISTORY, k=k, exclude_seen=False)
    best = wanted.topk(k)
    assert found.ids == [model.items.ids[row] for row in best.indices]
    assert found.scores == pytest.approx(best.values.tolist(), rel=1e-5)
    # Without the history's items the number changes nothing.
    assert model.recommend(HISTORY, k=5) == biased(model, 0.0).recommend(HISTORY, k=5)


def test_candidates_filter_and_batch(random_model: Recommender) -> None:
    model = biased(random_model, 4.0)
    wanted = by_force(model, HISTORY, 4.0)
    chosen = ["i3", "i4", "i5", "i50"]
    found = model.recommend(HISTORY, k=3, exclude_seen=False, candidates=chosen)
    order = sorted(chosen, key=lambda item: -float(wanted[model.items.row_of[item] - 1]))
    assert found.ids == order[:3]
    odd = model.recommend(
        HISTORY, k=60, exclude_seen=False, filter=lambda item: int(item[1:]) % 2 == 1
    )
    rows = [row for row in wanted.argsort(descending=True).tolist() if row % 2 == 0]
    assert odd.ids == [model.items.ids[row] for row in rows]
    together = model.recommend([HISTORY, [], ["i1"]], k=4, exclude_seen=False)
    alone = [model.recommend(h, k=4, exclude_seen=False) for h in (HISTORY, [], ["i1"])]
    assert [one.ids for one in together] == [one.ids for one in alone]


def test_only_the_latest_items_count(random_model: Recommender) -> None:
    model = biased(random_model, 50.0)
    model.max_history = 2
    found = model.recommend(HISTORY, k=3, exclude_seen=False)
    assert sorted(found.ids[:2]) == ["i27", "i3"] and found.ids[2] != "i9"


def test_a_shortlist_is_joined_by_the_history(random_model: Recommender) -> None:
    model = biased(random_model, 50.0)
    model.use_two_stage(4, 5)
    wanted = by_force(model, HISTORY, 50.0).topk(3)
    found = model.recommend(HISTORY, k=3, exclude_seen=False)
    assert found.ids == [model.items.ids[row] for row in wanted.indices]


@pytest.mark.parametrize("value", [-2.5, 30.0])
def test_sessions_say_the_same(random_model: Recommender, value: float) -> None:
    model = biased(random_model, value)
    session = model.session()
    for item in HISTORY:
        session.update(item)
    whole = model.recommend(HISTORY, k=10, exclude_seen=False)
    top = session.top(10, exclude_seen=False)
    assert top.ids == whole.ids and top.scores == pytest.approx(whole.scores, rel=1e-4)
    other = model.session()
    other.load_state_dict(session.state_dict(seen=False))
    with pytest.raises(DeployError, match="without the items it has seen: store it with"):
        other.top(10, exclude_seen=False)


def test_an_explanation_is_leaving_an_event_out(random_model: Recommender) -> None:
    model = biased(random_model, 3.0)
    model.max_history = 3
    asked = ["i3", "i9", "i27", "i1"]
    found = model.explain(["i1", *HISTORY], asked)
    events = ["i1", *HISTORY]
    for one in found:
        row = model.items.row_of[one.id] - 1
        score = float(by_force(model, events, 3.0)[row])
        assert one.score == pytest.approx(score, rel=1e-4)
        for at, contribution in enumerate(one.contributions):
            rest = events[:at] + events[at + 1 :]
            without = float(by_force(model, rest, 3.0)[row])
            assert contribution == pytest.approx(score - without, abs=1e-4)


def test_by_hand(echo_model: Callable[..., Recommender]) -> None:
    """The last item's vector is the output: a scores 1 by its own product, b 0.8."""
    model = echo_model({"a": [1, 0], "b": [0.8, 0.6]}, [0, 0], history_bias=-0.5)
    assert model.scores(["a"]).tolist() == pytest.approx([0.5, 0.8])
    assert model.recommend(["a"], k=2, exclude_seen=False).ids == ["b", "a"]


def test_the_folder_says_it_only_where_there_is_one(
    random_model: Recommender, tmp_path: Path
) -> None:
    random_model.save(tmp_path / "plain")
    assert "history_bias" not in json.loads((tmp_path / "plain" / FILE).read_text())
    biased(random_model, -1.5).save(tmp_path / "biased")
    again = Recommender.load(tmp_path / "biased")
    assert again.description.history_bias == -1.5
    content = json.loads((tmp_path / "biased" / FILE).read_text())
    with pytest.raises(DeployError, match="history_bias must be a number"):
        Description.from_json({**content, "history_bias": "much"}, tmp_path)
