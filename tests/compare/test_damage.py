"""Cells that were left half done, with really damaged files: computed again, and said."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from recbole_fmrlrec import compat
from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.compare import measure, worker
from recbole_fmrlrec.compare.cells import Cell
from recbole_fmrlrec.compare.schedule import Schedule, _Job
from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.runs.recovery import remove_damaged
from tests import toy

KEYS = ("sizes", "epochs", "train_batch_size", "learning_rate", "MAX_ITEM_LIST_LENGTH", "use_gpu")


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A cell that was killed after its test and before its measuring."""
    root = tmp_path_factory.mktemp("damage")
    compat.apply()
    toy.write_toy(root / "dataset")
    settings = {key: toy.SMALL[key] for key in KEYS} | {"data_path": str(root / "dataset")}
    settings |= {"seed": 1, "num_threads": 1, "metrics": ["NDCG"], "topk": [10]}
    cell = Cell("toy", "ours", "fMRLRec", 1, None, settings, "key", root / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(measure, "measure", lambda config, folder: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            worker.compute(cell)
    return cell


@pytest.fixture
def half_done(tested, tmp_path, monkeypatch):
    """A copy of it."""
    monkeypatch.chdir(tmp_path)
    cell = Cell(**{**vars(tested), "root": tmp_path})
    shutil.copytree(tested.path, cell.path)
    return cell


def metrics(cell):
    content = json.loads((cell.path / "result.json").read_text(encoding="utf-8"))
    return [(row["size"], row["metrics"]) for row in content["test"]]


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("config.json", "it is written again"),
        ("result.json", "the test is run again"),
        ("test_ranks.npz", "the test is run again"),
        ("best.pth", "the training starts from the beginning"),
        ("last.pth", "the training starts from the beginning"),
    ],
)
def test_a_damaged_file_of_an_unfinished_cell_is_made_again(half_done, capsys, name, becomes):
    cell, file, expected = half_done, half_done.path / name, metrics(half_done)
    content = file.read_bytes()
    for wrong in (b"", content[: len(content) // 2], b"\0\xff" * 500):
        file.write_bytes(wrong)
        (cell.path / "cost.json").unlink(missing_ok=True)
        if name == "last.pth" and wrong:  # the first finished cell has none any more
            (cell.path / "result.json").unlink()
        worker.compute(cell)
        said = capsys.readouterr().err
        assert f"warning: {file}: damaged (" in said and f"); {becomes}\n" in said
        if becomes == "the test is run again":  # a finished cell has no last.pth to go on from
            becomes = "the training starts from the beginning"
        assert cell.finished and metrics(cell) == expected
        assert name == "last.pth" or file.is_file()


def test_a_killed_training_goes_on_though_its_configuration_is_damaged(half_done, capsys):
    for name in ("result.json", "test_ranks.npz"):
        (half_done.path / name).unlink()
    (half_done.path / "config.json").write_bytes(b'{"model": ')
    worker.compute(half_done)
    assert "config.json: damaged (JSONDecodeError: " in capsys.readouterr().err
    log = (half_done.path / "run.log").read_text(encoding="utf-8")
    assert log.count("continuing after epoch 3") == 1 and log.count(" training [time") == 3


@pytest.mark.parametrize("cause", [MemoryError(), OSError(errno.EIO, "input/output error")])
def test_what_the_machine_cannot_read_now_is_not_removed(half_done, monkeypatch, cause):
    def fail(*words, **options):
        raise cause

    monkeypatch.setattr(torch, "load", fail)
    before = sorted(half_done.path.iterdir())
    with pytest.raises(RunError, match=r"best\.pth: not a readable checkpoint"):
        remove_damaged(half_done.path)
    assert sorted(half_done.path.iterdir()) == before


def test_ranks_that_are_gone_are_made_again(half_done, capsys):
    expected = metrics(half_done)
    (half_done.path / "test_ranks.npz").unlink()
    worker.compute(half_done)
    assert (half_done.path / "test_ranks.npz").is_file() and metrics(half_done) == expected


def test_warnings_of_a_worker_are_passed_on(tmp_path):
    cell = Cell("toy", "ours", "fMRLRec", 1, None, {}, "key", tmp_path)
    cell.path.mkdir(parents=True)
    log = cell.path / "worker.log"
    log.write_text("warning: old\n", encoding="utf-8")
    start = log.stat().st_size
    with log.open("a", encoding="utf-8") as file:
        file.write("loading\nwarning: new\nFutureWarning: other\nerror: it failed\n")
    said: list[str] = []
    bar = SimpleNamespace(update=lambda: None, write=lambda text, file: said.append(text))
    schedule = Schedule([cell])
    process = SimpleNamespace(poll=lambda: 1, returncode=1)
    schedule._running["key"] = _Job(cell, process, 0.0, start)
    schedule._look({}, bar)
    label = "ours on toy, seed 1: "
    assert said == [f"{label}warning: new", f"{label}failed"]
    assert schedule.failed == {"key": f"it failed ({log})"}


def test_compare_says_a_damaged_finished_cell_before_it_starts_others(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path / "dataset")
    started: list[list[Cell]] = []
    monkeypatch.setattr(Schedule, "run", lambda self: started.append(self.cells) or {})
    words = ["compare", "--model=Pop,BPR", "--dataset=toy", "--output=out", "--use_gpu=False"]
    words += [f"--data_path={tmp_path / 'dataset'}"]
    assert main([*words, "--list"]) == 0
    key = capsys.readouterr().out.split()[0]
    cost = Path(f"out/cells/toy/Pop-seed2020-{key}/cost.json")
    cost.parent.mkdir(parents=True)
    cost.write_bytes(b'{"by_size": {"0"')
    assert main(words) == 1
    error = capsys.readouterr().err
    assert f"error: {cost.parent / 'test_ranks.npz'}: missing or damaged (" in error
    assert f"); `compare` with --redo={key} computes this cell again" in error and not started
    assert main([*words, f"--redo={key}", "--only=Pop"]) == 1  # nothing is finished
    assert [cell.key for cell in started[0]] == [key] and not cost.parent.exists()
    assert main([*words, "--only="]) == 2 == main([*words, "--redo="])
