"""A trial and its run folder."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recbole_fmrlrec.runs.folder import FolderInUse
from recbole_fmrlrec.train import run as runner
from recbole_fmrlrec.tuning import trial


def test_a_trial_waits_for_a_run_folder_that_a_lost_worker_still_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan: Any = SimpleNamespace(
        model="BPR", dataset="toy", settings={"seed": 1}, run_root=lambda place: tmp_path
    )
    asked: list[Any] = []

    def run(*names: str, **keys: Any) -> str:
        asked.append((names, keys["config_dict"], keys["resume"]))
        if len(asked) < 3:
            raise FolderInUse("process 7 on far is at work")
        return "result"

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(runner, "WAIT", 0.01)
    assert trial.run_slot(plan, 0, {"lr": 2}, test=False) == "result"
    settings = {"seed": 1, "lr": 2, "checkpoint_dir": str(tmp_path)}
    assert asked == [(("BPR", "toy"), settings, True)] * 3
