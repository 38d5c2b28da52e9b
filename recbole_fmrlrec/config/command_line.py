"""Command lines: ``[COMMAND] [--KEY=VALUE ...]``, and those of commands with their own options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from recbole_fmrlrec.errors import UsageError


@dataclass
class Arguments:
    """The command line, taken apart. ``keys`` holds the text of every configuration key."""

    command: str = "train"
    named: bool = field(default=False, compare=False)  # the command was given by its name
    keys: dict[str, str] = field(default_factory=dict)
    config_files: list[str] = field(default_factory=list)
    resume: str | bool = False
    debug: bool = False
    help: bool = False
    version: bool = False


def parse(argv: Sequence[str], commands: Sequence[str] = ()) -> Arguments:
    """Parse a command line.

    Args:
        argv: the words after the program's name, or after those that a command reads itself.
        commands: the words that may come first, without ``--``.

    Raises:
        UsageError: an unknown command, an option without its value, a value without its option, or
            a key that is given two values.
    """
    words = list(argv)
    found = Arguments()
    if commands and words and not words[0].startswith("-"):
        found.command, found.named = words.pop(0), True
        if found.command not in commands:
            known = ", ".join(commands)
            raise UsageError(
                f"unknown command `{found.command}`; known: {known}. "
                "Options begin with --, as in --model=SASRec"
            )
    while words:
        _take_option(words, found)
    return found


def _take_option(words: list[str], found: Arguments) -> None:
    word = words.pop(0)
    if word in ("-h", "--help"):
        found.help = True
        return
    if not (word.startswith("--") and word[2:3].isalpha()):
        raise UsageError(
            f"unexpected argument `{word}`; options begin with --, as in --model=SASRec"
        )
    key, equals, value = word[2:].partition("=")
    if key == "version":
        found.version = True
    elif key == "debug":
        found.debug = value.lower() != "false"
    elif key == "resume":
        found.resume = value or (words.pop(0) if _is_value(words) else True)
    elif key == "config_files":
        _take_files(value, words, found)
    elif equals or _is_value(words):
        _take_key(key, value if equals else words.pop(0), found)
    else:
        raise UsageError(f"--{key} needs a value, as in --{key}=VALUE")


def _is_value(words: list[str]) -> bool:
    return bool(words) and not words[0].startswith("--")


def _take_files(value: str, words: list[str], found: Arguments) -> None:
    values = [value] if value else []
    while not value and _is_value(words):
        values.append(words.pop(0))
    files = [file for part in values for file in part.replace(",", " ").split()]
    if not files:
        raise UsageError("--config_files needs a file, as in --config_files=my.yaml")
    found.config_files += files


def _take_key(key: str, value: str, found: Arguments) -> None:
    if key in ("model", "dataset") and not value:
        raise UsageError(f"--{key}= needs a name")
    before = found.keys.setdefault(key, value)
    if before != value:
        raise UsageError(f"--{key} is given twice, as {before} and as {value}")


class Parser(argparse.ArgumentParser):
    """argparse whose errors are the package's own: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message}; `{self.prog} --help` lists the options")


def whole_numbers(option: str, text: str) -> list[int]:
    """Integers separated by commas, with or without brackets around them.

    Raises:
        UsageError: something else.
    """
    try:
        return [int(part) for part in text.strip("[]() ").split(",")]
    except ValueError:
        given = text if len(text) <= 60 else f"{text[:60]}..."
        raise UsageError(
            f"{option} takes integers separated by commas, or all, not {given!r}"
        ) from None


def names(text: str) -> list[str]:
    """Names separated by commas, with or without blanks around them.

    Raises:
        UsageError: there is nothing between two commas.
    """
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise UsageError(f"`{text}`: a name is missing between the commas")
    return found


def check_options(
    words: Sequence[str], models: Sequence[str], command: str, options: Sequence[str]
) -> None:
    """Refuse words that are not settings of the models and look like an option of the command.

    Raises:
        UsageError: it names the option.
    """
    from recbole_fmrlrec.keys.known import general_keys, model_keys
    from recbole_fmrlrec.model_api.registry import nearest

    known = general_keys().union(*map(model_keys, models)) - {"worker"}
    for word in words:
        key = word.removeprefix("--").partition("=")[0]
        near = nearest(key, list(options), 1)
        # `worker` is a setting too, of how batches are loaded, and hardly what is meant here.
        if word.startswith("--") and near and key not in known:
            raise UsageError(f"--{key} is not an option of {command}: did you mean --{near[0]}?")
