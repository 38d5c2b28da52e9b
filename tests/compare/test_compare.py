"""The whole command with real processes: killed, taken up again, shared by two."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from recbole_fmrlrec.cli.main import main, parse, train
from recbole_fmrlrec.compare import report
from recbole_fmrlrec.compare.schedule import Schedule, last_words
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.keys.yaml_files import properties_dir
from tests import toy
from tests.forked import Forked
from tests.patience import patience, wait_for

FILE = """\
datasets: [toy]
settings: {data_path: dataset, use_gpu: false, num_threads: 1}
models:
  Pop:
  ours:
    model: fMRLRec
    settings:
      {sizes: [2, 4], epochs: 60, stopping_step: 60, learning_rate: 0.00001,
       train_batch_size: 8, MAX_ITEM_LIST_LENGTH: 4}
"""


COMMAND = """
import sys
from recbole_fmrlrec.cli.main import main

sys.exit(main(["compare", "toy.yaml"]))
"""


def start(folder: Path) -> Forked:
    """The command; its workers are new interpreters."""
    return Forked(COMMAND, cwd=folder)


def cell_folder(folder: Path, model: str) -> Path:
    found = [p for p in folder.glob(f"comparisons/toy/cells/toy/{model}-seed*") if p.is_dir()]
    return found[0] if found else folder / "none"


def epochs_in(log: Path) -> int:
    return log.read_text(encoding="utf-8").count(" training [time") if log.is_file() else 0


@pytest.mark.slow
def test_killed_and_taken_up_again(tmp_path):
    toy.write_toy(tmp_path / "dataset")
    (tmp_path / "toy.yaml").write_text(FILE, encoding="utf-8")
    first = start(tmp_path)
    wait_for(lambda: epochs_in(cell_folder(tmp_path, "fMRLRec") / "run.log") > 5)
    workers = psutil.Process(first.pid).children()
    os.kill(first.pid, signal.SIGKILL)
    first.communicate(timeout=patience(20))
    psutil.wait_procs(workers, timeout=patience(20))  # a worker does not outlive the command
    assert not any(worker.is_running() for worker in workers)
    finished = cell_folder(tmp_path, "Pop") / "cost.json"
    written = finished.stat().st_mtime_ns
    ours = cell_folder(tmp_path, "fMRLRec")
    assert not (ours / "result.json").exists() and (ours / "last.pth").is_file()

    # Fewer epochs would be another cell, so the second command has all of them to run.
    second, third = start(tmp_path), start(tmp_path)
    ended = [process.communicate(timeout=patience(300)) for process in (second, third)]
    assert [second.returncode, third.returncode] == [0, 0], ended
    assert all("Test on toy, 40 rows" in out for out, _ in ended)
    assert finished.stat().st_mtime_ns == written
    record = json.loads((ours / "result.json").read_text(encoding="utf-8"))
    assert [epoch["epoch"] for epoch in record["history"]] == list(range(1, 61))
    log = (ours / "run.log").read_text(encoding="utf-8")
    assert "continuing after epoch" in log
    assert epochs_in(ours / "run.log") < 60 + 20  # little was computed twice, by whichever command
    left = {file.name for file in (tmp_path / "comparisons/toy/cells/toy").iterdir()}
    assert left == {ours.name, finished.parent.name} and not (ours / "last.pth").exists()
    analysis = json.loads((tmp_path / "comparisons/toy/results.json").read_text(encoding="utf-8"))
    systems = analysis["datasets"]["toy"]["systems"]
    assert [system["label"] for system in systems] == ["Pop", "ours 2", "ours 4"]
    assert systems[2]["metrics"]["ndcg@10"]["mean"] == pytest.approx(
        record["test"][1]["metrics"]["ndcg@10"], abs=1e-6
    )


def test_a_cell_that_fails_leaves_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "write_plots", lambda analysis, folder: [])
    toy.write_toy(tmp_path / "dataset")
    text = FILE.split("  ours:")[0] + "  BPR: {settings: {learning_rate: 1.0e+30}}\n"
    text += "  Popular: {model: Pop}\n"
    (tmp_path / "toy.yaml").write_text(text, encoding="utf-8")
    assert main(["compare", "toy.yaml", "--list"]) == 0
    assert capsys.readouterr().out.count(": to do\n") == 3
    assert main(["compare", "toy.yaml", "--list", "--redo=Bop"]) == 2
    assert main(["compare", "toy.yaml", "--only=Pop"]) == 0
    # Pop under another name is the same run, and has its row.
    assert len(list(tmp_path.glob("comparisons/toy/cells/toy/Pop-*/cost.json"))) == 1
    assert capsys.readouterr().out.count("\nPop") == 2
    assert "Not finished, and in no table: BPR on toy, seed 2020." in (
        tmp_path / "comparisons/toy/table.md"
    ).read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["compare", "toy.yaml"]) == 1
    shown = capsys.readouterr()
    assert "error: BPR on toy, seed 2020: " in shown.err and "worker.log)" in shown.err
    assert "error: BPR on toy, seed 2020: BPR" not in shown.err
    assert "Test on toy, 40 rows" in shown.out
    monkeypatch.setattr(Schedule, "run", lambda self: {})
    assert main(["compare", "toy.yaml"]) == 1
    assert "error: BPR on toy, seed 2020: not finished" in capsys.readouterr().err
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["compare", "toy.yaml", "--output=file/below"]) == 2
    assert "error: output: cannot write to " in capsys.readouterr().err


def test_a_list_needs_no_data_and_writes_nothing(tmp_path, monkeypatch, capsys):
    """Beauty's pictures, a dataset that nobody has, and text features that are not made yet."""
    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path / "dataset")
    before = sorted(tmp_path.rglob("*"))
    file = properties_dir() / "comparison" / "modalities.yaml"
    assert main(["compare", str(file), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15 and lines[0] == (
        "------------  text on amazon-beauty, seed 2020 (trained at sizes 16, 32, 64, 128, 256): "
        "to do (its data is not there yet)"
    )
    assert main(["compare", "--model=Pop", "--dataset=nobodys", "--list"]) == 0
    assert capsys.readouterr().out.startswith("------------  Pop on nobodys, seed 2020: to do (its")
    (tmp_path / "toy.yaml").write_text(
        "datasets: [toy]\nsettings: {data_path: dataset}\nmodels:\n  Pop:\n"
        "  fMRLRec: {settings: {sizes: [2, 4, 8]}, show_sizes: [4], independent: true}\n",
        encoding="utf-8",
    )
    assert main(["compare", "toy.yaml", "--list"]) == 0
    pop, *ours = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"[0-9a-f]{12}  Pop on toy, seed 2020: to do", pop)
    assert [line.partition("  ")[2].partition(" (its")[0] for line in ours] == [
        "fMRLRec on toy, seed 2020 (trained at sizes 2, 4, 8; the tables show 4): to do",
        "fMRLRec alone at 4 on toy, seed 2020 (trained at size 4): to do",
    ]
    (tmp_path / "toy.yaml").unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_trained_is_said_before_and_a_size_of_the_table_after(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "write_plots", lambda analysis, folder: [])
    toy.write_toy(tmp_path / "dataset")
    (tmp_path / "toy.yaml").write_text(
        FILE.replace("epochs: 60", "epochs: 1") + "    show_sizes: [2]\n", encoding="utf-8"
    )
    assert main(["compare", "toy.yaml", "--only=ours"]) == 0
    shown = capsys.readouterr()
    assert (
        "to train: ours on toy, trained at sizes 2, 4; the tables show 2; seed 2020\n" in shown.err
    )
    outcome = re.search(r"ours on toy, seed 2020: \d+ s, size 2: ndcg@10 (0\.\d{4})", shown.err)
    assert outcome
    row = next(line for line in shown.out.splitlines() if line.startswith("ours"))
    assert row.split()[1] == "2" and f"0{row.split()[5]}" == outcome[1]  # N@10


def test_the_last_words_of_a_worker(tmp_path):
    log = tmp_path / "worker.log"
    log.write_text("loading\nerror: the first time\n", encoding="utf-8")
    before = log.stat().st_size
    assert last_words(log) == "the first time" and last_words(log, before) == "it printed nothing"
    with log.open("a", encoding="utf-8") as file:
        file.write("Traceback\n  of it\nerror: two things:\n- one\n- two\n")
    assert last_words(log, before) == "two things:\n- one\n- two"
    log.write_text("a\nout of memory\n", encoding="utf-8")
    assert last_words(log) == "out of memory"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "compare needs a file, as in `compare properties/comparison/ml-100k-quick.yaml`"),
        (["none.yaml"], "cannot read the configuration file none.yaml"),
        (["a.yaml", "--model=Pop"], "--model and a file: the file says which models"),
        (["--model=Pop", "--worker", "2"], "--worker is not an option of compare: did you mean"),
        (["--model=Pop", "--config_files=a.yaml"], "compare has no --config_files"),
        (["a.yaml", "--resume"], "compare has no --config_files and no --resume"),
        (["a.yaml", "--output="], "--output= has no value"),
        (["--model=Pop,fMRLRec", "--dataset=tyo"], "command line: there is no dataset"),
        (["--model=Pop", "--epocs=3"], "unknown key `epocs` (command line)"),
        (["--model=Pop,Nop"], "unknown model `Nop`"),
        (["--model=Pop", "--workers=0"], "--workers takes a number of at least 1"),
        (["--model=Pop", "--seeds=a"], "--seeds takes integers"),
    ],
)
def test_wrong_use(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *words]) == 2
    assert says in capsys.readouterr().err


def test_several_models_with_commas_are_a_comparison(monkeypatch):
    from recbole_fmrlrec.cli import main as cli

    asked: list[list[str]] = []
    monkeypatch.setattr(cli, "compare", lambda words: asked.append(list(words)) or 0)
    assert main(["--model=fMRLRec,SASRec", "--dataset=toy", "--epochs=2"]) == 0
    assert main(["--dataset=a,b"]) == 0
    assert asked == [
        ["--model=fMRLRec,SASRec", "--dataset=toy", "--epochs=2"],
        ["--model=fMRLRec", "--dataset=a,b"],
    ]
    with pytest.raises(UsageError, match="--config_files and --resume are for one run"):
        train(parse(["--model=A,B", "--resume"]))
