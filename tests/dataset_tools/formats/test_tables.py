"""Tables as spreadsheets and databases write them, and rows that cannot be used."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path

import duckdb
import pytest

from dataset_tools.__main__ import main
from dataset_tools.errors import DatasetError
from dataset_tools.formats.lines import read_lines
from tests.dataset_tools.sources.test_amazon import rows

LOG = "user_id,item_id,stars\nann,100,4\nbob,101,5\n"
WHOLE = [("ann", "100", "4.0", "1"), ("bob", "101", "5.0", "1")]


def convert(tmp_path: Path, content: str | bytes, *options: object, name: str = "log.csv") -> int:
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(data)
    arguments = ["convert", "csv", str(tmp_path / name), str(tmp_path / "out"), "--overwrite"]
    return main([*arguments, "--rating", "stars", *map(str, options)])


def written(tmp_path: Path) -> list[tuple[str, ...]]:
    return rows(tmp_path / "out" / "out.inter")


@pytest.mark.parametrize("encoding", ["utf-8", "utf_8", "UTF8", "utf-8-sig", "latin-1"])
def test_a_mark_at_the_start_is_no_part_of_a_name(tmp_path: Path, encoding: str) -> None:
    assert convert(tmp_path, b"\xef\xbb\xbf" + LOG.encode(), "--encoding", encoding) == 0
    assert written(tmp_path) == WHOLE


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_what_excel_calls_unicode_text(tmp_path: Path, encoding: str) -> None:
    text = LOG.replace(",", "\t").replace("\n", "\r\n").replace("ann", "Zoë 漢")
    assert convert(tmp_path, text.encode(encoding), name="log.txt") == 0
    assert written(tmp_path)[0] == ("Zoë 漢", "100", "4.0", "1")


def test_utf_16_without_a_mark_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(tmp_path, LOG.encode("utf-16-le")) == 2
    assert "--encoding utf-16-le" in capsys.readouterr().err
    assert convert(tmp_path, LOG.encode("utf-16-le"), "--encoding", "utf-16-le") == 0
    assert written(tmp_path) == WHOLE


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "\ufeffsep=;"])
def test_the_separator_line_of_excel(tmp_path: Path, first: str) -> None:
    assert convert(tmp_path, f"{first}\r\n" + LOG.replace(",", ";").replace("\n", "\r\n")) == 0
    assert written(tmp_path) == WHOLE


def test_faults_below_a_separator_line_have_their_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(tmp_path, "sep=;\nuser_id;item_id;stars\nann;1;2\nbob;2\n") == 2
    assert "log.csv, line 4: 2 fields, the header has 3" in capsys.readouterr().err


def test_line_ends_of_old_macs(tmp_path: Path) -> None:
    assert convert(tmp_path, LOG.replace("\n", "\r")) == 0
    assert written(tmp_path) == WHOLE


def test_a_column_name_twice_is_in_the_way_where_it_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "user_id,item_id,note,stars,note,\nann,100,a,4,b,\nbob,101,c,5,d,\n"
    assert convert(tmp_path, text) == 0
    assert written(tmp_path) == WHOLE
    assert convert(tmp_path, text, "--time", "note") == 2
    assert "duplicate column names: 'note'" in capsys.readouterr().err
    catalogue = tmp_path / "items.csv"
    catalogue.write_text("item_id,name,name,size\n100,a,b,9\n")
    assert convert(tmp_path, text, "--items", catalogue) == 0
    assert rows(tmp_path / "out" / "out.item") == [("100", "9"), ("101", "")]
    assert "column 'name' that occurs twice in items.csv" in capsys.readouterr().out


def test_an_item_twice_in_the_catalogue_counts_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue = tmp_path / "items.csv"
    catalogue.write_text("item_id,name\n100,first\n101,other\n100.0,again\n")
    assert convert(tmp_path, LOG, "--items", catalogue) == 0
    assert rows(tmp_path / "out" / "out.item") == [("100", "first"), ("101", "other")]
    said = capsys.readouterr().out
    assert "1 item records for an item already seen (first: item '100')" in said


def test_a_text_longer_than_the_csv_module_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue = tmp_path / "items.csv"
    catalogue.write_text("item_id,name\n100," + "word " * 40_000 + "\n101,x\n")
    assert convert(tmp_path, LOG, "--items", catalogue) == 0
    (_, long), _ = rows(tmp_path / "out" / "out.item")
    assert 119_990 < len(long) <= 120_000 and long.endswith("word")
    assert (
        "1 texts cut to 120,000 characters (first: name of item '100')" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("name", "log"),
    [
        ("a.csv", "user_id,item_id,stars\n1.0,100.0,4\n2,101,5\n"),
        ("a.tsv", "user_id\titem_id\tstars\n1\t 100.00\t4\n2.0\t101\t5\n"),
        (
            "a.jsonl",
            '{"user_id": 1.0, "item_id": 100, "stars": 4}\n{"user_id": "2", "item_id": '
            '"101.0", "stars": "5"}\n',
        ),
    ],
)
def test_ids_are_the_same_whatever_the_file(tmp_path: Path, name: str, log: str) -> None:
    catalogue = tmp_path / "items.jsonl"
    catalogue.write_text('{"item_id": 100.0, "name": "A"}\n{"item_id": "101", "name": "B"}\n')
    assert convert(tmp_path, log, "--items", catalogue, name=name) == 0
    assert written(tmp_path) == [("1", "100", "4.0", "1"), ("2", "101", "5.0", "1")]
    assert rows(tmp_path / "out" / "out.item") == [("100", "A"), ("101", "B")]


def test_ids_with_decimals_or_zeros_stay(tmp_path: Path) -> None:
    assert convert(tmp_path, "user_id,item_id,stars\n007,1.10,4\n7,1e5,4\n") == 0
    assert [row[:2] for row in written(tmp_path)] == [("007", "1.10"), ("7", "1e5")]


def test_a_catalogue_that_fits_no_item_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue = tmp_path / "items.csv"
    catalogue.write_text("item_id,name\nA-100,x\nA-101,y\n")
    for cold in ("--all-items", "--no-all-items"):
        assert convert(tmp_path, LOG, "--items", catalogue, cold) == 0
        said = capsys.readouterr().out
        assert "catalogue of which no item is in the log (first: 'A-100', not '100')" in said


BAD = {
    "few": ("cid,7\n", "line 3: 2 fields, the header has 3", "rows with fewer fields"),
    "many": ("cid,7,5,1\n", "line 3: 4 fields, the header has 3", "rows with more fields"),
    "user": (",7,5\n", "line 3: user '' is empty", "interactions without a user"),
    "item": ("cid,NA,5\n", "line 3: item 'NA' is empty or read as missing", "without a user"),
    "rating": ("cid,7,\n", "line 3: stars is empty", "unreadable time or rating"),
    "nan": ("cid,7,NaN\n", "line 3: stars 'NaN' is not a number", "unreadable time or rating"),
    "inf": ("cid,7,inf\n", "line 3: stars 'inf' is not a number", "unreadable time or rating"),
    "huge": ("cid,7,1e999\n", "line 3: stars '1e999' is too large", "unreadable time"),
    "latin": ("cid,é,5\n", "line 3: not utf-8", "lines in another encoding"),
    "quote": ('cid,"7,5\n', "line 3: a quote that opens on this line", "quote that is not closed"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_refused_by_its_line_or_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    row, refusal, reason = BAD[case]
    head, ann, bob = LOG.splitlines(keepends=True)
    data = (head + ann).encode() + row.encode("latin-1") + bob.encode() * 2
    assert convert(tmp_path, data) == 2
    said = capsys.readouterr().err
    assert f"log.csv, {refusal}" in said and "--skip-bad-rows" in said
    assert not (tmp_path / "out").exists()
    assert convert(tmp_path, data, "--skip-bad-rows") == 0
    assert [row[0] for row in written(tmp_path)] == ["ann", "bob", "bob"]
    said = capsys.readouterr().out
    assert "1 " in said and reason in said and "(first: log.csv line 3)" in said


@pytest.mark.parametrize("stamp", ["", "NaN", "inf", "-inf", "null"])
def test_a_time_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stamp: str
) -> None:
    text = f"user_id,item_id,stars,t\nann,1,5,1\nann,2,5,{stamp}\n"
    assert convert(tmp_path, text, "--time", "t") == 2
    assert "log.csv, line 3: t " in capsys.readouterr().err
    assert convert(tmp_path, text, "--time", "t", "--skip-bad-rows") == 0
    assert [row[1] for row in written(tmp_path)] == ["1"]
    line = '{"user_id": "u", "item_id": "i", "stars": 3, "t": %s}\n'
    values = (line % 5) + line % json.dumps(float(stamp) if stamp in ("NaN", "inf") else None)
    assert convert(tmp_path, values, "--time", "t", name="log.jsonl") == 2
    assert "log.jsonl, line 2: t " in capsys.readouterr().err


def test_quotes_within_a_field_and_over_lines(tmp_path: Path) -> None:
    catalogue = tmp_path / "items.csv"
    catalogue.write_text('item_id,name\n100,"Mug ""big""\n0.4 l"\n101,"Cup" small\n')
    assert convert(tmp_path, LOG, "--items", catalogue) == 0
    assert [row[1] for row in rows(tmp_path / "out" / "out.item")] == [
        'Mug "big" 0.4 l',
        "Cup small",
    ]


@pytest.mark.parametrize("delimiter", ["\\t", "\t", "tab"])
def test_a_tab_by_its_names(tmp_path: Path, delimiter: str) -> None:
    assert convert(tmp_path, LOG.replace(",", "\t"), "--delimiter", delimiter) == 0
    assert written(tmp_path) == WHOLE


@pytest.mark.parametrize("delimiter", ["::", "", '"', "\n"])
def test_a_delimiter_that_cannot_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], delimiter: str
) -> None:
    assert convert(tmp_path, LOG, "--delimiter", delimiter) == 2
    assert f"--delimiter {delimiter!r}: one character is needed" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["nonsense", "base64", ""])
def test_an_encoding_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], encoding: str
) -> None:
    assert convert(tmp_path, LOG, "--encoding", encoding) == 2
    assert f"--encoding {encoding!r}: unknown encoding" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rating", "options", "value"),
    [
        ("4,5", [], "4.5"),
        (",5", [], "0.5"),
        ("0,125", [], "0.125"),
        ("1.234,5", [], "1234.5"),
        ("1,234.5", [], "1234.5"),
        ("1,234", ["--decimal", ","], "1.234"),
        ("1,234", ["--decimal", "."], "1234.0"),
    ],
)
def test_a_comma_before_the_decimals(
    tmp_path: Path, rating: str, options: list[str], value: str
) -> None:
    text = f"user_id;item_id;stars\nann;1;{rating}\n"
    assert convert(tmp_path, text, *options) == 0
    assert written(tmp_path)[0][2] == value


@pytest.mark.parametrize(
    ("rating", "options", "words"),
    [
        ("1,234", [], "could be 1.234 (--decimal ,) or 1234 (--decimal .)"),
        ("4,5", ["--decimal", "."], "'4,5' is not a number with --decimal ."),
        ("4.5", ["--decimal", ","], "'4.5' is not a number with --decimal ,"),
    ],
)
def test_a_comma_that_could_be_something_else(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rating: str,
    options: list[str],
    words: str,
) -> None:
    assert convert(tmp_path, f"user_id;item_id;stars\nann;1;{rating}\n", *options) == 2
    assert words in capsys.readouterr().err


def test_parquet_is_read_without_pyarrow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert convert(tmp_path, b"PAR1", name="log.parquet") == 2
    assert "log.parquet: not a Parquet file, or damaged (" in capsys.readouterr().err
    query = "SELECT 'ann' AS user_id, 7 AS item_id, 4 AS stars"
    duckdb.sql(f"COPY ({query}) TO '{tmp_path}/written.parquet' (FORMAT parquet)")
    assert convert(tmp_path, (tmp_path / "written.parquet").read_bytes(), name="log.parquet") == 0
    assert rows(tmp_path / "out" / "out.inter") == [("ann", "7", "4.0", "1")]


@pytest.mark.parametrize(
    ("written_as", "read_as"), [("1.2E+12", "1200000000000"), ("1e+16", "1" + "0" * 16)]
)
def test_an_id_in_the_notation_of_a_spreadsheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written_as: str, read_as: str
) -> None:
    catalogue = tmp_path / "items.jsonl"
    catalogue.write_text(f'{{"item_id": {read_as}, "name": "A"}}\n')
    assert (
        convert(tmp_path, f"user_id,item_id,stars\nann,{written_as},4\n", "--items", catalogue) == 0
    )
    assert rows(tmp_path / "out" / "out.item") == [(read_as, "A")]
    assert (
        "a spreadsheet may have cut their digits (first: log.csv line 2)" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "name", ["my  photo.png", "a&copy;.png", "<b>1.png", "http://h/x?a=1&copy=2"]
)
def test_the_name_of_a_picture_is_no_text_to_clean(tmp_path: Path, name: str) -> None:
    catalogue = tmp_path / "items.csv"
    catalogue.write_text(f"item_id,name,photo\n100,A,{name}\n")
    assert convert(tmp_path, LOG, "--items", catalogue, "--image", "photo") == 0
    assert rows(tmp_path / "out" / "images.tsv") == [("100", name)]


def test_columns_that_come_to_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalogue = tmp_path / "items.csv"
    catalogue.write_text("sku,Price (EUR),price EUR,item_id\n100,1,2,3\n")
    options = ("--items", catalogue, "--item-id", "sku")
    assert convert(tmp_path, LOG, *options) == 0
    assert rows(tmp_path / "out" / "out.item")[0] == ("100", "1")
    said = capsys.readouterr().out
    assert "column whose name, price_eur, is taken: 'price EUR' of items.csv" in said
    assert "column whose name, item_id, is taken: 'item_id' of items.csv" in said
    assert convert(tmp_path, LOG, *options, "--columns", "a=Price (EUR),A=price EUR") == 2
    assert "come to the same name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stars", "said"),
    [
        ("1" + "0" * 400, "a number of 401 digits is too long"),
        ("1e39", "interactions with an endless rating"),
    ],
)
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_a_rating_that_no_float_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, stars: str, said: str
) -> None:
    log = {
        "log.csv": f"user_id,item_id,stars\nann,100,{stars}\nbob,101,5\n",
        "log.jsonl": f'{{"user_id": "ann", "item_id": 100, "stars": {stars}}}\n'
        '{"user_id": "bob", "item_id": 101, "stars": 5}\n',
    }[name]
    assert convert(tmp_path, log, name=name) == 2
    assert said in capsys.readouterr().err
    assert convert(tmp_path, log, "--skip-bad-rows", name=name) == 0
    assert written(tmp_path) == [("bob", "101", "5.0", "1")]


@pytest.mark.parametrize(
    ("after", "says"),
    [(b"", ""), (b"\0" * 512, ""), (b"rubbish", "after line 3 "), (b"\x1f\x8b", "after line 3 ")],
)
def test_gzip_of_two_members(tmp_path: Path, after: bytes, says: str) -> None:
    packed = gzip.compress(b"a\nb\n") + gzip.compress(b"c\n")
    (tmp_path / "a.gz").write_bytes(packed + after)
    found = []
    with contextlib.suppress(DatasetError) if says else contextlib.nullcontext():
        for line in read_lines(tmp_path / "a.gz"):
            found.append(line)
    assert found == [(1, "a\n"), (2, "b\n"), (3, "c\n")]
    if says:
        with pytest.raises(DatasetError, match=rf"damaged or cut off {says}"):
            list(read_lines(tmp_path / "a.gz"))
