"""Raw files that ``benchmarks convert`` generates, and its measurement of a few rows."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from benchmarks.__main__ import main
from benchmarks.convert import Case, measure
from benchmarks.convert_data import write_ratings, write_reviews
from dataset_tools.__main__ import main as dataset_tools

ROWS = 20_000


def test_ratings_have_the_shape_of_movielens(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    write_ratings([path, tmp_path / "ratings.parquet"], ROWS)
    header, *lines = path.read_text().splitlines()
    assert header == "userId,movieId,rating,timestamp" and len(lines) == ROWS
    users, _, stars, times = zip(*(line.split(",") for line in lines), strict=True)
    # 162,541 of 25,000,095 ratings, in order
    assert [*map(int, users)] == sorted(map(int, users)) and len(set(users)) == 130
    assert {float(one) for one in stars} == {half / 2 for half in range(1, 11)}
    seconds = [int(time) - 789_652_009 for time in times]
    assert min(seconds) >= 0 and max(seconds) < 784_100_000
    assert duckdb.sql(f"FROM '{tmp_path}/ratings.parquet'").fetchall() == [
        (int(u), int(i), float(r), int(t)) for u, i, r, t in (line.split(",") for line in lines)
    ]


def test_reviews_are_lines_of_json(tmp_path: Path) -> None:
    write_reviews(tmp_path, lines=50, users=20, items=5)
    with gzip.open(tmp_path / "Big.jsonl.gz", "rt") as stream:
        reviews = [json.loads(line) for line in stream]
    assert len(reviews) == 50 and {len(json.dumps(one)) for one in reviews} <= set(range(650, 750))
    assert dataset_tools(["convert", "amazon2023", str(tmp_path), str(tmp_path / "out")]) == 0
    rows = (tmp_path / "out" / "out.inter").read_text().splitlines()[1:]
    assert Counter(row.split("\t")[1] for row in rows) == Counter(r["parent_asin"] for r in reviews)


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    write_ratings([tmp_path / "ratings.csv"], ROWS)
    return tmp_path / "ratings.csv"


def test_a_conversion_is_measured(ratings: Path) -> None:
    words = ["csv", str(ratings), "--user=userId", "--item=movieId"]
    out = ratings.with_name("out")
    found = measure(Case("ratings, CSV", ROWS, words, "1GB"), 1, out)
    assert not out.exists()
    assert found["rows"] == found["written"] == ROWS  # without a time, no two are the same
    assert min(found["cpu"], found["wall"]) > 0.1
    assert 50 * 2**20 < found["peak_bytes"] < 2**30


def test_csv_and_parquet_are_compared(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["convert", "--reviews=0", f"--ratings={ROWS}", f"--folder={tmp_path}"]
    assert main([*words, f"--json={tmp_path}/found.json"]) == 0
    said = capsys.readouterr().out
    assert "ratings, CSV" in said and "ratings, Parquet" in said and "20,000" in said
    assert "20,000 ratings: CSV and Parquet give the same bytes" in said
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["written"] for row in found["rows"]] == [found["rows"][0]["written"]] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


def test_one_form_is_compared_with_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["convert", "--reviews=0", "--ratings=5000", "--form=parquet", f"--folder={tmp_path}"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "ratings, Parquet" in said and "CSV" not in said
