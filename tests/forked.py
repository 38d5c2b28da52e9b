"""Processes that are forked from one which has imported torch and RecBole already.

They are processes as any other: with a number, a folder, variables, signals and an exit code of
their own. A new interpreter would need as long for its imports as the tests for their trainings.
What they share is the seed of Python's hashes of strings; a test that is about what two starts of
the program have in common starts new interpreters.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import ROOT

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preloaded"])


class Forked:
    """As ``subprocess.Popen([sys.executable, "-c", code, *words])``, with both outputs read.

    Args:
        code: the program.
        words: its arguments.
        cwd: the folder in which it runs.
        env: variables that it has besides those of the tests.
    """

    def __init__(
        self, code: str, *words: str, cwd: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self._said = [_empty_file(), _empty_file()]
        arguments = (code, words, cwd, dict(env or {}), self._said)
        self._process = _CONTEXT.Process(target=_program, args=arguments, daemon=True)
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = str(ROOT)  # of the process from which they are forked
        try:
            self._process.start()
        finally:
            os.environ.pop("PYTHONPATH")
            if before is not None:
                os.environ["PYTHONPATH"] = before
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal that ended it, or None while it runs."""
        return self._process.exitcode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """What it has written to both outputs once it has ended; killed after ``timeout``."""
        self._process.join(timeout)
        if self.returncode is None:
            self._process.kill()
            raise subprocess.TimeoutExpired("a forked process", timeout)
        out, errors = (file.read_text(encoding="utf-8") for file in self._said)
        for file in self._said:
            file.unlink()
        return out, errors


def run_forked(
    code: str, *words: str, cwd: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run([sys.executable, "-c", code, *words], capture_output=True)``."""
    process = Forked(code, *words, cwd=cwd)
    out, errors = process.communicate(timeout)
    code_of_exit = process.returncode
    assert code_of_exit is not None
    return subprocess.CompletedProcess(words, code_of_exit, out, errors)


def _empty_file() -> Path:
    handle, name = tempfile.mkstemp(prefix="forked-")
    os.close(handle)
    return Path(name)


def _program(
    code: str, words: tuple[str, ...], cwd: Path, env: dict[str, str], said: list[Path]
) -> None:
    for number, file in enumerate(said, start=1):
        os.dup2(os.open(file, os.O_WRONLY), number)
    os.chdir(cwd)
    os.environ.update(env)
    sys.argv = ["-c", *words]
    exec(compile(code, "<forked>", "exec"), {"__name__": "__main__"})
