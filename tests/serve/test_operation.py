"""Reload, limits, token, metrics, logs, batching, signals."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.serve.app import build_app
from recbole_fmrlrec.serve.batching import Batcher
from recbole_fmrlrec.serve.gate import Gate
from recbole_fmrlrec.serve.logs import JsonLines
from recbole_fmrlrec.serve.metrics import Metrics
from recbole_fmrlrec.serve.models import Models, Served
from recbole_fmrlrec.serve.questions import Question, answer
from recbole_fmrlrec.serve.service import Service
from recbole_fmrlrec.serve.settings import Limits, Settings
from tests.patience import patience, wait_for
from tests.serve.conftest import Start, ids_of, write_model

ROOT = Path(__file__).parents[2]


def outcomes(answer: Any) -> list[str]:
    return [one["outcome"] for one in answer.json()["folders"]]


def test_models_are_listed_with_bytes_and_sizes(client: TestClient, written: Path) -> None:
    small, large = client.get("/models").json()["models"]
    assert (small["model"], small["size"], large["size"]) == ("shop", 8, 16)
    assert large["bytes"] == sum(file.stat().st_size for file in (written / "16").iterdir())
    assert (large["items"], large["sizes"], large["columns"]) == (60, [4, 8, 16], ["brand"])


def test_a_new_version_is_swapped_in(start: Start, family: Path) -> None:
    client = start(family)
    assert outcomes(client.post("/models/reload")) == ["unchanged", "unchanged"]
    before = client.get("/models").json()["models"][1]["version"]
    write_model(family / "16", 16, seed=2)
    assert outcomes(client.post("/models/reload")) == ["unchanged", "loaded"]
    expected = Recommender.load(family / "16").recommend(["i1"], k=5)
    answer = client.post("/recommend", json={"history": ["i1"], "k": 5})
    assert ids_of(answer) == expected.ids and answer.json()["version"] != before


def test_a_damaged_one_is_refused_and_the_old_one_goes_on(start: Start, family: Path) -> None:
    client = start(family)
    before = client.post("/recommend", json={"history": ["i1"]}).json()
    table = family / "16" / "items.safetensors"
    table.write_bytes(table.read_bytes()[:-1])
    (family / "16" / "model.json").touch()
    for _ in range(2):  # asked again, it is tried again
        answer = client.post("/models/reload")
        assert answer.status_code == 409 and outcomes(answer) == ["unchanged", "refused"]
        assert "items.safetensors" in answer.json()["folders"][1]["reason"]
    assert client.post("/recommend", json={"history": ["i1"]}).json() == before


def test_a_size_that_is_added_is_served(start: Start, family: Path) -> None:
    (family / "16").rename(family.parent / "away")
    client = start(family)
    assert client.post("/recommend", json={"history": [], "size": 16}).status_code == 404
    (family.parent / "away").rename(family / "16")
    assert outcomes(client.post("/models/reload")) == ["unchanged", "loaded"]
    assert client.post("/recommend", json={"history": []}).json()["size"] == 16


def test_a_folder_that_changes_is_noticed(start: Start, family: Path) -> None:
    client = start(family, watch_seconds=0.01)
    before = client.get("/models").json()["models"][1]["version"]
    write_model(family / "16", 16, seed=3)
    wait_for(lambda: client.get("/models").json()["models"][1]["version"] != before)


def test_models_that_cannot_be_told_apart_are_refused(family: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rename one"):
        Models([family, family / "16"])
    with pytest.raises(UsageError, match="there is no folder"):
        Models([tmp_path / "none"])


def test_no_request_is_lost_while_models_are_exchanged(family: Path) -> None:
    service = Service(Settings(model_dirs=(family,)))
    app = build_app(service)

    async def run() -> list[tuple[int, str]]:
        done: list[tuple[int, str]] = []
        async with service.running(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                stop = asyncio.Event()

                async def ask() -> None:
                    while not stop.is_set():
                        got = await client.post("/recommend", json={"history": ["i1"]})
                        done.append((got.status_code, got.json().get("version", got.text)))

                askers = [asyncio.create_task(ask()) for _ in range(4)]
                for seed in (2, 3, 4):
                    await asyncio.to_thread(write_model, family / "16", 16, seed)
                    assert (await client.post("/models/reload")).status_code == 200
                    count = len(done)
                    while len(done) < count + 8:
                        await asyncio.sleep(0)
                stop.set()
                await asyncio.gather(*askers)
        return done

    done = asyncio.run(run())
    assert {status for status, _ in done} == {200} and len({version for _, version in done}) >= 3


def test_questions_asked_together_are_answered_as_alone(written: Path) -> None:
    models = Models([written])
    served: list[Served] = [models.get("shop", 8), models.get("shop", 16)]
    questions = [
        Question(one, [[f"i{row}"], [f"i{row + 1}", "i3"]], k, options)
        for one in served
        for row, k in ((1, 3), (5, 7))
        for options in ({"exclude_seen": True}, {"exclude_seen": False}, {"diversify": 0.5})
    ]
    questions.append(Question(served[0], [["i1"]], 3, {"max_per_group": 1, "group_by": "none"}))
    *together, wrong = answer(questions)
    assert isinstance(wrong, Exception)  # and the others were answered
    for question, lists in zip(questions, together, strict=False):
        alone = question.served.recommender.recommend(
            question.histories, k=question.k, **question.options
        )
        assert isinstance(lists, list)
        assert [one.ids for one in lists] == [one.ids for one in alone]


def test_what_waits_is_computed_together() -> None:
    from concurrent.futures import ThreadPoolExecutor

    started, go = threading.Event(), threading.Event()
    sizes: list[int] = []

    def work(jobs: Any) -> list[Any]:
        started.set()
        go.wait()
        return [ValueError("odd") if job % 2 else job * 10 for job in jobs]

    async def run() -> list[Any]:
        with ThreadPoolExecutor(1) as executor:
            batcher: Batcher[int, int] = Batcher(work, executor, 3, sizes=sizes.append)
            batcher.start()
            first = asyncio.create_task(batcher.ask(0))
            await asyncio.to_thread(started.wait)
            rest = [asyncio.create_task(batcher.ask(job)) for job in range(1, 6)]
            await asyncio.sleep(0)
            rest[4].cancel()
            go.set()
            got = await asyncio.gather(first, *rest, return_exceptions=True)
            await batcher.stop()
        return got

    got = asyncio.run(run())
    assert sizes == [1, 3, 1]
    assert [got[0], got[2], got[4]] == [0, 20, 40]
    assert [type(one) for one in (got[1], got[3], got[5])] == [
        ValueError,
        ValueError,
        asyncio.CancelledError,
    ]


def test_a_body_that_is_too_long_is_refused(start: Start) -> None:
    client = start(body_bytes=100)
    for content in (b"x" * 101, iter([b"x" * 60, b"x" * 60])):
        answer = client.post("/recommend", content=content)
        assert answer.status_code == 413 and "100 bytes" in answer.json()["error"]


@pytest.fixture
def blocked() -> Iterator[Callable[[TestClient], threading.Event]]:
    """Keeps a server's threads from computing until the event is set, at the end at the latest."""
    events: list[threading.Event] = []

    def block(client: TestClient) -> threading.Event:
        events.append(threading.Event())
        service: Service = client.app.state.service  # type: ignore[attr-defined]
        for _ in range(2):
            service._threads.submit(events[-1].wait)
        return events[-1]

    yield block
    for event in events:
        event.set()


