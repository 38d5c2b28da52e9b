"""The text of each item: a template over the columns of a ``.item`` file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dataset_tools.errors import UsageError
from dataset_tools.formats.atomic_files import Column, read_item_table

# The order of the published prompt; a description is left out unless it is asked for.
PUBLISHED = ("title", "price", "brand", "categories")
LEFT_OUT = ("item_id", "description")
FIELD = re.compile(r"\{(\w+)\}")


def default_template(columns: Sequence[Column]) -> str:
    """Lines ``Title: {title}``, price, brand, categories, then every other text column."""
    names = [column.name for column in columns]
    texts = [column.name for column in columns if column.type.startswith("token")]
    chosen = [name for name in PUBLISHED if name in names]
    chosen += [name for name in texts if name not in (*PUBLISHED, *LEFT_OUT)]
    return columns_template(chosen or [name for name in texts if name != "item_id"])


def columns_template(names: Sequence[str]) -> str:
    """One line ``Name: {name}`` a column."""
    return "\n".join(f"{name.replace('_', ' ').capitalize()}: {{{name}}}" for name in names)


def fill_template(template: str, row: dict[str, str]) -> str:
    """Fill ``{name}`` with the row's text; a line whose fields are all empty is left out."""
    lines = []
    for line in template.split("\n"):
        names = FIELD.findall(line)
        if not names or any(row[name].strip() for name in names):
            lines.append(FIELD.sub(lambda match: row[match[1]].strip(), line))
    return "\n".join(lines) if any(row[name].strip() for name in FIELD.findall(template)) else ""


def resolve_template(
    item_path: Path, columns: Sequence[str] | None = None, template: str | None = None
) -> str:
    """The template for a ``.item`` file: the given one, one for ``columns``, or the default.

    Raises:
        UsageError: a column that the file does not have, or no text column at all.
    """
    known, _ = read_item_table(item_path)
    if template is None:
        template = columns_template(columns) if columns else default_template(known)
    names = FIELD.findall(template)
    for name in names:
        if name not in {column.name for column in known}:
            have = ", ".join(column.name for column in known)
            raise UsageError(f"{item_path}: no column {name!r}; it has {have}")
    if not names:
        raise UsageError(f"{item_path}: no text to encode; name columns, or a {{column}} template")
    return template


def item_texts(
    item_path: Path, columns: Sequence[str] | None = None, template: str | None = None
) -> tuple[list[str], list[str]]:
    """Item ids and one text each, in the order of the ``.item`` file; first row of an id wins.

    By default the lines ``Title``, ``Price``, ``Brand``, ``Categories`` and every other text
    column but ``description``. A text is empty where an item has nothing in those columns.

    Raises:
        UsageError: as ``resolve_template``.
        DatasetError: the file is malformed.
    """
    template = resolve_template(item_path, columns, template)
    _, rows = read_item_table(item_path)
    texts: dict[str, str] = {}
    for row in rows:
        if row["item_id"] not in texts:
            texts[row["item_id"]] = fill_template(template, row)
    return list(texts), list(texts.values())
