"""An epoch of RecBole's own models: as shipped, as this package runs them, and without padding.

    python -m benchmarks recbole-epoch [--model NAME ...] [--data_path DIR] [--rounds N] [--quick]
                                       [--json FILE]

Data is amazon-beauty where it is below --data_path, else drawn in its shape; items are ids. `as
shipped` is RecBole with its own dataset, its anomaly detection and the C library's defaults, apart
from what it cannot run without on current libraries; `here` is the model in this package;
`trimmed` has `trim_batches: True`. Each trains in a process of its own that waits while another
works, a batch of each in turn. The median time of a batch is scaled to the epoch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from benchmarks.drawn import beauty_or_drawn
from benchmarks.epoch_worker import (
    Worker,
    WorkerError,
    begin_worker,
    ready_trainer,
    serve_batches,
    shipped_trainer,
)
from recbole_fmrlrec.files.atomic import write_json

MODELS = ("SASRec", "GRU4Rec", "BERT4Rec")
WAYS = ("as shipped", "here", "trimmed")


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks recbole-epoch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", action="append", help=f"only this one, of ids; again ({', '.join(MODELS)})")
    add("--data_path", default="dataset", help="the folder with amazon-beauty (dataset)")
    add("--rounds", type=int, default=3, help="batches of each model that are timed (3)")
    add("--num_threads", type=int, default=1, help="threads of torch (1)")
    add("--json", type=Path, metavar="FILE", help="write the figures there too")
    add("--quick", action="store_true", help="one round on small drawn data")
    add("--worker", choices=WAYS, help=argparse.SUPPRESS)
    add("--dataset", help=argparse.SUPPRESS)
    return parser


def main(words: Sequence[str]) -> int:
    """Print the figures; 0 done, 1 a model could not be trained."""
    options = build_parser().parse_args(words)
    if options.worker:
        return _work(options)
    if options.quick:
        options.rounds = 1
    found = []
    with beauty_or_drawn(options.data_path, options.quick) as (data_path, dataset):
        options.data_path, options.dataset = data_path, dataset
        for model in options.model or MODELS:
            try:
                found += _compare(model, options)
            except WorkerError as error:
                print(f"error: {model}, {error}", file=sys.stderr)
                return 1
    _print(found, options)
    if options.json:
        figures = {"threads": options.num_threads, "dataset": options.dataset, "results": found}
        write_json(options.json, figures)
    return 0


def _compare(model: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time a batch of each way in turn."""
    with ExitStack() as stack:
        commands = ((way, _command(model, way, options)) for way in WAYS)
        workers = {way: stack.enter_context(Worker(way, words)) for way, words in commands}
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in tqdm(range(1 + options.rounds), desc=model, disable=None):
            for way, worker in workers.items():
                times[way].append(worker.batch())
        first = times[WAYS[0]][1:]
        return [
            {"model": model, "way": way, "peak_bytes": worker.peak}
            | worker.figures(times[way][1:])
            | {"ratio_cpu": median(a[1] / b[1] for a, b in zip(first, times[way][1:], strict=True))}
            for way, worker in workers.items()
        ]


def _command(model: str, way: str, options: argparse.Namespace) -> list[str]:
    words = [f"--worker={way}", f"--model={model}", f"--dataset={options.dataset}"]
    words += [f"--data_path={options.data_path}", f"--num_threads={options.num_threads}"]
    return [sys.executable, "-W", "ignore", "-m", "benchmarks", "recbole-epoch", *words]


def _work(options: argparse.Namespace) -> int:
    """The worker: build the model, then train a batch for every line on standard input."""
    shipped = options.worker == WAYS[0]
    begin_worker(options.num_threads, keep_memory=not shipped)
    asked = options.model[0], options.dataset, options.data_path
    trainer, train = (
        shipped_trainer(*asked) if shipped else _as_here(*asked, options.worker == WAYS[2])
    )
    serve_batches(trainer, train)
    return 0


def _as_here(model: str, dataset: str, data_path: str, trim: bool) -> tuple[Any, Any]:
    from recbole_fmrlrec.config.config import Config

    keys = {"data_path": data_path, "show_progress": False, "use_gpu": False, "trim_batches": trim}
    return ready_trainer(Config(model, dataset, config_dict=keys))[:2]


def _print(found: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    print(f"\n{options.dataset}: CPU seconds of an epoch, {options.num_threads} threads")
    print("medians of batches; times: as shipped over the row, median of the rounds")
    head = ["model", "RecBole", "batches", "a batch", "an epoch", "times", "peak GiB"]
    columns = ("model", "way", "batches", "batch_cpu", "epoch_cpu", "ratio_cpu")
    rows = [[*(row[name] for name in columns), row["peak_bytes"] / 2**30] for row in found]
    print(tabulate(rows, head, floatfmt=("", "", ".0f", ".2f", ".0f", ".1f", ".2f")))
