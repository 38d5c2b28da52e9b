"""Where the files of a data set stand in its folder."""

from __future__ import annotations

from pathlib import Path

from dataset_tools.errors import UsageError

FEATURES_NAME = "features"
IMAGES_FOLDER = "images"
IMAGES_NAME = "images.tsv"
PARQUET_SUFFIX = ".parquet"


def parquet_form(path: str | Path) -> Path:
    """Where the Parquet form of an atomic file stands."""
    return Path(f"{path}{PARQUET_SUFFIX}")


def stored_form(path: str | Path) -> Path | None:
    """An atomic file where it is there as text, else its Parquet form alone, else None."""
    return next((form for form in (Path(path), parquet_form(path)) if form.is_file()), None)


def dataset_file(folder: Path, suffix: str) -> Path:
    """``folder/NAME.suffix``: named like the folder, or the only one there.

    It may be there in its Parquet form alone (``stored_form``).

    Raises:
        UsageError: the folder or the file is not there, or several could be meant.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; make it with `dataset_tools convert ...`")
    path = folder / f"{folder.resolve().name}.{suffix}"
    if stored_form(path) is not None:
        return path
    forms = [*folder.glob(f"*.{suffix}"), *folder.glob(f"*.{suffix}{PARQUET_SUFFIX}")]
    found = {folder / f"{form.name.partition('.')[0]}.{suffix}" for form in forms}
    found = {path for path in found if stored_form(path) is not None}
    if len(found) != 1:
        raise UsageError(
            f"{folder}: {len(found)} files end in .{suffix}, one is needed; "
            "make it with `dataset_tools convert ...`"
        )
    return found.pop()
