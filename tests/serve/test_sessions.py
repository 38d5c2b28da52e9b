"""Sessions: the same lists as the library's own, stored, bounded, expiring, moved to new models."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.serve.session_stores import SQLiteStore, open_store
from tests.patience import wait_for
from tests.serve.conftest import Clock, Start, ids_of, write_model

EVENTS = ["i5", "i6", "i7", "i5"]


def new_session(client: TestClient, **body: Any) -> str:
    answer = client.post("/sessions", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["session_id"])


def add(client: TestClient, session: str, *items: str, **options: Any) -> Any:
    return client.post(f"/sessions/{session}/events", json={"items": list(items), **options})


def top(client: TestClient, session: str, k: int = 5) -> list[str]:
    return ids_of(client.get(f"/sessions/{session}/top", params={"k": k}))


def expected(model: Recommender, items: list[str], k: int = 5) -> list[str]:
    session = model.session()
    for item in items:
        session.update(item)
    return session.top(k).ids


def test_a_session_is_that_of_the_library(client: TestClient, model: Recommender) -> None:
    session = new_session(client)
    assert top(client, session) == expected(model, [])
    for count, item in enumerate(EVENTS, start=1):
        answer = add(client, session, item, k=5)
        assert answer.json()["events"] == count
        assert ids_of(answer) == expected(model, EVENTS[:count])
    assert top(client, session) == expected(model, EVENTS)
    asked = client.post("/recommend", json={"session_id": session, "k": 3})
    assert ids_of(asked) == expected(model, EVENTS, 3)
    everything = client.get(f"/sessions/{session}/top", params={"exclude_seen": False, "k": 60})
    assert len(ids_of(everything)) == 60


def test_a_history_begins_a_session_at_its_size(client: TestClient, written: Path) -> None:
    session = new_session(client, history=["i5", "ghost", "i6"], size=8)
    assert top(client, session) == expected(Recommender.load(written / "8"), ["i5", "i6"])
    answer = add(client, session, "ghost", "i7").json()
    assert (answer["unknown"], answer["events"], answer["size"]) == (["ghost"], 3, 8)


def test_reasons_and_explanations_are_those_of_the_events(
    client: TestClient, model: Recommender
) -> None:
    session = new_session(client, history=EVENTS)
    (item,) = client.get(f"/sessions/{session}/top?k=1&explain=true").json()["items"]
    (reason,) = model.explain(EVENTS, item["item_id"]).reasons()
    assert item["because"]["item_id"] == reason.id
    body = {"session_id": session, "items": [item["item_id"]]}
    (one,) = client.post("/explain", json=body).json()["explanations"]
    assert [event["item_id"] for event in one["events"]] == EVENTS


def test_an_export_opens_again_and_a_deleted_one_is_gone(
    client: TestClient, model: Recommender
) -> None:
    session = new_session(client, history=EVENTS)
    exported = client.get(f"/sessions/{session}").json()
    assert exported["history"] == EVENTS
    assert client.delete(f"/sessions/{session}").status_code == 204
    for gone in (client.delete(f"/sessions/{session}"), add(client, session, "i1")):
        assert gone.status_code == 404
    again = new_session(client, exported=exported)
    assert again != session and top(client, again) == expected(model, EVENTS)
    assert add(client, again, "i1").json()["events"] == 5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 9}, "not an exported session of format 1"),
        ({"events": -1}, "events must be an integer"),
        ({"events": 2**63}, "events must be an integer"),
        ({"history": [1]}, "history must be a list of item ids"),
        ({"state": "AAAA"}, "state is not that of this model"),
        ({"state": "%"}, "state is not that of this model"),
        ({"hidden": "AADAfw==" * 16}, "hidden"),
        ({"model": "other"}, "unknown model"),
    ],
)
def test_a_damaged_export_is_refused(
    client: TestClient, change: dict[str, Any], reason: str
) -> None:
    exported = client.get(f"/sessions/{new_session(client)}").json()
    answer = client.post("/sessions", json={"exported": {**exported, **change}})
    assert answer.status_code in (404, 422) and reason in answer.json()["error"]


def test_numbers_that_overflow_are_refused(client: TestClient) -> None:
    exported = client.get(f"/sessions/{new_session(client)}").json()
    exported["hidden"] = "////fv///37///9+////fv///37///9+////fv///37///9+////fv///37///9+" * 1
    exported["hidden"] += "////fv///37///9+////fg=="
    session = new_session(client, exported=exported)
    answer = client.get(f"/sessions/{session}/top")
    assert answer.status_code == 422 and "not finite" in answer.json()["error"]


def test_a_session_expires_after_its_last_event(start: Start, clock: Clock) -> None:
    client = start(session_seconds=100)
    session = new_session(client)
    clock.now += 99
    add(client, session, "i1")
    clock.now += 99
    assert client.get(f"/sessions/{session}/top").status_code == 200
    clock.now += 1
    assert client.get(f"/sessions/{session}/top").status_code == 404


def test_memory_is_bounded_and_the_least_recently_used_goes(start: Start) -> None:
    client = start(sessions=2)
    first, second = new_session(client), new_session(client)
    top(client, first)
    third = new_session(client)
    assert client.get(f"/sessions/{second}/top").status_code == 404
    assert len(top(client, first)) == len(top(client, third)) == 5
    assert 'fmrlrec_sessions_total{what="evicted"} 1.0' in client.get("/metrics").text


def test_a_session_keeps_its_latest_events(start: Start) -> None:
    client = start(session_events=2)
    session = new_session(client, history=["i1", "i2", "i3"])
    assert client.get(f"/sessions/{session}").json()["history"] == ["i2", "i3"]
    assert "i1" in top(client, session, 60) and "i3" not in top(client, session, 60)


def stored_sessions(start: Start, store: str, model: Recommender, clock: Clock) -> None:
    """What holds for every store."""
    before = start(session_store=store, sessions=1, session_seconds=100)
    session, other = new_session(before, history=EVENTS[:2]), new_session(before)
    # Only one has room in memory; the other comes back from the store.
    add(before, session, "i7")
    add(before, other, "i1")
    add(before, session, "i5")
    before.__exit__()
    after = start(session_store=store, session_seconds=100)
    assert top(after, session) == expected(model, EVENTS)
    assert add(after, session, "i1").json()["events"] == 5
    assert top(after, other) == expected(model, ["i1"])
    assert after.delete(f"/sessions/{other}").status_code == 204
    assert after.get(f"/sessions/{other}").status_code == 404
    assert after.get("/ready").status_code == 200


def test_sessions_survive_a_restart(
    start: Start, tmp_path: Path, model: Recommender, clock: Clock
) -> None:
    file = tmp_path / "kept" / "sessions.sqlite"
    stored_sessions(start, str(file), model, clock)


def test_stored_sessions_expire_too(start: Start, tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "sessions.sqlite"
    before = start(session_store=str(file), session_seconds=100)
    session = new_session(before)
    before.__exit__()
    clock.now += 100
    after = start(session_store=str(file), session_seconds=100)
    assert after.get(f"/sessions/{session}").status_code == 404
    clock.now += 61
    new_session(after)
    after.__exit__()
    store = SQLiteStore(file, 100)
    assert store.count() == 1
    store.close()


def test_a_store_that_fails_changes_nothing(start: Start, tmp_path: Path) -> None:
    client = start(session_store=str(tmp_path / "sessions.sqlite"))
    session = new_session(client, history=["i1"])
    store = client.app.state.service.store  # type: ignore[attr-defined]
    store._base.execute("PRAGMA query_only = 1")
    answer = add(client, session, "i2")
    assert answer.status_code == 503 and "session store" in answer.json()["error"]
    store._base.execute("PRAGMA query_only = 0")
    assert client.get(f"/sessions/{session}").json()["history"] == ["i1"]


def test_stores_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "sessions.sqlite"
    first = open_store(str(file), 10)
    with pytest.raises(UsageError, match="another server"):
        open_store(str(file), 10)
    assert first is not None
    first.close()
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(UsageError, match="not an SQLite file"):
        open_store(str(tmp_path / "text"), 10)
    with pytest.raises(UsageError, match="mysql:// is not known"):
        open_store("mysql://x", 10)


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis server of its own."""
    pytest.importorskip("redis", reason="the package redis is not installed")
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server: apt-get install redis-server")
    path = tmp_path / "r.sock"
    if len(str(path)) > 100:
        pytest.skip("the temporary folder's name is too long for a socket")
    words = [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", "."]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=tmp_path)
    try:
        wait_for(lambda: _answers(path))
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_sessions_survive_a_restart_in_redis(
    start: Start, redis_url: str, model: Recommender, clock: Clock
) -> None:
    stored_sessions(start, redis_url, model, clock)


def test_servers_share_sessions_in_redis(start: Start, redis_url: str, model: Recommender) -> None:
    one, other = start(session_store=redis_url), start(session_store=redis_url)
    session = new_session(one)
    for at, item in enumerate(EVENTS):
        add((one, other)[at % 2], session, item)
    assert top(one, session) == top(other, session) == expected(model, EVENTS)


def test_redis_forgets_what_has_expired(redis_url: str) -> None:
    store = open_store(redis_url, 0.05)
    assert store is not None
    store.write({"a": b"1"}, time.time())
    wait_for(lambda: store.read(["a"], time.time()) == {})
    store.close()


def test_no_redis_is_said() -> None:
    pytest.importorskip("redis", reason="the package redis is not installed")
    with pytest.raises(UsageError, match="cannot reach Redis"):
        open_store("redis://127.0.0.1:1/0", 10)


def test_a_new_version_reads_the_events_again(
    start: Start, family: Path, tmp_path: Path, model: Recommender
) -> None:
    file = str(tmp_path / "sessions.sqlite")
    client = start(family, session_store=file, sessions=1)
    kept, stored = new_session(client, history=EVENTS), new_session(client, history=["i1"])
    write_model(family / "16", 16, seed=2)
    assert client.post("/models/reload").status_code == 200
    new = Recommender.load(family / "16")
    for session, items in ((kept, EVENTS), (stored, ["i1"])):
        answer = client.get(f"/sessions/{session}/top", params={"k": 5})
        assert ids_of(answer) == expected(new, items)
        assert (answer.json()["replayed"], answer.json()["events"]) == (len(items), len(items))
    assert expected(new, EVENTS) != expected(model, EVENTS)
