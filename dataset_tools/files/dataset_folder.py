"""Where the files of a data set stand in its folder."""

from __future__ import annotations

from pathlib import Path

from dataset_tools.errors import UsageError

FEATURES_NAME = "features"
IMAGES_FOLDER = "images"
IMAGES_NAME = "images.tsv"


def dataset_file(folder: Path, suffix: str) -> Path:
    """``folder/NAME.suffix``: named like the folder, or the only one there.

    Raises:
        UsageError: the folder or the file is not there, or several could be meant.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; make it with `dataset_tools convert ...`")
    path = folder / f"{folder.resolve().name}.{suffix}"
    if path.is_file():
        return path
    found = [path for path in folder.glob(f"*.{suffix}") if path.name.count(".") == 1]
    if len(found) != 1:
        raise UsageError(
            f"{folder}: {len(found)} files end in .{suffix}, one is needed; "
            "make it with `dataset_tools convert ...`"
        )
    return found[0]
