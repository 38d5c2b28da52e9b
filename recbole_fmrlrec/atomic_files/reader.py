"""Reading RecBole's atomic files: RecBole's result, faster, with errors that name the line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from recbole.utils import FeatureSource, FeatureType, set_color

from dataset_tools.formats.atomic_files import undecodable_line, with_mark
from dataset_tools.formats.parquet_copy import copy_path
from recbole_fmrlrec.atomic_files import columns as column_checks
from recbole_fmrlrec.atomic_files.lines import Column, Lines
from recbole_fmrlrec.atomic_files.parquet import (
    ParquetRows,
    parquet_form,
    parquet_header,
    read_parquet,
)
from recbole_fmrlrec.errors import DataError

#: How a missing number is written.
_NO_NUMBER = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"]
#: Bytes of ASCII without rare white space.
_PLAIN = bytes(range(0x20, 0x7F)) + b"\t\r\n"
_PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2])


def load_feat(self: Any, filepath: str | Path, source: FeatureSource | str) -> pd.DataFrame | None:
    """Take the place of RecBole's ``Dataset._load_feat``, with the same result.

    The Parquet form of the file is read where it is there and matches.

    Tokens are Python strings, NaN where a cell is empty; numbers are float64; sequences are arrays,
    empty where a cell is empty. Types, sources and lengths of the fields are noted in the dataset.

    Returns:
        The table, or None where ``load_col`` and ``unload_col`` leave no column of it.

    Raises:
        DataError: the file is empty, or its header, encoding or a number in it cannot be read, or
            a key names a column that it has not.
    """

    self.logger.debug(
        set_color(f"Loading feature from [{filepath}] (source: [{source}]).", "green")
    )
    load_col, unload_col = self._get_load_and_unload_col(source)
    if load_col == set():
        return None
    separator, encoding = self.config["field_separator"], self.config["encoding"] or "utf-8"
    parquet = parquet_form(filepath, separator, encoding)
    is_text = Path(filepath).is_file()
    rows = Lines if is_text else ParquetRows
    lines = rows(filepath if is_text else copy_path(filepath), separator, encoding)
    every = read_header(filepath, separator, encoding)
    column_checks.check_asked(self, filepath, every, load_col, unload_col, source)
    columns = [
        column
        for column in every
        if (load_col is None or column.field in load_col)
        and (unload_col is None or column.field not in unload_col)
    ]
    if isinstance(source, FeatureSource) or source != "link":
        _note_columns(self, columns, source)
    if not columns:
        self.logger.warning(f"No columns has been loaded from [{source}]")
        return None
    _refuse_doubles(filepath, columns)
    if parquet is None:
        frame = read_table(filepath, columns, separator, encoding)
    else:
        frame = read_parquet(parquet, columns, coded=source == FeatureSource.INTERACTION)
    _split_sequences(self, frame, columns, lines)
    return column_checks.check_cells(self, frame, columns, source, lines)


def read_header(
    filepath: str | Path, separator: str = "\t", encoding: str = "utf-8"
) -> list[Column]:
    """Read the first line of an atomic file; its Parquet form, where there is no text.

    Raises:
        DataError: it is not made of ``NAME:TYPE`` with types of RecBole, or is not readable text.
    """
    parquet = copy_path(filepath)
    if not Path(filepath).is_file() and parquet.is_file():
        return _columns(parquet, [name for name, _ in parquet_header(parquet)])
    try:
        with open(filepath, encoding=with_mark(encoding)) as file:
            head = file.readline().rstrip("\n")
    except UnicodeError as error:
        raise _not_this_encoding(filepath, encoding, error) from None
    if not head.strip():
        raise DataError(f"{filepath}, line 1: no column headers such as user_id:token")
    return _columns(filepath, head.split(separator), separator)


def _columns(
    filepath: str | Path, cells: Sequence[str], separator: str | None = None
) -> list[Column]:
    columns, kinds = [], [known.value for known in FeatureType]
    for index, cell in enumerate(cells):
        field, colon, kind = cell.partition(":")
        if not (field and colon and kind in kinds):
            apart = ""
            if separator is not None:
                apart = f"columns are separated by {separator!r} (the key field_separator) and "
            place = filepath if separator is None else f"{filepath}, line 1"
            raise DataError(
                f"{place}: {cell!r} is not a NAME:TYPE column header; {apart}"
                f"TYPE is one of {', '.join(kinds)}"
            )
        columns.append(Column(field, FeatureType(kind), cell, index))
    return columns


def read_table(
    filepath: str | Path, columns: list[Column], separator: str = "\t", encoding: str = "utf-8"
) -> pd.DataFrame:
    """Read the given columns below the header: float columns as float64, all others as strings.

    Raises:
        DataError: there are no rows, or a row or a number cannot be read; the line is named.
    """
    lines = Lines(filepath, separator, encoding)
    width = len(read_header(filepath, separator, encoding))
    options = _options(lines, columns, width)
    frame = _read(lines, options, columns, width)
    if options["engine"] == "python" or frame[width - 1].isna().any():
        lines.refuse_short_rows(width)
    if frame.empty:
        raise DataError(f"{filepath} has a header but no rows")
    if not isinstance(frame.index, pd.RangeIndex):  # pandas makes row names of the first cells
        raise DataError(f"{filepath}, line {lines.number(0)}: more cells than the header's {width}")
    frame = frame[[column.position for column in columns]]
    frame.columns = pd.Index([column.field for column in columns], dtype=object)
    return frame


def _refuse_doubles(filepath: str | Path, columns: list[Column]) -> None:
    twice = [c for c in columns if sum(c.field == other.field for other in columns) > 1]
    if twice:
        numbers = " and ".join(str(column.position + 1) for column in twice)
        raise DataError(
            f"{filepath}, line 1: columns {numbers} have the name {twice[0].field!r}; rename one, "
            "or leave the name out with load_col or unload_col"
        )


def _options(lines: Lines, columns: list[Column], width: int) -> dict[str, Any]:
    separator = lines.separator
    options: dict[str, Any] = {"sep": separator, "encoding": lines.encoding, "header": 0}
    options["names"] = range(width)  # a name may occur twice where nobody asks for it
    # RecBole always takes the slow Python engine. Separators of several characters need it.
    single = len(separator) == 1 and separator.isascii()
    if single and _engines_agree(lines.filepath, width):
        options.update(engine="c", low_memory=False)
        if _PANDAS < (3, 1):  # later versions always round correctly, and warn of the argument
            options["float_precision"] = "round_trip"
    else:
        options["engine"] = "python"
        if len(separator) > 1:
            options["sep"] = re.escape(separator)
    # Only an empty cell is missing: an item may be called NA, null or None.
    numbers = [c.position for c in columns if c.kind == FeatureType.FLOAT]
    options["keep_default_na"] = False
    options["na_values"] = {index: [""] for index in range(width)}
    options["na_values"] |= dict.fromkeys(numbers, _NO_NUMBER)
    # `object` keeps plain strings and NaN; `str` has been pandas' own string type since 3.0.
    options["dtype"] = dict.fromkeys(range(width), object) | dict.fromkeys(numbers, np.float64)
    return options


def _read(lines: Lines, options: dict[str, Any], columns: list[Column], width: int) -> pd.DataFrame:
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))  # of pandas' Python engine
    filepath = lines.filepath
    try:
        return pd.read_csv(filepath, **options)
    except UnicodeError as error:
        raise _not_this_encoding(filepath, lines.encoding, error) from None
    except AssertionError:  # pandas' Python engine, where it takes first cells for row names
        raise DataError(_long_row(lines, width)) from None
    except ValueError as error:  # pandas' ParserError is one
        raise _unreadable_cell(lines, columns, options, error) from None


def _engines_agree(filepath: str | Path, width: int) -> bool:
    """Whether both engines of pandas read the same cells of a file.

    The fast one takes an opening quote to mean the rest of the file, and loses an empty first cell
    after a line that ends with a carriage return alone. Where there is one column only, it keeps
    cells of other white space than spaces and tabs.
    """
    last = b""
    with open(filepath, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            block = last + block
            last = b"\r" if block.endswith(b"\r") else b""
            alone = block.count(b"\r") - len(last) > block.count(b"\r\n")
            if alone or b'"' in block or (width == 1 and block.translate(None, _PLAIN)):
                return False
    return True


def _note_columns(dataset: Any, columns: list[Column], source: FeatureSource | str) -> None:
    for field, kind, *_ in columns:
        dataset.field2source[field] = source
        dataset.field2type[field] = kind
        if not kind.value.endswith("seq"):
            dataset.field2seqlen[field] = 1
        if "float" in kind.value:
            dataset.field2bucketnum[field] = 2


def _split_sequences(
    dataset: Any, frame: pd.DataFrame, columns: list[Column], lines: Lines
) -> None:
    separator, limits = dataset.config["seq_separator"], dataset.config["seq_len"] or {}
    for field, kind, header, _ in columns:
        if not kind.value.endswith("seq"):
            continue
        cells = [list(filter(None, cell.split(separator))) for cell in frame[field].fillna("")]
        longest = min(max(map(len, cells)), limits.get(field, np.inf))
        if kind == FeatureType.TOKEN_SEQ:
            arrays = [np.array(cell[:longest], dtype=str) for cell in cells]
        else:
            arrays = list(_numbers(cells, longest, lines, header))
        frame[field] = pd.Series(arrays, index=frame.index, dtype=object)
        dataset.field2seqlen[field] = longest


def _numbers(
    cells: Iterable[list[str]], longest: int, lines: Lines, header: str
) -> Iterator[np.ndarray]:
    for row, cell in enumerate(cells):
        try:
            array = np.array(cell[:longest], dtype=np.float64)
        except ValueError as error:
            array, wrong = np.array([np.nan]), str(error)
        else:
            wrong = f"{' '.join(cell[:longest])!r} has a number that is not finite"
        if not np.isfinite(array).all():
            raise DataError(f"{lines.filepath}, line {lines.number(row)}, column {header}: {wrong}")
        yield array


def _not_this_encoding(filepath: str | Path, encoding: str, error: UnicodeError) -> DataError:
    reason = getattr(error, "reason", str(error))
    line = undecodable_line(filepath, encoding)
    return DataError(
        f"{filepath} is not {encoding} text: line {line} ({reason}); see the key `encoding`"
    )


def _long_row(lines: Lines, width: int) -> str:
    for line, cells in lines.rows():
        if len(cells) > width:
            return f"{lines.filepath}, line {line}: {len(cells)} cells, the header has {width}"
    return f"{lines.filepath}: a line has more cells than the header has columns"


def _what_is_wrong(cell: str) -> str:
    """Pandas before 3 takes a number beyond the largest one, as 1e400, for a text."""
    try:
        float(cell)
    except ValueError:
        return f"{cell!r} is not a number"
    return f"not a finite number ({cell})"


def _unreadable_cell(
    lines: Lines, columns: list[Column], options: dict[str, Any], error: ValueError
) -> DataError:
    """Name the first cell that is not a number, or pass on pandas' error."""
    options = {k: v for k, v in options.items() if k != "float_precision"}
    width = len(options["names"])
    try:
        frame = pd.read_csv(lines.filepath, **{**options, "dtype": object})
    except ValueError:
        long = _long_row(lines, width)  # or it names the line of an open quote
        return DataError(long if ", line" in long else f"{lines.filepath}: {error}")
    for column in columns:
        if column.kind == FeatureType.FLOAT:
            cells = frame[column.position]
            wrong = np.flatnonzero(pd.to_numeric(cells, errors="coerce").isna() & cells.notna())
            if len(wrong):
                where = f"{lines.filepath}, line {lines.number(int(wrong[0]))}"
                return DataError(
                    f"{where}, column {column.header}: {_what_is_wrong(cells.iloc[wrong[0]])}"
                )
    return DataError(f"{lines.filepath}: {error}")
