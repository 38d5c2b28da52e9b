"""Reading RecBole's atomic files: RecBole's result, faster, with errors that name the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from recbole.utils import FeatureSource, FeatureType, set_color

#: What stands for a missing number.
_NO_NUMBER = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"]
_PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2])


class DataError(ValueError):
    """A dataset that is missing, malformed or asked for in an unsupported way."""


class Column(NamedTuple):
    """A column of an atomic file: the header ``user_id:token`` is the field user_id, type token."""

    field: str
    kind: FeatureType
    header: str


def load_feat(self: Any, filepath: str | Path, source: FeatureSource | str) -> pd.DataFrame | None:
    """Take the place of RecBole's ``Dataset._load_feat``, with the same result.

    Tokens are Python strings, NaN where a cell is empty; numbers are float64; sequences are arrays,
    empty where a cell is empty. Types, sources and lengths of the fields are noted in the dataset.

    Returns:
        The table, or None where ``load_col`` and ``unload_col`` leave no column of it.

    Raises:
        DataError: the file is empty, or its header, encoding or a number in it cannot be read.
    """
    self.logger.debug(
        set_color(f"Loading feature from [{filepath}] (source: [{source}]).", "green")
    )
    load_col, unload_col = self._get_load_and_unload_col(source)
    if load_col == set():
        return None
    separator, encoding = self.config["field_separator"], self.config["encoding"]
    columns = [
        column
        for column in read_header(filepath, separator, encoding)
        if (load_col is None or column.field in load_col)
        and (unload_col is None or column.field not in unload_col)
    ]
    if isinstance(source, FeatureSource) or source != "link":
        _note_columns(self, columns, source)
    if not columns:
        self.logger.warning(f"No columns has been loaded from [{source}]")
        return None
    frame = read_table(filepath, columns, separator, encoding)
    _split_sequences(self, frame, columns)
    return frame


def read_header(
    filepath: str | Path, separator: str = "\t", encoding: str = "utf-8"
) -> list[Column]:
    """Read the first line of an atomic file.

    Raises:
        DataError: it is not made of ``NAME:TYPE`` with types of RecBole, or is not readable text.
    """
    try:
        with open(filepath, encoding=encoding) as file:
            head = file.readline().rstrip("\n")
    except UnicodeDecodeError as error:
        raise _not_this_encoding(filepath, encoding, error) from None
    columns, kinds = [], [known.value for known in FeatureType]
    for cell in head.split(separator):
        field, colon, kind = cell.partition(":")
        if not colon or kind not in kinds:
            raise DataError(
                f"{filepath}, line 1: {cell!r} is no NAME:TYPE column header; columns are "
                f"separated by {separator!r} and TYPE is one of {', '.join(kinds)}"
            )
        columns.append(Column(field, FeatureType(kind), cell))
    return columns


def read_table(
    filepath: str | Path, columns: list[Column], separator: str = "\t", encoding: str = "utf-8"
) -> pd.DataFrame:
    """Read the given columns below the header: float columns as float64, all others as strings.

    Raises:
        DataError: there are no rows, or a row or a number cannot be read; the line is named.
    """
    options: dict[str, Any] = {"sep": separator, "encoding": encoding}
    # RecBole always takes the slow Python engine. Separators of several characters need it, and it
    # is the stricter one on quotes: the other takes an opening quote to mean the rest of the file.
    if len(separator) == 1 and separator.isascii() and not _has_quotes(filepath):
        options.update(engine="c", low_memory=False)
        if _PANDAS < (3, 1):  # later versions always round correctly, and warn of the argument
            options["float_precision"] = "round_trip"
    else:
        options["engine"] = "python"
    # Only an empty cell is missing: an item may be called NA, null or None.
    numbers = [c.header for c in columns if c.kind == FeatureType.FLOAT]
    options["keep_default_na"] = False
    options["na_values"] = {c.header: [""] for c in columns} | dict.fromkeys(numbers, _NO_NUMBER)
    # `object` keeps plain strings and NaN; `str` has been pandas' own string type since 3.0.
    types = {c.header: np.float64 if c.kind == FeatureType.FLOAT else object for c in columns}
    try:
        frame = pd.read_csv(filepath, dtype=types, **options)
    except UnicodeDecodeError as error:
        raise _not_this_encoding(filepath, encoding, error) from None
    except AssertionError:  # pandas' Python engine, where it takes first cells for row names
        raise DataError(f"{filepath}: a line has more cells than the header has columns") from None
    except ValueError as error:  # pandas' ParserError is one
        raise _unreadable_cell(filepath, columns, options, error) from None
    if frame.empty:
        raise DataError(f"{filepath} has a header and no rows")
    if not isinstance(frame.index, pd.RangeIndex):  # pandas makes row names of the first cells
        raise DataError(f"{filepath}, line 2: more cells than the header has columns")
    frame = frame[[column.header for column in columns]]
    frame.columns = pd.Index([column.field for column in columns], dtype=object)
    return frame


def _has_quotes(filepath: str | Path) -> bool:
    with open(filepath, "rb") as file:
        return any(b'"' in block for block in iter(lambda: file.read(1 << 20), b""))


def _note_columns(dataset: Any, columns: list[Column], source: FeatureSource | str) -> None:
    for field, kind, _ in columns:
        dataset.field2source[field] = source
        dataset.field2type[field] = kind
        if not kind.value.endswith("seq"):
            dataset.field2seqlen[field] = 1
        if "float" in kind.value:
            dataset.field2bucketnum[field] = 2


def _split_sequences(dataset: Any, frame: pd.DataFrame, columns: list[Column]) -> None:
    separator, limits = dataset.config["seq_separator"], dataset.config["seq_len"] or {}
    for field, kind, _ in columns:
        if not kind.value.endswith("seq"):
            continue
        cells = [list(filter(None, cell.split(separator))) for cell in frame[field].fillna("")]
        longest = min(max(map(len, cells)), limits.get(field, np.inf))
        if kind == FeatureType.TOKEN_SEQ:
            arrays = [np.array(cell[:longest], dtype=str) for cell in cells]
        else:
            arrays = [np.array(cell[:longest], dtype=np.float64) for cell in cells]
        frame[field] = pd.Series(arrays, index=frame.index, dtype=object)
        dataset.field2seqlen[field] = longest


def _not_this_encoding(filepath: str | Path, encoding: str, error: UnicodeDecodeError) -> DataError:
    return DataError(f"{filepath} is not {encoding} text ({error.reason}); see the key `encoding`")


def _unreadable_cell(
    filepath: str | Path, columns: list[Column], options: dict[str, Any], error: ValueError
) -> DataError:
    """Name the first number that is none, or pass on what pandas says of the table."""
    options = {k: v for k, v in options.items() if k != "float_precision"}
    try:
        frame = pd.read_csv(filepath, dtype=object, **options)
    except ValueError:
        return DataError(f"{filepath}: {error}")
    for column in columns:
        if column.kind == FeatureType.FLOAT:
            cells = frame[column.header]
            wrong = cells[pd.to_numeric(cells, errors="coerce").isna() & cells.notna()]
            if len(wrong):
                where = f"{filepath}, line {wrong.index[0] + 2}, column {column.header}"
                return DataError(f"{where}: {wrong.iloc[0]!r} is no number")
    return DataError(f"{filepath}: {error}")
