"""Items as names and values of attributes in text, from the columns of the ``.item`` file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset_tools.files.dataset_folder import stored_form
from dataset_tools.formats.atomic_files import Column, read_item_table
from recbole_fmrlrec.config.side_columns import AUTO
from recbole_fmrlrec.console import say
from recbole_fmrlrec.data.feature_settings import FeatureFolders
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.nn.text_sequences import NAME, VALUE, ItemTokens

#: What the published runs read of an item, in this order.
PUBLISHED = ("title", "brand", "category", "categories")
#: The longest texts, and no attributes.
_LEFT_OUT = ("description",)


def read_attributes(
    folders: FeatureFolders, asked: Any, item_ids: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """The names of columns, and of every item the text in each; empty where there is none.

    Args:
        folders: where the dataset is.
        asked: the key ``text_columns``: names, or ``auto`` for those of `PUBLISHED` that are there,
            else every column of tokens but ids and descriptions.
        item_ids: in the order that is wanted.

    Raises:
        UsageError: there is no such file or column, or no item has a text.
    """
    file = folders.item_file
    if stored_form(file) is None:
        raise UsageError(f"{file} is not there: a model that reads items as text needs it")
    columns, rows = read_item_table(file)
    names = _chosen(file, columns, asked)
    known: dict[str, list[str]] = {}
    for row in rows:
        known.setdefault(row["item_id"], [" ".join(row[name].split()) for name in names])
    empty = [""] * len(names)
    values = [known.get(item, empty) for item in item_ids]
    lost = sum(not any(texts) for texts in values)
    if lost == len(values):
        raise UsageError(f"{file}: no item has a text in {', '.join(names)}")
    missing = f"; {lost:,} of {len(values):,} items have no text" if lost else ""
    say(f"texts of items: {', '.join(names)}, from {file}{missing}")
    return names, values


def _chosen(file: Path, columns: Sequence[Column], asked: Any) -> list[str]:
    there = [column.name for column in columns]
    if asked != AUTO:
        names = list(asked)
        if unknown := [name for name in names if name not in there]:
            raise UsageError(
                f"text_columns: {file} has no column {unknown[0]!r}; it has {', '.join(there)}"
            )
        return names
    found = [name for name in PUBLISHED if name in there]
    if not found:
        texts = [column.name for column in columns if column.type.startswith("token")]
        found = [name for name in texts if name not in ("item_id", *_LEFT_OUT)]
    if not found:
        raise UsageError(f"text_columns: auto: {file} has no column of text beside ids")
    return found


def tokenize_items(
    tokenizer: Any, names: Sequence[str], values: Sequence[Sequence[str]], longest: int
) -> ItemTokens:
    """The tokens of items: the name of each attribute and its value, cut to ``longest`` together.

    Args:
        tokenizer: of transformers.
        names: of the attributes; underscores are spaces.
        values: of every item, a text for each name.
        longest: tokens of one attribute.
    """
    heads = _numbers(tokenizer, [name.replace("_", " ") for name in names], longest)
    ids: list[list[int]] = [[] for _ in range(len(values) + 1)]
    kinds: list[list[int]] = [[] for _ in range(len(values) + 1)]
    for column, head in enumerate(heads):
        texts = _numbers(tokenizer, [texts[column] for texts in values], longest)
        for item, text in enumerate(texts, start=1):
            ids[item] += [*head, *text][:longest]
            kinds[item] += [*[NAME] * len(head), *[VALUE] * len(text)][:longest]
    counts = np.array([len(row) for row in ids], dtype=np.int64)
    tables = np.zeros((2, len(ids), max(1, int(counts.max()))), dtype=np.int32)
    for item, (row, kind) in enumerate(zip(ids, kinds, strict=True)):
        tables[0, item, : len(row)] = row
        tables[1, item, : len(row)] = kind
    return ItemTokens(
        torch.from_numpy(tables[0]), torch.from_numpy(tables[1]), torch.from_numpy(counts)
    )


def _numbers(tokenizer: Any, texts: Sequence[str], longest: int) -> list[list[int]]:
    """Numbers of the tokens of texts, without those that begin and end one."""
    found: list[list[int]] = tokenizer(
        list(texts), add_special_tokens=False, truncation=True, max_length=longest
    )["input_ids"]
    return found
