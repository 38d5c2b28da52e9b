"""The values in the file of a comparison by their kind, with the line of each for a message."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.names import name_fault
from recbole_fmrlrec.keys.known import is_known_key
from recbole_fmrlrec.keys.yaml_files import EntryPath
from recbole_fmrlrec.model_api.registry import nearest
from recbole_fmrlrec.rules import LARGEST, is_whole, shown

_NAME = re.compile(r"[\w][\w .+()-]*")


@dataclass(frozen=True)
class PlanValues:
    """What a file holds, or the command line in its place.

    Attributes:
        path: of the file; None for the command line.
        lines: the line of each entry.
        said: keys at the top level that the command line says in place of the file.
    """

    path: Path | None
    values: dict[str, Any]
    lines: dict[EntryPath, int]
    said: frozenset[str] = frozenset()

    def where(self, at: EntryPath) -> str:
        """File and line of an entry, or of the nearest one around it."""
        # Settings of a dataset that the command line chooses are still the file's.
        if at and at[0] in self.said and (len(at) < 3 or at not in self.lines):
            return "command line"
        while at and at not in self.lines:
            at = at[:-1]
        origin = str(self.path or "command line")
        return f"{origin}, line {self.lines[at]}" if at else origin

    def wrong(self, at: EntryPath, message: str) -> UsageError:
        """The error of an entry."""
        return UsageError(f"{self.where(at)}: {message}")

    def note(self, at: EntryPath, message: str) -> None:
        """Say on standard error what of an entry is easily misread."""
        print(f"note: {self.where(at)}: {message}", file=sys.stderr)

    def check_keys(self, values: dict[str, Any], known: tuple[str, ...], at: EntryPath) -> None:
        """Refuse a key that is not known, and name the nearest."""
        for key in values:
            if key not in known:
                near = nearest(str(key), list(known))
                hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(known)}"
                if not near and "settings" in known and is_known_key(str(key)):
                    hint = f"a key of the runs stands under `settings`, `settings: {{{key}: ...}}`"
                raise self.wrong((*at, str(key)), f"unknown key `{key}`: {hint}")

    def mapping(self, at: EntryPath, value: Any) -> dict[str, Any]:
        """Keys as text, and values; empty where there is nothing."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.wrong(at, f"`{at[-1]}` must hold keys and values, not {shown(value)}")
        return {str(key): below for key, below in value.items()}

    def text(self, at: EntryPath, value: Any) -> str:
        """A text with something in it."""
        if not isinstance(value, str) or not value:
            raise self.wrong(at, f"`{at[-1]}` must be a string, not {shown(value)}")
        return value

    def name(self, at: EntryPath, value: Any) -> str:
        """What may be a name in tables and files."""
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise self.wrong(at, f"{shown(value)} cannot be a name: letters, digits and . + - ( )")
        return value

    def folder_name(self, at: EntryPath, value: Any) -> str:
        """What may be the name of a folder, as a dataset's."""
        if fault := name_fault(value):
            raise self.wrong(at, f"{shown(value)}: the name of a dataset {fault}")
        return str(value)

    def flag(self, at: EntryPath, value: Any) -> bool:
        """True or false."""
        if not isinstance(value, bool):
            raise self.wrong(at, f"`{at[-1]}` must be true or false, not {shown(value)}")
        return value

    def wholes(self, key: str, default: list[int], low: int, high: int = LARGEST) -> list[int]:
        """One or several different integers of at least ``low``, as a list."""
        given = self.values.get(key, default)
        given = given if isinstance(given, list) else [given]
        for at, value in enumerate(given):
            if not is_whole(value) or value < low or value in given[:at]:
                raise self.wrong(
                    (key, at),
                    f"{key}: {shown(value)} must be an integer of at least {low}, given once",
                )
            if value > high:
                raise self.wrong((key, at), f"{key}: {value} is above {high}")
        if not given:
            raise self.wrong((key,), f"`{key}` is empty")
        return list(given)
