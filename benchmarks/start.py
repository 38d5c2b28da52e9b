"""What passes before training begins: imports, configuration, data, the model with its features.

    python -m benchmarks start [--dataset NAME ...] [--model NAME ...] [--json FILE] [--quick]

Every figure is the median of fresh processes, in seconds of CPU and by the wall.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

DATASETS = ("ml-100k", "amazon-beauty")
MODELS = ("fMRLRec", "SASRec")
#: What a fresh process measures, in this order. ``data`` is what create_dataset and
#: data_preparation take, ``model`` the model with its features.
STEPS = ("imports", "config", "data", "model")


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks start", description=__doc__)
    add = parser.add_argument
    add("--dataset", action="append", help="only this dataset; may be given again")
    add("--model", action="append", help="only this model; may be given again")
    add("--data_path", default="dataset", help="the folder of datasets (dataset)")
    add("--repeats", type=int, default=5, help="processes for a figure (5)")
    add("--num_threads", type=int, default=1, help="threads of torch (1)")
    add("--json", type=Path, metavar="FILE", help="write the figures there too")
    add("--quick", action="store_true", help="one process each, on ml-100k only")
    add("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(words: Sequence[str]) -> int:
    """Print the figures; 0 done, 1 a process failed."""
    options = build_parser().parse_args(words)
    if options.worker:
        print(f"benchmark: {json.dumps(_measure(options))}")
        return 0
    if options.quick:
        options.repeats, options.dataset = 1, options.dataset or ["ml-100k"]
    found = []
    for dataset in options.dataset or DATASETS:
        for model in options.model or MODELS:
            try:
                found.append(_medians(dataset, model, options))
            except subprocess.CalledProcessError as error:
                print(error.stderr, f"error: {model} on {dataset} failed", file=sys.stderr)
                return 1
    _print(found, options)
    if options.json:
        from recbole_fmrlrec.files.atomic import write_json

        write_json(options.json, {"threads": options.num_threads, "results": found})
    return 0


def _medians(dataset: str, model: str, options: argparse.Namespace) -> dict[str, Any]:
    words = [f"--dataset={dataset}", f"--model={model}", f"--data_path={options.data_path}"]
    words += ["--worker", f"--num_threads={options.num_threads}"]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks", "start", *words]
    runs = []
    for _ in tqdm(range(options.repeats), desc=f"{dataset}, {model}", disable=None):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        line = next(x for x in done.stdout.splitlines() if x.startswith("benchmark: "))
        runs.append(json.loads(line.partition(" ")[2]))
    both = {
        kind: {step: median(run[kind][step] for run in runs) for step in STEPS}
        for kind in ("cpu", "wall")
    }
    return {"dataset": dataset, "model": model, "repeats": options.repeats, **both}


def _measure(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The steps of `recbole_fmrlrec.train.run_steps` up to the training."""
    marks = [(time.perf_counter(), time.process_time())]

    def mark() -> None:
        marks.append((time.perf_counter(), time.process_time()))

    from recbole_fmrlrec import compat

    compat.apply()
    from recbole.utils import init_seed

    from recbole_fmrlrec.config.config import Config
    from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
    from recbole_fmrlrec.model_api.registry import get_model_class
    from recbole_fmrlrec.train.threads import use_threads
    from recbole_fmrlrec.train.trainer import trainer_class

    (model,), (dataset,) = options.model, options.dataset
    get_model_class(model)
    use_threads(options.num_threads)
    mark()
    keys = {"data_path": options.data_path, "show_progress": False, "use_gpu": False}
    config = Config(model, dataset, config_dict=keys)
    trainer_class(config)
    mark()
    init_seed(config["seed"], config["reproducibility"])
    train, *_ = data_preparation(config, create_dataset(config))
    mark()
    config.model_class(config, train._dataset)
    mark()
    took = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(marks)]
    return {
        kind: dict(zip(STEPS, (pair[place] for pair in took), strict=True))
        for place, kind in enumerate(("wall", "cpu"))
    }


def _print(found: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    print(f"\nSeconds, {options.num_threads} threads; `ready` is data and model together")
    head = ["dataset", "model", "clock", *STEPS, "ready"]
    rows = [
        [row["dataset"], row["model"], kind, *times.values(), times["data"] + times["model"]]
        for row in found
        for kind, times in row.items()
        if kind in ("cpu", "wall")
    ]
    print(tabulate(rows, head, floatfmt=".2f"))
