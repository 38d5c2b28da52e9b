"""The arithmetic of ``benchmarks baselines`` with workers that take stated times; drawn data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import baselines, drawn
from benchmarks.__main__ import main
from benchmarks.epoch_worker import Worker


class Timed(Worker):
    """Batches of 4, then 2 seconds of RecBole's SASRec, of 0.1 of the others; a warm-up before."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name, self.command, self.last, self.count = name, command, 0.1, 0
        self.theirs = name == "RecBole's SASRec"
        self.per_epoch = 10 if self.theirs else 100

    def __enter__(self) -> Timed:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def batch(self) -> tuple[float, float]:
        self.count += 1
        if self.theirs:
            self.last = [99.0, 4.0, 2.0][self.count - 1]
        return 3 * self.last, self.last


def test_epochs_and_ratios(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(baselines, "Worker", Timed)
    monkeypatch.setattr(drawn, "SHAPES", {False: (10, 20, 5, 8.0)})
    file = tmp_path / "found.json"
    words = [f"--data_path={tmp_path}", "--rounds=2", "--width=64", "--rectools_python=other"]
    assert main(["baselines", *words, f"--json={file}"]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["dataset"] == "beauty-shaped"
    rows = {row["model"]: row for row in found["results"]}
    assert list(rows) == ["SASRec", "SASRecM", "LRURec", "fMRLRecID", "RecTools"]
    # 10 batches of 4 and 2 s against 100 of 0.1 s.
    assert rows["SASRec"]["epoch_cpu"] == 30 and rows["SASRec"]["ratio_cpu"] == 1
    for name in ("SASRecM", "RecTools"):
        assert rows[name]["epoch_cpu"] == pytest.approx(10)
        assert rows[name]["epoch_wall"] == pytest.approx(30)
        assert rows[name]["ratio_cpu"] == pytest.approx((4 + 2) / 2)
    assert "fMRLRec, ids" in capsys.readouterr().out


def test_a_worker_that_dies_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drawn, "SHAPES", {False: (10, 20, 5, 8.0)})
    monkeypatch.setattr(baselines, "_command", lambda *_: ["false"])
    assert main(["baselines", f"--data_path={tmp_path}", "--width=64"]) == 1
    said = "error: d = 64, RecBole's SASRec: the process ended with 1"
    assert said in capsys.readouterr().err


def test_drawn_data_has_the_shape_asked_for(tmp_path: Path) -> None:
    drawn.write_drawn(tmp_path, 400, 300, 5, 8.88)
    file = tmp_path / "beauty-shaped" / "beauty-shaped.inter"
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()[1:]]
    counts = Counter(user for user, _, _ in rows)
    assert len(counts) == 400 and len({item for _, item, _ in rows}) == 300
    assert min(counts.values()) == 5
    # Geometric with a mean of 4.88 above 4: five standard errors of the mean of 400 users.
    assert len(rows) / 400 == pytest.approx(8.88, abs=5 * (4.88 * 3.88 / 400) ** 0.5)


def test_models_are_made_comparable() -> None:
    assert baselines.model_keys("fMRLRecID", 64)["sizes"] == [8, 16, 32, 64]
    assert baselines.model_keys("fMRLRecID", 100)["sizes"] == [8, 16, 32, 64, 100]
    wide = {"hidden_size": 256, "inner_size": 1024}
    assert baselines.model_keys("SASRecM", 256) == wide
    assert baselines.model_keys("SASRec", 256) == wide | {"train_batch_size": 512}
    assert baselines.model_keys("SASRec", 64)["train_batch_size"] == 2048
