"""Exact and two-stage search, and the choice between them."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from recbole_fmrlrec.deploy import DeployError, Recommender, retrieval
from recbole_fmrlrec.deploy.retrieval import (
    ExactSearch,
    TwoStageSearch,
    fastest,
    measure_choices,
    prefix_ranks,
)
from tests.deploy.conftest import ITEMS

# With the query (1, 10): by both dimensions 4 > 3 > 1 > 2, by the first alone 1 > 2 > 3 > 4.
BY_HAND = torch.tensor([[9.0, 9.0], [4.0, 0.2], [3.0, 0.1], [2.0, 0.7], [1.0, 0.9]])
QUERY = torch.tensor([[1.0, 10.0]])


def nested(items: int, queries: int, width: int = 32) -> tuple[Tensor, Tensor]:
    """Items and queries whose first dimensions weigh most, as those of nested training do."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.arange(1, width + 1) ** -0.8
    vectors = torch.randn(items + 1, width, generator=generator) * weight
    return vectors, torch.randn(queries, width, generator=generator) * weight


def test_exact_search_by_hand() -> None:
    scores, rows = ExactSearch(BY_HAND)(QUERY, 3)
    assert rows.tolist() == [[4, 3, 1]]  # row 0, the empty input, is no item
    torch.testing.assert_close(scores, torch.tensor([[10.0, 9.0, 6.0]]))


@pytest.mark.parametrize(
    ("shortlist", "expected"), [(2, [[1, 2]]), (3, [[3, 1]]), (4, [[4, 3]]), (9, [[4, 3]])]
)
def test_two_stages_by_hand(shortlist: int, expected: list[list[int]]) -> None:
    _, rows = TwoStageSearch(BY_HAND, 1, shortlist)(QUERY, 2)
    assert rows.tolist() == expected


def test_a_full_shortlist_is_exact_and_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = nested(200, 9)
    expected = ExactSearch(vectors)(queries, 10)
    full = TwoStageSearch(vectors, 8, 199)(queries, 10)
    assert torch.equal(full[1], expected[1])
    part = TwoStageSearch(vectors, 8, 50)(queries, 10)
    copied = TwoStageSearch(vectors, 8, 50, copy_prefix=True)(queries, 10)
    assert torch.equal(copied[1], part[1])
    monkeypatch.setattr(retrieval, "BLOCK_BYTES", 4 * 200 * 2)
    assert torch.equal(ExactSearch(vectors)(queries, 10)[1], expected[1])
    assert torch.equal(TwoStageSearch(vectors, 8, 50)(queries, 10)[1], part[1])


def test_prefix_ranks_are_those_of_a_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = nested(100, 7)
    rows = ExactSearch(vectors)(queries, 5)[1]
    monkeypatch.setattr(retrieval, "BLOCK_BYTES", 4 * 100 * 3)
    order = (queries[:, :8] @ vectors[1:, :8].t()).argsort(1, descending=True)
    place = order.argsort(1).gather(1, rows - 1) + 1
    assert torch.equal(prefix_ranks(vectors, queries, rows, 8), place)


def test_the_choice_keeps_the_wanted_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = nested(2000, 200)
    # Time by the numbers read: which setting is fastest must not hang on this machine.
    monkeypatch.setattr(
        retrieval,
        "median_milliseconds",
        lambda search, *_: (
            2000 * 32.0
            if isinstance(search, ExactSearch)
            else 2000 * search.prefix + 32.0 * search.shortlist
        ),
    )
    choices = measure_choices(vectors, (4, 8, 16, 32), queries, recall=0.95, k=10)
    assert [choice.prefix for choice in choices] == [None, 4, 8, 16]
    chosen = fastest(choices)
    assert chosen.prefix is not None and chosen.shortlist is not None
    assert chosen.milliseconds < chosen.exact_milliseconds
    found = TwoStageSearch(vectors, chosen.prefix, chosen.shortlist)(queries, 10)[1]
    truth = ExactSearch(vectors)(queries, 10)[1]
    recall = (truth[:, :, None] == found[:, None, :]).any(2).float().mean()
    assert recall >= 0.945
    assert [c.prefix for c in measure_choices(vectors, (32,), queries)] == [None]  # exact alone


