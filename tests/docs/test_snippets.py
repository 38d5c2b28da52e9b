"""Every command and snippet of the documentation, checked and run from the text of its page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from dataset_tools.packages import EXTRAS
from tests.docs.checking import Stale, check_python, check_shell, has_bash, missing_names
from tests.docs.snippets import PAGES, ROOT, TESTED, Page, Snippet, commands, read_page

READ = {page: read_page(page) for page in PAGES}
TESTABLE = [
    snippet for page in READ.values() for snippet in page.snippets if snippet.language in TESTED
]
#: What a page's commands find where they run: the checkout, as links.
LINKED = (
    "run_recbole.py",
    "properties",
    "recbole_fmrlrec",
    "dataset_tools",
    "benchmarks",
    "examples",
)
Prepare = Callable[[Path], None]


def name(path: Path) -> str:
    """The name of a page among the tests."""
    return path.name


@pytest.mark.parametrize("snippet", TESTABLE, ids=lambda snippet: snippet.place)
def test_names_what_is_there(snippet: Snippet) -> None:
    """Commands, options, keys, files, imports; YAML that is YAML; and a comment on each block."""
    assert snippet.mode, f"{snippet.place}: no comment says how the block is tested"
    if snippet.language == "sh":
        check_shell(snippet, READ[snippet.page])
    elif snippet.language == "python":
        check_python(snippet)
    else:
        assert yaml.safe_load(snippet.text)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_paths_and_modules_in_the_text_are_there(path: Path) -> None:
    assert not missing_names(path.read_text(encoding="utf-8"))


def _pages_with(mode: str) -> list[Path]:
    return [path for path, page in READ.items() if any(s.mode == mode for s in page.snippets)]


@pytest.mark.parametrize("path", _pages_with("run"), ids=name)
def test_quick_blocks_run(path: Path, quick: Callable[[str], Path]) -> None:
    quick(path.name)


@pytest.mark.slow
@pytest.mark.parametrize("path", _pages_with("slow"), ids=name)
def test_slow_blocks_run(path: Path, tmp_path: Path, trained: Path) -> None:
    _run_page(READ[path], ("run", "slow"), tmp_path, trained)


@pytest.mark.parametrize(
    "snippet", [s for s in TESTABLE if s.mode == "skip"], ids=lambda s: s.place
)
def test_skipped_blocks_say_why(snippet: Snippet) -> None:
    pytest.skip(snippet.detail)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run on ml-100k, for pages that read a checkpoint: sizes 16 and 64, one epoch."""
    from recbole_fmrlrec import run

    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        keys = {"sizes": [16, 64], "epochs": 1, "training_windows": "latest", "num_threads": 1}
        result = run("fMRLRec", "ml-100k", config_dict={**keys, "use_gpu": False})
        yield folder / result.run_dir


@pytest.fixture(scope="module")
def quick(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str], Path]:
    """Run the quick blocks of a page, once; returns the folder in which they ran."""
    done: dict[str, Path] = {}

    def run_quick(page_name: str) -> Path:
        if page_name not in done:
            page = next(page for path, page in READ.items() if path.name == page_name)
            folder = tmp_path_factory.mktemp(page.path.stem)
            if "after" in page.needs:
                shutil.copytree(run_quick(page.needs["after"]), folder, True, dirs_exist_ok=True)
            quick_text = "".join(s.text for s in page.snippets if s.mode == "run")
            needs_run = "checkpoint" in page.needs and "saved/RUN" in quick_text
            trained = request.getfixturevalue("trained") if needs_run else None
            _run_page(page, ("run",), folder, trained)
            done[page_name] = folder
        return done[page_name]

    return run_quick


def _run_page(page: Page, modes: tuple[str, ...], folder: Path, checkpoint: Path | None) -> None:
    """Run a page's blocks in order, in one folder; the first that fails fails the test."""
    for link in LINKED:
        if not (folder / link).exists():
            (folder / link).symlink_to(ROOT / link)
    if checkpoint is not None:
        (folder / "saved").mkdir(exist_ok=True)
        (folder / "saved" / "RUN").symlink_to(checkpoint)
    for snippet in page.snippets:
        if snippet.mode == "file":
            (folder / snippet.detail).write_text(snippet.text, encoding="utf-8")
        elif snippet.mode in modes and snippet.language == "sh":
            _run_shell(snippet, folder)
        elif snippet.mode in modes and snippet.language == "python":
            _run_python(snippet, folder)


def _run_shell(snippet: Snippet, folder: Path) -> None:
    if not has_bash():
        pytest.skip("there is no bash")
    programs = folder / ".bin"
    programs.mkdir(exist_ok=True)
    if not (programs / "python").exists():
        shim = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
        (programs / "python").write_text(shim, encoding="utf-8")
        (programs / "python").chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", snippet.text],
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{snippet.place}:\n{done.stdout}\n{done.stderr}"


def _run_python(snippet: Snippet, folder: Path) -> None:
    """In this process, which has torch already, at the line of the page in a traceback."""
    code = compile("\n" * snippet.line + snippet.text, str(snippet.page), "exec")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["snippet"])  # RecBole's Config reads the command line
        try:
            exec(code, {"__name__": "snippet"})
        except ModuleNotFoundError as error:
            if error.name not in EXTRAS:
                raise
            pytest.skip(f"{snippet.place}: the optional package {error.name} is not installed")


def test_commands_are_taken_apart() -> None:
    script = (
        "mkdir -p a && cat > a/b <<'END'\nit's \"one\nEND\n"
        "python run_recbole.py --x=[1,2] \\\n    --y='a b'   # it's quick\n"
        "printf 'a\\n' > c; python -c \"\nprint(1)\"\n"
    )
    assert commands(script) == [
        ["mkdir", "-p", "a"],
        ["cat", ">", "a/b"],
        ["python", "run_recbole.py", "--x=[1,2]", "--y=a b"],
        ["printf", "a\\n", ">", "c"],
        ["python", "-c", "\nprint(1)"],
    ]


@pytest.mark.parametrize(
    "command",
    [
        "python run_recbole.py --learning_rat=0.1",
        "python run_recbole.py --config_files=gone.yaml",
        "python run_recbole.py trian",
        "python run_recbole.py --model=examples/feature_gru.py:FeatureLSTM",
        "python run_recbole.py compare gone.yaml",
        "python run_recbole.py compare --model=Pop --worker_count=2",
        "python run_recbole.py export --checkpoint=a --into=b",
        "python run_recbole.py tune fMRLRec.yaml --trails=2",
        "python -m dataset_tools convert csv a b --usr c",
        "python -m benchmarks corre",
        "python -m benchmarks core --quickly",
        "python -m pytest tests/test_gone.py",
        'pip install ".[tunes]"',
        "bash .ci/walk",
        "sudo reboot",
    ],
)
def test_stale_commands_are_found(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    snippet = Snippet(ROOT / "README.md", 1, "sh", command + "\n", "skip", "a test")
    with pytest.raises(Stale):
        check_shell(snippet, Page(snippet.page, [snippet], {}))


@pytest.mark.parametrize(
    "text",
    [
        "<!-- test: skip -->\n```sh\nls\n```\n",
        "<!-- test: sometimes -->\n```sh\nls\n```\n",
        "<!-- test: run -->\n\n```sh\nls\n```\n",
        "```sh slow\nls\n```\n",
        "```sh\nls\n",
    ],
)
def test_comments_that_mean_nothing_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match=r"README\.md, line"):
        read_page(ROOT / "README.md", text)
