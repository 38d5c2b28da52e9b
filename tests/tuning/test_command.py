"""The command line of tune: what it refuses, and what it imports."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dataset_tools.packages import pip_name
from recbole_fmrlrec.cli.main import main

FILE = "model: fMRLRec\nparameters:\n  learning_rate: {choice: [0.01]}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.yaml").write_text(FILE)
    (tmp_path / "two.yaml").write_text(
        "models:\n  SASRec: {parameters: {n_layers: {int: [1, 2]}}}\n"
        "  BPR: {parameters: {embedding_size: {choice: [8]}}}\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "tune needs a file, as in `tune properties/grid/fMRLRec.yaml`"),
        (["none.yaml"], "cannot read the configuration file none.yaml"),
        (["f.yaml", "--workers=0"], "--workers must be a number above 0, not 0"),
        (["f.yaml", "--hours=nan"], "--hours must be a number above 0, not nan"),
        (["f.yaml", "--trials=many"], "argument --trials: invalid int value"),
        (["f.yaml", "--lerning_rate=1"], "unknown key `lerning_rate` (command line): the nearest"),
        (["f.yaml", "--trial=3"], "--trial is not an option of tune: did you mean --trials?"),
        (["f.yaml", "--retry-failed=1"], "not an option of tune: did you mean --retry_failed?"),
        (["f.yaml", "--show"], "there is no study `f` yet: saved/tune/f/study.db is not there"),
        (["f.yaml", "--dataset=none"], "dataset 'none' not found: there is no file "),
        (["two.yaml", "--dataset=none"], "or name the folder that holds none/ with --data_path"),
        (["f.yaml", "--benchmark_filename=['train','valid','test']"], "ml-100k.train.inter"),
        (["f.yaml", "--output=f.yaml"], "--output: cannot write to "),
        (["f.yaml", "--output=f.yaml/x"], "f.yaml/x: Not a directory; choose another folder"),
        (
            ["f.yaml", "--show", "--storage=x"],
            "--storage=x is not a URL such as sqlite:///study.db",
        ),
        (["two.yaml", "--model=Pop"], "--model=Pop: two.yaml has SASRec, BPR"),
        (["two.yaml", "--study=x"], "--study and --output belong to one model: add --model"),
        (["two.yaml", "--model=BPR", "--show", "--study=x"], "there is no study `x` yet"),
    ],
)
def test_wrong_use(
    words: list[str], says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", *words]) == 2
    shown = capsys.readouterr()
    assert says in shown.err and shown.out == ""
    assert not (folder / "saved").exists()


@pytest.mark.parametrize(
    ("storage", "says"),
    [
        ("nothing", "--storage=nothing is not a URL such as sqlite:///study.db"),
        pytest.param(
            "sqlite:////proc/none/x.db",
            "--storage: cannot write to /proc/none: No such file or directory; choose another",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has /proc"),
        ),
        ("sqlite:///f.yaml/x.db", "--storage: cannot write to "),
        ("sqlite:///.", "--storage=sqlite:///.: unable to open database file"),
        ("sqlite:///f.yaml", "--storage=sqlite:///f.yaml: file is not a database"),
    ],
)
def test_a_storage_that_will_not_do(
    storage: str, says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "f.yaml", f"--storage={storage}"]) == 2
    assert says in capsys.readouterr().err
    assert (folder / "f.yaml").read_text() == FILE
    assert not list(folder.glob("saved/tune/f/*"))


def test_without_optuna_it_says_what_to_install(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> Any:
        return None if name == "optuna" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    assert main(["tune", "f.yaml"]) == 1
    said = capsys.readouterr().err
    assert f'the package `optuna` is not installed: pip install "{pip_name()}[tune]"' in said


def test_a_second_file_is_not_taken_for_a_command(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "f.yaml", "g.yaml"]) == 2
    assert "`g.yaml` belongs to no option; tune takes one file, here f.yaml" in (
        capsys.readouterr().err
    )


def test_an_interruption_has_its_exit_code(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recbole_fmrlrec.tuning.command._search", interrupted)
    assert main(["tune", "f.yaml"]) == 130
    assert (
        capsys.readouterr().err == "interrupted; run the same command again to continue the study\n"
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from recbole_fmrlrec.cli.main import main\n"
        "try: main(['tune', '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print({'torch', 'recbole', 'numpy', 'optuna', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--retry_failed" in done.stdout and done.stdout.endswith("set()\n")
