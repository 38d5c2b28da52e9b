"""A column of a ``.item`` file, for ``recommend --group_by``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recbole_fmrlrec.errors import UsageError

if TYPE_CHECKING:
    from recbole_fmrlrec.deploy.recommender import Recommender


def add_column(recommender: Recommender, name: str, path: Path | None) -> None:
    """Give a model the column from a file; without a file it must have it.

    Raises:
        UsageError: it has not, or the file does not have it.
        DeployError: the file is about other items.
    """
    if path is not None:
        recommender.add_column(name, read_column(path, name))
    elif name not in (known := recommender.items.columns):
        raise UsageError(
            f"--group_by: the deployed folder has no column {name!r} of items"
            + (f" (it has {', '.join(known)})" if known else "")
            + "; --items_file=dataset/NAME/NAME.item names a file that has it"
        )


def read_column(path: Path, name: str) -> dict[str, list[str]]:
    """The values of each item in a column; the words of one of the type ``token_seq``.

    Raises:
        UsageError: no such file or column, or the column holds lists of numbers.
        dataset_tools.errors.DatasetError: the file is damaged.
    """
    from dataset_tools.files.dataset_folder import stored_form
    from dataset_tools.formats.atomic_files import read_item_table

    if stored_form(path) is None:
        raise UsageError(f"--items_file: there is no file {path.absolute()}")
    columns, rows = read_item_table(path)
    kinds = {column.name: column.type for column in columns}
    if name not in kinds or name == "item_id":
        known = ", ".join(other for other in kinds if other != "item_id")
        raise UsageError(f"--group_by: {path} has no column {name!r}; it has {known or 'none'}")
    if kinds[name] == "float_seq":
        raise UsageError(f"--group_by: the column {name} of {path} holds lists of numbers")
    split = kinds[name] == "token_seq"
    return {row["item_id"]: _values(row[name], split) for row in rows}


def _values(text: str, split: bool) -> list[str]:
    if split:
        return text.split()
    return [text.strip()] if text.strip() else []
