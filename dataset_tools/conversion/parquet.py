"""Parquet copies of all atomic files of a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dataset_tools.errors import DatasetError, UsageError
from dataset_tools.files.dataset_folder import dataset_file
from dataset_tools.files.unfinished import remove_left_behind
from dataset_tools.formats.parquet_copy import copy_path, mismatch, write_copy

#: Files of users, items and interactions; the parts of a split are NAME.PART.inter.
SUFFIXES = (".inter", ".item", ".user")


def write_copies(folder: Path) -> Iterator[str]:
    """Write the copies that are not there or do not match; yields a line for each file.

    Raises:
        UsageError: the folder has no interactions, a file cannot be read, or pyarrow is not
            installed.
        DatasetError: a cell of a column of numbers is none.
        DiskFullError: there is no room.
    """
    name = dataset_file(folder, "inter").stem
    remove_left_behind(folder)
    for path in sorted(folder.iterdir()):
        if not (path.is_file() and path.suffix in SUFFIXES and path.name.startswith(f"{name}.")):
            continue
        copy = copy_path(path)
        if _matches(path):
            yield f"{copy}: already there, and matches {path.name}"
            continue
        rows = write_copy(path)
        before, after = path.stat().st_size, copy.stat().st_size
        yield f"{copy}: {rows:,} rows, {_size(after)} in place of {_size(before)}"


def _matches(path: Path) -> bool:
    if not copy_path(path).is_file():
        return False
    try:
        return mismatch(path) is None
    except UsageError:
        raise
    except DatasetError:  # damaged, and written again
        return False


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
