"""Generated interactions of any number, as text and as Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_tools.files.atomic_write import replacing
from dataset_tools.formats.parquet_copy import copy_path

NAME = "drawn"
HEADER = ("user_id:token", "item_id:token", "timestamp:float")
#: Interactions written at a time.
BLOCK = 1 << 20


@dataclass(frozen=True)
class Shape:
    """How many there are; the same shape is the same data."""

    interactions: int
    users: int
    items: int
    seed: int = 2024


def make(folder: Path, shape: Shape, text: bool) -> Path:
    """Write the dataset ``drawn`` below ``folder`` unless it is there; returns its file.

    Args:
        text: the atomic file; else its Parquet form, alone.
    """
    path = folder / NAME / f"{NAME}.inter"
    if not (path if text else copy_path(path)).is_file():
        if text:
            write_text(path, shape)
        else:
            write_parquet(copy_path(path), shape)
    return path


def write_text(path: Path, shape: Shape) -> None:
    """Write the atomic file."""
    from pyarrow import csv

    options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    with replacing(path, "wb") as stream:
        stream.write(("\t".join(HEADER) + "\n").encode())
        for table in _tables(shape):
            csv.write_csv(table, stream, options)


def write_parquet(path: Path, shape: Shape) -> None:
    """Write a Parquet file alone, without the text form."""
    from pyarrow import parquet

    with replacing(path, "wb") as stream:
        writer = None
        for table in _tables(shape):
            writer = writer or parquet.ParquetWriter(
                stream,
                table.schema,
                compression="zstd",
                use_dictionary=list(HEADER[:2]),
                dictionary_pagesize_limit=1 << 30,
            )
            writer.write_table(table)
        if writer is not None:
            writer.close()


def _tables(shape: Shape) -> Iterator[Any]:
    """Users and items at random, few items often and most of them seldom; times in ten years."""
    import pyarrow

    for start in range(0, shape.interactions, BLOCK):
        count = min(BLOCK, shape.interactions - start)
        random = np.random.default_rng([shape.seed, start])
        users = random.integers(0, shape.users, count)
        items = (random.pareto(0.8, count) * shape.items / 200).astype(np.int64)
        times = 1_400_000_000 + random.integers(0, 3 * 10**8, count)
        texts = [pyarrow.array(ids).cast(pyarrow.string()) for ids in (users, items % shape.items)]
        yield pyarrow.table([*texts, pyarrow.array(times)], names=list(HEADER))
