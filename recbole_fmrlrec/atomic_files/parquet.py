"""Atomic files in their Parquet form: taken first where it matches, or where it stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

from dataset_tools.errors import DatasetError
from dataset_tools.formats.parquet_copy import copy_path, mismatch, open_parquet
from recbole_fmrlrec.atomic_files.lines import Column, Lines
from recbole_fmrlrec.errors import DataError

#: Numbers that are read at once.
_BATCH = 1 << 20


def is_there(path: str | Path) -> bool:
    """Whether an atomic file is there, as text or as Parquet."""
    return Path(path).is_file() or copy_path(path).is_file()


def parquet_form(path: str | Path, separator: str, encoding: str) -> Path | None:
    """The Parquet file to read in place of an atomic file; None where the text is to be read.

    A copy that does not match the text is passed over, which is logged as a warning.

    Raises:
        DataError: there is no text, and the Parquet file cannot be read.
    """
    copy, text = copy_path(path), Path(path)
    if not copy.is_file():
        return None
    try:
        if not text.is_file():
            open_parquet(copy)
            return copy
        why = mismatch(text, separator, encoding)
    except DatasetError as error:
        if not text.is_file():
            raise DataError(str(error)) from None
        why = str(error)
    if why is None:
        return copy
    getLogger().warning(
        f"{copy} is not used: {why}; {text.name} is read, which takes longer. "
        f"`python -m dataset_tools parquet {text.parent}` recreates it"
    )
    return None


def parquet_header(path: Path) -> list[tuple[str, str]]:
    """Column names of a Parquet file and, for messages, their types.

    Raises:
        DataError: it cannot be read.
    """
    try:
        schema = open_parquet(path).schema_arrow
    except DatasetError as error:
        raise DataError(str(error)) from None
    return [(field.name, str(field.type)) for field in schema]


class ParquetRows(Lines):
    """The rows of a Parquet file, which count from 1."""

    def number(self, row: int) -> int:
        """The number of row ``row``, which counts from 0."""
        return row + 1


def read_parquet(path: Path, columns: Sequence[Column], coded: bool = False) -> pd.DataFrame:
    """Read columns as `recbole_fmrlrec.atomic_files.reader.read_table` reads them from text.

    Args:
        coded: tokens as pandas' categories of int32 codes in place of Python strings.

    Raises:
        DataError: there are no rows, or a column has a type that is none of atomic files.
    """
    tokens = {column.header for column in columns if column.kind == FeatureType.TOKEN}
    try:
        types = parquet_header(path)
        texts = [name for name, kind in types if name in tokens and kind.endswith("string")]
        file = open_parquet(path, texts)
    except DatasetError as error:
        raise DataError(str(error)) from None
    if not file.metadata.num_rows:
        raise DataError(f"{path} has no rows")
    data = {}
    for column in columns:
        data[column.field] = pd.Series(_read_column(path, file, column, coded), copy=False)
        _give_memory_back()
    frame = pd.DataFrame(data, copy=False)
    frame.columns = pd.Index([column.field for column in columns], dtype=object)
    return frame


def _give_memory_back() -> None:
    """What a column took while it was read: Arrow keeps it for the next one."""
    import pyarrow

    pyarrow.default_memory_pool().release_unused()


def _read_column(path: Path, file: Any, column: Column, coded: bool) -> Any:
    import pyarrow

    try:
        if column.kind == FeatureType.FLOAT:
            return _numbers(file, column.header)
        cells = file.read(columns=[column.header]).column(0)
        if column.kind == FeatureType.TOKEN:
            return _tokens(cells, coded)
        return _texts(cells)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path}, column {column.header}: {error}; columns of tokens and of sequences must be "
            "text, columns of numbers integers or floats"
        ) from error


def _numbers(file: Any, header: str) -> np.ndarray:
    """A column of numbers, of which no more than a batch is held twice."""
    import pyarrow

    kind = file.schema_arrow.field(header).type
    if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)):
        raise pyarrow.ArrowTypeError(f"is of type {kind}")
    numbers = np.empty(file.metadata.num_rows, dtype=np.float64)
    start = 0
    for batch in file.iter_batches(_BATCH, columns=[header]):
        # to_numpy goes by Python objects where a whole number is missing.
        cells = batch.column(0).cast(pyarrow.float64(), safe=False).fill_null(np.nan)
        numbers[start : start + len(cells)] = np.asarray(cells)
        start += len(cells)
    return numbers


def _texts(cells: Any) -> pd.Series:
    import pyarrow

    if not (pyarrow.types.is_string(cells.type) or pyarrow.types.is_large_string(cells.type)):
        raise pyarrow.ArrowTypeError(f"is of type {cells.type}")
    texts = [text if text else np.nan for text in cells.to_pylist()]
    return pd.Series(texts, dtype=object)


def _tokens(cells: Any, coded: bool) -> Any:
    import pyarrow

    if pyarrow.types.is_integer(cells.type):
        cells = cells.cast(pyarrow.string())
    if not pyarrow.types.is_dictionary(cells.type):
        cells = cells.cast(pyarrow.string()).dictionary_encode()
    cells = cells.unify_dictionaries()
    words = cells.chunk(0).dictionary.cast(pyarrow.string()).to_pylist() if cells.chunks else []
    codes = np.empty(len(cells), dtype=np.int32)
    start = 0
    for chunk in cells.chunks:
        index = chunk.indices.cast(pyarrow.int32()).fill_null(-1)
        codes[start : start + len(chunk)] = np.asarray(index)
        start += len(chunk)
    if coded:
        return as_categories(words, codes)
    return pd.Series(_objects(words)[codes], dtype=object)


def _objects(words: Sequence[str | None]) -> np.ndarray:
    """Words, NaN for the empty one, and NaN once more at the end, where code -1 points to."""
    table = np.empty(len(words) + 1, dtype=object)
    table[:] = [*(word if word else np.nan for word in words), np.nan]
    return table


def as_categories(words: Sequence[str | None], codes: np.ndarray) -> pd.Categorical:
    """Codes ``(M,)`` of different words, -1 where there is none, as a column of categories."""
    empty = [at for at, word in enumerate(words) if not word]
    if empty:
        kept = np.array([bool(word) for word in words])
        new = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
        codes = np.append(new, np.int32(-1))[codes]
    return pd.Categorical.from_codes(
        codes, pd.Index([word for word in words if word], dtype=object), validate=False
    )
