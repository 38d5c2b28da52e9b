"""A Parquet copy beside an atomic file, ``NAME.inter.parquet``: the same columns, read faster.

A copy notes the size and the SHA-256 of the file that it was made from. Whoever reads it holds them
against the file that is there, so that a copy never stands for a file that has changed since.

Columns are named as in the header, ``user_id:token``. Tokens and sequences are their text (Parquet
keeps each different token of a row group once), an empty cell is a null; a column of whole numbers
is int64, so that times keep all their digits, and any other column of numbers is float64.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_tools.errors import DatasetError, UsageError
from dataset_tools.files.atomic_write import replacing
from dataset_tools.files.dataset_folder import PARQUET_SUFFIX, parquet_form
from dataset_tools.files.hashes import file_hash
from dataset_tools.formats.atomic_files import Column, numbered_cells, read_header, with_mark
from dataset_tools.packages import missing_package

if TYPE_CHECKING:
    pass

FORMAT_VERSION = 1
#: How a missing number is written in an atomic file.
NO_NUMBER = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
_KEY = b"atomic_file"
_BLOCK_BYTES = 1 << 25
_ROW_GROUP = 1 << 20
_QUOTED_ROWS = 1 << 16


def copy_path(path: str | Path) -> Path:
    """Where the Parquet copy of an atomic file stands."""
    return parquet_form(path)


def is_copy(path: Path) -> bool:
    """Whether a file is the Parquet form of an atomic file that is there as text too."""
    return path.suffix == PARQUET_SUFFIX and path.with_suffix("").is_file()


def needs_pyarrow(path: str | Path) -> Any:
    """``pyarrow.parquet``, for a file that cannot be read or written without it.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise UsageError(f"{path}: {missing_package(error)}") from None
    return pyarrow.parquet


def mismatch(path: Path, separator: str = "\t", encoding: str = "utf-8") -> str | None:
    """Why the copy of an atomic file does not stand for it; None where it does.

    The whole atomic file is hashed, unless its size says enough.

    Args:
        separator, encoding: how the atomic file is read.

    Raises:
        DatasetError: the copy is no Parquet file.
    """
    known = _source_note(open_parquet(copy_path(path)))
    if known is None:
        return "it does not say which file it was made from"
    if known.get("format_version") != FORMAT_VERSION:
        return f"it has format version {known.get('format_version')!r}, not {FORMAT_VERSION}"
    if separator != "\t" or with_mark(encoding) != with_mark("utf-8"):
        return "it was made from UTF-8 text with tabs, and field_separator or encoding differ"
    if known.get("size") != path.stat().st_size or known.get("sha256") != file_hash(path):
        return f"it was made from another version of {path.name}"
    return None


def open_parquet(path: Path, dictionaries: Sequence[str] = ()) -> Any:
    """A ``pyarrow.parquet.ParquetFile``.

    Args:
        dictionaries: text columns that are read as dictionaries.

    Raises:
        DatasetError: it is none.
    """
    parquet = needs_pyarrow(path)
    import pyarrow

    try:
        return parquet.ParquetFile(path, read_dictionary=list(dictionaries), memory_map=True)
    except (pyarrow.ArrowException, OSError) as error:
        raise DatasetError(f"{path}: not a Parquet file, or damaged ({error})") from error


