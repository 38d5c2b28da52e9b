"""Cells and workers as jobs: submitit on this machine, and on a cluster that is made up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.compare import report
from recbole_fmrlrec.launch.gpus import VISIBLE
from recbole_fmrlrec.launch.jobs import Call, Launcher
from recbole_fmrlrec.launch.options import checked_options
from tests import toy
from tests.compare.test_compare import FILE, cell_folder, epochs_in
from tests.launch import fake_slurm
from tests.patience import wait_for
from tests.tuning import test_processes

pytest.importorskip("submitit")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the toy dataset and a comparison of two cells; jobs left over are ended."""
    toy.write_toy(tmp_path / "dataset")
    (tmp_path / "toy.yaml").write_text(FILE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "write_plots", lambda analysis, folder: [])
    yield tmp_path
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(tmp_path) and process.pid != os.getpid():
                process.kill()


@pytest.fixture
def slurm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs of a cluster; the folder of its states."""
    states = fake_slurm.install(folder / "cluster")
    monkeypatch.setenv("PATH", f"{folder / 'cluster'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(Launcher, "look", 0.2)
    return states


def note(argument: Any) -> None:
    """What a job of the tests does: say what it sees."""
    seen = {"argument": argument, "shown": os.environ.get(VISIBLE), "one": os.environ.get("ONE")}
    Path(argument).write_text(json.dumps(seen))


@pytest.mark.slow
def test_a_local_job_sees_the_devices_that_it_was_dealt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """submitit hides all devices from local jobs, unless gpus_per_node asks for some."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(VISIBLE, "changed since")
    options = checked_options({}, "local")
    launcher = Launcher("local", options, tmp_path / "jobs", ("4", "5"), "4,5")
    files = [str(tmp_path / name) for name in "abc"]
    calls = {file: Call(note, file, {"ONE": "1"}, tmp_path / "log") for file in files}
    jobs = launcher.submit(calls, slots=[0, 1, 2])
    assert set(launcher.open_jobs()) <= set(files)
    wait_for(lambda: all(job.ended() for job in jobs.values()))
    seen = [json.loads(Path(file).read_text()) for file in files]
    assert [one["shown"] for one in seen] == ["4", "5", "4"] and seen[0]["one"] == "1"
    assert os.environ[VISIBLE] == "changed since" and launcher.open_jobs() == {}
    assert Launcher("local", {**options, "gpus_per_node": 1}, tmp_path)._devices(0) == {}


def test_cells_as_local_jobs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = FILE.replace("epochs: 60", "epochs: 2") + "launcher_options: {partition: gpu}\n"
    (folder / "toy.yaml").write_text(text, encoding="utf-8")
    words = ["compare", "toy.yaml", "--workers=2"]
    assert main([*words, "--launcher=local", "--launcher_options=timeout_min=60"]) == 0
    shown = capsys.readouterr()
    assert "submitted 2 jobs (local " in shown.err and "Test on toy, 40 rows" in shown.out
    assert main([*words, "--output=other"]) == 0
    jobs, pool = (
        json.loads((folder / name / "results.json").read_text())["datasets"]["toy"]["systems"]
        for name in ("comparisons/toy", "other")
    )
    assert [system["metrics"] for system in jobs] == [system["metrics"] for system in pool]
    log = (cell_folder(folder, "fMRLRec") / "worker.log").read_text()
    assert "Job completed successfully" in log  # submitit's words too


def test_a_cell_that_fails_as_a_job_is_named(
    folder: Path, slurm: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recbole_fmrlrec.compare.runners.SETTLES", 0.0)
    text = FILE.split("  ours:")[0] + "  BPR: {settings: {learning_rate: 1.0e+30}}\n"
    (folder / "toy.yaml").write_text(text, encoding="utf-8")
    assert main(["compare", "toy.yaml", "--launcher=slurm"]) == 1
    shown = capsys.readouterr()
    assert "error: BPR on toy, seed 2020: " in shown.err and "diverged" in shown.err
    assert "Pop" in shown.out


def test_the_command_is_killed_and_a_job_is_stopped_and_queued_again(
    folder: Path, slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--launcher_options=partition=gpu,gpus_per_node=1,timeout_min=90"
    words = ["compare", "toy.yaml", "--launcher=slurm", options]
    command = subprocess.Popen(
        [sys.executable, str(ROOT / "run_recbole.py"), *words],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    ours = lambda: cell_folder(folder, "fMRLRec")  # noqa: E731
    wait_for(lambda: epochs_in(ours() / "run.log") > 3 or command.poll() is not None)
    command.kill()
    _, said = command.communicate()
    assert "submitted 2 jobs (slurm 1000)" in said
    script = (slurm / "1000.sh").read_text()
    assert "#SBATCH --partition=gpu" in script and "#SBATCH --gpus-per-node=1" in script
    assert "#SBATCH --array=0-1%2" in script and "#SBATCH --time=90" in script
    (lock,) = ours().parent.glob("fMRLRec*.lock.*")
    job = json.loads(lock.read_text())["pid"]
    os.kill(job, signal.SIGUSR2)  # what SLURM sends before a limit of time, or to preempt
    assert main(words) == 0
    assert "Test on toy, 40 rows" in capsys.readouterr().out
    assert len(list(slurm.glob("*.sh"))) == 1  # the second command submitted nothing
    log = (ours() / "run.log").read_text()
    assert "continuing after epoch" in log and epochs_in(ours() / "run.log") < 60 + 20
    record = json.loads((ours() / "result.json").read_text())
    assert [epoch["epoch"] for epoch in record["history"]] == list(range(1, 61))
    assert not list(ours().parent.glob("*.lock.*"))


@pytest.mark.slow
def test_workers_of_a_study_as_jobs(
    folder: Path, slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**test_processes.FILE["settings"], "data_path": "dataset", "use_gpu": False}
    content = {**test_processes.FILE, "settings": settings}
    (folder / "f.yaml").write_text(yaml.safe_dump(content))
    words = ["tune", "f.yaml", "--trials=3", "--workers=2", "--launcher=slurm"]
    words += ["--storage=journal:shared/study"]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "f: 3 of 3 trials (3 complete)" in shown.out and "its test:" in shown.out
    assert "submitted 2 jobs (slurm 1000)" in shown.err
    trials = (folder / "saved/tune/f/trials.csv").read_text().splitlines()
    assert len(trials) == 4
