"""What can be known of a command without running it: that its options, keys and files are there."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import re
import shutil
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from recbole_fmrlrec.cli.main import OWN_OPTIONS, parse
from recbole_fmrlrec.config import command_line
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.keys.known import check_key
from recbole_fmrlrec.keys.yaml_files import shipped_file
from recbole_fmrlrec.model_api import outside
from tests.docs.snippets import ROOT, Page, Snippet, commands

#: Programs that come from elsewhere, of which nothing is checked here.
FOREIGN = {"python3.11", ".", "mkdir", "cat", "printf", "cd", "pre-commit", "ruff", "mypy"}
FOREIGN |= {"lint-imports", "mkdocs", "curl", "docker", "srun"}
PARSERS = {
    "compare": "recbole_fmrlrec.compare.command",
    "evaluate": "recbole_fmrlrec.compare.evaluate",
    "export": "recbole_fmrlrec.export.command",
    "recommend": "recbole_fmrlrec.cli.recommend",
    "serve": "recbole_fmrlrec.cli.serve",
    "tune": "recbole_fmrlrec.tuning.command",
}


class Stale(AssertionError):
    """A page names something that is not there."""


def check_shell(snippet: Snippet, page: Page) -> None:
    """Check every command of a block.

    Raises:
        Stale: a program, a command, an option, a key, a file or an extra is not there.
    """
    written = {other.detail for other in page.snippets if other.mode == "file"}
    for words in commands(snippet.text):
        try:
            _check_command(words, written)
        except (SystemExit, UsageError, KeyError, ImportError) as error:
            raise Stale(f"{snippet.place}: {' '.join(words)}: {error}") from error


def _check_command(words: list[str], written: set[str]) -> None:
    program = Path(words[0]).name if words[0].startswith(".venv") else words[0]
    if program in FOREIGN:
        return
    if program == "pip":
        _check_pip(words[1:])
    elif program == "torchrun":
        at = next(at for at, word in enumerate(words) if word in ("run_recbole.py", "-m"))
        assert all(word.startswith(("--n", "--master")) for word in words[1:at])
        _check_command(["python", *words[at:]], written)
    elif program == "bash":
        _need_file(words[1])
    elif program == "python" and words[1] == "run_recbole.py":
        _check_run(words[2:], written)
    elif program == "python" and words[1] == "-m":
        _check_module(words[2], words[3:])
    elif program == "python" and words[1] == "-c":
        ast.parse(words[2])
    else:
        raise Stale(f"{' '.join(words)}: a program that this test does not know")


def _check_pip(words: list[str]) -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    for word in words:
        for extra in re.findall(r"^\.\[(.*)\]$", word):
            for name in extra.split(","):
                if f'    "{name}": [' not in setup:
                    raise Stale(f"setup.py has no extra {name}")
        if word.endswith(".txt"):
            _need_file(word)


def _check_run(words: list[str], written: set[str]) -> None:
    if words and words[0] in OWN_OPTIONS:
        return _check_own(words[0], words[1:], written)
    arguments = parse(words)
    for name in arguments.config_files:
        if name not in written:
            _need_file(name)
    model = arguments.keys.get("model", "fMRLRec").split(",")[0]
    if outside.is_spec(model):
        return _need_class(model)
    for key in set(arguments.keys) - {"model", "dataset"}:
        check_key(key.partition(".")[0], "command line", model)
    return None


def _need_class(spec: str) -> None:
    """A class of a file, by its text: loading it would make its name known."""
    file, _, name = spec.rpartition(":")
    _need_file(file)
    if f"class {name}(" not in (ROOT / file).read_text(encoding="utf-8"):
        raise Stale(f"{file} has no class {name}")


def _check_own(command: str, words: list[str], written: set[str]) -> None:
    if command == "report":
        return
    parser: argparse.ArgumentParser = import_module(PARSERS[command]).build_parser()
    if command == "tune" and words[0] != "--help":
        _check_plan("grid", words.pop(0), written)
    _, rest = _quietly(lambda: parser.parse_known_args(words))
    if command == "compare" and words and not words[0].startswith("--"):
        _check_plan("comparison", words[0], written)
    if rest and command not in ("compare", "tune"):
        raise Stale(f"{command} has no option {rest[0]}")
    for key in command_line.parse(rest).keys:
        check_key(key.partition(".")[0], "command line", "fMRLRec")


def _check_plan(kind: str, name: str, written: set[str]) -> None:
    is_range_file = kind == "grid" and name.endswith(".test")  # the reader's own
    there = (ROOT / name).is_file() or shipped_file(kind, Path(name)).is_file()
    if not (name in written or is_range_file or there):
        raise Stale(f"{name} is neither shipped nor written by the page")


def _check_module(module: str, words: list[str]) -> None:
    if module == "dataset_tools":
        from dataset_tools.__main__ import build_parser

        _quietly(lambda: build_parser().parse_args(words))
    elif module == "benchmarks":
        from benchmarks.__main__ import COMMANDS

        _check_benchmark(COMMANDS[words[0]][0], words[1:])
    elif module == "pytest":
        for word in words:
            if word.startswith("tests/"):
                _need_file(word)
    elif module != "venv" and importlib.util.find_spec(module) is None:
        raise Stale(f"there is no module {module}")


def _check_benchmark(module: str, words: list[str]) -> None:
    """Options of a benchmark: those of its parser, or of the calls that make it."""
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    for word in words:
        option = word.partition("=")[0]
        if word.startswith("--") and f'"{option}"' not in source:
            raise Stale(f"{module} has no option {option}")


def _quietly(parse_words: Callable[[], object]) -> tuple:  # type: ignore[type-arg]
    """What a parser returns; ``--help`` ends well."""
    try:
        found = parse_words()
    except SystemExit as end:
        if end.code:
            raise
        return None, []
    return found if isinstance(found, tuple) else (found, [])


def _need_file(name: str) -> None:
    if not (ROOT / name).exists():
        raise Stale(f"{name} is not there")


def check_python(snippet: Snippet) -> None:
    """Compile a block, and import what it imports from this repository.

    Raises:
        Stale: it does not compile, or a name is not there.
    """
    try:
        tree = ast.parse(snippet.text)
    except SyntaxError as error:
        raise Stale(f"{snippet.place}: {error}") from error
    for node in ast.walk(tree):
        module = node.module if isinstance(node, ast.ImportFrom) else None
        if module and module.split(".")[0] in ("recbole_fmrlrec", "dataset_tools"):
            for alias in node.names:
                _check_name(snippet, module, alias.name)


def _check_name(snippet: Snippet, module: str, name: str) -> None:
    try:
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")
    except ImportError as error:
        raise Stale(f"{snippet.place}: {error}") from error


_PATH = re.compile(
    r"`((?:recbole_fmrlrec|dataset_tools|properties|tests|benchmarks|docs|examples)/[\w./-]+)`"
)
_DOTTED = re.compile(r"`((?:recbole_fmrlrec|dataset_tools)(?:\.\w+)+)(?:\(\))?`")


def missing_names(text: str) -> Sequence[str]:
    """Paths and dotted names of this repository, in backticks, that are not there."""
    named = (path for path in _PATH.findall(text) if "NAME" not in path)
    paths = [path for path in named if not (ROOT / path).exists()]
    return [*paths, *(name for name in _DOTTED.findall(text) if not _resolves(name))]


def _resolves(name: str) -> bool:
    parts = name.split(".")
    path = ROOT.joinpath(*parts)
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module = ".".join(parts[:-1])
    return len(parts) > 1 and hasattr(importlib.import_module(module), parts[-1])


def has_bash() -> bool:
    """Whether shell blocks can run here."""
    return shutil.which("bash") is not None
