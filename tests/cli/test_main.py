"""The command line: how it is taken apart, exit codes, help; no training."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dataset_tools.packages import pip_name
from recbole_fmrlrec import torchrun
from recbole_fmrlrec.cli.help import help_text
from recbole_fmrlrec.cli.main import OWN_OPTIONS, Arguments, main, parse
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.keys.yaml_files import shipped_file
from recbole_fmrlrec.version import __version__
from tests.patience import children_cpu

ROOT = Path(__file__).parents[2]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A `run` that trains nothing and notes what it was asked for."""
    seen: dict[str, Any] = {}

    def run(**arguments: Any) -> Any:
        seen.update(arguments)
        return SimpleNamespace(table=lambda: "size  NDCG@10")

    module = ModuleType("recbole_fmrlrec.train.run")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "recbole_fmrlrec.train.run", module)
    return seen


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    def install(error: BaseException) -> None:
        def run(**arguments: Any) -> Any:
            raise error

        module = ModuleType("recbole_fmrlrec.train.run")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "recbole_fmrlrec.train.run", module)

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
        (["trian"], "unknown command `trian`; known: train, models, "),
        (["train", "SASRec"], "unexpected argument `SASRec`"),
        (["--seed"], "--seed needs a value, as in --seed=VALUE"),
        (["--use_gpu", "--seed=1"], "--use_gpu needs a value, as in --use_gpu=VALUE"),
        (["--seed=1", "--seed=2"], "--seed is given twice, as 1 and as 2"),
        (["--config_files"], "--config_files needs a file"),
        (["-x"], "unexpected argument `-x`"),
        (["--"], "unexpected argument `--`"),
        (["--=3"], "unexpected argument `--=3`"),
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
            f'error: the package `faiss-cpu` is not installed: pip install "{pip_name()}[faiss]"\n'
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


@pytest.mark.parametrize(("rank", "says"), [(0, "interrupted\n"), (1, "")])
def test_an_interruption_of_several_processes_is_said_once(
    rank: int,
    says: str,
    failing: Callable[[BaseException], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torchrun, "size", lambda: 2)
    monkeypatch.setattr(torchrun, "rank", lambda: rank)
    failing(KeyboardInterrupt())
    assert main([]) == 130
    assert capsys.readouterr().err == says


def test_a_dataset_that_is_not_there_is_wrong_use(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    from recbole_fmrlrec.data.loaders import DataError

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
    with pytest.raises(UsageError, match="unknown model `SASREC`"):
        help_text({}, "SASREC")


def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['x', '--help']; import runpy\n"
        "try: runpy.run_path('run_recbole.py', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print({'torch', 'recbole', 'numpy', 'pandas'} & set(sys.modules))"
    )
    before = children_cpu()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.endswith("set()\n")
    assert children_cpu() - before < 3  # 0.2 s on an idle machine


def test_each_command_prints_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: python run_recbole.py [train] [--model=NAME]")
    assert "Train and test one model on one dataset." in shown and "  --num_blocks " in shown
    assert "commands:" not in shown
    assert main(["models", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: python run_recbole.py models\n") and "--" in shown
    for name in OWN_OPTIONS:
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        assert end.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: python run_recbole.py {name} ")


def test_the_program_has_the_name_that_it_was_called_by(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/run-recbole-fmrlrec"])
    assert main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: run-recbole-fmrlrec [COMMAND]")
    assert main(["evaluate"]) == 2
    assert "`run-recbole-fmrlrec evaluate --help` lists" in capsys.readouterr().err


def test_help_on_a_dataset_shows_the_values_of_a_run_on_it() -> None:
    plain, on_ml = help_text({}, "fMRLRec"), help_text({}, "fMRLRec", "ml-100k")
    assert "[[8, 16, 32, 64, 128, 256, 512, 1024]]" in plain and "on ml-100k" in on_ml
    assert "[[16, 32, 64, 128]]" in on_ml and "1024]]" not in on_ml


@pytest.mark.parametrize("words", [["models"], ["--help"], ["compare", "--help"]])
def test_a_reader_that_has_seen_enough(words: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "run_recbole.py", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 0


def test_a_file_that_comes_with_the_package_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = ROOT / "properties" / "comparison" / "ml-100k-quick.yaml"
    for name in ("ml-100k-quick.yaml", "properties/comparison/ml-100k-quick.yaml"):
        assert shipped_file("comparison", Path(name)) == shipped
    (tmp_path / "ml-100k-quick.yaml").write_text("mine")
    assert shipped_file("comparison", Path("ml-100k-quick.yaml")) == Path("ml-100k-quick.yaml")
    assert shipped_file("grid", Path("none.yaml")) == Path("none.yaml")


def test_a_full_disk_outside_a_run_is_named(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(OSError(28, "No space left on device", "/data/x.json"))
    assert main([]) == 1
    assert capsys.readouterr().err.startswith("error: /data/x.json: not enough disk space: ")
    failing(OSError(30, "Read-only file system", "/data/x.json"))
    assert main([]) == 2
    assert capsys.readouterr().err == (
        "error: cannot write /data/x.json: Read-only file system; choose another folder "
        "(--checkpoint_dir, --data_path and --output set where files go)\n"
    )