def test_choosing_from_a_recommender(random_model: Recommender) -> None:
    chosen = random_model.choose_search(recall=1.0, histories=[[f"i{n}"] for n in range(1, 40)])
    assert chosen.recall == 1.0
    wanted = [random_model.recommend([f"i{n}"]).ids for n in range(1, 20)]
    random_model.use_exact()
    assert [random_model.recommend([f"i{n}"]).ids for n in range(1, 20)] == wanted


def test_a_recommender_searches_as_it_is_told(random_model: Recommender) -> None:
    exact = random_model.recommend(["i1"], k=5, exclude_seen=False)
    random_model.use_two_stage(prefix=4, shortlist=5)
    rough = random_model.recommend(["i1"], k=5, exclude_seen=False)
    hidden = random_model.encode_rows([[1]])
    likely = (hidden[:, :4] @ random_model.items.vectors[1:, :4].t()).topk(5).indices[0]
    assert set(rough.ids) == {f"i{row + 1}" for row in likely.tolist()} != set(exact.ids)
    assert rough.scores == sorted(rough.scores, reverse=True)
    # Exclusion and filter reach past the shortlist instead of running dry.
    assert len(random_model.recommend(["i1"], k=20)) == 20
    odd = random_model.recommend(["i1"], k=30, filter=lambda item: int(item[1:]) % 2 == 0)
    assert len(odd) == ITEMS // 2


def test_wrong_settings_are_refused(random_model: Recommender) -> None:
    for prefix, shortlist in ((16, 10), (5, 10), (4, 0), (4, 1.5), ("4", 10), (4.0, 10), (4, "5")):
        with pytest.raises(DeployError, match=r"prefix|shortlist"):
            random_model.use_two_stage(prefix, shortlist)
    with pytest.raises(DeployError, match="effort must be"):
        random_model.use_two_stage(4, 10, faiss="ivf", effort=0)
    with pytest.raises(DeployError, match="effort is for faiss"):
        random_model.use_two_stage(4, 10, effort=3)
    with pytest.raises(DeployError, match=r'slower than exact search .* use faiss="ivf"'):
        random_model.use_two_stage(4, 10, faiss="hnsw")  # type: ignore[arg-type]
    with pytest.raises(DeployError, match="faiss must be \"ivf\" or None, not 'flat'"):
        random_model.use_two_stage(4, 10, faiss="flat")  # type: ignore[arg-type]
    for k in (0, -1, 2.5):
        with pytest.raises(DeployError, match="k must be"):
            random_model.choose_search(k=k)
    for recall in (0, 1.1, "0.9"):
        with pytest.raises(DeployError, match="recall must be"):
            random_model.choose_search(recall)
    with pytest.raises(DeployError, match="two sample histories"):
        random_model.choose_search(histories=[["i1"]])


def test_faiss_as_first_stage() -> None:
    faiss = pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    faiss.omp_set_num_threads(1)
    from recbole_fmrlrec.deploy.faiss_index import FaissShortlister

    vectors, queries = nested(2000, 50)
    index = FaissShortlister(vectors, 8, effort=2000)  # all lists: exact
    ours = TwoStageSearch(vectors, 8, 100)(queries, 10)
    theirs = TwoStageSearch(vectors, 8, 100, index)(queries, 10)
    same = (ours[1][:, :, None] == theirs[1][:, None, :]).any(2).float().mean()
    assert same == 1.0
    assert index.size_in_bytes() > 2000 * 8 * 4


def test_without_faiss_the_way_out_is_named(
    random_model: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(DeployError, match=r"`faiss-cpu` is not installed: pip install .*\[faiss\]"):
        random_model.use_two_stage(4, 10, faiss="ivf")
