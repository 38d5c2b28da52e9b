"""A catalogue of a million items: training with the exact and the sampled losses, and ranking.

    python -m benchmarks catalogue [--quick] [--folder DIR] [--json FILE]

The data are generated once and stay in the folder. Every loss is measured in a process of its own,
which loads the data, trains some steps and ranks a sample of users against all items at every size.
Peak memory is the process's largest resident memory up to the end of a phase; pages of the feature
file that the system keeps in memory count.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from benchmarks.catalogue_data import Shape, make
from benchmarks.catalogue_run import Job, measure
from recbole_fmrlrec.files.atomic import write_json
from recbole_fmrlrec.keys.schema import SAMPLED_LOSSES
from recbole_fmrlrec.runs.result import machine_facts

HEAD = ["loss_type", "steps/s", "positions/s", "CPU s/step", "ranked users/s", "loading s"]
HEAD += ["GiB loaded", "GiB trained", "GiB ranked", "loss at start", "at end", "NDCG@10"]


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks catalogue", description=__doc__)
    add = parser.add_argument
    add("--items", type=int, default=1_000_000, help="items of the catalogue (1000000)")
    add("--users", type=int, default=1_000_000, help="users, about 10 interactions each (1000000)")
    add("--features", type=int, default=1024, help="width of the item features (1024)")
    add("--sizes", type=int, nargs="+", default=[8, 16, 32, 64, 128, 256], help="nested sizes")
    add("--loss", choices=["CE", *SAMPLED_LOSSES], action="append", help="only this loss_type")
    add("--batch", type=int, default=128, help="windows of a training batch (128)")
    add("--steps", type=int, default=200, help="measured steps of a sampled loss (200)")
    add("--exact_steps", type=int, default=5, help="measured steps of the exact loss (5)")
    add("--candidates", type=int, default=8192, help="num_sampled_items (8192)")
    add("--ranked_users", type=int, default=10_000, help="users of the evaluation (10000)")
    add("--feature_memory_mb", type=int, default=2048, help="the model's key (2048); 0: on disk")
    add("--ids", action="store_true", help="fMRLRecID: a learned vector per item as well")
    add("--threads", type=int, default=1, help="threads of torch (1)")
    add("--folder", type=Path, help="where the data are kept; a temporary folder if left out")
    add("--json", type=Path, help="write the figures to this file")
    add("--quick", action="store_true", help="a short trial: 20,000 items and users")
    return parser


def main(words: Sequence[str]) -> int:
    """Print the figures; returns 0."""
    options = build_parser().parse_args(words)
    if options.quick:
        options.items = options.users = 20_000
        options.features, options.ranked_users = 128, 1000
        options.steps, options.exact_steps, options.candidates = 10, 2, 1024
        options.batch = 32
    shape = Shape(options.items, options.users, options.features)
    name = f"fmrlrec-catalogue-{shape.items}-{shape.users}-{shape.width}"
    folder = options.folder or Path(tempfile.gettempdir()) / name
    make(folder, shape)
    rows = []
    for loss in tqdm(options.loss or ["CE", *SAMPLED_LOSSES], desc="losses", disable=None):
        # max_tasks_per_child would need another start method: a pool for each measures as well.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            rows.append(process.submit(measure, _job(options, folder, loss)).result())
    facts = machine_facts()
    _print(options, rows, facts)
    if options.json:
        found = {"shape": asdict(shape), "batch": options.batch, "machine": facts, "rows": rows}
        write_json(options.json, found)
    return 0


def _job(options: argparse.Namespace, folder: Path, loss: str) -> Job:
    return Job(
        folder=folder,
        loss_type=loss,
        model="fMRLRecID" if options.ids else "fMRLRec",
        sizes=tuple(options.sizes),
        batch=options.batch,
        warm_up=1 if loss == "CE" else 5,
        steps=options.exact_steps if loss == "CE" else options.steps,
        candidates=options.candidates,
        ranked_users=options.ranked_users,
        threads=options.threads,
        feature_memory_mb=options.feature_memory_mb,
    )


def _print(options: argparse.Namespace, rows: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    print(
        f"{options.items:,} items, {options.users:,} users, features {options.features} wide, "
        f"sizes {options.sizes}, {options.batch} windows a batch, {options.threads} threads, "
        f"torch {facts['packages']['torch']}, {facts['platform']}"
    )
    table = [
        [
            row["loss_type"],
            row["steps_per_second"],
            row["positions_per_second"],
            row["processor_seconds_per_step"],
            row["ranked_users_per_second"],
            row["seconds"]["data"],
            *(row["peak_memory_bytes"][phase] / 2**30 for phase in ("data", "train", "rank")),
            row["first_loss"],
            row["last_loss"],
            row["ndcg@10"][str(max(options.sizes))],
        ]
        for row in rows
    ]
    print(
        tabulate(table, HEAD, floatfmt=("", ".3f", ".0f", ".2f", ".1f", ".0f", *[".2f"] * 5, ".4f"))
    )
    sys.stdout.flush()
