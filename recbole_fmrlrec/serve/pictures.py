"""Pictures of items, from a folder of files named after the items."""

from __future__ import annotations

from pathlib import Path

from recbole_fmrlrec.errors import UsageError

#: Endings and what they are; SVG is not among them, since it can hold code.
KINDS = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
}


def pictures_in(folder: Path | None) -> dict[str, Path]:
    """Files by item id; the folder is read once, and no name from a request becomes a path.

    Raises:
        UsageError: there is no such folder.
    """
    if folder is None:
        return {}
    if not folder.is_dir():
        raise UsageError(f"--pictures: there is no folder {folder.absolute()}")
    return {
        file.stem: file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in KINDS and file.is_file()
    }
