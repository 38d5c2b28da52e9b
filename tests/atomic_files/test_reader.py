"""Atomic files read as RecBole reads them, and refused where RecBole would misread them."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recbole.data.dataset import Dataset

from recbole_fmrlrec import compat
from recbole_fmrlrec.atomic_files import reader as tables
from recbole_fmrlrec.atomic_files.lines import Lines
from recbole_fmrlrec.atomic_files.reader import read_header, read_table
from recbole_fmrlrec.errors import DataError
from recbole_fmrlrec.model_api.registry import recbole_dir
from tests.conftest import MakeConfig, as_shipped, write_inter

compat.apply()

CELL = st.text(st.sampled_from(list("ab 1,#'\\é\"")), max_size=4)
CELL |= st.text(st.sampled_from(list('a"\r')), max_size=4)


def read(path: Path) -> pd.DataFrame:
    """Read all columns of an atomic file."""
    return read_table(path, read_header(path))


def as_recbole_reads(path: Path) -> pd.DataFrame:
    """The same by RecBole's own call of pandas, where every row has as many cells as the header.

    RecBole shifts, drops or makes up cells of another row silently, for it names the columns to
    use; without that pandas refuses a longer row, or takes the first cells of all rows for their
    names.
    """
    columns = read_header(path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t") if row]
    if any(len(row) < len(columns) for row in rows):
        raise ValueError("fewer cells than columns")
    kinds = {c.header: np.float64 if c.kind.value == "float" else object for c in columns}
    options: Any = {"delimiter": "\t", "dtype": kinds, "encoding": "utf-8", "engine": "python"}
    options |= {"keep_default_na": False, "na_values": [""]}  # ids such as NA are ids
    if not isinstance(pd.read_csv(path, **options).index, pd.RangeIndex):
        raise ValueError("more cells than columns")
    return pd.read_csv(path, usecols=[c.header for c in columns], **options)


def outcome(reader: Any, path: Path) -> Any:
    """The cells that a reader finds, None for missing ones, or that it refuses the file."""
    try:
        frame = reader(path)
    except ValueError:
        return "refused"
    return frame.astype(object).where(frame.notna(), None).to_numpy().tolist() or "refused"


@settings(deadline=None)
@example([("", '"'), ('"', "")])  # a quoted line break, and a third cell
@example([('"1', '"')])  # a quoted tab, and no second cell
@example([("", ""), ('"', '"')])  # a quoted tab alone
@example([("a", 'b\r""')])  # an empty quoted cell alone
@example([("\r", "a")])  # an empty first cell after a carriage return alone
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=4))
def test_cells_are_those_of_recboles_own_call(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "toy.inter")
        text = "".join(f"{first}\t{second}\n" for first, second in rows)
        path.write_text("user_id:token\titem_id:token\n" + text, encoding="utf-8")
        assert outcome(read, path) == outcome(as_recbole_reads, path)


@settings(deadline=None)
@example(["a,b", '","'], ",", 2)
@example(["a\tb", " \t\x0c", "c\td"], "\t", 2)
@example(["a b", "\x0c", "c d"], " ", 2)
@example(["a", '""', "\xa0", "b"], "\t", 1)
@example(['"a::b"', " c::d "], "::", 2)
@given(
    st.lists(st.text(st.sampled_from(list('ab" \t\r\n,:\x0c\xa0')), max_size=9), min_size=1),
    st.sampled_from(["\t", ",", " ", "::"]),
    st.integers(1, 3),
)
def test_the_rows_of_messages_are_those_of_the_table(
    lines: list[str], separator: str, width: int
) -> None:
    """So that a message names the line of the row which it is about."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "toy.inter")
        header = separator.join(f"{name}:token" for name in "xyz"[:width])
        path.write_text("\n".join([header, *lines, ""]), encoding="utf-8", newline="")
        table = outcome(lambda p: read_table(p, read_header(p, separator), separator), path)
        if table != "refused":
            rows = Lines(path, separator, "utf-8").rows()
            assert table == [[cell or None for cell in cells] for _, cells in rows]


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_are_exact(numbers: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "toy.inter")
        path.write_text("timestamp:float\n" + "".join(f"{n!r}\n" for n in numbers))
        assert read(path)["timestamp"].tolist() == numbers


