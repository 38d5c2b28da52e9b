"""Real processes on the toy dataset: killed, interrupted, two at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import yaml
from optuna.trial import TrialState

from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.tuning.storage import open_storage
from recbole_fmrlrec.tuning.study import outcomes
from tests import toy
from tests.patience import patience

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 12  # a second or so, enough to be caught in the middle of
SMALL = {key: value for key, value in toy.SMALL.items() if key != "learning_rate"}

FILE: dict[str, Any] = {
    "model": "fMRLRec",
    "dataset": "toy",
    "sampler": "grid",
    "settings": {**SMALL, "epochs": EPOCHS, "data_path": ".", "num_threads": 1},
    "parameters": {
        "learning_rate": {"choice": [0.01, 0.03]},
        "use_id_embedding": {"choice": [False, True]},
        "input_dropout_prob": {"choice": [0.0, 0.3], "when": {"use_id_embedding": True}},
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the toy dataset and a file that searches six points."""
    toy.write_toy(tmp_path)
    (tmp_path / "f.yaml").write_text(yaml.safe_dump(FILE))
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Any]:
    """Start commands; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*more: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "run_recbole.py"), "tune", "f.yaml", *more]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=folder, text=True, **pipes))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def study_in(folder: Path) -> optuna.Study:
    file = folder / "saved" / "tune" / "f" / "study.db"
    return optuna.load_study(storage=open_storage(f"sqlite:///{file}"), study_name="f")


RUNNING = """
    SELECT owner.value_json FROM trials
    JOIN trial_user_attributes place ON place.trial_id = trials.trial_id AND place.key = 'place'
    JOIN trial_user_attributes owner ON owner.trial_id = trials.trial_id AND owner.key = 'owner'
    JOIN trial_intermediate_values USING (trial_id)
    WHERE state = 'RUNNING' AND place.value_json = ?
"""


def in_the_middle(folder: Path, command: subprocess.Popen[str], place: int) -> int:
    """Wait until the trial of a place has been validated and runs on; return its process."""
    database = folder / "saved" / "tune" / "f" / "study.db"
    while command.poll() is None:
        time.sleep(0.05)
        if not database.is_file():
            continue
        try:  # without Optuna: opening its storage would hold up the command
            with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
                found = connection.execute(RUNNING, (str(place),)).fetchone()
        except sqlite3.OperationalError:
            continue  # no tables yet
        if found:
            return int(json.loads(found[0])["pid"])
    raise AssertionError(command.communicate())


def points(study: optuna.Study) -> list[tuple[Any, ...]]:
    return [tuple(trial.params.values()) for trial in outcomes(study).values()]


def log_of(folder: Path, place: int) -> str:
    (log,) = (folder / "saved" / "tune" / "f" / "trials" / f"{place:04d}").glob("*/run.log")
    return log.read_text()


def test_killed_in_a_trial_and_run_again(
    folder: Path, start: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = start("--trials=2")
    assert in_the_middle(folder, first, 1) == first.pid
    first.kill()
    assert first.wait() == -signal.SIGKILL
    monkeypatch.chdir(folder)
    assert main(["tune", "f.yaml", "--trials=2"]) == 0  # in this process, which has torch by now
    out = capsys.readouterr().out
    study = study_in(folder)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert study.trials[2].params == study.trials[1].params
    # Taken up where it was: its first epochs are in the log once, and the curve is whole.
    assert log_of(folder, 1).count("epoch 1 training") == 1
    assert "continuing after epoch" in log_of(folder, 1)
    assert sorted(study.trials[2].intermediate_values) == list(range(EPOCHS))

    output = folder / "saved" / "tune" / "f"
    best = yaml.safe_load((output / "best.yaml").read_text())
    config = Config(config_file_list=[output / "best.yaml"])
    assert (config["model"], config["epochs"]) == ("fMRLRec", EPOCHS)
    assert config["learning_rate"] == best["learning_rate"]
    tested = json.loads((output / "test.json").read_text())
    (result,) = output.glob("trials/*/*/result.json")
    assert tested["test"] == json.loads(result.read_text())["test"]
    assert tested["valid"]["NDCG@10"] == max(t.values[0] for t in study.trials if t.values)
    assert f"trial {tested['trial']}" in out
    assert "f: 2 of 2 trials (2 complete), sampler grid: 2 of 6 points" in out


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed(folder: Path, start: Any) -> None:
    command = start("--workers=2")
    owner = in_the_middle(folder, command, 1)
    assert psutil.Process(owner).ppid() == command.pid
    os.kill(owner, signal.SIGKILL)
    _, err = command.communicate(timeout=patience(400))
    assert command.returncode == 0, err
    assert "was killed by signal 9" in err
    study = study_in(folder)
    grid = [(r, *i) for r in (0.01, 0.03) for i in ((False,), (True, 0.0), (True, 0.3))]
    assert points(study) == [grid[index] for index in (1, 4, 0, 2, 5, 3)]  # shuffled
    assert all(trial.state == TrialState.COMPLETE for trial in outcomes(study).values())
    dead = [trial for trial in study.trials if trial.state == TrialState.FAIL]
    assert [trial.user_attrs["place"] for trial in dead] == [1] and len(study.trials) == 7


@pytest.mark.slow
def test_workers_end_with_a_killed_command(folder: Path, start: Any) -> None:
    longer = {**FILE, "settings": {**FILE["settings"], "epochs": 500, "stopping_step": 500}}
    (folder / "f.yaml").write_text(yaml.safe_dump(longer))
    command = start("--workers=2")
    owners = [psutil.Process(in_the_middle(folder, command, place)) for place in (0, 1)]
    assert {owner.ppid() for owner in owners} == {command.pid}
    command.kill()
    _, living = psutil.wait_procs(owners, timeout=patience(20))
    assert not living
    trials = outcomes(study_in(folder))
    assert [trials[place].state for place in (0, 1)] == [TrialState.RUNNING] * 2


@pytest.mark.slow
def test_interrupted(folder: Path, start: Any) -> None:
    command = start("--workers=2")
    in_the_middle(folder, command, 0)
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=patience(400))
    assert command.returncode == 130
    assert err.endswith("interrupted; run the same command again to continue the study\n")
    study = study_in(folder)
    assert outcomes(study)[0].state == TrialState.WAITING
    assert not [trial for trial in study.trials if trial.state == TrialState.RUNNING]
    assert not (folder / "saved" / "tune" / "f" / "test.json").exists()
