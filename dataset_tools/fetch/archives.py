"""Zip archives, unpacked without leaving their folder."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from dataset_tools.errors import DatasetError
from dataset_tools.files.atomic_write import replacing

MAX_TOTAL = 64 * 1024**3


def unpack_zip(path: Path, folder: Path) -> list[Path]:
    """Unpack every file of an archive below ``folder``; returns their paths.

    Raises:
        DatasetError: damaged, a name that leads out of the folder, a link, or more than 64 GiB.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            for member in members:
                _check_member(member, path)
            if sum(member.file_size for member in members) > MAX_TOTAL:
                raise DatasetError(f"{path}: more than {MAX_TOTAL:,} bytes unpacked")
            return [_unpack(archive, member, folder) for member in members]
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise DatasetError(f"{path}: damaged or not a zip archive ({error})") from error


def _check_member(member: zipfile.ZipInfo, path: Path) -> None:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    outside = name.is_absolute() or ".." in name.parts or ":" in member.filename
    if outside or stat.S_ISLNK(member.external_attr >> 16):
        raise DatasetError(
            f"{path}: refused, its entry {member.filename!r} points outside the folder"
        )


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> Path:
    target = folder / PurePosixPath(member.filename.replace("\\", "/"))
    with archive.open(member) as stream, replacing(target, "wb") as output:
        shutil.copyfileobj(stream, output, 1 << 20)
    return target
