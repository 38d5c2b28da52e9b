"""The arithmetic of the benchmarks, with processes that take stated times."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import sasrec_epoch, start
from benchmarks.__main__ import main


class Timed(sasrec_epoch._Worker):
    """A worker whose batches take: the first two a warm-up's time, then 4, 2, 3 or 0.1 seconds."""

    def __init__(self, kind: str, dataset: str, options: Any) -> None:
        self.kind, self.last, self.count = kind, 0.1, 0
        self.per_epoch = 100 if kind == "fMRLRec" else 10

    def __enter__(self) -> Timed:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def batch(self) -> tuple[float, float]:
        self.count += 1
        if self.kind == "fMRLRec":
            return 0.2, 0.1
        cpu = [99.0, 4.0, 2.0, 3.0][self.count - 1]
        return 4 * cpu, cpu


def test_batches_are_scaled_to_epochs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sasrec_epoch, "_Worker", Timed)
    file = tmp_path / "epoch.json"
    words = ["--dataset=ml-100k", "--batches=3", f"--json={file}"]
    assert main(["sasrec-epoch", *words]) == 0
    shipped, here = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert [shipped["recbole"], here["recbole"]] == ["as shipped", "here"]
    # 10 batches of 3 s against 100 of 0.1 s; by the wall 10 of 12 s against 100 of 0.2 s.
    assert here["sasrec"]["epoch_cpu"] == 30 and here["fmrlrec"]["epoch_cpu"] == pytest.approx(10)
    assert here["ratio_cpu"] == pytest.approx(3) and here["ratio_wall"] == pytest.approx(6)
    assert here["target"] == 15
    assert "ml-100k" in capsys.readouterr().out


def test_a_worker_that_dies_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    words = ["--dataset=nothing", f"--data_path={tmp_path}", "--batches=1"]
    assert main(["sasrec-epoch", *words]) == 1
    assert "error: nothing, as shipped: the process ended with 1" in capfd.readouterr().err


def test_medians_of_fresh_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter([5.0, 1.0, 2.0])

    def run(command: list[str], **_: Any) -> Any:
        cpu = dict.fromkeys(start.STEPS, next(times))
        report = {"cpu": cpu, "wall": {step: 2 * value for step, value in cpu.items()}}
        return SimpleNamespace(stdout=f"chatter\nbenchmark: {json.dumps(report)}\n")

    monkeypatch.setattr(subprocess, "run", run)
    file = tmp_path / "start.json"
    words = ["--dataset=ml-100k", "--model=SASRec", "--repeats=3", f"--json={file}"]
    assert main(["start", *words]) == 0
    (result,) = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert result["cpu"]["data"] == 2 and result["wall"]["imports"] == 4
    cpu_row = capsys.readouterr().out.splitlines()[-2].split()
    assert cpu_row == ["ml-100k", "SASRec", "cpu", *["2.00"] * 4, "4.00"]
