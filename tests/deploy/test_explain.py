"""What each event of a history added to a score, against reading the history without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset_tools.formats.atomic_files import read_table
from recbole_fmrlrec.deploy import DeployError, Explanation, Reason, Recommendations, Recommender
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.model_api.registry import recbole_dir
from tests.deploy.conftest import DESCRIPTION, ITEMS, lively_network, table_of

VECTORS = {"a": [1.0, 1.0], "b": [4.0, 0.0], "c": [-1.0, -1.0], "d": [0.0, 1.0]}


def model_of(blocks: int, max_history: int | None = 20, items: int = ITEMS) -> Recommender:
    """A random model with ids 1 .. ``items``; more items than the random ones repeat them."""
    network = lively_network(blocks)
    table = table_of(network)
    rows = torch.arange(items) % ITEMS + 1
    noise = torch.rand(items, 1, generator=torch.Generator().manual_seed(3)) + 0.5
    vectors = torch.cat([table[:1], table[rows] * noise])
    ids = [str(row) for row in range(1, items + 1)]
    titles = [f"Title {name}" for name in ids]
    description = replace(DESCRIPTION, num_blocks=blocks, num_items=items, trained_items=items)
    model = Recommender(description, network, ItemTable(ids, titles, vectors))
    model.max_history = max_history
    return model


def by_brute_force(model: Recommender, history: Sequence[str], items: Sequence[str]) -> list:
    """``(n, m)``: scores minus those of each history without one event, from `scores` alone."""
    history = list(history)
    rows = [model.items.row_of[item] - 1 for item in items]
    whole = model.scores(history)[rows]
    without = [model.scores(history[:at] + history[at + 1 :])[rows] for at in range(len(history))]
    return [(whole - other).tolist() for other in without]


def check(model: Recommender, history: Sequence[str], items: Sequence[str]) -> None:
    found = model.explain(history, items)
    expected = torch.tensor(by_brute_force(model, history, items))
    added = torch.tensor([one.contributions for one in found]).t()
    torch.testing.assert_close(added, expected, rtol=1e-4, atol=2e-4)
    scores = torch.tensor([one.score for one in found])
    wanted = model.scores(history)[[model.items.row_of[item] - 1 for item in items]]
    torch.testing.assert_close(scores, wanted, rtol=1e-5, atol=1e-5)
    assert all(one.events == list(history) for one in found)


def test_worked_out_by_hand(echo_model: Callable[..., Recommender]) -> None:
    # The score is that of the last vector: without b it is a's, without a nothing changes. (4, 0)
    # with d (0, 1) is 0, (1, 1) with it 1.
    model = echo_model(VECTORS, start=[0.0, 3.0])
    found = model.explain(["a", "x", "b"], "d")
    assert found == Explanation("d", "D", 0.0, ["a", "b"], ["A", "B"], [0.0, -1.0], ["x"])
    assert found.reasons(2) == []  # nothing added to the score
    # (4, 0) with b is 16, (1, 1) with b 4; with a 4 and 2.
    both = model.explain(["a", "b"], ["b", "a"])
    assert [(one.score, one.contributions) for one in both] == [(16, [0, 12]), (4, [0, 2])]
    assert both[0].reasons() == [Reason("b", "B", 12.0)]
    # Of one event nothing is left, which is the start (0, 3): with d 3, and (1, 1) with d 1.
    assert model.explain(["a"], "d").contributions == [-2.0]
    assert model.explain([], "d") == Explanation("d", "D", 3.0, [], [], [])


@pytest.mark.parametrize("blocks", [1, 2])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_equals_brute_force(blocks: int, data: st.DataObject) -> None:
    model = model_of(blocks, data.draw(st.sampled_from([1, 2, 5, 20, None])))
    some = st.integers(1, ITEMS).map(str)
    check(
        model,
        data.draw(st.lists(some, min_size=1, max_size=24)),
        data.draw(st.lists(some, min_size=1, max_size=3)),
    )


@pytest.fixture(scope="module")
def real_histories() -> dict[str, list[str]]:
    """What the first users of ml-100k did, the oldest first."""
    file = recbole_dir() / "dataset_example" / "ml-100k" / "ml-100k.inter"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    histories: dict[str, list[tuple[float, str]]] = {str(user): [] for user in range(1, 6)}
    for row in read_table(file)[1]:
        if row["user_id"] in histories:
            histories[row["user_id"]].append((float(row["timestamp"]), row["item_id"]))
    return {user: [item for _, item in sorted(events)] for user, events in histories.items()}


@pytest.mark.parametrize("blocks", [1, 2])
def test_equals_brute_force_over_real_histories(
    real_histories: dict[str, list[str]], blocks: int
) -> None:
    model = model_of(blocks, max_history=50, items=1682)
    lengths = [len(history) for history in real_histories.values()]
    assert min(lengths) < 50 < max(lengths) - 1  # with and without events that are too old
    for history in real_histories.values():
        check(model, history[-60:], model.recommend(history, k=3).ids)


def test_one_block_reads_the_history_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for blocks, histories in ((1, 1), (2, 1 + 9)):
        model, read = model_of(blocks), []
        encode = model.encode_rows

        def counting(rows: list, encode: Callable = encode, read: list = read) -> torch.Tensor:
            read.extend(rows)
            return encode(rows)

        monkeypatch.setattr(model, "encode_rows", counting)
        model.explain([str(n) for n in range(1, 10)], "20")
        assert len(read) == histories


def test_what_is_too_old_to_be_read_adds_nothing() -> None:
    model = model_of(1, max_history=3)
    found = model.explain(["1", "2", "3", "4", "5"], "9")
    assert found.contributions[:2] == [0.0, 0.0] and all(found.contributions[2:])


def test_a_recommendation_names_its_strongest_reason() -> None:
    model = model_of(2)
    histories = [["1", "2", "3"], [], ["9", "nobody", "4"]]
    for history, found in zip(
        histories, model.recommend(histories, k=4, explain=True), strict=True
    ):
        known = [item for item in history if item != "nobody"]
        assert found.ids == model.recommend(history, k=4).ids and len(found.reasons) == 4
        added = by_brute_force(model, known, found.ids) if known else []
        for at, reason in enumerate(found.reasons):
            best = max(range(len(known)), key=lambda s, at=at: added[s][at], default=None)
            if best is None or added[best][at] <= 0:
                assert reason is None
            else:
                assert reason is not None and reason.id == known[best]
                assert reason.title == f"Title {known[best]}"
                assert reason.contribution == pytest.approx(added[best][at], rel=1e-3, abs=1e-3)
    assert model.recommend(["1"], k=2).reasons == []


def test_an_item_that_was_repeated_is_one_reason() -> None:
    found = Explanation("x", None, 1.0, ["a", "b", "a", "c"], [None] * 4, [1.0, 0.5, 2.0, -1.0])
    assert [(one.id, one.contribution) for one in found.reasons(9)] == [("a", 2.0), ("b", 0.5)]
    assert str(found).splitlines() == [
        "   1.0000  x",
        "  +1.0000  a",
        "  +0.5000  b",
        "  +2.0000  a",
        "  -1.0000  c",
    ]
    assert found.to_json()["events"][1] == {"item_id": "b", "title": None, "contribution": 0.5}


def test_reasons_as_text_and_json() -> None:
    reasons = [Reason("a", "A\x1b", 1.5), None, Reason("b", None, 0.25)]
    found = Recommendations(["x", "yy", "z"], ["X", None, "Z"], [3.0, 2.0, 1.0], reasons=reasons)
    assert str(found).splitlines() == [
        "   1     3.0000  x   X",
        "                       because you liked A\ufffd (+1.5000)",
        "   2     2.0000  yy",
        "   3     1.0000  z   Z",
        "                       because you liked b (+0.2500)",
    ]
    because = [item["because"] for item in found.to_json()["items"]]
    assert because[1:] == [None, {"item_id": "b", "title": None, "contribution": 0.25}]


def test_wrong_use_is_refused(random_model: Recommender) -> None:
    with pytest.raises(DeployError, match=r"1 unknown item.*nobody"):
        random_model.explain(["i1"], "nobody")
    with pytest.raises(DeployError, match=r"1 unknown item.*nobody"):
        random_model.explain(["nobody"], "i1", unknown="error")
    with pytest.raises(DeployError, match="not one text"):
        random_model.explain("i1", "i2")


def test_a_loaded_model_explains_as_the_one_that_was_saved(tmp_path: Path) -> None:
    model = model_of(1)
    model.save(tmp_path / "m")
    loaded = Recommender.load(tmp_path / "m")
    assert loaded.explain(["1", "2"], "3").contributions == pytest.approx(
        model.explain(["1", "2"], "3").contributions, rel=1e-4
    )
