"""Studies outside a database: a journal that machines share, a gRPC proxy."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.tuning import beats, proxy, search, worker
from recbole_fmrlrec.tuning.journal import journal_file
from recbole_fmrlrec.tuning.proxy_client import proxy_address
from recbole_fmrlrec.tuning.storage import file_of, open_storage
from recbole_fmrlrec.tuning.study import open_study, outcomes, requeue_dead
from tests.patience import patience, wait_for
from tests.tuning.conftest import Runs, make

ROOT = Path(__file__).resolve().parents[2]
#: A process of another machine: its number says nothing here.
FAR = {"host": "far", "place": "elsewhere", "pid": 1, "started": 0.0}


def work(plan: Any, storage: str, command: str = "c") -> optuna.Study:
    """Work on a plan in a storage until its budget is used up; return the study."""
    worker.work(worker.Job(plan, storage, command))
    return open_study(open_storage(storage), plan)


@pytest.fixture
def grpc_proxy(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A proxy before a database of SQLite: its ``--storage`` and its process."""
    pytest.importorskip("grpc")
    plan = make(tmp_path)
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    words = [f"sqlite:///{plan.output / 'study.db'}", f"--port={port}"]
    command = [sys.executable, "-m", "recbole_fmrlrec.tuning.proxy", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    assert process.stderr.readline() == f"serving on grpc://localhost:{port}\n"
    yield f"grpc://localhost:{port}", process
    process.kill()
    process.communicate()


@pytest.fixture
def grpc_server(grpc_proxy: tuple[str, subprocess.Popen[str]]) -> str:
    """The ``--storage`` of a proxy."""
    return grpc_proxy[0]


@pytest.mark.parametrize(
    ("storage", "file", "address"),
    [
        ("journal:a/b.x", Path("a/b.x"), None),
        ("journal:/a/b", Path("/a/b"), None),
        ("journal:///a/b", Path("/a/b"), None),
        ("a/study.journal", Path("a/study.journal"), None),
        ("study.log", Path("study.log"), None),
        ("sqlite:///a.log", Path("a.log"), None),
        ("postgresql+psycopg://u:p@h/d.log", None, None),
        ("grpc://db1:5000", None, ("db1", 5000)),
        ("grpc://db1", None, ("db1", 13000)),
        ("grpc://[::1]:5", None, ("[::1]", 5)),
    ],
)
def test_what_a_storage_names(
    storage: str, file: Path | None, address: tuple[str, int] | None
) -> None:
    assert file_of(storage) == file and proxy_address(storage) == address
    assert journal_file(storage) == (None if storage.startswith("sqlite") else file)


@pytest.mark.parametrize(
    ("storage", "says"),
    [
        ("journal:", "--storage=journal: names no file"),
        ("journal:a/", "--storage=journal:a/ names no file"),
        ("grpc://", "--storage=grpc://: must be grpc://HOST:PORT"),
        ("grpc://h:99999", "must be grpc://HOST:PORT"),
        ("grpc://h/x", "must be grpc://HOST:PORT"),
        ("/dev/null/x.journal", "--storage: cannot write to /dev/null: "),
    ],
)
def test_what_names_none(storage: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        open_storage(storage)


def test_a_journal_has_the_trials_of_a_database(tmp_path: Path, runs: Runs) -> None:
    plan = make(tmp_path / "a")
    wanted = work(plan, f"sqlite:///{plan.output / 'study.db'}")
    found = work(make(tmp_path / "b"), f"journal:{tmp_path}/shared/study")
    assert [(t.number, t.params, t.values) for t in found.trials] == [
        (t.number, t.params, t.values) for t in wanted.trials
    ]
    assert found.trials[0].intermediate_values == wanted.trials[0].intermediate_values
    assert [file.name for file in (tmp_path / "shared").iterdir()] == ["study"]  # and no lock


def test_a_grpc_proxy_has_the_trials_of_a_database(
    tmp_path: Path, runs: Runs, grpc_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = work(make(tmp_path / "a"), f"sqlite:///{tmp_path}/a/study.db")
    plan = make(tmp_path)
    found = work(plan, grpc_server)
    assert [(t.number, t.params, t.values) for t in found.trials] == [
        (t.number, t.params, t.values) for t in wanted.trials
    ]
    assert "s: 4 of 4 trials (4 complete)" in search.show(plan, grpc_server)
    port = grpc_server.rpartition(":")[2]
    assert proxy.main([f"sqlite:///{tmp_path}/study.db", f"--port={port}"]) == 2  # is taken


@pytest.mark.parametrize("kind", ["journal", pytest.param("grpc", marks=pytest.mark.slow)])
def test_a_trial_of_another_machine_is_dead_when_it_gives_no_sign(
    kind: str,
    tmp_path: Path,
    runs: Runs,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(beats.time, "monotonic", lambda: clock[0])
    journal = f"{tmp_path}/study.journal"
    storage = journal if kind == "journal" else request.getfixturevalue("grpc_server")
    plan = make(tmp_path)
    study = open_study(open_storage(storage), plan)
    study.sampler = worker.SlotSampler(plan, study)
    far = study.ask()
    beats.beat(far)
    far.set_user_attr("place", 0)
    far.set_user_attr("owner", FAR)

    watch = beats.Watch()

    def state_after(seconds: float) -> TrialState:
        clock[0] += seconds
        requeue_dead(study, watch)
        return outcomes(study)[0].state

    assert state_after(0) == TrialState.RUNNING
    assert state_after(beats.SILENCE) == TrialState.RUNNING
    beats.beat(far)
    assert state_after(1) == state_after(beats.SILENCE) == TrialState.RUNNING
    assert state_after(1) == TrialState.WAITING  # queued again, in its place
    beats.beat(far)  # the sleeper wakes, and does no harm
    assert beats.ATTRIBUTE not in outcomes(study)[0].user_attrs
    done = work(plan, storage)
    assert runs.begun == [0, 1, 2, 3] and done.trials[0].state == TrialState.FAIL


def test_a_trial_that_never_beat_is_not_judged_by_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker at the database itself beats there, which nobody sees through a proxy."""
    clock = [0.0]
    monkeypatch.setattr(beats.time, "monotonic", lambda: clock[0])
    study = optuna.create_study(storage=open_storage(f"{tmp_path}/s.journal"))
    study.ask().set_user_attr("owner", FAR)
    watch = beats.Watch()
    for clock[0] in (1.0, 1e6):
        requeue_dead(study, watch)
        assert study.trials[0].state == TrialState.RUNNING


def test_half_a_line_of_a_machine_that_died_is_removed(tmp_path: Path, runs: Runs) -> None:
    file = tmp_path / "study.journal"
    study = work(make(tmp_path, trials=2), str(file))
    whole = file.read_bytes()
    with file.open("ab") as stream:
        stream.write(b'{"op_code":9,"worker')
    assert len(outcomes(work(make(tmp_path, trials=3), str(file)))) == 3
    assert file.read_bytes().startswith(whole + b'{"op_code":0,') and len(study.trials) == 3


def test_what_is_no_journal_is_left_as_it_is(tmp_path: Path) -> None:
    for text in ("somebody's line", "two\nlines\n", '{"op_code":9,"x":0}\n{"a": 1}\n{"b"'):
        (tmp_path / "run.log").write_text(text)
        for look_only in (True, False):
            with pytest.raises(UsageError, match=r"line [12] is no entry of a journal"):
                open_storage(f"{tmp_path}/run.log", look_only)
        assert (tmp_path / "run.log").read_text() == text


def test_a_proxy_that_does_not_answer(
    tmp_path: Path,
    runs: Runs,
    grpc_proxy: tuple[str, subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    grpc_server, process = grpc_proxy

    def kill(place: int, epoch: int) -> None:
        if (place, epoch) == (1, 1):
            process.kill()
            process.wait()

    runs.do = kill
    with pytest.raises(RunError, match=r"localhost:\d+ does not answer any more"):
        work(make(tmp_path), grpc_server)
    monkeypatch.setattr("recbole_fmrlrec.tuning.proxy_client.PATIENCE", 0.1)
    with pytest.raises(RunError, match="nothing answers there; start the proxy with"):
        open_storage(grpc_server)
    for word in ("journal:x", "grpc://a:1"):
        assert proxy.main([word]) == 2
        assert "Optuna's proxy stands before a database" in capsys.readouterr().err


MACHINE = """
import sys
from recbole_fmrlrec.files import process
from recbole_fmrlrec.tuning import beats, trial, worker
from pathlib import Path
from tests.tuning.conftest import Runs, make
process._number_space = lambda: sys.argv[1]   # a machine of its own
beats.BEAT, beats.SILENCE = 0.2, 5.0
runs = Runs()
trial.run_slot = runs
def slow(place, epoch):
    import time
    print(place, epoch, flush=True)
    time.sleep(float(sys.argv[3]))
runs.do = slow
plan = make(Path(sys.argv[2]), trials=3)
worker.work(worker.Job(plan, sys.argv[4], sys.argv[1]))
"""


@pytest.mark.parametrize("kind", ["journal", pytest.param("grpc", marks=pytest.mark.slow)])
def test_a_killed_machine_s_trial_is_taken_up_by_another(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Two processes that cannot see each other's numbers, as on two machines."""
    journal = f"journal:{tmp_path}/shared.study"
    storage = journal if kind == "journal" else request.getfixturevalue("grpc_server")
    make(tmp_path)

    def machine(name: str, seconds: float) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", MACHINE, name, str(tmp_path), str(seconds), storage]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    first = machine("a", 3600.0)
    assert first.stdout is not None and first.stdout.readline() == "0 0\n"
    second = machine("b", 0.0)
    study = open_study(open_storage(storage), make(tmp_path, trials=3))
    wait_for(lambda: len(outcomes(study)) == 3)
    assert outcomes(study)[0].state == TrialState.RUNNING and second.poll() is None
    first.send_signal(signal.SIGKILL)
    first.communicate()
    out, _ = second.communicate(timeout=patience(60))
    assert second.returncode == 0
    assert out.splitlines() == [f"{place} {epoch}" for place in (1, 2, 0) for epoch in range(3)]
    states = [trial.state.name for trial in study.trials]
    assert states == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert {t.user_attrs["owner"]["command"] for t in outcomes(study).values()} == {"b"}


def test_the_command_takes_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.yaml").write_text(
        "model: fMRLRec\nparameters:\n  learning_rate: {choice: [0.01]}\n"
    )
    assert main(["tune", "f.yaml", "--show", "--storage=none.journal"]) == 2
    assert "there is no study `f` yet: none.journal is not there" in capsys.readouterr().err
    open_storage("some.journal")
    assert main(["tune", "f.yaml", "--show", "--storage=some.journal"]) == 2
    assert "there is no study `f` yet in this storage" in capsys.readouterr().err
