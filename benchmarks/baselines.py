"""An epoch of SASRecM, LRURec and fMRLRec beside one of RecBole's SASRec, and of RecTools'.

    python -m benchmarks baselines [--data_path DIR] [--width D ...] [--rounds N] [--quick]
                                   [--rectools_python PYTHON] [--json FILE]

Items are ids for all models, the maximum length is 50, the softmax runs over all items. Data is
amazon-beauty where it is below --data_path, else drawn in its shape. Batches are those of each
model's defaults: 2,048 prefixes for RecBole's SASRec (fewer above d = 64, so that they take no more
than its 3 GB), 128 users for the others (fMRLRec too, whose own is 32). Each model trains in a
process of its own that waits while another works; in a round all of them train, the quick ones
several batches, so that a ratio compares the same state of the machine. The median time of a batch
is scaled to the epoch.

RecTools takes part where it can be imported by the Python that --rectools_python names, which is
that of an environment of its own: its SASRec of the same width, blocks and heads.
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

from benchmarks.drawn import REAL, beauty_or_drawn
from benchmarks.epoch_worker import (
    Worker,
    WorkerError,
    begin_worker,
    ready_trainer,
    serve_batches,
)
from recbole_fmrlrec.files.atomic import write_json

WIDTHS = (64, 256)
REFERENCE, RECTOOLS = "SASRec", "RecTools"
#: In the order in which they take turns; the first is what the others are compared with.
MODELS = (REFERENCE, "SASRecM", "LRURec", "fMRLRecID")
SHOWN = {"SASRec": "RecBole's SASRec", "fMRLRecID": "fMRLRec, ids", RECTOOLS: "RecTools' SASRec"}
MAX_LENGTH = 50


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks baselines",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data_path", default="dataset", help=f"the folder with {REAL} (dataset)")
    add("--width", type=int, action="append", help="only this d; may be given again (64, 256)")
    add("--rounds", type=int, default=5, help="rounds that are timed (5)")
    add("--num_threads", type=int, default=1, help="threads of torch (1)")
    add("--rectools_python", metavar="PYTHON", help="a Python that can import rectools")
    add("--json", type=Path, metavar="FILE", help="write the figures there too")
    add("--quick", action="store_true", help="one round at d = 64 on small drawn data")
    add("--worker", help=argparse.SUPPRESS)
    add("--dataset", default=REAL, help=argparse.SUPPRESS)
    return parser


def main(words: Sequence[str]) -> int:
    """Print the figures; 0 done, 1 a model could not be trained."""
    options = build_parser().parse_args(words)
    if options.worker:
        return _work(options)
    if options.quick:
        options.rounds, options.width = 1, options.width or [64]
    found = []
    with beauty_or_drawn(options.data_path, options.quick) as (data_path, dataset):
        options.data_path, options.dataset = data_path, dataset
        for width in options.width or WIDTHS:
            try:
                found += _compare(width, options)
            except WorkerError as error:
                print(f"error: d = {width}, {error}", file=sys.stderr)
                return 1
    _print(found, options)
    if options.json:
        figures = {"threads": options.num_threads, "dataset": options.dataset, "results": found}
        write_json(options.json, figures)
    return 0


def model_keys(model: str, width: int) -> dict[str, Any]:
    """The settings that make models comparable: the width, ids alone, batches of 128 users."""
    if model == "fMRLRecID":
        sizes = [2**power for power in range(3, width.bit_length()) if 2**power < width]
        return {"sizes": [*sizes, width], "use_features": False, "train_batch_size": 128}
    keys: dict[str, Any] = {"hidden_size": width}
    if model != "LRURec":
        keys["inner_size"] = 4 * width
    if model == REFERENCE:  # every layer holds rows of 50 positions: 12 GB for 2,048 at d = 256
        keys["train_batch_size"] = min(2048, 2048 * 64 // width)
    return keys


def _compare(width: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time batches of all models in turn."""
    models = [*MODELS, *([RECTOOLS] if options.rectools_python else [])]
    with ExitStack() as stack:
        workers = {
            model: stack.enter_context(Worker(SHOWN.get(model, model), command))
            for model in models
            for command in [_command(model, width, options)]
        }
        times: dict[str, list[tuple[float, float]]] = {model: [] for model in models}
        for _ in tqdm(range(1 + options.rounds), desc=f"d = {width}", disable=None):
            for model, worker in workers.items():
                times[model].append(_turn(worker, workers[REFERENCE]))
        return [
            {"width": width, "model": model}
            | worker.figures(times[model][1:])
            | _ratios(times, workers, model)
            for model, worker in workers.items()
        ]


def _turn(worker: Worker, reference: Worker) -> tuple[float, float]:
    """Seconds of a batch: the median of as many as take about a quarter of the reference's."""
    count = 1
    if worker is not reference:
        count = min(20, max(1, round(reference.last / 4 / max(worker.last, 1e-3))))
    parts = [worker.batch() for _ in range(count)]
    return median(part[0] for part in parts), median(part[1] for part in parts)


def _ratios(
    times: dict[str, list[tuple[float, float]]], workers: dict[str, Worker], model: str
) -> dict[str, float]:
    """An epoch of the reference over one of the model: the median of the rounds' ratios."""
    scale = workers[REFERENCE].per_epoch / workers[model].per_epoch
    pairs = list(zip(times[REFERENCE][1:], times[model][1:], strict=True))
    wall, cpu = (median(r[k] / m[k] for r, m in pairs) * scale for k in (0, 1))
    return {"ratio_cpu": cpu, "ratio_wall": wall}


def _command(model: str, width: int, options: argparse.Namespace) -> list[str]:
    if model == RECTOOLS:
        file = Path(options.data_path) / options.dataset / f"{options.dataset}.inter"
        words = [str(file), str(width), str(MAX_LENGTH), str(options.num_threads)]
        return [options.rectools_python, "-W", "ignore", "-m", "benchmarks.rectools_epoch", *words]
    words = [f"--worker={model}", f"--width={width}", f"--dataset={options.dataset}"]
    words += [f"--data_path={options.data_path}", f"--num_threads={options.num_threads}"]
    return [sys.executable, "-W", "ignore", "-m", "benchmarks", "baselines", *words]


def _work(options: argparse.Namespace) -> int:
    """The worker: build the model, then train a batch for every line on standard input."""
    begin_worker(options.num_threads)
    from recbole_fmrlrec.config.config import Config

    keys: dict[str, Any] = {"data_path": options.data_path, "MAX_ITEM_LIST_LENGTH": MAX_LENGTH}
    keys |= {"show_progress": False, "use_gpu": False}
    keys |= model_keys(options.worker, options.width[0])
    config = Config(options.worker, options.dataset, config_dict=keys)
    trainer, train, _ = ready_trainer(config)
    serve_batches(trainer, train)
    return 0


def _print(found: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    print(f"\n{options.dataset}: CPU seconds of an epoch, {options.num_threads} threads")
    print("medians of batches; times: RecBole's SASRec over the model, median of the rounds")
    head = ["d", "model", "batches", "a batch", "an epoch", "times", "by wall"]
    columns = ("batches", "batch_cpu", "epoch_cpu", "ratio_cpu", "ratio_wall")
    rows = [
        [row["width"], SHOWN.get(row["model"], row["model"]), *(row[name] for name in columns)]
        for row in found
    ]
    print(tabulate(rows, head, floatfmt=("", "", ".0f", ".3f", ".1f", ".1f", ".1f")))
