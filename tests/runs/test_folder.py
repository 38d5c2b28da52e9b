"""Run folders: one process at a time, and damaged files that are named with the way out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from recbole_fmrlrec import run
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.runs.folder import FolderInUse, RunFolder
from recbole_fmrlrec.runs.lock import Lock
from tests import toy
from tests.forked import Forked
from tests.patience import patience, wait_for

ROOT = Path(__file__).resolve().parents[2]

# Trains until the given validation, and stops there as Ctrl-Z stops a process: it is alive.
STOPS = """
import os, signal, sys
from recbole_fmrlrec.cli import main as cli
from recbole_fmrlrec.train import trainer

real, at = trainer.Trainer._save_last, int(sys.argv[1])

def save_last(self, epoch):
    real(self, epoch)
    if epoch == at:
        os.kill(os.getpid(), signal.SIGSTOP)

trainer.Trainer._save_last = save_last
sys.exit(cli.main(sys.argv[2:]))
"""


def start(folder: Path, at: int, *more: str) -> Forked:
    keys = {**toy.SMALL, "model": "fMRLRec", "dataset": "toy", "data_path": ".", "num_threads": 1}
    options = [f"--{key}={value}" for key, value in keys.items()]
    return Forked(STOPS, str(at), *options, *more, cwd=folder)


def test_a_run_that_is_alive_is_not_resumed_and_a_dead_one_is(tmp_path):
    toy.write_toy(tmp_path)
    alive = start(tmp_path, 1)
    process = psutil.Process(alive.pid)
    wait_for(lambda: process.status() == psutil.STATUS_STOPPED)
    (run_dir,) = (tmp_path / "saved").iterdir()
    before = {file.name: file.stat().st_mtime_ns for file in run_dir.iterdir()}
    for resume in ("--resume", f"--resume={run_dir}"):
        refused = start(tmp_path, -1, resume)
        _, errors = refused.communicate(timeout=patience(120))
        assert refused.returncode == 2
        assert (
            f"error: {run_dir}: this run is already running (process {alive.pid} on " in errors
            and "--resume" in errors
        )
    assert {file.name: file.stat().st_mtime_ns for file in run_dir.iterdir()} == before
    os.kill(alive.pid, signal.SIGKILL)
    alive.communicate(timeout=patience(60))
    resumed = start(tmp_path, -1, "--resume")
    output, errors = resumed.communicate(timeout=patience(120))
    assert resumed.returncode == 0, errors
    assert "continuing after epoch 2" in errors and f"saved/{run_dir.name}" in output
    assert not list(run_dir.glob("*.lock.*"))


def test_a_run_taken_over_elsewhere_ends(tmp_path):
    folder = RunFolder(tmp_path / "r", "fMRLRec", "toy", "", {})
    beat = Lock.keep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lock, "keep", lambda self, lost: beat(self, lost, beat=0.01))
        with (
            pytest.raises(RunError, match=r"r: process 7 on far has taken over this run"),
            folder.held(),
        ):
            owner = {"host": "far", "place": "far|boot", "pid": 7, "started": 0}
            (folder.path / "run.lock.2").write_text(json.dumps(owner), encoding="utf-8")
            wait_for(lambda: False)  # until the heart beat interrupts it
    assert [file.name for file in folder.path.iterdir()] == ["run.lock.2"]
    with pytest.raises(FolderInUse, match=r"already running \(process 7 on far\)"), folder.held():
        pass


def test_a_run_taken_over_ends_where_interruptions_are_ignored(tmp_path):
    (tmp_path / "r").mkdir()
    code = f"""
import json, signal, time
from pathlib import Path
from recbole_fmrlrec.runs.lock import Lock
from recbole_fmrlrec.runs.folder import RunFolder
signal.signal(signal.SIGINT, signal.SIG_IGN)
beat = Lock.keep
Lock.keep = lambda self, lost: beat(self, lost, beat=0.01)
folder = RunFolder(Path({str(tmp_path / "r")!r}), "fMRLRec", "toy", "", {{}})
with folder.held():
    owner = {{"host": "far", "place": "far|boot", "pid": 7, "started": 0}}
    (folder.path / "run.lock.2").write_text(json.dumps(owner), encoding="utf-8")
    time.sleep(3600)
print("reached")
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience(50))
    assert done.returncode == -signal.SIGTERM and "reached" not in done.stdout
    assert "process 7 on far has taken over this run" in done.stderr


