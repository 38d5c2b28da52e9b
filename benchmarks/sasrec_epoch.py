"""An epoch of RecBole's SASRec against an epoch of fMRLRec with sizes up to 256.

    python -m benchmarks sasrec-epoch [--dataset NAME ...] [--batches N] [--json FILE] [--quick]

Each model trains by its own defaults, batches of both in turn, each in a process of its own that
waits while the other works. The median time of a batch is scaled to the epoch. RecBole is measured
twice: `as shipped`, with its own dataset, anomaly detection on as its sine.py leaves it, and the C
library's defaults; and `here`, as this package runs it. What RecBole 1.2.1 cannot run without on
current libraries is mended in both.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from benchmarks.epoch_worker import (
    Worker,
    WorkerError,
    begin_worker,
    ready_trainer,
    serve_batches,
    shipped_trainer,
)
from recbole_fmrlrec.files.atomic import write_json

DATASETS = ("ml-100k", "amazon-beauty")
SIZES = (8, 16, 32, 64, 128, 256)
WAYS = ("as shipped", "here")
#: The ratio of CPU time that this package aims at.
TARGETS = {"ml-100k": 15, "amazon-beauty": 4}


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks sasrec-epoch", description=__doc__)
    add = parser.add_argument
    add("--dataset", action="append", help="only this dataset; may be given again")
    add("--data_path", default="dataset", help="the folder of datasets (dataset)")
    add("--batches", type=int, default=8, help="batches of each model that are timed (8)")
    add("--num_threads", type=int, default=1, help="threads of torch (1)")
    add("--json", type=Path, metavar="FILE", help="write the figures there too")
    add("--quick", action="store_true", help="two batches on ml-100k only")
    add("--worker", help=argparse.SUPPRESS)
    return parser


def main(words: Sequence[str]) -> int:
    """Print the figures; 0 done, 1 a model could not be trained."""
    options = build_parser().parse_args(words)
    if options.worker:
        return _work(options.worker, options)
    if options.quick:
        options.batches, options.dataset = 2, options.dataset or ["ml-100k"]
    found = []
    for dataset in options.dataset or DATASETS:
        for way in WAYS:
            try:
                found.append(_compare(dataset, way, options))
            except WorkerError as error:
                print(f"error: {dataset}, {error}", file=sys.stderr)
                return 1
    _print(found, options)
    if options.json:
        write_json(options.json, {"threads": options.num_threads, "results": found})
    return 0


def _compare(dataset: str, way: str, options: argparse.Namespace) -> dict[str, Any]:
    """Time the batches of both models in turn."""
    with _Worker(way, dataset, options) as sasrec, _Worker("fMRLRec", dataset, options) as ours:
        times: dict[str, list[tuple[float, float]]] = {"sasrec": [], "fmrlrec": []}
        for _ in tqdm(range(1 + options.batches), desc=f"{dataset}, {way}", disable=None):
            times["sasrec"].append(sasrec.batch())
            # Its batches are small: as many as take about a quarter of the other's time.
            ours_count = max(1, round(times["sasrec"][-1][1] / 4 / max(ours.last, 1e-3)))
            parts = [ours.batch() for _ in range(min(ours_count, 50))]
            times["fmrlrec"].append((median(p[0] for p in parts), median(p[1] for p in parts)))
        pairs = list(zip(times["sasrec"][1:], times["fmrlrec"][1:], strict=True))
        scale = sasrec.per_epoch / ours.per_epoch
        return {
            "dataset": dataset,
            "recbole": way,
            "batches_timed": options.batches,
            "sasrec": sasrec.figures([pair[0] for pair in pairs]),
            "fmrlrec": ours.figures([pair[1] for pair in pairs]),
            "ratio_cpu": median(s[1] / f[1] for s, f in pairs) * scale,
            "ratio_wall": median(s[0] / f[0] for s, f in pairs) * scale,
            "target": TARGETS.get(dataset),
        }


class _Worker(Worker):
    """A process that trains one batch of one model whenever it is told to."""

    def __init__(self, kind: str, dataset: str, options: argparse.Namespace) -> None:
        words = [f"--worker={kind}", f"--dataset={dataset}", f"--data_path={options.data_path}"]
        words.append(f"--num_threads={options.num_threads}")
        super().__init__(
            kind, [sys.executable, "-W", "ignore", "-m", "benchmarks", "sasrec-epoch", *words]
        )


def _work(kind: str, options: argparse.Namespace) -> int:
    """The worker: build the model, then train a batch for every line on standard input."""
    begin_worker(options.num_threads, keep_memory=kind != "as shipped")
    where = options.dataset[0], options.data_path
    shipped = kind == "as shipped"
    trainer, loader = shipped_trainer("SASRec", *where) if shipped else _as_here(kind, *where)
    serve_batches(trainer, loader)
    return 0


def _as_here(kind: str, dataset: str, data_path: str) -> tuple[Any, Any]:
    from recbole_fmrlrec.config.config import Config

    model = "SASRec" if kind == "here" else kind
    keys: dict[str, Any] = {"data_path": data_path, "show_progress": False, "use_gpu": False}
    if model != "SASRec":
        keys["sizes"] = list(SIZES)
    return ready_trainer(Config(model, dataset, config_dict=keys))[:2]


def _print(found: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    print(f"\nCPU seconds of an epoch, {options.num_threads} threads, medians of batches")
    head = ["dataset", "RecBole", "SASRec", "batch", "fMRLRec", "batch", "times", "by wall", "aim"]
    rows = []
    for row in found:
        cells: list[Any] = [row["dataset"], row["recbole"]]
        for model in ("sasrec", "fmrlrec"):
            cells += [row[model]["epoch_cpu"], row[model]["batch_cpu"]]
        rows.append([*cells, row["ratio_cpu"], row["ratio_wall"], row["target"]])
    print(tabulate(rows, head, floatfmt=".2f"))
