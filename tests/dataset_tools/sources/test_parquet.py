"""Parquet gives what the same rows give as CSV, whatever the types of its columns."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_tools.__main__ import main
from dataset_tools.sources.csv import CSVSource

pa = pytest.importorskip("pyarrow", reason="writing Parquet needs pyarrow")
pq = pytest.importorskip("pyarrow.parquet", reason="writing Parquet needs pyarrow")

OPTIONS = ("--user", "u", "--item", "i", "--time", "t", "--rating", "r")
HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def write(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def convert(source: str, path: Path | str, out: Path, *options: str) -> int:
    return main(["convert", source, str(path), str(out), "--overwrite", *options])


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def in_seconds(unit: str, zone: str | None = None) -> Any:
    factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    kind = pa.timestamp(unit, zone) if zone else pa.timestamp(unit)
    return pa.array([1709287200 * factor, 86400 * factor, None, -86400 * factor], kind)


MOMENTS = ["1709287200", "86400", "-86400"]
TIMES = {
    **{f"timestamp in {unit}": (in_seconds(unit), MOMENTS) for unit in ("s", "ms", "us", "ns")},
    "a zone": (in_seconds("us", "Europe/Berlin"), MOMENTS),
    "days": (pa.array([19783, 1, None, -1], pa.date32()), ["1709251200", "86400", "-86400"]),
    "text": (["2024-03-01 10:00", "1970-01-02", "", "31 Dec 1969"], MOMENTS),
    "int32": (pa.array([1709287200, 5, None, -3], pa.int32()), ["1709287200", "5", "-3"]),
    "milliseconds": (
        pa.array([1709287200123, 1709287200001, None, 1709287200000]),
        ["1709287200123", "1709287200001", "1709287200000"],
    ),
    "microseconds": (
        pa.array([1709287200123456, 1709287200000001, None, 1709287200000000], pa.uint64()),
        ["1709287200123456", "1709287200000001", "1709287200000000"],
    ),
    "float": ([1709287200.0, 5.0, float("nan"), -3.0], ["1709287200", "5", "-3"]),
    "half a second": (
        pa.array([1709287200500, 1709287200000, None, -500], pa.timestamp("ms")),
        ["1709287200.5", "1709287200.0", "-0.5"],
    ),
    "decimal": (
        pa.array([Decimal("1709287200.25"), Decimal(5), None, Decimal(-3)], pa.decimal128(20, 2)),
        ["1709287200.25", "5.0", "-3.0"],
    ),
}


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("by_sql", [True, False])
def test_times(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    by_sql: bool,
) -> None:
    if not by_sql:
        monkeypatch.setattr(CSVSource, "scanned", lambda *_: None)
    column, stamps = TIMES[name]
    log = write(tmp_path / "log.parquet", u=list("abcd"), i=[1, 2, 3, 4], t=column, r=[5] * 4)
    assert convert("parquet", log, tmp_path / "out", *OPTIONS, "--skip-bad-rows") == 0
    rows = [f"{u}\t{i}\t5.0\t{t}\n" for u, i, t in zip("abd", (1, 2, 4), stamps, strict=True)]
    assert (tmp_path / "out" / "out.inter").read_text() == HEADER + "".join(rows)
    said = capsys.readouterr().out
    assert "1 interactions with an unreadable time or rating (first: log.parquet row 3)" in said


IDS = {
    "text": (["a", " b ", None, "1.0", "NA"], ["a", "b", "1"]),
    "int64": (pa.array([7, -1, None, 2**53 + 1, None]), ["7", "-1", "9007199254740993"]),
    "uint64": (pa.array([2**64 - 1, 0, None, 5, None], pa.uint64()), [str(2**64 - 1), "0", "5"]),
    "float": ([7.0, -0.0, None, 1e16, float("nan")], ["7", "0", "10000000000000000"]),
    "float32": (pa.array([7, 0.1, None, 3, None], pa.float32()), ["7", "0.1", "3"]),
    "decimal": (
        pa.array([Decimal("7.00"), Decimal("1.50"), None, Decimal(3), None], pa.decimal128(9, 2)),
        ["7", "1.50", "3"],
    ),
    "bytes": ([b"a", "Zoë".encode(), None, b"\xff", b""], ["a", "Zoë", "\ufffd"]),
    "categories": (pa.array(["x", "y", None, "x", ""]).dictionary_encode(), ["x", "y", "x"]),
    "truth": ([True, False, None, True, None], ["True", "False", "True"]),
}


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("by_sql", [True, False])
def test_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, by_sql: bool) -> None:
    if not by_sql:
        monkeypatch.setattr(CSVSource, "scanned", lambda *_: None)
    column, tokens = IDS[name]
    times = [100, 101, 102, 103, 104]
    log = write(tmp_path / "log.parquet", u=column, i=column, t=times)
    out = tmp_path / "out"
    assert convert("csv", log, out, *OPTIONS[:6], "--skip-bad-rows") == 0
    rows = [f"{x}\t{x}\t{t}\n" for x, t in zip(tokens, (100, 101, 103), strict=True)]
    assert (out / "out.inter").read_text().partition("\n")[2] == "".join(rows)


RATINGS = {
    "float32": (pa.array([4.1, 5, None], pa.float32()), ["4.1", "5.0"]),
    "float64": ([4.1, 5.0, float("inf")], ["4.1", "5.0"]),
    "int8": (pa.array([4, 5, None], pa.int8()), ["4.0", "5.0"]),
    "decimal": (
        pa.array([Decimal("4.10"), Decimal(5), None], pa.decimal128(4, 2)),
        ["4.1", "5.0"],
    ),
    "text": (["4,1", "5", "good"], ["4.1", "5.0"]),
    "too large": ([4.1, 5.0, 1e39], ["4.1", "5.0"]),
}


@pytest.mark.parametrize("name", RATINGS)
@pytest.mark.parametrize("by_sql", [True, False])
def test_ratings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, by_sql: bool) -> None:
    if not by_sql:
        monkeypatch.setattr(CSVSource, "scanned", lambda *_: None)
    column, texts = RATINGS[name]
    log = write(tmp_path / "log.parquet", u=["a", "b", "c"], i=["x"] * 3, r=column, t=[1, 2, 3])
    assert convert("csv", log, tmp_path / "out", *OPTIONS, "--skip-bad-rows") == 0
    rows = [f"{u}\tx\t{r}\t{t}\n" for u, r, t in zip("ab", texts, (1, 2), strict=True)]
    assert (tmp_path / "out" / "out.inter").read_text() == HEADER + "".join(rows)


def frame(count: int = 3000) -> dict[str, list[Any]]:
    """Rows with repeats, ties in time, names that need quotes, and a few that cannot be used."""
    draw = np.random.default_rng(0)
    users = [f"u{n}" for n in draw.integers(0, 200, count)]
    items = [f'"i" {n}' if n % 7 == 0 else f"i{n}" for n in draw.integers(0, 90, count)]
    times = [1_600_000_000 + int(n) for n in draw.integers(0, 400, count)]
    ratings = [float(n) / 2 for n in draw.integers(1, 11, count)]
    users[5], items[17], items[18] = "", "NA", "1.2E+12"
    return {"u": users, "i": items, "t": times, "r": ratings}


def as_csv(path: Path, columns: dict[str, list[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = zip(*columns.values(), strict=True)
    cells = [[f'"{str(c).replace(chr(34), chr(34) * 2)}"' for c in row] for row in rows]
    path.write_text("\n".join([",".join(columns), *map(",".join, cells)]) + "\n")
    return path


CHOICES = [
    (),
    ("--k-core", "5", "--min-rating", "2"),
    ("--duplicates", "last", "--since", "2020-09-13 12:28"),
    ("--max-users", "50", "--duplicates", "none"),
]


@pytest.mark.parametrize("choice", CHOICES)
def test_the_same_rows_give_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], choice: tuple[str, ...]
) -> None:
    columns = frame()
    catalogue = {"i": ["i1", '"i" 7', "i999"], "name": ['A "b"', "B, c", "C"], "price": [1, 2, 3]}
    items = [as_csv(tmp_path / "i.csv", catalogue), write(tmp_path / "i.parquet", **catalogue)]
    logs = [as_csv(tmp_path / "log.csv", columns), write(tmp_path / "log.parquet", **columns)]
    written, said = [], []
    for log, item in zip(logs, items, strict=True):
        more = ["--items", str(item), "--skip-bad-rows", *choice]
        assert convert("csv", log, tmp_path / "out", *OPTIONS, *more) == 0
        written.append(files(tmp_path / "out"))
        said.append(capsys.readouterr().out)
    assert written[0] == written[1]
    # A file of lines has its header on the first of them.
    assert "(first: log.csv line 7)" in said[0]
    assert said[0].replace("log.csv line 7", "log.parquet row 6") == said[1].replace(
        "log.parquet row 19", "log.csv line 20"
    )


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "parquet"])
def test_parts_give_what_one_file_gives(tmp_path: Path, kind: str) -> None:
    """Parts 2 and 10 stand in the order of their numbers: without a time, order is what counts."""
    import gzip
    import json

    columns = frame(600)
    whole = as_csv(tmp_path / "log.csv", columns)
    folder, cuts = tmp_path / "parts", [0, 1, 150, 300, 600]
    names = ["day=1/part-2", "day=1/part-10", "day=2/part-0", "day=10/part-0"]
    for name, start, end in zip(names, cuts, cuts[1:], strict=False):
        part = {key: values[start:end] for key, values in columns.items()}
        path = folder / f"{name}.{kind}"
        if kind == "parquet":
            write(path, **part)
        elif kind == "jsonl":
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = (dict(zip(part, row, strict=True)) for row in zip(*part.values(), strict=True))
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            as_csv(path, part)
            if kind == "csv.gz":
                path.write_bytes(gzip.compress(path.read_bytes()))
    (folder / "_SUCCESS").touch()
    (folder / f".part-2.{kind}.crc").write_bytes(b"crc")
    options = [*OPTIONS[:4], "--rating", "r", "--skip-bad-rows", "--duplicates", "none"]
    assert convert("csv", whole, tmp_path / "out", *options) == 0
    found = files(tmp_path / "out")
    for path in (folder, f"{folder}/*/*.{kind}", f"{folder}/day=*", f"{folder}/**/part*"):
        assert convert("csv", path, tmp_path / "out", *options) == 0
        assert files(tmp_path / "out") == found


def test_a_catalogue_in_parts(tmp_path: Path) -> None:
    as_csv(tmp_path / "log.csv", {"user_id": ["a", "b"], "item_id": ["x", "y"]})
    folder = tmp_path / "items"
    write(folder / "a.parquet", item_id=["x"], name=["X"], price=pa.array([9.9], pa.float32()))
    write(folder / "b.parquet", item_id=["y"], name=[["Y", "why"]], price=[8])
    more = ["--items", str(folder)]
    assert convert("csv", tmp_path / "log.csv", tmp_path / "out", *more) == 0
    assert (tmp_path / "out" / "out.item").read_text() == (
        "item_id:token\tname:token_seq\tprice:token_seq\nx\tX\t9.9\ny\tY, why\t8\n"
    )


def parts_of(folder: Path, **other: Any) -> Path:
    write(folder / "a.parquet", u=["a"], i=["x"], t=[1])
    write(folder / "b.parquet", **other)
    return folder


LISTS = {"u": [["a"]], "i": ["x"], "t": [1]}
RECORDS = {"u": ["a"], "i": [{"id": 1}], "t": [1]}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a column less": ({"u": ["a"], "t": [1]}, "b.parquet: no column 'i'; it has u, t"),
    "other case": ({"U": ["a"], "i": ["x"], "t": [1]}, "b.parquet: no column 'u'; it has U, i, t"),
    "lists": (LISTS, r"b.parquet: column 'u' holds lists or records (VARCHAR[]), not one value"),
    "records": (RECORDS, "b.parquet: column 'i' holds lists or records (STRUCT("),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_columns_of_a_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    columns, words = WRONG[name]
    assert convert("csv", parts_of(tmp_path / "p", **columns), tmp_path / "out", *OPTIONS[:6]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def damaged(path: Path) -> Path:
    write(path, u=["a"] * 9, i=["x"] * 9, t=list(range(9)))
    path.write_bytes(path.read_bytes()[:-20])
    return path


PLACES = {
    "no file": ("none.parquet", "none.parquet: no such file or folder"),
    "no match": ("*.arrow", "*.arrow: no file fits this pattern"),
    "empty folder": ("empty", "empty: no file is in this folder, but for hidden ones"),
    "cut off": ("cut.parquet", "cut.parquet: not a Parquet file, or damaged (Invalid Input Error:"),
    "nothing": ("zero.parquet", "zero.parquet: not a Parquet file, or damaged ("),
    "mixed": (
        "mixed",
        "mixed: tables of several kinds: {0}/mixed/a.csv (csv), {0}/mixed/b.parquet",
    ),
    "no table": ("other", "other/a.txt.bak: its name ends in none of .csv, "),
    "no rows": ("rows.parquet", "the source has no usable interaction: it has none"),
}


@pytest.mark.parametrize("name", PLACES)
def test_wrong_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "_SUCCESS").touch()
    damaged(tmp_path / "cut.parquet")
    (tmp_path / "zero.parquet").touch()
    as_csv(tmp_path / "mixed" / "a.csv", {"u": ["a"], "i": ["x"], "t": [1]})
    write(tmp_path / "mixed" / "b.parquet", u=["a"], i=["x"], t=[1])
    as_csv(tmp_path / "other" / "a.txt.bak", {"u": ["a"], "i": ["x"], "t": [1]})
    none = pa.array([], pa.string())
    write(tmp_path / "rows.parquet", u=none, i=none, t=none)
    place, words = PLACES[name]
    assert convert("csv", tmp_path / place, tmp_path / "out", *OPTIONS[:6]) == 2
    assert words.format(tmp_path) in capsys.readouterr().err


def test_a_bad_row_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = frame(100_000)
    columns["t"][70_000] = None
    log = write(tmp_path / "log.parquet", **columns)
    options = [*OPTIONS, "--user", "r"]
    assert convert("parquet", log, tmp_path / "out", *options) == 2
    assert "log.parquet, row 18: " in capsys.readouterr().err
    columns["i"][17] = "i1"
    write(log, **columns)
    assert convert("parquet", log, tmp_path / "out", *options) == 2
    assert "log.parquet, row 70001: t is empty; correct it, or leave" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_part_without_a_good_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """Bad rows are left out wherever they stand; alone, a file of nothing else is a mistake."""
    good, bad = tmp_path / "p" / f"a.{kind}", tmp_path / "p" / f"b.{kind}"
    if kind == "csv":
        as_csv(good, {"u": ["a"], "i": ["x"], "t": [1]})
        as_csv(bad, {"u": ["a"], "i": ["x"], "t": ["never"]})
    elif kind == "jsonl":
        good.parent.mkdir()
        good.write_text('{"u": "a", "i": "x", "t": 1}\n')
        bad.write_text('{"u": "a", "i": "x", "t": "never"}\n')
    else:
        parts_of(good.parent, u=["a"], i=["x"], t=["never"])
    options = [*OPTIONS[:6], "--skip-bad-rows"]
    assert convert("csv", bad.parent, tmp_path / "out", *options) == 0
    assert (tmp_path / "out" / "out.inter").read_text().endswith("\na\tx\t1\n")
    said = capsys.readouterr().out
    assert f"(first: b.{kind} {'row 1' if kind == 'parquet' else 'line'}" in said
    assert convert("csv", bad, tmp_path / "out", *options) == 2
    assert "no row has a time and rating that fit" in capsys.readouterr().err


def test_a_way_of_writing_times_holds_for_text_alone(tmp_path: Path) -> None:
    options = [*OPTIONS[:6], "--time-format", "%d.%m.%Y"]
    day = datetime.date(2024, 3, 1)
    for column in (["01.03.2024"], pa.array([day]), pa.array([day]).cast(pa.timestamp("ms"))):
        log = write(tmp_path / "log.parquet", u=["a"], i=["x"], t=column)
        assert convert("parquet", log, tmp_path / "out", *options) == 0
        assert (tmp_path / "out" / "out.inter").read_text().endswith("\na\tx\t1709251200\n")


def test_names_that_look_like_patterns(tmp_path: Path) -> None:
    """A file that is there stands for itself; the name and its ending are not what counts."""
    log = write(tmp_path / "it's [1]*?", u=["a"], i=["x"], t=[1])
    write(tmp_path / "it's 1", u=["b"], i=["x"], t=[1])
    assert convert("parquet", log, tmp_path / "out", *OPTIONS[:6]) == 0
    assert (tmp_path / "out" / "out.inter").read_text().endswith(":float\na\tx\t1\n")


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.jsonl", "parts/log.csv"])
def test_a_text_is_no_parquet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    log = as_csv(tmp_path / name, {"u": ["a"], "i": ["x"], "t": [1]})
    given = log.parent if name.startswith("parts") else log
    assert convert("parquet", given, tmp_path / "out", *OPTIONS[:6]) == 2
    assert capsys.readouterr().err == (
        f"error: {log}: not a Parquet file (it does not begin with PAR1); `convert csv` with the "
        "same words reads tables of that name: CSV, TSV and JSON lines\n"
    )
    write(log, u=["a"], i=["x"], t=[1])  # whatever it is called
    assert convert("parquet", given, tmp_path / "out", *OPTIONS[:6]) == 0


@pytest.mark.parametrize("source", ["csv", "parquet"])
def test_options_of_texts_are_refused_where_none_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    log = write(tmp_path / "p" / "log.parquet", u=["a"], i=["x"], t=[1])
    items = write(tmp_path / "items.parquet", i=["x"], name=["mug"])
    for place in (log, log.parent):
        for option, value in (("--delimiter", ";"), ("--encoding", "latin-1")):
            for more in ([], ["--items", str(items)]):
                options = [*OPTIONS[:6], option, value, *more]
                assert convert(source, place, tmp_path / "out", *options) == 2
                said = capsys.readouterr().err
                assert said == (
                    f"error: {option}: {place} is Parquet, which has its own types and no "
                    "delimiters; leave the option out\n"
                )
    texts = tmp_path / "items.csv"
    texts.write_bytes("i;name\nx;caf\xe9\n".encode("latin-1"))
    options = [*OPTIONS[:6], "--delimiter", ";", "--encoding", "latin-1", "--items", str(texts)]
    for place in (log, log.parent):  # there they are those of the catalogue
        assert convert(source, place, tmp_path / "out", *options) == 0
        assert (tmp_path / "out" / "out.item").read_text().endswith("\nx\tcaf\xe9\n")


def test_options_that_the_types_make_needless_are_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day, parts = pa.array([datetime.date(2024, 3, 1)]), tmp_path / "p"
    options = [*OPTIONS, "--time-format", "%d.%m.%Y", "--decimal", ","]
    write(parts / "1.parquet", u=["a"], i=["x"], t=day, r=[4.5])
    write(parts / "2.parquet", u=["a"], i=["y"], t=["02.03.2024"], r=[1])
    write(parts / "3.parquet", u=["a"], i=["z"], t=day, r=["2,5"])
    assert convert("parquet", parts, tmp_path / "out", *options) == 0
    noted = [line for line in capsys.readouterr().out.splitlines() if "files whose" in line]
    assert noted == [
        "  left out or noted: 2 files whose t holds times by its type: --time-format is not "
        "needed (first: 1.parquet)",
        "  left out or noted: 2 files whose r holds numbers by its type: --decimal is not needed "
        "(first: 1.parquet)",
    ]
    rows = (tmp_path / "out" / "out.inter").read_text().removeprefix(HEADER).splitlines()
    assert rows == ["a\tx\t4.5\t1709251200", "a\ty\t1.0\t1709337600", "a\tz\t2.5\t1709251200"]
    assert convert("parquet", parts / "1.parquet", tmp_path / "out", *OPTIONS) == 0
    assert "files whose" not in capsys.readouterr().out
