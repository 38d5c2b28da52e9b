"""A folder of runs and tables belongs to one study, wherever that is stored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.launch.workers import Workers
from recbole_fmrlrec.tuning import search
from recbole_fmrlrec.tuning.owner import check_owner, shown
from recbole_fmrlrec.tuning.plan import Plan
from tests.tuning.conftest import Runs, make


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch, runs: Runs) -> Any:
    """Work on a study, its data and its test aside."""
    monkeypatch.setattr(search, "with_data", lambda plan: plan)
    monkeypatch.setattr(search.outputs, "test_of_best", lambda *_, **__: {"test": []})
    monkeypatch.setattr(search, "_report", lambda study, best, job: best[1].values[0])
    return lambda plan, url: search.search(plan, url, Workers())


def mark(plan: Plan) -> dict[str, str]:
    """What the folder says of its study."""
    content: dict[str, str] = json.loads((plan.output / "study.json").read_text())
    return content


def test_two_storages_cannot_share_a_folder(tmp_path: Path, searched: Any) -> None:
    plan = make(tmp_path / "out", trials=2)
    first, second = f"sqlite:///{plan.output / 'study.db'}", f"journal:{tmp_path}/b.journal"
    searched(plan, first)
    before = {path: path.stat().st_mtime_ns for path in plan.output.rglob("*")}
    for refused in (
        lambda: check_owner(plan, second),
        lambda: searched(plan, second),
        lambda: search.retry_failed(plan, second),
    ):
        with pytest.raises(UsageError) as caught:
            refused()
        assert str(caught.value) == (
            f"{plan.output} has the runs and tables of the study `s` in --storage={first}; `s` in "
            f"--storage={second} is another study and would overwrite them: give "
            "--study=NEW_NAME or --output=DIR, or the first storage to continue its study"
        )
    assert {path: path.stat().st_mtime_ns for path in plan.output.rglob("*")} == before
    other = make(tmp_path / "other", trials=2)
    searched(other, second)  # with a folder of its own
    assert mark(other)["storage"] == second and mark(plan)["storage"] == first


def test_nor_can_two_studies_of_one_storage(tmp_path: Path, searched: Any) -> None:
    plan = make(tmp_path, trials=1)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    searched(plan, url)
    with pytest.raises(UsageError, match=f"`s` in --storage={url}; `t` in --storage={url} is ano"):
        check_owner(make(tmp_path, study="t"), url)


def test_the_same_study_goes_on_by_another_name_of_its_storage(
    tmp_path: Path, searched: Any
) -> None:
    plan = make(tmp_path / "out", trials=1)
    url = f"sqlite:///{plan.output / 'study.db'}"
    searched(plan, url)
    first = mark(plan)
    shutil.move(plan.output / "study.db", tmp_path / "moved.db")
    moved = f"sqlite:///{tmp_path / 'moved.db'}"
    check_owner(plan, moved)
    searched(make(plan.output, trials=2), moved)
    assert mark(plan) == {**first, "storage": moved}


def test_a_study_may_be_begun_anew_in_its_place(tmp_path: Path, searched: Any) -> None:
    plan = make(tmp_path, trials=1)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    searched(plan, url)
    old = mark(plan)["id"]
    (tmp_path / "study.db").unlink()
    check_owner(plan, url)
    searched(plan, url)
    assert mark(plan)["id"] != old


def test_a_mark_that_says_nothing(tmp_path: Path) -> None:
    plan = make(tmp_path)
    (tmp_path / "study.json").write_text("[]")
    with pytest.raises(UsageError, match="does not say which study this folder belongs to"):
        check_owner(plan, "journal:a.journal")


def test_storages_are_shown_with_whole_paths_and_without_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown("sqlite:///a/study.db") == f"sqlite:///{tmp_path}/a/study.db"
    assert shown("a.journal") == f"journal:{tmp_path}/a.journal"
    assert shown("postgresql+psycopg://u:secret@h/d") == "postgresql+psycopg://u:***@h/d"
    assert shown("grpc://db1:5000") == "grpc://db1:5000"
