"""Varied items and items of few groups: worked out by hand, and against a plain double loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_fmrlrec.deploy import DeployError, Recommender
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.deploy.model_folder import _read_items
from recbole_fmrlrec.deploy.selection import POOL, Selection
from tests.deploy.conftest import features_of

# After "u" the scores are p 3, q 2.9, r 2, s 1: relevance 1, .95, .5, 0. The cosines of p and q and
# of r and s are 1, all others 0.
VECTORS = {"u": [1.0, 1.0], "p": [3.0, 0.0], "q": [2.9, 0.0], "r": [0.0, 2.0], "s": [0.0, 1.0]}
GENRES = {"p": "drama", "q": ["drama", "crime"], "r": ["crime"], "u": "drama"}


@pytest.fixture
def model(echo_model: Callable[..., Recommender]) -> Recommender:
    made = echo_model(VECTORS, start=[0.0, 1.0])
    made.add_column("genre", GENRES)
    return made


@pytest.mark.parametrize(
    ("diversify", "expected"),
    [
        (0, "pqrs"),
        (0.25, "pqrs"),  # q .7125 - .25 = .4625, r .375; then s 0 - 0
        (0.5, "prqs"),  # q .475 - .5 = -.025, r .25; then s 0 - .5
        (1, "prqs"),  # r and s alike, r is the better; then q and s alike
    ],
)
def test_varied_items_by_hand(model: Recommender, diversify: float, expected: str) -> None:
    found = model.recommend(["u"], diversify=diversify)
    assert "".join(found.ids) == expected
    assert found.scores == pytest.approx([{"p": 3, "q": 2.9, "r": 2, "s": 1}[i] for i in expected])


def test_a_group_is_taken_so_many_times(model: Recommender) -> None:
    def ask(most: int, **more: object) -> str:
        options = {"max_per_group": most, "group_by": "genre", **more}
        return "".join(model.recommend(["u"], **options).ids)

    assert ask(1) == "prs"  # q shares drama with p; s has no genre and is never left out
    assert ask(1, filter=lambda item: item != "p") == "qs"  # r shares crime with q
    assert ask(2) == "pqrs"
    assert ask(1, exclude_seen=False, candidates=["u", "p", "r"]) == "pr"
    assert ask(2, diversify=0.5) == "prqs" and ask(1, diversify=0.5) == "prs"
    assert ask(1, k=2) == "pr"  # farther down the ranking than k


def test_nothing_to_choose_from(model: Recommender) -> None:
    assert model.recommend(["u"], candidates=[], diversify=0.5).ids == []
    options = {"max_per_group": 1, "group_by": "genre"}
    assert model.recommend(["u"], filter=lambda item: False, **options).ids == []


def test_sessions_choose_likewise(model: Recommender) -> None:
    session = model.session()
    session.update("u")
    assert session.top(3, diversify=0.5).ids == ["p", "r", "q"]
    assert session.top(3, max_per_group=1, group_by="genre").ids == ["p", "r", "s"]


def plain(
    vectors: torch.Tensor, scores: list[float], k: int, d: float, groups: list[set], most: int
) -> list[int]:
    """The definition, in a double loop: places in the ranking, in the order taken."""
    low, high = min(scores), max(scores)
    rel = [(score - low) / ((high - low) or 1) for score in scores]
    taken: list[int] = []
    while len(taken) < k:
        gains = {}
        for i in range(len(scores)):
            used = [g for g in groups[i] if sum(g in groups[j] for j in taken) >= most]
            if i not in taken and not used:
                near = [float(torch.cosine_similarity(vectors[i], vectors[j], 0)) for j in taken]
                gains[i] = (1 - d) * rel[i] - d * max(near, default=0)
        if not gains:
            break
        taken.append(max(gains, key=lambda i: (gains[i], -i)))
    return taken


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 15),
    k=st.integers(1, 8),
    d=st.sampled_from([0.0, 0.1, 0.3, 0.7]),
    most=st.integers(1, 3),
)
def test_equals_the_definition(seed: int, count: int, k: int, d: float, most: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count + 1, 4, generator=generator)
    scores = sorted(torch.randn(count, generator=generator).tolist(), reverse=True)
    chosen = torch.randint(0, 2, (count, 3), generator=generator).tolist()
    groups = [{"xyz"[at] for at in range(3) if row[at]} for row in chosen]
    columns = {"g": [tuple(sorted(own)) for own in groups]}
    ids = [str(row) for row in range(count)]
    items = ItemTable(ids, [None] * count, vectors, columns)
    ranked = list(enumerate(scores, start=1))
    found = Selection(items, d, most, "g").take(ranked, k)
    assert [row - 1 for row, _ in found] == plain(vectors[1:], scores, k, d, groups, most)


def test_an_answer_does_not_hang_on_its_batch(random_model: Recommender) -> None:
    """Another user's long history makes the ranking that is looked at longer, not the pool."""
    random_model.items.append(
        [f"n{n}" for n in range(300)],
        [None] * 300,
        random_model.items.vectors[1:].repeat(5, 1) * torch.linspace(0.5, 1.5, 300)[:, None],
    )
    random_model.use_exact()

    def keep(item: str) -> bool:
        return item.startswith("n") and not item.endswith("7")

    long = [f"i{n}" for n in range(1, 61)]
    options = {"k": 9, "diversify": 0.4, "filter": keep}
    alone = random_model.recommend(["i3"], **options)
    assert random_model.recommend([["i3"], long], **options)[0].ids == alone.ids
    random_model.add_column("third", {item: item[-1] for item in random_model.items.ids})
    few = random_model.recommend(["i3"], k=9, max_per_group=1, group_by="third", filter=keep)
    assert len(few) == 9 == len({item[-1] for item in few.ids})


