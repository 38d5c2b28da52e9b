"""The three editions of the Amazon data, from records as the data's own pages show them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from dataset_tools.__main__ import main
from dataset_tools.formats import lines
from dataset_tools.formats.atomic_files import read_table


def write_gz(path: Path, *lines: object) -> None:
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()))


def rows(path: Path) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in read_table(path)[1]]


def review(user: str, item: str, rating: float, time: int) -> dict[str, object]:
    return {
        "reviewerID": user,
        "asin": item,
        "overall": rating,
        "unixReviewTime": time,
        "reviewText": "x\ty",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def test_2014(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gz(
        folder / "reviews_Beauty_5.json.gz",
        review("A1", "B1", 5.0, 1369699200),
        review("A1", "B2", 3.0, 1355443200),
        "{broken",
        {"reviewerID": "A2", "asin": "B1"},
        review("A2", "B1", 4.0, 1369699201),
    )
    write_gz(
        folder / "meta_Beauty.json.gz",
        "{'asin': 'B2', 'title': 'Brush &amp; Bag', 'price': 7.99, 'imUrl': 'http://x/2.jpg',"
        " 'categories': [['Beauty', 'Tools'], ['Gifts']], 'related': {'also_bought': []}}",
        "{'asin': 'B9', 'title': 'never bought'}",
    )
    out = tmp_path / "out"
    assert main(["convert", "amazon2014", str(folder), str(out)]) == 0
    assert rows(out / "out.inter") == [
        ("A1", "B1", "5.0", "1369699200"),
        ("A1", "B2", "3.0", "1355443200"),
        ("A2", "B1", "4.0", "1369699201"),
    ]
    assert rows(out / "out.item") == [
        ("B2", "Brush & Bag", "Beauty, Tools, Gifts", "7.99"),
        ("B1", "", "", ""),
    ]
    assert rows(out / "images.tsv") == [("B2", "http://x/2.jpg")]
    said = capsys.readouterr().out
    assert "1 malformed reviews (first: reviews_Beauty_5.json.gz line 3)" in said
    assert "1 reviews without reviewerID, asin or unixReviewTime" in said
    assert "1 items without any metadata" in said


def test_2014_ratings_only_and_k_core(folder: Path, tmp_path: Path) -> None:
    lines = ["A1,B1,5.0,10", "A1,B2,4.0,11", "A2,B1,5.0,12", "A2,B2,1.0,13", "A3,B3,5.0,14"]
    (folder / "ratings_Beauty.csv").write_text("\n".join(lines))
    out = tmp_path / "out"
    assert main(["convert", "amazon2014", str(folder), str(out), "--k-core", "2"]) == 0
    assert [row[:2] for row in rows(out / "out.inter")] == [
        ("A1", "B1"),
        ("A1", "B2"),
        ("A2", "B1"),
        ("A2", "B2"),
    ]
    assert rows(out / "out.item") == [("B1",), ("B2",)]


def test_2018(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gz(
        folder / "All_Beauty_5.json.gz",
        review("A1", "B1", 5.0, 10),
        review("A1", "B2", 5.0, 11),
        review("A1", "B2", 5.0, 11),
    )
    write_gz(
        folder / "meta_All_Beauty.json.gz",
        {
            "asin": "B1",
            "title": "var aPageStart = (new Date()).getTime();",
            "price": ".a-box-inner{background-color:#fff}",
            "category": ["Beauty"],
        },
        {
            "asin": "B2",
            "title": "Soap",
            "price": "$12.99",
            "brand": "Acme",
            "description": ["Fine <b>soap</b>.", "New"],
            "imageURL": ["http://x/small.jpg"],
            "imageURLHighRes": ["http://x/large.jpg"],
        },
    )
    out = tmp_path / "out"
    assert main(["convert", "amazon2018", str(folder), str(out)]) == 0
    assert rows(out / "out.item") == [
        ("B1", "", "", "Beauty", "", ""),
        ("B2", "Soap", "Acme", "", "$12.99", "Fine soap . New"),
    ]
    assert rows(out / "images.tsv") == [("B2", "http://x/large.jpg")]
    said = capsys.readouterr().out
    assert "1 titles that were page code" in said and "1 repeated interactions" in said


def test_2018_ratings_have_the_item_first(folder: Path, tmp_path: Path) -> None:
    (folder / "All_Beauty.csv").write_text("B1,A1,5.0,10\n")
    assert main(["convert", "amazon2018", str(folder), str(tmp_path / "out")]) == 0
    assert rows(tmp_path / "out" / "out.inter") == [("A1", "B1", "5.0", "10")]


def test_2023_milliseconds_parents_and_dates(folder: Path, tmp_path: Path) -> None:
    def event(item: str, parent: str | None, time: int) -> dict[str, object]:
        return {
            "user_id": "U",
            "asin": item,
            "parent_asin": parent,
            "rating": 4.0,
            "timestamp": time,
        }

    day = 1609459200000  # 2021-01-01
    write_gz(
        folder / "All_Beauty.jsonl.gz",
        event("c1", "P1", day + 123),
        event("c2", None, day + 86_400_000 - 1),
        event("c3", "P3", day + 86_400_000),
    )
    write_gz(
        folder / "meta_All_Beauty.jsonl.gz",
        {
            "parent_asin": "P1",
            "title": "Soap",
            "price": "—",
            "store": "Shop",
            "details": {"Brand": "Acme"},
            "categories": [],
            "main_category": "Beauty",
            "features": ["Fine"],
            "description": ["Soap"],
            "images": [{"thumb": "http://x/t.jpg", "large": "http://x/l.jpg", "hi_res": None}],
        },
        {"parent_asin": "c2", "title": "Brush", "price": 3.5, "store": "Shop"},
    )
    out = tmp_path / "out"
    assert main(["convert", "amazon2023", str(folder), str(out), "--until", "2021-01-01"]) == 0
    assert rows(out / "out.inter") == [
        ("U", "P1", "4.0", "1609459200123"),
        ("U", "c2", "4.0", "1609545599999"),
    ]
    assert rows(out / "out.item") == [
        ("P1", "Soap", "Acme", "Beauty", "", "Fine Soap"),
        ("c2", "Brush", "Shop", "", "3.5", ""),
    ]
    assert rows(out / "images.tsv") == [("P1", "http://x/l.jpg")]


def test_which_file_is_said_when_several_fit(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (folder / name).write_text('{"user_id": "u", "asin": "i", "timestamp": 1}\n')
    arguments = ["convert", "amazon2023", str(folder), str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "choose one with --reviews" in capsys.readouterr().err
    assert main([*arguments, "--reviews", str(folder / "b.jsonl")]) == 0
    assert main(["convert", "amazon2014", str(folder), str(tmp_path / "out")]) == 2


def test_a_file_of_which_nothing_can_be_read_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "reviews_X.json").write_text("<html>\n" * 3)
    assert main(["convert", "amazon2014", str(folder), str(tmp_path / "out")]) == 2
    assert "reviews_X.json: no readable record among 3 (line 1: " in capsys.readouterr().err


def test_filters_that_leave_nothing_are_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "ratings_X.csv").write_text("A,B,1.0,10\n")
    arguments = ["convert", "amazon2014", str(folder), str(tmp_path / "out")]
    assert main([*arguments, "--min-rating", "4"]) == 2
    assert "leave no interaction: 1 interactions rated below 4" in capsys.readouterr().err
    assert main([*arguments, "--since", "yesterday"]) == 2


def test_the_number_zero_is_no_item(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = ("0", "-0", "0.0", '"0"', '"B1"')
    lines = [
        f'{{"user_id": "A{n}", "parent_asin": {item}, "timestamp": {n}, "rating": 5}}'
        for n, item in enumerate(items)
    ]
    (folder / "X.jsonl").write_text("\n".join(lines))
    assert main(["convert", "amazon2023", str(folder), str(tmp_path / "out")]) == 0
    found = [("A3", "0", "5.0", "3"), ("A4", "B1", "5.0", "4")]
    assert rows(tmp_path / "out" / "out.inter") == found
    said = "3 reviews without user_id, parent_asin or timestamp (first: X.jsonl line 1)"
    assert said in capsys.readouterr().out


def test_two_processes_read_what_one_reads(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"B{number}" for number in range(60)]
    write_gz(folder / "reviews_X.json.gz", *(review("A1", name, 5.0, 1369699200) for name in names))
    records = [f"{{'asin': {name!r}, 'title': 'No {name} &amp; more'}}" for name in names[:-1]]
    write_gz(folder / "meta_X.json.gz", *records[:40], "{broken", "{'title': 'x'}", *records[40:])
    monkeypatch.setattr(lines, "BLOCK_BYTES", 500)
    monkeypatch.setattr(lines, "CHUNK_BYTES", 200)
    said = []
    for count in "12":
        out = str(tmp_path / count / "out")
        assert main(["convert", "amazon2014", str(folder), out, "--threads", count]) == 0
        said.append(capsys.readouterr().out.replace(out, ""))
    first, second = (tmp_path / count / "out" / "out.item" for count in "12")
    assert first.read_bytes() == second.read_bytes()
    assert rows(first)[58] == ("B58", "No B58 & more") and len(rows(first)) == 60
    assert said[0] == said[1] and "1 malformed metadata records (first: meta_X" in said[0]