def _source_note(file: Any) -> dict[str, Any] | None:
    try:
        note = json.loads((file.metadata.metadata or {})[_KEY])
    except (KeyError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def write_copy(path: Path) -> int:
    """Write the Parquet copy of an atomic file; returns its number of rows.

    Raises:
        UsageError: there is no such file, or its header or a row cannot be read.
        DatasetError: a cell of a column of numbers is none.
        DiskFullError: there is no room.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    columns = _header(path)
    source: dict[str, Any] = {"format_version": FORMAT_VERSION, "size": path.stat().st_size}
    source |= {"name": path.name, "sha256": file_hash(path)}
    types = _types(path, columns)
    schema = pyarrow.schema(types.items(), metadata={_KEY: json.dumps(source)})
    tokens = [str(column) for column in columns if column.type == "token"]
    count = 0
    with (
        replacing(copy_path(path), "wb") as stream,
        parquet.ParquetWriter(
            stream,
            schema,
            compression="zstd",
            use_dictionary=tokens,
            dictionary_pagesize_limit=1 << 30,  # or Parquet goes over to text after 1 MiB of tokens
        ) as writer,
    ):
        for table in _row_groups(path, columns):
            writer.write_table(_typed(path, table, schema), row_group_size=_ROW_GROUP)
            count += len(table)
    if not count:
        copy_path(path).unlink()
        raise UsageError(f"{path} has a header but no rows")
    return count


def _header(path: Path) -> list[Column]:
    columns = read_header(path)
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{path}, line 1: more than one column {', '.join(twice)}; rename one")
    return columns


def _types(path: Path, columns: Sequence[Column]) -> dict[str, Any]:
    """The Arrow type of each column; whether numbers are whole takes a pass over them."""
    import pyarrow

    numbers = [str(column) for column in columns if column.type == "float"]
    whole = set(numbers)
    if whole:
        for table in _tables(path, columns, numbers):
            whole = {name for name in whole if _whole(table[name]) is not None}
    kinds = {name: pyarrow.int64() if name in whole else pyarrow.float64() for name in numbers}
    return {str(column): kinds.get(str(column), pyarrow.string()) for column in columns}


def _whole(cells: Any) -> Any:
    """Cells as int64 where each is a whole number as Python prints it; else None."""
    import pyarrow
    import pyarrow.compute

    try:
        numbers = cells.cast(pyarrow.int64())
    except pyarrow.ArrowInvalid:
        return None
    # 007 and -0 are more than their number, and 0x10 is none to those who read the text.
    same = pyarrow.compute.equal(numbers.cast(pyarrow.string()), cells)
    return numbers if pyarrow.compute.all(same).as_py() is not False else None


def _typed(path: Path, table: Any, schema: Any) -> Any:
    import pyarrow

    arrays = []
    for place, kind in zip(schema, schema.types, strict=True):
        cells = table[place.name]
        try:
            arrays.append(_whole(cells) if kind == pyarrow.int64() else cells.cast(kind))
        except pyarrow.ArrowInvalid as error:
            raise DatasetError(
                f"{path}, column {place.name}: not a number ({error}); correct or remove the row"
            ) from error
    return pyarrow.table(arrays, schema=schema)


def _row_groups(path: Path, columns: Sequence[Column]) -> Iterator[Any]:
    """Tables of text, each large enough for a row group."""
    import pyarrow

    held, rows = [], 0
    for table in _tables(path, columns, [str(column) for column in columns]):
        held.append(table)
        rows += len(table)
        if rows >= _ROW_GROUP:
            yield pyarrow.concat_tables(held)
            held, rows = [], 0
    if rows:
        yield pyarrow.concat_tables(held)


def _tables(path: Path, columns: Sequence[Column], wanted: Sequence[str]) -> Iterator[Any]:
    """The wanted columns as text, some rows at a time; nulls where there is nothing."""
    missing = {str(c): list(NO_NUMBER) if c.type == "float" else [""] for c in columns}
    tables = _quoted(path, columns) if has_quotes(path) else _plain(path, columns, wanted)
    import pyarrow
    import pyarrow.compute

    for table in tables:
        arrays = []
        for name in wanted:
            none = pyarrow.compute.is_in(table[name], pyarrow.array(missing[name]))
            arrays.append(pyarrow.compute.if_else(none, None, table[name]))
        yield pyarrow.table(arrays, names=list(wanted))


def has_quotes(path: str | Path) -> bool:
    """Whether an atomic file has a double quote anywhere, which not all readers take alike."""
    with open(path, "rb") as file:
        return any(b'"' in block for block in iter(lambda: file.read(1 << 20), b""))


def _plain(path: Path, columns: Sequence[Column], wanted: Sequence[str]) -> Iterator[Any]:
    import pyarrow
    from pyarrow import csv

    names = [str(column) for column in columns]
    read = csv.ReadOptions(column_names=names, skip_rows=1, block_size=_BLOCK_BYTES)
    parse = csv.ParseOptions(
        delimiter="\t", quote_char=False, invalid_row_handler=lambda row: _skip_or_error(row.text)
    )
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pyarrow.string()), include_columns=list(wanted)
    )
    try:
        with csv.open_csv(path, read, parse, convert) as reader:
            for batch in reader:
                yield pyarrow.Table.from_batches([batch])
    except pyarrow.ArrowInvalid as error:
        if "Empty CSV file" in str(error):  # a header alone
            return
        raise UsageError(f"{path}: {error}") from error


def _skip_or_error(line: str) -> str:
    """What pyarrow is to do with a line of too few or too many cells: a blank one is no row."""
    return "error" if line.strip(" ") else "skip"


def _quoted(path: Path, columns: Sequence[Column]) -> Iterator[Any]:
    import pyarrow

    rows = numbered_cells(path)
    next(rows, None)
    while some := list(islice(rows, _QUOTED_ROWS)):
        for line, cells in some:
            if len(cells) != len(columns):
                raise UsageError(
                    f"{path}, line {line}: {len(cells)} cells, the header has {len(columns)}"
                )
        values = zip(*(cells for _, cells in some), strict=True)
        arrays = [pyarrow.array(column, pyarrow.string()) for column in values]
        yield pyarrow.table(arrays, names=[str(column) for column in columns])