@pytest.mark.parametrize("suffix", ["inter", "item", "user"])
def test_ml_100k_is_what_recbole_loads(
    config: MakeConfig, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    ours = Dataset(config("BPR", "ml-100k"))
    shipped = as_shipped("recbole.data.dataset.dataset").Dataset._load_feat
    monkeypatch.setattr(Dataset, "_load_feat", shipped)
    theirs = Dataset(config("BPR", "ml-100k"))
    name = f"{suffix}_feat"
    left, right = getattr(ours, name), getattr(theirs, name)
    assert list(left) == list(right) and len(left) == len(right)
    for field in left:
        assert [np.array(x).tolist() for x in left[field]] == [
            np.array(x).tolist() for x in right[field]
        ]
        if field in ours.field2id_token:
            assert ours.field2id_token[field].tolist() == theirs.field2id_token[field].tolist()
    assert ours.field2seqlen == theirs.field2seqlen
    assert ours.field2type == theirs.field2type and ours.field2source == theirs.field2source


def test_ml_100k_interactions() -> None:
    frame = read(recbole_dir() / "dataset_example" / "ml-100k" / "ml-100k.inter")
    assert frame.iloc[0].tolist() == ["196", "242", 3.0, 881250949.0]
    assert frame.shape == (100000, 4)


def test_columns_and_sequences_as_configured(config: MakeConfig, rich: Path) -> None:
    keys = {
        "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "words"]}
    }
    dataset = Dataset(config("BPR", "rich", **keys, seq_len={"words": 1}))
    assert list(dataset.inter_feat) == ["user_id", "item_id", "timestamp"]
    assert list(dataset.item_feat) == ["item_id", "words"] and dataset.user_feat is None
    assert dataset.field2seqlen["words"] == 1
    assert {len(cell) for cell in dataset.item_feat["words"]} == {0, 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id\titem_id\n1\t2\n", "line 1: 'user_id' is not a NAME:TYPE column header"),
        ("user_id:tokens\n1\n", "'user_id:tokens' is not a NAME:TYPE.* token, float, token_seq"),
        ("user_id:token\n", "has a header but no rows"),
        ("user_id:token\ttimestamp:float\na\t1\nb\tsoon\n", "line 3, .*timestamp:float: 'soon'"),
        ("user_id:token\titem_id:token\na\tb\nc\td\te\n", "line 3"),
        ("user_id:token\titem_id:token\na\tb\tc\n", "line 2: more cells than the header"),
        ('user_id:token\titem_id:token\na\t"b" c\n', "expected after"),
        ('user_id:token\titem_id:token\na\tb\n"\t"\n', "line 3: 1 cells, the header has 2"),
        ('user_id:token\titem_id:token\na\tb\n""\nc\td\n', "line 3: 1 cells"),
        ("user_id:token\ttimestamp:float\na\t1\n  \nb\tsoon\n", "line 4, .*float: 'soon'"),
    ],
)
def test_a_malformed_file_is_refused_by_name_and_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "toy.inter"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"toy\.inter.*{message}"):
        read(path)


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy.inter"
    path.write_bytes("user_id:token\nJosé\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"toy\.inter is not utf-8 text"):
        read(path)
    columns = read_header(path, encoding="latin-1")
    assert read_table(path, columns, encoding="latin-1")["user_id"].tolist() == ["José"]


def test_recboles_datasets_report_it(config: MakeConfig, tmp_path: Path) -> None:
    write_inter(tmp_path, [("a", "x", "yesterday")])
    with pytest.raises(DataError, match=r"toy\.inter, line 2, column timestamp:float"):
        Dataset(config("BPR"))
    assert issubclass(tables.DataError, ValueError)
