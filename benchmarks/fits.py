"""What fits where: memory and CPU time by the number of items, measured and by formula.

    python -m benchmarks fits [--items N ...] [--width D] [--features F] [--json FILE] [--quick]

Every measurement is a process of its own: training with a learned vector per item (`fMRLRecID`) and
from features on disk alone (`fMRLRec`), both with a sampled softmax; ranking users against all
items; loading an exported model and answering requests. Memory is the largest resident memory: a
fixed part, measured with hardly more items than a step has candidates, and what comes to it with
all of them. Data are drawn: memory and time depend on shapes alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from benchmarks.fits_formulas import Case, expected_bytes
from benchmarks.fits_run import PHASES, measure
from recbole_fmrlrec.files.atomic import write_json
from recbole_fmrlrec.runs.result import machine_facts

HEAD = ["phase", "items", "GB fixed", "GB by items", "by formula", "CPU s to begin", "CPU ms"]
HEAD += ["of each"]


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fits", description=__doc__)
    add = parser.add_argument
    add("--items", type=int, nargs="+", default=[12_000, 1_000_000, 10_000_000])
    add("--width", type=int, default=64, help="d, the largest size (64)")
    add("--features", type=int, default=64, help="columns of the features (64)")
    add("--windows", type=int, default=128, help="windows of a batch, 10 positions each (128)")
    add("--candidates", type=int, default=8192, help="num_sampled_items (8192)")
    add("--steps", type=int, default=5, help="measured steps, after one that does not count (5)")
    add("--users", type=int, default=64, help="ranked users (64)")
    add("--phase", choices=list(PHASES), action="append", help="only this; may be given again")
    add("--folder", type=Path, help="where features and models are written meanwhile")
    add("--json", type=Path, help="write the figures to this file")
    add("--quick", action="store_true", help="a short trial: 1,000 and 20,000 items")
    return parser


def main(words: Sequence[str]) -> int:
    """Print the figures; returns 0."""
    options = build_parser().parse_args(words)
    if options.quick:
        options.items, options.width, options.features = [1_000, 20_000], 16, 16
        options.windows, options.candidates, options.steps = 8, 64, 2
    rows: list[dict[str, Any]] = []
    jobs = [(phase, items) for items in options.items for phase in options.phase or PHASES]
    for phase, items in tqdm(jobs, desc="measurements", disable=None):
        case = Case(items, options.width, options.features, options.windows, options.candidates)
        with (
            tempfile.TemporaryDirectory(dir=options.folder) as folder,
            # max_tasks_per_child would need another start method: a pool for each.
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process,
        ):
            job = measure, phase, case, Path(folder), options.steps, options.users
            found = process.submit(*job).result()
        least = expected_bytes(phase, case.least())
        found["expected_bytes"] = expected_bytes(phase, case) - least
        rows.append({"phase": phase, "items": items, **found})
    _print(options, rows)
    if options.json:
        write_json(options.json, {"machine": machine_facts(), "rows": rows})
    return 0


def _print(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    print(
        f"d = {options.width}, features {options.features} wide, {options.windows} windows of 10 "
        f"positions, {options.candidates} candidates, one thread"
    )
    table = [
        [
            row["phase"],
            row["items"],
            row["fixed_bytes"] / 1e9,
            row["bytes"] / 1e9,
            row["expected_bytes"] / 1e9,
            row["begin_seconds"],
            1000 * row["seconds"],
            row["of"],
        ]
        for row in rows
    ]
    print(tabulate(table, HEAD, intfmt=",", floatfmt=("", "", ".2f", ".3f", ".3f", ".1f", ".3g")))
    sys.stdout.flush()