def test_a_place_for_runs_that_is_a_file_is_wrong_use(tmp_path):
    toy.write_toy(tmp_path)
    (tmp_path / "notes").write_text("kept")
    keys = {**toy.SMALL, "data_path": str(tmp_path), "checkpoint_dir": str(tmp_path / "notes")}
    with pytest.raises(UsageError, match=r"checkpoint_dir: .*notes: Not a directory"):
        run("fMRLRec", "toy", config_dict=keys)
    assert (tmp_path / "notes").read_text() == "kept"


@pytest.mark.parametrize("threads", [0, 1025, 100_000])
def test_threads_that_no_machine_starts_are_refused(tmp_path, threads):
    toy.write_toy(tmp_path)
    keys = {**toy.SMALL, "data_path": str(tmp_path), "num_threads": threads}
    with pytest.raises(UsageError, match="at least 1 and at most 1024"):
        run("fMRLRec", "toy", config_dict=keys)


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A finished run on the toy dataset, and how to resume it."""
    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path)
    first = run("fMRLRec", "toy", config_dict=toy.settings(tmp_path))

    def resume(at=first.run_dir):
        return run("fMRLRec", "toy", config_dict=toy.settings(tmp_path), resume=at)

    return first, resume


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_a_damaged_configuration(finished, caplog):
    first, resume = finished
    cut(first.run_dir / "config.json")
    with pytest.raises(
        UsageError, match=r"config\.json: damaged .*start the run again without --resume"
    ):
        resume()
    assert resume(True).run_dir != first.run_dir
    assert f"skips a run: {first.run_dir / 'config.json'}: damaged" in caplog.text
    (first.run_dir / "config.json").write_text("[]")
    with pytest.raises(UsageError, match="damaged"):
        resume()


def test_a_damaged_result_is_made_again(finished):
    first, resume = finished
    file = first.run_dir / "result.json"
    for damage in (lambda: cut(file), lambda: file.write_text('{"a": 1}')):
        damage()
        with pytest.raises(UsageError, match=r"result\.json: damaged.*remove it, and --resume"):
            resume()
        file.unlink()
        again = resume()
        assert again.test == first.test and again.history == first.history


def test_damaged_checkpoints_are_trained_anew(finished):
    first, resume = finished
    for names, way_out in (
        (["last.pth"], r"last\.pth: not a readable .*; remove last.pth, and --resume trains"),
        (["best.pth", "last.pth"], r"best\.pth: not a readable .*; remove best.pth and last.pth, "),
    ):
        (first.run_dir / "result.json").unlink()
        cut(first.run_dir / names[0])
        with pytest.raises(RunError, match=way_out):
            resume()
        for name in names:
            (first.run_dir / name).unlink()
        again = resume()
        assert again.test == first.test and len(again.history) == 3


def test_an_interruption_speaks_of_resume_where_there_is_something_to_resume(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path)
    steps, step = [], torch.optim.AdamW.step

    def interrupted(at):
        def counted(*args, **kwargs):
            steps.append(1)
            if len(steps) == at:
                raise KeyboardInterrupt
            return step(*args, **kwargs)

        monkeypatch.setattr(torch.optim.AdamW, "step", counted)
        with pytest.raises(KeyboardInterrupt) as stop:
            run("fMRLRec", "toy", config_dict=toy.settings(tmp_path))
        return stop.value.args

    assert interrupted(at=3) == ()
    steps.clear()
    per_epoch = -(-toy.USERS * 2 // toy.SMALL["train_batch_size"])
    assert interrupted(at=2 * per_epoch + 3) == ("--resume continues the run after its last epoch",)


@pytest.mark.parametrize(
    "change", [{"random": None}, {"optimizer": {}}, {"epoch": "x"}, {"state_dict": {}}]
)
def test_a_last_checkpoint_of_wrong_content_says_the_way_on(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    """No state of another model ends in a KeyError; nothing outside the folder is written."""
    toy.write_toy(tmp_path)
    keys = toy.settings(tmp_path) | {"use_features": False, "epochs": 1}
    folder = run("fMRLRecID", "toy", config_dict=keys, test=False).run_dir
    state = torch.load(folder / "last.pth", weights_only=True)
    torch.save({**state, "best_file": "../../outside.pth", **change}, folder / "last.pth")
    with pytest.raises(RunError, match=r"last\.pth: damaged.*remove last\.pth, and --resume"):
        run("fMRLRecID", "toy", config_dict=keys, resume=True)
    assert not (tmp_path / "outside.pth").exists()
