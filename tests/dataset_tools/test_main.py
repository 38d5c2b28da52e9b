"""The command line as a process: speed of help, exit codes, no traceback."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dataset_tools import __main__ as command_line
from dataset_tools.conversion import convert as conversion
from tests.patience import children_cpu, patience


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dataset_tools", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=patience(60))


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, dataset_tools.__main__ as m; m.build_parser().format_help();"
        "print([n for n in ('torch','numpy','pandas','sklearn','PIL','tqdm') if n in sys.modules])"
    )
    before = children_cpu()
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience(60))
    assert done.stdout.strip() == "[]", done.stderr
    assert children_cpu() - before < 2


@pytest.mark.parametrize(
    ("called", "words"),
    [
        ("/usr/bin/dataset-tools", "usage: dataset-tools inspect "),
        ("/x/dataset_tools/__main__.py", "usage: python -m dataset_tools inspect "),
    ],
)
def test_usage_says_what_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], called: str, words: str
) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    with pytest.raises(SystemExit):
        command_line.main(["inspect", "--help"])
    assert capsys.readouterr().out.startswith(words)


@pytest.mark.parametrize("arguments", [[], ["convert"], ["convert", "p6", "a", "b"], ["--nope"]])
def test_wrong_use_exits_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and "usage:" in done.stderr


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("before", [[], ["log.csv", "--items"]])
def test_a_pattern_that_the_shell_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], parts: int, before: list[str]
) -> None:
    names = [str(tmp_path / f"{part}.csv") for part in range(parts)]
    for name in names:
        Path(name).touch()
    with pytest.raises(SystemExit, match="2"):
        command_line.main(["convert", "csv", *before, *names, str(tmp_path / "out")])
    assert "a pattern in quotes: 'parts/*.csv'" in capsys.readouterr().err


def test_other_words_too_many_are_no_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command_line.main(["convert", "csv", "a.csv", "out", "--colour"])
    assert capsys.readouterr().err.endswith("error: unrecognized arguments: --colour\n")


@pytest.mark.parametrize(
    ("features", "words"),
    [("text", "MODALITY=FILE.npy"), ("text=none.npy", "no such file"), ("=a", "MODALITY=FILE")],
)
def test_bad_features_option(
    p5_folder: Callable[..., Path], tmp_path: Path, features: str, words: str
) -> None:
    done = run("convert", "p5", p5_folder(), tmp_path / "out", "--features", features)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_a_name_with_a_path_is_refused(p5_folder: Callable[..., Path], tmp_path: Path) -> None:
    done = run("convert", "p5", p5_folder(), tmp_path / "out", "--name", "../../x")
    assert done.returncode == 2 and "name" in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = run("--debug", "convert", "p5", tmp_path, tmp_path / "out")
    assert "Traceback" in done.stderr
    assert "Traceback" in run("convert", "p5", tmp_path, tmp_path / "out", "--debug").stderr


def test_interruption_exits_130(
    p5_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "convert", interrupted)
    assert command_line.main(["convert", "p5", str(p5_folder()), str(tmp_path / "out")]) == 130


def test_summary_says_what_was_left_out(p5_folder: Callable[..., Path], tmp_path: Path) -> None:
    done = run("convert", "p5", p5_folder("1 1 2 9\n"), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "1 users, 2 items and 1 without interactions, 2 interactions" in done.stdout
    assert "1 interactions with an item that datamaps.json lacks" in done.stdout
    assert "(first: sequential_data.txt line 1)" in done.stdout


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/data/x"), 2, "/data/x: Read-only file"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 9999), 2, "xxx...: File name too"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), 2, "/data/x: Permission"),
        (OSError(errno.EIO, "Input/output error", "/data/x"), 1, "Input/output error"),
    ],
)
def test_a_fault_of_a_path_is_wrong_use(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: OSError,
    code: int,
    said: str,
) -> None:
    def fail(_: object) -> None:
        raise fault

    monkeypatch.setattr(command_line, "_tidy", fail)
    assert command_line.main(["inspect", "dataset/none"]) == code
    err = capsys.readouterr().err
    assert said in err and len(err) < 400
