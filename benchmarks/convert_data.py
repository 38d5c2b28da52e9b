"""Generated raw files in the shapes of public data: reviews as JSON lines, ratings as CSV."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

#: MovieLens-25M: users and films for each rating.
USERS_A_RATING, FILMS_A_RATING = 162_541 / 25_000_095, 59_047 / 25_000_095
BLOCK = 1 << 20
_FIRST_SECOND, _SECONDS = 789_652_009, 784_000_000


def write_reviews(folder: Path, lines: int, users: int, items: int) -> None:
    """Reviews of about 700 bytes a line, popular items first, and metadata of every item."""
    rng = np.random.default_rng(0)
    who = rng.integers(0, users, lines).tolist()
    what = (items * rng.random(lines) ** 2).astype(int).tolist()
    text = "It works as it should, and I would buy it again. " * 10
    with gzip.open(folder / "Big.jsonl.gz", "wt", compresslevel=1) as stream:
        for line, (user, item) in enumerate(zip(who, what, strict=True)):
            stream.write(
                f'{{"rating": 5.0, "title": "Good", "text": "{text}", "asin": "C{item:09d}", '
                f'"parent_asin": "B{item:09d}", "user_id": "AG{user:026d}", '
                f'"timestamp": {1_500_000_000_000 + line * 7919}, "helpful_vote": 0}}\n'
            )
    with gzip.open(folder / "meta_Big.jsonl.gz", "wt", compresslevel=1) as stream:
        for item in range(items):
            record = {"parent_asin": f"B{item:09d}", "title": f"item {item}", "description": [text]}
            stream.write(json.dumps(record) + "\n")


def write_ratings(paths: Sequence[Path], rows: int) -> None:
    """Ratings in the shape of MovieLens-25M: users in order, few of them with very many films.

    Args:
        paths: files with the same rows in the same order, as CSV or Parquet by their names.
    """
    import duckdb

    from dataset_tools.formats.parquet_table import quoted_text

    with duckdb.connect(":memory:", config={"temp_directory": str(paths[0].parent)}) as con:
        con.execute(
            "CREATE TABLE drawn (userId INTEGER, movieId INTEGER, rating DOUBLE, timestamp BIGINT)"
        )
        for block in _ratings(rows):
            con.register("block", block)
            con.execute("INSERT INTO drawn FROM block")
        for path in paths:
            con.execute(f"COPY drawn TO {quoted_text(path)} (FORMAT {path.suffix[1:]})")


def _ratings(rows: int) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    users, films = max(1, round(rows * USERS_A_RATING)), max(1, round(rows * FILMS_A_RATING))
    counts = 20 + rng.lognormal(3.5, 1.3, users)
    ends = np.cumsum(counts) * (rows / counts.sum())
    begun = rng.integers(0, _SECONDS, users)
    for start in range(0, rows, BLOCK):
        place = np.arange(start, min(start + BLOCK, rows))
        user = np.minimum(np.searchsorted(ends, place, side="right"), users - 1)
        yield {
            "userId": user + 1,
            "movieId": (films * rng.random(len(place)) ** 3).astype(np.int64) * 3 + 1,
            "rating": rng.integers(1, 11, len(place)) / 2,
            "timestamp": _FIRST_SECOND + begun[user] + rng.integers(0, 100_000, len(place)),
        }
