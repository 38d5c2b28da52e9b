"""A dataset that appears whole or not at all.

Everything is written to a hidden folder first. Where the dataset's folder is new, that folder is
renamed to it. Where the folder is there already (raw files, pictures, an older dataset), the new
files are moved into it by a plan that is written down before the first of them moves: the old
``.inter`` files go first and the new ones come last, so that there are never new files beside
old interactions, and whoever comes next finishes the plan of a writer that was killed.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dataset_tools.errors import DatasetError, UsageError
from dataset_tools.files.atomic_write import replacing
from dataset_tools.files.dataset_folder import FEATURES_NAME, IMAGES_FOLDER, PARQUET_SUFFIX
from dataset_tools.files.unfinished import SUFFIX, is_left_behind, partial_path, remove_left_behind

PLAN_NAME = "plan.json"
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class Stage:
    """``folder`` becomes (``whole``), or is moved into, the dataset's folder ``output``."""

    folder: Path
    output: Path
    whole: bool


@contextmanager
def staging(output: Path) -> Iterator[Stage]:
    """A hidden folder to write a dataset to; gone at the end, published or not.

    Raises:
        UsageError: ``output`` cannot be written to.
        DatasetError: whatever goes wrong inside, with the paths that the user knows.
    """
    target = output.resolve()
    whole = not target.exists()  # one that is there may be a mount, which cannot be renamed to
    folder = partial_path(target if whole else target / "dataset")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except OSError as error:
        raise _unwritable(output, error) from error
    try:
        yield Stage(folder, target, whole)
    except DatasetError as error:
        error.args = (str(error).replace(str(folder), str(output)),)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unwritable(output: Path, error: OSError) -> DatasetError:
    if error.errno in _FORBIDDEN:
        return UsageError(
            f"{output}: cannot be written to ({error.strerror}); choose another OUTPUT"
        )
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return UsageError(f"{output}: a file is in the way of the folder; choose another OUTPUT")
    return DatasetError(f"{output}: cannot make a folder there ({error.strerror})")


def publish(stage: Stage, replaced: Iterable[str]) -> None:
    """Put the staged dataset in its place; ``replaced`` are files there that it does away with.

    Raises:
        UsageError: somebody else has made a dataset there meanwhile.
    """
    if stage.whole:
        try:
            os.rename(stage.folder, stage.output)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise UsageError(f"{stage.output}: is no longer empty; convert again") from error
        return
    with replacing(stage.folder / PLAN_NAME) as stream:
        json.dump({"files": _staged(stage.folder), "replaced": sorted(replaced)}, stream)
    finish(stage.folder, stage.output)


def _staged(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != PLAN_NAME)
    return sorted(str(path.relative_to(folder).as_posix()) for path in files)


def finish(folder: Path, output: Path) -> None:
    """Carry out the plan of a staged dataset, from wherever it was left."""
    plan = json.loads((folder / PLAN_NAME).read_text(encoding="utf-8"))
    waiting = _staged(folder)
    moved = set(plan["files"]) - set(waiting)
    for name in sorted({*plan["replaced"], *waiting} - moved, key=_order):
        # A manifest, like an .inter file, vouches for others: it goes before they change.
        if name not in waiting or name.endswith((".inter", ".json")):
            (output / name).unlink(missing_ok=True)
    for name in sorted(waiting, key=_order, reverse=True):
        move(folder / name, output / name)
    shutil.rmtree(folder, ignore_errors=True)


def _stays_inside(folder: Path, output: Path) -> bool:
    """Whether the plan in ``folder`` touches nothing outside of ``output``.

    A dataset's folder may come from somebody else, and with it a plan and links: what it names
    is removed and replaced.
    """
    plan = json.loads((folder / PLAN_NAME).read_text(encoding="utf-8"))
    names = [*plan["files"], *plan["replaced"], *_staged(folder)]
    if folder.is_symlink() or not all(isinstance(name, str) for name in names):
        return False
    parents = {(output / name).parent for name in names}
    return all(parent.resolve().is_relative_to(output) for parent in parents)


def move(source: Path, target: Path) -> None:
    """Move one staged file to where it belongs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)


def _order(name: str) -> tuple[int, int, str]:
    """Interactions first, the whole log before its parts; then manifests; then the rest."""
    kind = (
        0
        if name.endswith((".inter", f".inter{PARQUET_SUFFIX}"))
        else 1
        if name.endswith(".json")
        else 2
    )
    return kind, name.count("."), name


def tidy(folder: Path) -> list[str]:
    """Finish or clear away what commands that were killed left in a dataset's folder.

    Returns what was done, for the user. What a living process writes is left alone, and so is
    everything in a folder that cannot be written to.
    """
    said = []
    target = folder.resolve()
    store = target / FEATURES_NAME
    try:
        for plan in target.glob(f".*{SUFFIX}/{PLAN_NAME}"):
            if not is_left_behind(plan.parent):
                continue
            if not _stays_inside(plan.parent, target):
                said.append(
                    f"{plan}: names files outside of {folder}: not carried out; convert again"
                )
            else:
                finish(plan.parent, target)
                said.append(f"{folder}: an interrupted conversion was finished")
        count = sum(
            remove_left_behind(part)
            for part in (target, store, *store.glob(".*-work"), target / IMAGES_FOLDER)
            if part.is_dir()
        )
        for path in target.parent.glob(f".{glob.escape(target.name)}.*{SUFFIX}"):
            if path.is_dir() and not path.is_symlink() and is_left_behind(path):
                shutil.rmtree(path)
                count += 1
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return said
    if count:
        said.append(f"{folder}: {count} unfinished files of interrupted commands were removed")
    return said
