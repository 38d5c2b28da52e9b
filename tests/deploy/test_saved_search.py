"""A model searches after it is loaded as it did when it was saved."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from recbole_fmrlrec.deploy import DeployError, Recommender
from recbole_fmrlrec.deploy.description import TwoStage
from recbole_fmrlrec.deploy.retrieval import ExactSearch, TwoStageSearch
from tests.deploy.conftest import features_of
from tests.deploy.test_model_folder import change

HISTORIES = [["i1"], ["i2", "i9"], ["i30", "i31", "i32"], []]


def test_two_stages_are_kept(random_model: Recommender, tmp_path: Path) -> None:
    exact = random_model.recommend(HISTORIES, k=5)
    random_model.use_two_stage(prefix=4, shortlist=9, copy_prefix=True)
    rough = random_model.recommend(HISTORIES, k=5)
    assert [one.ids for one in rough] != [one.ids for one in exact]
    random_model.save(tmp_path)
    again = Recommender.load(tmp_path)
    assert again.recommend(HISTORIES, k=5) == rough
    assert isinstance(again.search, TwoStageSearch)
    assert again.description.search == TwoStage(4, 9, copy_prefix=True)
    session = again.session()
    session.update("i1")
    assert session.top(5).ids == rough[0].ids
    plain = Recommender.load(tmp_path, exact=True)
    assert plain.recommend(HISTORIES, k=5) == exact and isinstance(plain.search, ExactSearch)


def test_an_exact_search_is_not_written(random_model: Recommender, tmp_path: Path) -> None:
    """Versions that know no such field read the folder."""
    random_model.use_two_stage(prefix=4, shortlist=9)
    random_model.use_exact()
    random_model.save(tmp_path / "exact")
    random_model.use_two_stage(prefix=4, shortlist=9)
    features = {name: rows.numpy() for name, rows in features_of(1).items()}
    random_model.add_items(["new"], features)  # makes it exact
    random_model.save(tmp_path / "grown")
    for name in ("exact", "grown"):
        assert "search" not in json.loads((tmp_path / name / "model.json").read_text())
        assert isinstance(Recommender.load(tmp_path / name).search, ExactSearch)


def test_a_chosen_search_is_kept(
    random_model: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "recbole_fmrlrec.deploy.search_settings.fastest", lambda choices: choices[2]
    )
    chosen = random_model.choose_search(recall=1.0, histories=[[f"i{n}"] for n in range(1, 40)])
    random_model.save(tmp_path)
    stored = Recommender.load(tmp_path).description.search
    assert stored is not None and (stored.prefix, stored.shortlist) == (8, chosen.shortlist)


def test_an_index_of_faiss_is_built_again(
    random_model: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faiss = pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    faiss.omp_set_num_threads(1)
    random_model.use_two_stage(prefix=8, shortlist=20, faiss="ivf", effort=2)
    expected = random_model.recommend(HISTORIES, k=5)
    random_model.save(tmp_path)
    again = Recommender.load(tmp_path)
    assert again.recommend(HISTORIES, k=5) == expected
    assert isinstance(again.search, TwoStageSearch) and again.search.shortlister is not None
    assert again.search.shortlister.effort == 2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(DeployError, match=r"faiss.* is not installed.*load it with exact=True"):
        Recommender.load(tmp_path)
    assert isinstance(Recommender.load(tmp_path, exact=True).search, ExactSearch)


STORED: dict[str, Any] = asdict(TwoStage(4, 9))


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("exact", "search must be null, or the prefix"),
        ({"prefix": 4, "shortlist": 9}, "search must be"),
        ({**STORED, "more": 1}, "search must be"),
        ({**STORED, "shortlist": 0}, "search must be"),
        ({**STORED, "faiss": "hnsw"}, "search must be"),
        ({**STORED, "effort": 3}, "search must be"),
        ({**STORED, "prefix": 16}, r"by 16 dimensions, and the smaller sizes are \[4, 8\]"),
    ],
)
def test_an_impossible_search_is_refused(
    random_model: Recommender, tmp_path: Path, search: Any, message: str
) -> None:
    random_model.save(tmp_path)
    change(tmp_path / "model.json", search=search)
    with pytest.raises(DeployError, match=message):
        Recommender.load(tmp_path)


def test_another_table_is_searched_in_the_same_way(
    random_model: Recommender, tmp_path: Path
) -> None:
    random_model.use_two_stage(prefix=4, shortlist=9)
    random_model.save(tmp_path, table_dtype="int8")
    small = Recommender.load(tmp_path)
    vectors = small.items.vectors
    for hidden in small.encode_rows([[1], [2, 9]]).split(1):
        near = (hidden[:, :4] @ vectors[1:, :4].t()).topk(9).indices[0] + 1
        best = (hidden @ vectors[near].t()).topk(3).indices[0]
        assert small.search(hidden, 3)[1].tolist() == [near[best].tolist()]


def test_an_answer_does_not_depend_on_the_rest_of_its_batch(random_model: Recommender) -> None:
    """A long history, which is left out of the list, makes a longer shortlist for itself alone."""
    random_model.use_two_stage(prefix=4, shortlist=9)
    histories = [["i1"], [f"i{n}" for n in range(1, 31)], ["i2", "i9"], []]
    alone = [random_model.recommend(history, k=5).ids for history in histories]
    assert [one.ids for one in random_model.recommend(histories, k=5)] == alone
    sessions = random_model.sessions(4)
    for event in range(30):
        at = [user for user in range(4) if event < len(histories[user])]
        sessions.update([histories[user][event] for user in at], at)
    random_model.max_history = None
    alone = [random_model.recommend(history, k=5).ids for history in histories]
    assert [one.ids for one in sessions.top(5)] == alone

    def even(item: str) -> bool:
        return int(item[1:]) % 2 == 0

    alone = [random_model.recommend(history, k=5, filter=even).ids for history in histories]
    assert [one.ids for one in random_model.recommend(histories, k=5, filter=even)] == alone
