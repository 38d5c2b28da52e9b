"""The command line: how it is taken apart, exit codes, help; no training."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dataset_tools.packages import place
from recbole_fmrlrec import __version__
from recbole_fmrlrec.cli import Arguments, main, parse
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.help_text import help_text

ROOT = Path(__file__).parent.parent


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A `run` that trains nothing and notes what it was asked for."""
    seen: dict[str, Any] = {}

    def run(**arguments: Any) -> Any:
        seen.update(arguments)
        return SimpleNamespace(table=lambda: "size  NDCG@10")

    module = ModuleType("recbole_fmrlrec.runner")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "recbole_fmrlrec.runner", module)
    return seen


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    def install(error: BaseException) -> None:
        def run(**arguments: Any) -> Any:
            raise error

        module = ModuleType("recbole_fmrlrec.runner")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "recbole_fmrlrec.runner", module)

    return install


def test_a_command_line_is_taken_apart() -> None:
    line = "train --model=SASRec --dataset d --config_files a.yaml b.yaml --seed=1 --x.y.z={a: =}"
    words = [*line.split()[:-2], "--x.y.z={a: =}"]
    assert parse(words) == Arguments(
        command="train",
        keys={"model": "SASRec", "dataset": "d", "seed": "1", "x.y.z": "{a: =}"},
        config_files=["a.yaml", "b.yaml"],
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Arguments()),
        (["--resume"], Arguments(resume=True)),
        (["--resume", "saved/x"], Arguments(resume="saved/x")),
        (["--resume=saved/x", "--debug"], Arguments(resume="saved/x", debug=True)),
        (["--config_files=a.yaml,b.yaml"], Arguments(config_files=["a.yaml", "b.yaml"])),
        (["--config_files", "a.yaml b.yaml"], Arguments(config_files=["a.yaml", "b.yaml"])),
        (["--weight_decay", "-1"], Arguments(keys={"weight_decay": "-1"})),
        (["--gpu_id="], Arguments(keys={"gpu_id": ""})),
        (["--seed=1", "--seed=1"], Arguments(keys={"seed": "1"})),
        (["--show_progress=False"], Arguments(keys={"show_progress": "False"})),
        (["models"], Arguments(command="models")),
    ],
)
def test_forms_of_options(words: list[str], expected: Arguments) -> None:
    assert parse(words) == expected


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trian"], "there is no command `trian`; there are train, models, "),
        (["train", "SASRec"], "`SASRec` belongs to no option"),
        (["--seed"], "--seed needs a value, as in --seed=VALUE"),
        (["--use_gpu", "--seed=1"], "--use_gpu needs a value, as in --use_gpu=VALUE"),
        (["--seed=1", "--seed=2"], "--seed is given twice, as 1 and as 2"),
        (["--config_files"], "--config_files needs a file"),
        (["-x"], "`-x` belongs to no option"),
        (["--"], "`--` belongs to no option"),
        (["--=3"], "`--=3` belongs to no option"),
    ],
)
def test_wrong_command_lines(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError) as error:
        parse(words)
    assert says in str(error.value)
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.err == f"error: {error.value}\n"
    assert shown.out == ""


def test_alone_it_runs_the_defaults(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 0
    assert asked == {
        "model": None,
        "dataset": None,
        "config_file_list": [],
        "config_dict": {},
        "cli_args": {},
        "resume": False,
    }
    assert capsys.readouterr().out == "size  NDCG@10\n"


def test_run_gets_the_texts_of_the_keys(asked: dict[str, Any]) -> None:
    words = ["--model=SASRec", "--dataset=d", "--topk=[5,10]"]
    assert main([*words, "--config_files=a.yaml", "--resume=r"]) == 0
    assert asked == {
        "model": "SASRec",
        "dataset": "d",
        "config_file_list": ["a.yaml"],
        "config_dict": {},
        "cli_args": {"topk": "[5,10]"},
        "resume": "r",
    }


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (UsageError("no such thing"), 2, "error: no such thing\n"),
        (RunError("disk full"), 1, "error: disk full\n--debug shows the traceback\n"),
        (ValueError("odd"), 1, "error: ValueError: odd\n--debug shows the traceback\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (KeyboardInterrupt("--resume goes on"), 130, "interrupted; --resume goes on\n"),
        (
            ModuleNotFoundError("No module named 'faiss.x'", name="faiss.x"),
            1,
            f'error: the package `faiss-cpu` is not installed: pip install "{place()}[faiss]"\n'
            "--debug shows the traceback\n",
        ),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    says: str,
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(error)
    assert main([]) == code
    assert capsys.readouterr().err == says


def test_a_dataset_that_is_not_there_is_wrong_use(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    from recbole_fmrlrec.data import DataError

    failing(DataError("no dataset x in dataset/"))
    assert main([]) == 2
    assert capsys.readouterr().err == "error: no dataset x in dataset/\n"


def test_debug_shows_the_traceback(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(UsageError("no such thing"))
    assert main(["--debug"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last):")
    assert shown.endswith("UsageError: no such thing\nerror: no such thing\n")


def test_a_mistyped_key_from_end_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model=fMRLRec", "--dataset=ml-100k", "--lerning_rate=0.01"]) == 2
    assert capsys.readouterr().err == (
        "error: unknown key `lerning_rate` (command line): the nearest known keys are "
        "learning_rate, lr_min_ratio\n"
    )


def test_models_lists_ours_and_recboles(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["ours:", "    fMRLRec fMRLRecID"]
    assert "SASRec" in lines[lines.index("sequential:") + 1].split()
    assert main(["models", "--seed=1"]) == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"recbole-fmrlrec {__version__}\n"


def test_help_lists_commands_and_keys_with_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "  models                    List the models, ours and RecBole's\n" in shown
    assert "  --num_blocks              (int) The number of blocks" in shown
    assert "  --seed                    (int) Random seed. [2020]\n" in shown  # RecBole's alone
    assert "  --valid_metric            (str) The metric of early stopping. [NDCG@10]\n" in shown
    keys = [line.split()[0] for line in shown.splitlines() if line.startswith("  --")]
    listed = [key for key in keys if key not in ("--model", "--dataset")]
    assert len(listed) == len(set(listed))
    assert max(map(len, shown.splitlines())) <= 100


def test_help_of_another_model() -> None:
    shown = help_text({}, "SASRec")
    assert "keys of SASRec, with their defaults:" in shown
    assert "  --attn_dropout_prob" in shown
    assert "--sizes" not in shown
    with pytest.raises(UsageError, match="there is no model `SASREC`"):
        help_text({}, "SASREC")


def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['x', '--help']; import runpy\n"
        "try: runpy.run_path('run_recbole.py', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print({'torch', 'recbole', 'numpy', 'pandas'} & set(sys.modules))"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.endswith("set()\n")
    assert time.perf_counter() - started < 3  # 0.2 s on an idle machine