def test_a_slow_request_is_given_up(
    start: Start, blocked: Callable[[TestClient], threading.Event]
) -> None:
    client = start(seconds=0.05)
    go = blocked(client)
    answer = client.post("/recommend", json={"history": []})
    assert answer.status_code == 503 and "longer than 0.05 seconds" in answer.json()["error"]
    go.set()


def test_one_request_too_many_is_turned_away(
    start: Start, blocked: Callable[[TestClient], threading.Event]
) -> None:
    client = start(requests=1, seconds=patience(60))
    go = blocked(client)
    got: list[Any] = []
    thread = threading.Thread(
        target=lambda: got.append(client.post("/recommend", json={"history": []}))
    )
    thread.start()
    wait_for(lambda: "fmrlrec_requests_running 1.0" in client.get("/metrics").text)
    busy = client.post("/recommend", json={"history": []})
    assert busy.status_code == 503 and busy.headers["retry-after"] == "1"
    assert client.get("/health").status_code == client.get("/ready").status_code == 200
    go.set()
    thread.join(patience(60))
    assert got[0].status_code == 200


def test_of_a_burst_as_many_are_answered_as_may_be() -> None:
    """Six at one moment where four may run: two are turned away, and not all six."""
    statuses: list[int] = []

    async def burst() -> None:
        go_on = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go_on.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        settings = Settings(model_dirs=(), limits=Limits(requests=4, seconds=patience(60)))
        gate = Gate(app, settings, Metrics({}, lambda: 0))
        scope = {"type": "http", "path": "/recommend", "method": "POST", "headers": []}
        asked = [asyncio.create_task(gate({**scope}, receive, send)) for _ in range(6)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(*asked)

    asyncio.run(burst())
    assert sorted(statuses) == [200, 200, 200, 200, 503, 503]


def test_a_token_is_asked_for(start: Start) -> None:
    client = start(token="open sesame".replace(" ", "-"))
    for path in ("/", "/health", "/ready"):
        assert client.get(path).status_code == 200
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "open-sesame"}):
        for path in ("/models", "/metrics", "/openapi.json", "/nothing"):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401 and "Bearer" in answer.json()["error"]
    right = {"Authorization": "Bearer open-sesame"}
    assert client.get("/models", headers=right).status_code == 200
    assert client.get("/openapi.json", headers=right).json()["security"] == [{"token": []}]


