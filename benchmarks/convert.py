"""Conversion of generated raw files: seconds by the clock and of CPU, and peak memory.

    python -m benchmarks convert [--quick] [--large] [--folder DIR] [--json FILE]

Reviews are JSON lines with texts of 700 bytes, packed with gzip, and metadata; ratings have the
shape of MovieLens-25M, as CSV and as Parquet, with their 5-core. Each conversion is a process of
its own, from its start to its end; CPU is that of the processes that read items, too, and memory
is the most that was resident in the first. What is written from Parquet is compared with what is
written from CSV.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.convert_data import write_ratings, write_reviews
from benchmarks.memory import own_peak_bytes
from dataset_tools.files.hashes import file_hash

#: Users and items for each review.
USERS_A_REVIEW, ITEMS_A_REVIEW = 0.45, 0.125
LARGE = 100_000_000
FORMS = {"csv": "ratings, CSV", "parquet": "ratings, Parquet"}
_COLUMNS = ["--user=userId", "--item=movieId", "--rating=rating", "--time=timestamp"]


@dataclass(frozen=True)
class Case:
    """A conversion: what the table calls it, how many rows are read, its words after `convert`."""

    name: str
    rows: int
    words: list[str]
    memory: str


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks convert", description=__doc__)
    add = parser.add_argument
    add("--reviews", type=int, default=2_000_000, help="lines of reviews (2000000); 0: none")
    add("--ratings", type=int, default=25_000_000, help="rows of ratings (25000000); 0: none")
    add("--large", action="store_true", help=f"then {LARGE:,} ratings too, as CSV and as Parquet")
    add("--form", action="append", choices=FORMS, help="of the ratings, this alone (csv, parquet)")
    add("--k-core", type=int, default=5, help="of the ratings (5)")
    add("--memory-limit", default="2GB", help="of DuckDB's tables (2GB)")
    add("--large-memory-limit", default="5GB", help="the same with --large (5GB)")
    add("--threads", type=int, default=2, help="of the conversions (2)")
    add("--folder", type=Path, help="where the files are made and removed again (temporary)")
    add("--json", type=Path, help="write the figures to this file")
    add("--quick", action="store_true", help="a short trial: 20,000 reviews, 100,000 ratings")
    add("--worker", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(words: Sequence[str]) -> int:
    """Print the figures; 0 done, 1 a conversion failed or wrote other bytes."""
    options = build_parser().parse_args(words)
    if options.worker:
        return _work(options.worker)
    if options.quick:
        options.reviews, options.ratings = 20_000, 100_000
    found = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        try:
            for case in _cases(options, Path(folder)):
                found.append(measure(case, options.threads, Path(folder) / "out"))
                print(_table(found[-1:]), file=sys.stderr)  # the whole takes long
        except subprocess.CalledProcessError as error:
            print(error.stderr, "error: a conversion failed", file=sys.stderr)
            return 1
    print(f"{options.threads} threads\n{_table(found)}")
    if options.json:
        from recbole_fmrlrec.files.atomic import write_json

        write_json(options.json, {"threads": options.threads, "rows": found})
    return _check_same(found)


def _cases(options: argparse.Namespace, folder: Path) -> Iterator[Case]:
    """Each case, once its file is made; files that are done with are removed."""
    if options.reviews:
        users, items = (
            round(options.reviews * share) for share in (USERS_A_REVIEW, ITEMS_A_REVIEW)
        )
        raw = folder / "reviews"
        raw.mkdir()
        write_reviews(raw, options.reviews, max(1, users), max(1, items))
        words = ["amazon2023", str(raw)]
        yield Case("reviews, JSON lines (gzip)", options.reviews, words, options.memory_limit)
    sizes = [(options.ratings, options.memory_limit)] if options.ratings else []
    sizes += [(LARGE, options.large_memory_limit)] if options.large else []
    for rows, memory in sizes:
        paths = {form: folder / f"ratings.{form}" for form in options.form or FORMS}
        write_ratings(list(paths.values()), rows)
        more = [*_COLUMNS, "--k-core", str(options.k_core)]
        for form, path in paths.items():
            yield Case(FORMS[form], rows, [form, str(path), *more], memory)


def measure(case: Case, threads: int, out: Path) -> dict[str, Any]:
    """Convert to ``out``, which is gone afterwards, in a process of its own.

    Raises:
        subprocess.CalledProcessError: the conversion failed.
    """
    limits = ["--memory-limit", case.memory, "--threads", str(threads), "--overwrite"]
    words = [case.words[0], case.words[1], str(out), *case.words[2:], *limits]
    command = [sys.executable, "-m", "benchmarks", "convert", "--worker", "convert", *words]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall = time.perf_counter() - started
    figures = json.loads(done.stdout.splitlines()[-1].removeprefix("benchmark: "))
    written = out / f"{out.name}.inter"
    with open(written, "rb") as stream:
        lines = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    found = {
        "case": case.name,
        "rows": case.rows,
        "written": lines - 1,
        "memory_limit": case.memory,
    }
    found |= {"wall": wall, **figures, "sha256": file_hash(written)}
    for path in out.iterdir():
        path.unlink()
    out.rmdir()
    return found


def _work(words: list[str]) -> int:
    """Run a command of dataset_tools, and say what it took."""
    from dataset_tools.__main__ import main as convert

    code = convert(words)
    cpu = sum(os.times()[:4])  # of processes that read items too
    print(f"benchmark: {json.dumps({'cpu': cpu, 'peak_bytes': own_peak_bytes()})}")
    return code


def _table(found: Sequence[dict[str, Any]]) -> str:
    head = ["conversion", "rows", "written", "clock s", "CPU s", "peak GiB", "memory limit"]
    rows = [
        [
            row["case"],
            f"{row['rows']:,}",
            f"{row['written']:,}",
            f"{row['wall']:.1f}",
            f"{row['cpu']:.1f}",
            f"{row['peak_bytes'] / 2**30:.2f}",
            row["memory_limit"],
        ]
        for row in found
    ]
    return tabulate(rows, head, disable_numparse=True, colalign=("left", *["right"] * 6))


def _check_same(found: Sequence[dict[str, Any]]) -> int:
    """Whether CSV and Parquet gave the same interactions, which is said where both were read."""
    code = 0
    ratings = [row for row in found if row["case"] in FORMS.values()]
    for rows in sorted({row["rows"] for row in ratings}):
        hashes = [row["sha256"] for row in ratings if row["rows"] == rows]
        if len(hashes) > 1:
            same = len(set(hashes)) == 1
            said = "the same" if same else "OTHER"
            print(f"{rows:,} ratings: CSV and Parquet give {said} bytes")
            code = code if same else 1
    return code
