"""Command lines of the commands around deployed models."""

from __future__ import annotations

import argparse
from typing import NoReturn

from recbole_fmrlrec.errors import UsageError


class Parser(argparse.ArgumentParser):
    """argparse whose errors are the package's own: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message}; `{self.prog} --help` lists the options")


def whole_numbers(option: str, text: str) -> list[int]:
    """Whole numbers with commas between them, brackets around them or not.

    Raises:
        UsageError: something else.
    """
    try:
        return [int(part) for part in text.strip("[]() ").split(",")]
    except ValueError:
        given = text if len(text) <= 60 else f"{text[:60]}..."
        raise UsageError(
            f"{option} takes whole numbers with commas, or all, not {given!r}"
        ) from None
