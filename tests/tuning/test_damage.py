"""Really damaged files of a study: trials made again, a database named with the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.tuning.plan import Plan
from recbole_fmrlrec.tuning.storage import open_storage
from recbole_fmrlrec.tuning.trial import remove_damaged_files, run_slot
from tests import toy
from tests.tuning.conftest import empty_database, make

CHOSEN = {"learning_rate": 0.01}


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Trials on the toy dataset."""
    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path / "dataset")
    settings: dict[str, Any] = {**toy.SMALL, "data_path": str(tmp_path / "dataset")}
    del settings["learning_rate"]
    return make(tmp_path / "study", settings=settings)


@pytest.mark.parametrize("name", ["config.json", "last.pth", "best.pth"])
def test_a_trial_whose_files_are_damaged_is_trained_again(
    plan: Plan, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Killed(Exception):
        pass

    def kill(epoch: int, score: float) -> None:
        if epoch == 1:
            raise Killed

    with pytest.raises(Killed):
        run_slot(plan, 0, CHOSEN, False, kill)
    (file,) = plan.run_root(0).glob(f"*/{name}")
    file.write_bytes(b"\xff\xfe" + file.read_bytes()[:50])
    capsys.readouterr()
    remove_damaged_files(plan, 0)
    assert f"warning: trial 0: {file}: damaged (" in capsys.readouterr().err
    again = run_slot(plan, 0, CHOSEN, False)
    whole = run_slot(plan, 1, CHOSEN, False)
    assert again.best_valid_score == whole.best_valid_score
    assert [epoch["epoch"] for epoch in again.history] == [1, 2, 3]
    log = (again.run_dir / "run.log").read_text(encoding="utf-8")
    goes_on = name == "config.json"
    assert log.count("continuing after epoch 2") == goes_on
    assert log.count(" training [time") == (3 if goes_on else 5)


def test_a_damaged_database_is_named_with_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    file.write_bytes(empty_database()[:8192])
    with pytest.raises(RunError) as error:
        open_storage(f"sqlite:///{file}")
    assert str(error.value) == (
        f"the storage sqlite:///{file} cannot be used: database disk image is malformed: {file} is "
        "damaged; put a copy back, or move it away to start the study again"
    )
