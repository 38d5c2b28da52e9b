"""``benchmarks recbole-epoch``: its arithmetic, and RecBole as shipped beside RecBole as mended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import recbole_epoch
from benchmarks.__main__ import main
from benchmarks.epoch_worker import Worker

ROOT = Path(__file__).parents[2]


class Timed(Worker):
    """Batches of 4, then 2 seconds as shipped, of half of that here; a warm-up before."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name, self.count, self.per_epoch, self.peak = name, 0, 10, 2**30

    def __enter__(self) -> Timed:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def batch(self) -> tuple[float, float]:
        self.count += 1
        cpu = [99.0, 4.0, 2.0][self.count - 1] / (1 if self.name == "as shipped" else 2)
        return 3 * cpu, cpu


def test_epochs_and_ratios(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recbole_epoch, "Worker", Timed)
    file = tmp_path / "found.json"
    words = ["--model=BERT4Rec", "--rounds=2", f"--data_path={tmp_path}", f"--json={file}"]
    monkeypatch.setattr("benchmarks.drawn.SHAPES", {False: (10, 20, 5, 8.0)})
    assert main(["recbole-epoch", *words]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    rows = {row["way"]: row for row in found["results"]}
    assert found["dataset"] == "beauty-shaped" and list(rows) == ["as shipped", "here", "trimmed"]
    # 10 batches of 4 and 2 s.
    assert rows["as shipped"]["epoch_cpu"] == 30 and rows["as shipped"]["ratio_cpu"] == 1
    assert rows["trimmed"]["epoch_wall"] == 45 and rows["trimmed"]["ratio_cpu"] == 2
    assert "1.00" in capsys.readouterr().out


def test_a_worker_that_dies_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.drawn.SHAPES", {False: (10, 20, 5, 8.0)})
    monkeypatch.setattr(recbole_epoch, "_command", lambda *_: ["false"])
    assert main(["recbole-epoch", f"--data_path={tmp_path}"]) == 1
    assert "error: SASRec, as shipped: the process ended with 1" in capsys.readouterr().err


SHIPPED = """
import sys
from benchmarks.epoch_worker import begin_worker, shipped_trainer
from benchmarks.drawn import write_drawn
from pathlib import Path
begin_worker(1)
root = Path(sys.argv[1])
write_drawn(root, 30, 20, 5, 8.0)
trainer, train = shipped_trainer("BERT4Rec", "beauty-shaped", str(root))
batch = next(iter(train))
print(batch["Pos_item_id"].shape[1], float(trainer.model.calculate_loss(batch)) > 0)
print(hasattr(type(trainer.model).calculate_loss, "__wrapped__"))
print(hasattr(type(train.transform).__call__, "__wrapped__"))
"""


def test_recbole_as_shipped_has_none_of_the_mends(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SHIPPED, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == ["10 True", "False", "False"]
