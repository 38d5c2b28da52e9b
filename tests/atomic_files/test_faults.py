"""Atomic files of users, items and interactions as people have them: read, or refused by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataset_tools.errors import UsageError
from dataset_tools.formats.atomic_files import read_item_table
from recbole_fmrlrec.data.loaders import create_dataset
from recbole_fmrlrec.errors import DataError
from tests.conftest import MakeConfig

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
ROWS = [f"u{n % 3}\ti{n % 4}\t{n % 5}\t{100 + n}" for n in range(12)]
INTER = "\n".join([HEADER, *ROWS]) + "\n"


def write(root: Path, text: str | bytes, suffix: str = "inter") -> Path:
    file = root / "toy" / f"toy.{suffix}"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def with_row(row: str, line: int = 5) -> str:
    return "\n".join([HEADER, *ROWS[: line - 2], row, *ROWS[line - 1 :]]) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (with_row("u1\ti2"), "line 5: 2 cells, the header has 4"),
        (with_row("u1\ti2\t3\t4\t5"), "line 5: 5 cells, the header has 4"),
        (with_row("u1\ti2\t3\t"), "line 5, column timestamp:float: no number.*TIME_FIELD"),
        (with_row("u1\ti2\t3\tinf"), "line 5, column timestamp:float: not a finite number"),
        (with_row("u1\ti2\t1e400\t4"), "line 5, column rating:float: not a finite number"),
        (with_row("\n\nu1\ti2\t3\tsoon"), "line 7, column timestamp:float: 'soon'"),
        (with_row('u1\t"i2\t3\t4'), "line 5: unexpected end of data"),
        ("", "line 1: no column headers"),
        (HEADER.replace("user_id:token", "user_id:float") + "\n1\t1\t1\t1\n", "user_id:token"),
        (with_row("u1\ti\udce92\t3\t4").encode("utf-8", "surrogateescape"), "line 5"),
        ("\t\t1\t1\n".join([HEADER + "\n", "", ""]), "no row has a user_id"),
        (INTER.replace("rating", "timestamp"), "line 1: columns 3 and 4 .*'timestamp'"),
    ],
)
def test_interactions_that_are_refused(
    config: MakeConfig, tmp_path: Path, text: str | bytes, message: str
) -> None:
    write(tmp_path, text)
    with pytest.raises(DataError, match=message):
        create_dataset(config())


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("\ufeff" + INTER, {}),
        ("\ufeff" + INTER, {"encoding": "utf_8"}),
        (INTER.encode("utf-16"), {"encoding": "utf-16"}),
        (INTER.replace("\t", "||"), {"field_separator": "||"}),
        (INTER.replace("\n", "\tx\ty\n").replace("x\ty", "n:token\tn:token", 1), {"load_col": {}}),
    ],
)
def test_interactions_that_are_read(
    config: MakeConfig, tmp_path: Path, text: str | bytes, keys: dict[str, Any]
) -> None:
    write(tmp_path, text)
    if "load_col" in keys:
        keys = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    dataset = create_dataset(config(**keys))
    assert dataset.field2id_token["item_id"].tolist() == ["[PAD]", "i0", "i1", "i2", "i3"]
    assert dataset.inter_feat["timestamp"].tolist() == list(range(100, 112))


def test_rows_without_ids_are_counted(
    config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, with_row("\ti2\t3\t4"))
    assert create_dataset(config()).inter_num == 11
    assert "1 rows without user_id are left out, the first of them line 5" in caplog.text


def test_an_item_twice_and_a_missing_price(
    config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, INTER)
    prices = ["1", "", "3", "8"]
    lines = [f"i{n}\t{price}" for n, price in enumerate(prices)]
    write(tmp_path, "\n".join(["item_id:token\tprice:float", *lines, "i0\t9"]) + "\n", "item")
    dataset = create_dataset(config())
    assert "line 6: item_id i0 is on an earlier line too" in caplog.text
    assert "1 cells without a number, the first on line 3" in caplog.text
    assert dataset.item_feat["price"].tolist()[1:] == [1, 4, 3, 8]  # the mean of 1, 3, 8 is 4


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_long_text_is_a_text(config: MakeConfig, tmp_path: Path, quote: str) -> None:
    write(tmp_path, INTER)
    text = quote + "word " * 40_000 + quote
    file = write(tmp_path, f"item_id:token\ttitle:token_seq\ni0\t{text}\ni1\tx\n", "item")
    dataset = create_dataset(config(seq_len={"title": 3}))
    assert [len(cell) for cell in dataset.item_feat["title"]][:3] == [0, 3, 1]
    assert next(read_item_table(file)[1])["title"] == "word " * 40_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_id:token\ttitle:token_seq\ni0\tx\n\ty\n", "line 3: no item_id"),
        ("item_id:token\titem_id:token\ni0\tx\n", "line 1: more than one column item_id"),
        ("title:token_seq\nx\n", "line 1: no column item_id:token"),
        ("item_id:token\ttitle:token_seq\ni0\n", "line 2: 1 fields"),
    ],
)
def test_items_that_the_tools_refuse(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        list(read_item_table(write(tmp_path, text, "item"))[1])
    assert refused.value.exit_code == 2


def test_a_name_twice_matters_only_where_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(
        tmp_path, "item_id:token\tz:token\tz:token\ttitle:token_seq\ni0\ta\tb\tc\n", "item"
    )
    columns, rows = read_item_table(file)
    assert [column.name for column in columns] == ["item_id", "title"]
    assert list(rows) == [{"item_id": "i0", "title": "c"}]
    assert "line 1: more than one column is named z" in capsys.readouterr().err


KG = "head_id:token\trelation_id:token\ttail_id:token\n"
TRIPLES = ["e0\tr0\te1", "e1\tr0\te2", "e2\tr1\te3", "e3\tr0\te4"]
LINK = "item_id:token\tentity_id:token\n"
LINKS = ["i0\te0", "i1\te1", "i2\te2", "i3\te3"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("i3\te4", "line 6: item_id i3 has another entity_id on an earlier line"),
        ("i4\te3", "line 6: entity_id e3 has another item_id on an earlier line"),
    ],
)
def test_an_item_has_one_entity(
    config: MakeConfig, tmp_path: Path, more: str, message: str
) -> None:
    write(tmp_path, INTER)
    write(tmp_path, KG + "\n".join(TRIPLES) + "\n", "kg")
    write(tmp_path, LINK + "\n".join([*LINKS, more]) + "\n", "link")
    with pytest.raises(DataError, match=rf"toy\.link, {message}"):
        create_dataset(config("CKE"))


def test_triples_and_links_without_an_id_are_left_out(
    config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A link that stands twice is one link; four triples and two more that lack an entity."""
    write(tmp_path, INTER)
    write(tmp_path, KG + "\n".join([*TRIPLES, "\tr0\te1", "e1\t\te2"]) + "\n", "kg")
    write(tmp_path, LINK + "\n".join([*LINKS, "i3\te3", "i2\t"]) + "\n", "link")
    dataset = create_dataset(config("CKE"))
    assert len(dataset.kg_feat) == 4 and len(dataset.item2entity) == 4
    assert "toy.kg: 1 rows without head_id are left out, the first of them line 6" in caplog.text
    assert "toy.kg: 1 rows without relation_id are left out" in caplog.text
    assert (
        "toy.link: 1 rows without entity_id are left out, the first of them line 7" in caplog.text
    )