def test_log_lines_have_ids_and_no_histories(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "recbole_fmrlrec.serve"):
        session = client.post("/sessions", json={"history": ["i7"]}).json()["session_id"]
        client.post(f"/sessions/{session}/events", json={"items": ["i7"]})
        client.get("/items/i7/similar", headers={"X-Request-Id": "mine-1"})
        client.get("/items", params={"title": "i7"}, headers={"X-Request-Id": "no\tword"})
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert [line["route"] for line in lines] == [
        "/sessions",
        "/sessions/{session_id}/events",
        "/items/{item_id:path}/similar",
        "/items",
    ]
    assert lines[2]["request_id"] == "mine-1" and lines[3]["request_id"] != "no\tword"
    assert all(line["status"] in (200, 201) and line["ms"] > 0 for line in lines)
    assert "i7" not in str(lines).replace("{item_id", "") and session not in str(lines)


def test_a_failure_shows_no_trace(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    client = start()

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Recommender, "recommend", fail)
    answer = client.post("/recommend", json={"history": []})
    assert answer.status_code == 500 and set(answer.json()) == {"error", "request_id"}
    assert "secret" not in answer.text
    assert client.get("/health").status_code == 200


def test_metrics_count_requests_and_sessions(client: TestClient) -> None:
    for _ in range(3):
        client.post("/recommend", json={"history": []})
    client.post("/recommend", json={})
    client.post("/sessions", json={"history": ["i1", "i2"]})
    text = client.get("/metrics").text
    count = 'fmrlrec_requests_total{method="POST",route="/recommend",status="%d"} %.1f'
    assert count % (200, 3) in text and count % (422, 1) in text
    assert 'fmrlrec_sessions_total{what="events"} 2.0' in text
    assert "fmrlrec_sessions_in_memory 1.0" in text
    assert re.search(r'fmrlrec_model_bytes\{model="shop",size="8",version="\w{16}"\}', text)


def test_the_page_lets_nothing_in_from_outside(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src")
    assert not re.search(r"https?://|//[a-z]+\.", answer.text.replace("<!doctype html>", ""))


def test_the_command_refuses_what_it_cannot_use(
    tmp_path: Path, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("two words")
    for words, reason in (
        ([], "--model_dir"),
        ([f"--model_dir={tmp_path}"], "model.json"),
        ([f"--model_dir={written}", "--port=99999"], "--port must be"),
        ([f"--model_dir={written}", "--max_k=0"], "--max_k must be above 0"),
        ([f"--model_dir={written}", "--port=0", "--session_store=a://b"], "--session_store"),
        ([f"--model_dir={written}", "--host=300.1.1.1"], "cannot listen"),
        ([f"--model_dir={written}", f"--token_file={tmp_path / 'token'}"], "--token_file"),
    ):
        assert main(["serve", *words]) == 2
        assert reason in capsys.readouterr().err


def test_sigterm_finishes_and_exits_with_0(written: Path, tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "run_recbole.py"), "serve", "--port=0"]
    words += [f"--model_dir={written}", "--num_threads=1", "--session_store=s.sqlite"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        url = next(json.loads(line)["url"] for line in lines if '"serving"' in line)
        assert url.startswith("http://127.0.0.1:")
        body = json.dumps({"history": ["i1"], "k": 3}).encode()
        asked = urllib.request.Request(
            url + "recommend", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=patience(30)) as got:
            assert len(json.load(got)["items"]) == 3
        os.kill(process.pid, signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(patience(30)) == 0, rest
        assert '"stopped"' in rest and (tmp_path / "s.sqlite").is_file()
    finally:
        process.kill()
        process.wait()
