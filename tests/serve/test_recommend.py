"""Lists for histories, explanations, items: the answers of the library, and reasons."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.serve import questions
from recbole_fmrlrec.serve.session_table import Ask
from tests.serve.conftest import ITEMS, Start, ids_of

HISTORY = ["i1", "i2", "i3"]


def test_the_list_is_that_of_the_library(client: TestClient, model: Recommender) -> None:
    answer = client.post("/recommend", json={"history": HISTORY, "k": 5})
    expected = model.recommend(HISTORY, k=5)
    assert answer.json()["items"] == [
        {"item_id": item.id, "title": item.title, "score": pytest.approx(item.score, rel=1e-5)}
        for item in expected
    ]
    assert (answer.json()["model"], answer.json()["size"]) == ("shop", 16)


def test_each_size_answers_by_itself(client: TestClient, written: Path) -> None:
    small = Recommender.load(written / "8").recommend(HISTORY, k=5)
    answer = client.post("/recommend", json={"history": HISTORY, "k": 5, "size": 8})
    assert ids_of(answer) == small.ids and answer.json()["size"] == 8


@pytest.mark.parametrize(
    "options",
    [
        {"exclude_seen": False},
        {"candidates": ["i1", "i9", "i10"]},
        {"diversify": 0.7},
        {"max_per_group": 1, "group_by": "brand"},
    ],
)
def test_options_are_those_of_the_library(
    client: TestClient, model: Recommender, options: dict[str, Any]
) -> None:
    answer = client.post("/recommend", json={"history": HISTORY, "k": 5, **options})
    assert ids_of(answer) == model.recommend(HISTORY, k=5, **options).ids


def test_unknown_items_are_named(client: TestClient) -> None:
    answer = client.post("/recommend", json={"history": ["i1", "ghost", 7]}).json()
    assert answer["unknown"] == ["ghost", "7"]


def test_a_batch_gives_a_list_for_each_history(client: TestClient, model: Recommender) -> None:
    histories = [["i1"], [], ["i5", "i6"]]
    answer = client.post("/recommend/batch", json={"histories": histories, "k": 3})
    found = [[item["item_id"] for item in one["items"]] for one in answer.json()["results"]]
    assert found == [one.ids for one in model.recommend(histories, k=3)]
    assert client.post("/recommend/batch", json={"histories": []}).json()["results"] == []


def test_reasons_stand_beside_the_items(client: TestClient, model: Recommender) -> None:
    answer = client.post("/recommend", json={"history": HISTORY, "k": 4, "explain": True}).json()
    expected = model.recommend(HISTORY, k=4, explain=True)
    for item, reason in zip(answer["items"], expected.reasons, strict=True):
        assert (item["because"] or {}).get("item_id") == (reason.id if reason else None)


def test_explanations_are_those_of_the_library(client: TestClient, model: Recommender) -> None:
    body = {"history": [*HISTORY, "ghost"], "items": ["i9", "i10"]}
    answer = client.post("/explain", json=body).json()
    assert answer["unknown"] == ["ghost"]
    for got, one in zip(answer["explanations"], model.explain(HISTORY, ["i9", "i10"]), strict=True):
        assert got["item_id"] == one.id
        added = [event["contribution"] for event in got["events"]]
        assert added == pytest.approx(one.contributions, rel=1e-4, abs=1e-5)


def test_similar_items_are_those_of_the_library(client: TestClient, model: Recommender) -> None:
    answer = client.get("/items/i7/similar", params={"k": 4})
    assert ids_of(answer) == model.similar("i7", 4).ids


def test_items_are_found_by_title(client: TestClient) -> None:
    def found(title: str) -> list[str]:
        answer = client.get("/items", params={"title": title, "limit": 3})
        return [item["item_id"] for item in answer.json()["items"]]

    assert found("TITLE 3") == ["i3", "i31", "i33"]
    assert found("itle 59") == ["i59"]
    assert found("i58") == ["i58"]  # it has no title
    assert found("") == ["i1", "i2", "i3"]
    assert found("nothing like it") == []


def test_pictures_are_files_of_the_folder(start: Start, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "i1.png").write_bytes(b"\x89PNG")
    (pictures / "i2.svg").write_text("<svg/>")
    client = start(pictures=pictures)
    answer = client.get("/items/i1/picture")
    assert (answer.content, answer.headers["content-type"]) == (b"\x89PNG", "image/png")
    for item in ("i2", "..%2F..%2Fetc%2Fpasswd", "../i1.png"):
        assert client.get(f"/items/{item}/picture").status_code == 404
    items = client.get("/items", params={"title": "Title 1", "limit": 2}).json()["items"]
    assert [item["picture"] for item in items] == [True, False]
    body = {"history": [], "candidates": ["i1", "i2"]}
    listed = client.post("/recommend", json=body).json()["items"]
    assert {item["item_id"]: item["picture"] for item in listed} == {"i1": True, "i2": False}


WRONG = [
    ({}, 422, "give either history or session_id"),
    ({"history": [], "session_id": "x"}, 422, "give either"),
    ({"history": "i1"}, 422, "history: Input should be a valid list"),
    ({"history": [True]}, 422, "history.0: Input should be a valid string"),
    ({"history": [None]}, 422, "history.0"),
    ({"history": [], "k": 0}, 422, "k: Input should be greater than or equal to 1"),
    ({"history": [], "k": 101}, 422, "at most 100 items"),
    ({"history": [], "kk": 3}, 422, "kk: Extra inputs are not permitted"),
    ({"history": ["i1"] * 1001}, 422, "history has 1,001 entries; at most 1,000"),
    ({"history": [], "candidates": ["i1"] * 10001}, 422, "candidates has 10,001"),
    ({"history": [], "model": "other"}, 404, "unknown model 'other'; available models: shop"),
    ({"history": [], "size": 12}, 404, "served at [8, 16], not at size 12"),
    ({"history": [], "diversify": 2}, 422, "less than or equal to 1"),
    ({"history": [], "max_per_group": 1}, 422, "group_by"),
    ({"history": [], "max_per_group": 1, "group_by": "no"}, 422, "no column 'no'"),
    ({"session_id": "x", "size": 8}, 422, "leave out model and size"),
    ({"session_id": "x"}, 404, "no such session"),
]


@pytest.mark.parametrize(("body", "status", "reason"), WRONG)
def test_what_is_wrong_is_said(
    client: TestClient, body: dict[str, Any], status: int, reason: str
) -> None:
    answer = client.post("/recommend", json=body)
    assert answer.status_code == status
    assert reason in answer.json()["error"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text and ".py" not in answer.text


def test_texts_that_no_text_can_hold_are_refused(client: TestClient) -> None:
    for body in (
        '{"history": ["\\ud800"]}',
        '{"history": [], "\\ud800": 1}',
        '{"history": [], "k": NaN}',
        '{"history": [], "k": 1e999}',
        '{"history": [' * 2000,
        "[" * 50_000,
        "\x00",
        "null",
        "",
    ):
        answer = client.post(
            "/recommend", content=body, headers={"content-type": "application/json"}
        )
        assert 400 <= answer.status_code < 500, (body[:40], answer.text)
        assert set(answer.json()) == {"error", "request_id"}


def test_other_paths_and_methods_have_reasons_too(client: TestClient) -> None:
    for answer, status in (
        (client.get("/nothing"), 404),
        (client.get("/recommend"), 405),
        (client.get("/items/ghost/similar"), 404),
        (client.get("/items/i1/similar", params={"k": "x"}), 422),
        (client.post("/explain", json={"history": [], "items": ["ghost"]}), 404),
        (client.post("/explain", json={"history": [], "items": []}), 422),
    ):
        assert answer.status_code == status and set(answer.json()) == {"error", "request_id"}


def test_every_item_can_be_asked_for(start: Start) -> None:
    client = start(k=1000)
    assert len(ids_of(client.post("/recommend", json={"history": [], "k": 1000}))) == ITEMS


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        ("[1", "application/json", r"the body is not JSON \(.*, character 2\)"),
        ('{"history": []}', "application/x-www-form-urlencoded", "Content-Type: application/json"),
        ("[]", "application/json", "must be a JSON object"),
        ("", "application/json", "must be a JSON object"),
    ],
)
def test_a_body_that_is_no_object_of_json(
    client: TestClient, content: str, kind: str, reason: str
) -> None:
    answer = client.post("/recommend", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 422
    assert re.search(reason, answer.json()["error"])


def test_two_stages_answer_alike_alone_and_together(start: Start, family: Path) -> None:
    """A list does not depend on how long a list somebody else asks for at the same moment."""
    model = Recommender.load(family / "16")
    model.use_two_stage(prefix=4, shortlist=7)
    model.save(family / "16")
    client = start(family)
    facts = {one["size"]: one["search"] for one in client.get("/models").json()["models"]}
    assert facts[8] is None and facts[16]["prefix"] == 4
    served = client.app.state.service.models.get()  # type: ignore[attr-defined]
    asked = [(f"i{n}", k) for n in range(1, 9) for k in (3, 30)]
    expected = [model.recommend([item], k=k).ids for item, k in asked]
    found = questions.answer([questions.Question(served, [[item]], k) for item, k in asked])
    assert [one[0].ids for one in found] == expected  # type: ignore[index]
    opened = [client.post("/sessions", json={"history": [item]}) for item, _ in asked]
    names = [one.json()["session_id"] for one in opened]
    table = client.app.state.service.sessions  # type: ignore[attr-defined]
    told = table.work([Ask("use", name, k=k) for name, (_, k) in zip(names, asked, strict=True)])
    assert [one.top.ids for one in told] == expected