def test_the_pool_is_the_best_hundred(random_model: Recommender) -> None:
    assert Selection(random_model.items, 0.1).depth(5) == POOL == 100
    assert Selection(random_model.items, 0.1).depth(30) == 300
    assert Selection(random_model.items).depth(5) == 5


def test_columns_are_kept(random_model: Recommender, tmp_path: Path) -> None:
    random_model.add_column("genre", {"i1": "drama", "i2": ["crime", "film noir"], "gone": "x"})
    random_model.add_items(["new"], {name: rows.numpy() for name, rows in features_of(1).items()})
    random_model.save(tmp_path / "m")
    loaded = Recommender.load(tmp_path / "m").items.columns["genre"]
    assert loaded == [("drama",), ("crime", "film noir"), *[()] * 59]


def test_a_model_without_columns_is_written_as_before(
    random_model: Recommender, tmp_path: Path
) -> None:
    random_model.save(tmp_path / "m")
    assert set(json.loads((tmp_path / "m" / "items.json").read_text())) == {"ids", "titles"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "columns must be an object"),
        ({"g": [["a"]] * 4}, "4 entries in column g, model.json says 5 items"),
        ({"g": ["a"] * 5}, "column g must be a list of lists of strings"),
    ],
)
def test_damaged_columns_are_refused(tmp_path: Path, columns: object, message: str) -> None:
    content = {"ids": list("abcde"), "titles": [None] * 5, "columns": columns}
    (tmp_path / "items.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DeployError, match=message):
        _read_items(tmp_path / "items.json", 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"diversify": 1.5}, "diversify must be a number from 0 to 1, not 1.5"),
        ({"diversify": "much"}, "diversify must be a number from 0 to 1"),
        ({"max_per_group": 2}, "max_per_group and group_by belong together"),
        ({"group_by": "genre"}, "max_per_group and group_by belong together"),
        ({"max_per_group": 0, "group_by": "genre"}, "max_per_group must be an integer of at least"),
        ({"max_per_group": 1, "group_by": "x"}, r"no column 'x' of items \(it has \['genre'\]\)"),
    ],
)
def test_wrong_use_is_refused(model: Recommender, options: dict, message: str) -> None:
    with pytest.raises(DeployError, match=message):
        model.recommend(["u"], **options)


def test_wrong_columns_are_refused(model: Recommender) -> None:
    with pytest.raises(DeployError, match="item 'p': 5 is neither a string nor a list of strings"):
        model.add_column("year", {"p": 5})
    with pytest.raises(DeployError, match="none of the 1 ids is one of the model's"):
        model.add_column("year", {"x": "1999"})
    with pytest.raises(DeployError, match="a column's name must be a string"):
        model.add_column("", {"p": "1"})
