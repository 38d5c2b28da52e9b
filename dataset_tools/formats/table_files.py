"""The files that a path stands for: itself, the parts in a folder, or what fits a pattern."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from dataset_tools.errors import UsageError


def find_files(path: Path, kind_of: Callable[[Path], str]) -> list[Path]:
    """The files of a table in the order of their names, numbers in these by their size.

    A folder stands for all files below it, but for those with a ``.`` or ``_`` in front, which
    Spark and others write beside the parts. In a pattern ``*``, ``?`` and ``[...]`` stand for
    parts of a name, ``**`` for any folders; what it fits may be folders again.

    Args:
        kind_of: what a file is by its name; it refuses those that are none.

    Raises:
        UsageError: nothing is there, the files are of several kinds, or ``kind_of`` refuses one.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        found = _below(path)
        if not found:
            raise UsageError(f"{path}: no file is in this folder, but for hidden ones")
    elif glob.has_magic(str(path)):
        matches = [Path(name) for name in glob.glob(str(path), recursive=True)]
        found = [file for one in matches for file in (_below(one) if one.is_dir() else [one])]
        if not found:
            raise UsageError(f"{path}: no file fits this pattern")
    else:
        raise UsageError(f"{path}: no such file")
    found = sorted(set(found), key=_by_numbers)
    _check_kinds(path, found, kind_of)
    return found


def _below(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    ]


def _by_numbers(path: Path) -> tuple[list[str | int], str]:
    """A key by which `part-2` comes before `part-10`."""
    pieces = re.split(r"([0-9]+)", str(path))  # text and digits in turn
    return [int(one) if at % 2 else one for at, one in enumerate(pieces)], str(path)


def _check_kinds(path: Path, found: Iterable[Path], kind_of: Callable[[Path], str]) -> None:
    way_out = "a pattern that fits the right files alone"
    if path.is_dir():
        way_out += f", such as '{path}/**/*.csv'"
    kinds: dict[str, Path] = {}
    for file in found:
        try:
            kinds.setdefault(kind_of(file), file)
        except UsageError as error:
            raise UsageError(f"{error}; give {way_out}") from None
    if len(kinds) > 1:
        names = ", ".join(f"{file} ({kind})" for kind, file in kinds.items())
        raise UsageError(f"{path}: tables of several kinds: {names}; give {way_out}")
