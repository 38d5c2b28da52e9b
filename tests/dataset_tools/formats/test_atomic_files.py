"""Atomic files come back from RecBole's reader, and from ours, as they were given."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset_tools.errors import DatasetError, UsageError
from dataset_tools.formats.atomic_files import (
    MISSING,
    clean_sequence,
    clean_token,
    numbered_cells,
    read_item_table,
    read_table,
    write_table,
)
from dataset_tools.formats.parquet_copy import write_copy

COLUMNS = ["item_id:token", "title:token_seq", "brand:token", "price:float"]
NASTY = [
    '"quoted" title',
    '"',
    '""',
    'say "hi"',
    "tab\tin it",
    "two\r\nlines",
    "naïve 日本 😀",
    " x ",
]


def pandas_rows(path: Path) -> list[list[object]]:
    """Read as RecBole 1.2.1 does in ``Dataset._load_feat``; missing values are None."""
    header = path.read_text(encoding="utf-8").split("\n")[0].split("\t")
    dtype = {name: float if name.endswith(":float") else str for name in header}
    frame = pd.read_csv(
        path, delimiter="\t", usecols=header, dtype=dtype, encoding="utf-8", engine="python"
    )
    return [[None if pd.isna(value) else value for value in row] for row in frame.values.tolist()]


values = st.one_of(
    st.text(max_size=30),
    st.sampled_from(NASTY),
    st.sampled_from(sorted(MISSING)),
    st.text(alphabet='"\t\n\r a\x00\x85\u2028', max_size=12),
)
ids = values.filter(clean_token)
floats = st.one_of(
    st.none(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(st.tuples(ids, values, values, floats), min_size=1, max_size=5))
def test_round_trip(rows: list[tuple], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("atomic") / "a.item"
    assert write_table(path, COLUMNS, rows) == len(rows)
    back = pandas_rows(path)
    ours = list(read_item_table(path)[1])
    assert len(back) == len(ours) == len(rows)
    for (item, title, brand, price), theirs, own in zip(rows, back, ours, strict=True):
        assert theirs[0] == own["item_id"] == clean_token(item)
        assert (theirs[1] or "").split() == own["title"].split() == clean_sequence(title).split()
        assert (theirs[2] or "") == own["brand"] == clean_token(brand)
        assert own["price"] == "" if price is None else float(own["price"]) == price
        if isinstance(price, int) or price is None:
            assert theirs[3] == price
        else:  # older pandas are off by a bit in the last place
            assert theirs[3] == pytest.approx(price, rel=1e-14, abs=1e-300)


@given(text=st.text(max_size=40))
def test_plain_text_is_not_changed_by_cleaning(text: str) -> None:
    if text.isprintable() and text.strip() and text not in MISSING:
        assert clean_token(text) == text
        assert clean_sequence(text).split() == text.split()


def test_long_title_and_millisecond_stamps_are_exact(tmp_path: Path) -> None:
    title = "word " * 2000
    write_table(tmp_path / "a.item", COLUMNS, [("1", title, "b", 1612345678901)])
    text = (tmp_path / "a.item").read_text()
    assert text.split("\n")[1] == f"1\t{title.strip()}\tb\t1612345678901"
    assert pandas_rows(tmp_path / "a.item")[0][3] == 1612345678901


def test_a_field_beyond_what_the_reader_takes_is_cut_at_a_word(tmp_path: Path) -> None:
    write_table(tmp_path / "a.item", COLUMNS, [("1", "abcdefghi " * 20_000, "b", None)])
    words = pandas_rows(tmp_path / "a.item")[0][1].split()
    assert set(words) == {"abcdefghi"} and len(words) == 12_000


def test_a_one_word_title_that_pandas_takes_for_missing_survives(tmp_path: Path) -> None:
    write_table(tmp_path / "a.item", COLUMNS, [("1", "None", "x", None)])
    assert pandas_rows(tmp_path / "a.item")[0][1].split() == ["None"]


@pytest.mark.parametrize("item", ["", None, "NA", "null", " \t"])
def test_an_id_that_would_be_lost_is_refused_with_its_line(tmp_path: Path, item: object) -> None:
    path = tmp_path / "a.item"
    with pytest.raises(DatasetError, match=r"a\.item, line 3: item_id"):
        write_table(path, COLUMNS, [("1", "", "", 1), (item, "", "", 1)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "columns", [["item_id"], ["item_id:int"], ["a:token", "a:float"], ["a:b:token"]]
)
def test_bad_column_names_are_refused(tmp_path: Path, columns: list[str]) -> None:
    with pytest.raises(UsageError):
        write_table(tmp_path / "a.item", columns, [])


@pytest.mark.parametrize(
    ("body", "line", "words"),
    [
        ("1\ta\n2\n", 3, "1 fields, the header has 2"),
        ('1\ta\n2\t"a"b\n3\tc\n', 3, "double quote"),
        ('1\ta\n2\tb\n3\t"never closed\n', 4, "double quote"),
    ],
)
def test_reader_names_the_line(tmp_path: Path, body: str, line: int, words: str) -> None:
    (tmp_path / "a.item").write_text("item_id:token\ttitle:token_seq\n" + body)
    with pytest.raises(DatasetError, match=rf"a\.item, line {line}: .*{words}"):
        list(read_item_table(tmp_path / "a.item")[1])


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    """As in pandas; and a copy in Parquet has the same rows."""
    path = tmp_path / "a.item"
    path.write_text("item_id:token\ttitle:token_seq\n1\ta\n\n  \n2\t\n \t \n")
    assert [row["item_id"] for row in read_table(path)[1]] == ["1", "2", " "]
    assert [line for line, _ in numbered_cells(path)] == [1, 2, 5, 6]
    pytest.importorskip("pyarrow")
    assert write_copy(path) == 3


def test_reader_names_the_line_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.inter").write_bytes(b"user_id:token\n1\n\xff\n")
    with pytest.raises(DatasetError, match=r"line 3: not UTF-8"):
        list(read_table(tmp_path / "a.inter")[1])


def test_item_table_needs_its_id_column(tmp_path: Path) -> None:
    (tmp_path / "a.item").write_text("title:token_seq\na\n")
    with pytest.raises(DatasetError, match="item_id"):
        read_item_table(tmp_path / "a.item")


def test_recbole_reads_the_files(tmp_path: Path) -> None:
    """The same values through RecBole's own Dataset."""
    pytest.importorskip("recbole")
    pytest.importorskip("recbole_fmrlrec.compat").apply()
    from recbole.config import Config
    from recbole.data.dataset import Dataset

    folder = tmp_path / "nasty"
    items = [(f"id {n}", title, "b", 1.5) for n, title in enumerate([*NASTY, "None", ""])]
    write_table(folder / "nasty.item", COLUMNS, items)
    write_table(
        folder / "nasty.inter",
        ["user_id:token", "item_id:token", "timestamp:float"],
        [('"u" 1', item[0], 1612345678901 + at) for at, item in enumerate(items)],
    )
    config = Config(
        model="Pop",
        dataset="nasty",
        config_dict={
            "data_path": str(tmp_path),
            "load_col": None,
            "numerical_features": [],
            "show_progress": False,
            "device": "cpu",
            "use_gpu": False,
        },
    )
    dataset = Dataset(config)
    assert dataset.inter_num == len(items)
    assert list(dataset.field2id_token["user_id"]) == ["[PAD]", '"u" 1']
    rows = dataset.item_feat
    for item, title, *_ in items:
        row = dataset.token2id("item_id", item)
        codes = [code for code in rows["title"][row].tolist() if code]
        words = [str(dataset.id2token("title", code)) for code in codes]
        assert words == clean_sequence(title).split()
