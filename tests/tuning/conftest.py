"""A plan, and trials that train nothing: the curve follows from the learning rate."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy
from optuna.storages._rdb.storage import _VersionManager

from recbole_fmrlrec.tuning import trial, worker
from recbole_fmrlrec.tuning.plan import Plan
from recbole_fmrlrec.tuning.space import Parameter, Space
from recbole_fmrlrec.tuning.storage import open_storage
from recbole_fmrlrec.tuning.study import open_study

EPOCHS = 3


@functools.cache
def empty_database() -> bytes:
    """A database with Optuna's tables: to make them takes longer than a study."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.db"
        open_storage(f"sqlite:///{file}").engine.dispose()
        return file.read_bytes()


_get_head_version = _VersionManager.get_head_version
_heads: list[str] = []


def head_version(manager: _VersionManager) -> str:
    """The version of Optuna's tables."""
    if not _heads:
        _heads.append(_get_head_version(manager))
    return _heads[0]


def make(folder: Path, **changes: Any) -> Plan:
    """A plan of random trials in a folder, which gets a database without studies."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "study.db").exists():
        (folder / "study.db").write_bytes(empty_database())
    values: dict[str, Any] = {
        "study": "s",
        "model": "fMRLRec",
        "dataset": "toy",
        "settings": {},
        "space": Space.of([Parameter("learning_rate", "loguniform", (0.001, 0.1))]),
        "sampler": "random",
        "pruner": {"name": "none"},
        "seed": 1,
        "trials": 4,
        "hours": None,
        "metric": "NDCG@10",
        "maximize": True,
        "epochs": EPOCHS,
        "output": folder,
    }
    return Plan(**{**values, **changes})


class Runs:
    """In the place of `run_slot`: notes what was run, and reports a curve.

    The score after epoch e is the learning rate times e + 1. ``do`` is called before each report.
    """

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.tested: list[int] = []
        self.do: Callable[[int, int], None] = lambda place, epoch: None

    def __call__(
        self, plan: Plan, place: int, chosen: dict[str, Any], test: bool, after: Any = None
    ) -> Any:
        """Run a place."""
        score = 0.0
        (self.tested if test else self.begun).append(place)
        for epoch in range(EPOCHS):
            score = chosen["learning_rate"] * (epoch + 1)
            if not test:
                self.do(place, epoch)
                after(epoch, score)
        rows = [{"size": None, "metrics": {"ndcg@10": 0.5}}] if test else []
        return SimpleNamespace(
            best_valid_score=score, epochs_run=EPOCHS, run_dir=plan.run_root(place), test=rows
        )


@pytest.fixture(autouse=True)
def fast_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SQLite without waiting for the disk at every commit; kills of a process leave it whole.

    The version of Optuna's tables is looked up once: that reads all its scripts.
    """

    def connected(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", connected)
    monkeypatch.setattr(_VersionManager, "get_head_version", head_version)
    yield
    sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", connected)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Trials that train nothing."""
    stand_in = Runs()
    monkeypatch.setattr(trial, "run_slot", stand_in)
    return stand_in


def url(plan: Plan) -> str:
    """The plan's database."""
    return f"sqlite:///{plan.output / 'study.db'}"


def work(plan: Plan, command: str = "c") -> Any:
    """Work on a plan until its budget is used up; return the study."""
    worker.work(worker.Job(plan, url(plan), command))
    return open_study(open_storage(url(plan)), plan)
