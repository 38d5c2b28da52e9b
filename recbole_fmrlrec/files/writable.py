"""Whether an output can be written, checked before hours of work instead of after them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from recbole_fmrlrec.errors import UsageError


def check_folder(folder: Path, name: str) -> None:
    """Make a folder, and a file in it that goes away again.

    Args:
        name: of the option or key that names the folder.

    Raises:
        UsageError: it cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"{name}: cannot write to {folder.absolute()}: {error.strerror}; choose another folder"
        ) from None


def check_file(file: Path, name: str) -> None:
    """Check the same for a file, without making it."""
    if file.is_dir():
        raise UsageError(f"{name}: {file} is a folder; give the name of a file in it")
    check_folder(file.parent, name)
