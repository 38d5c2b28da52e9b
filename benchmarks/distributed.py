"""A training step in one and in two processes: time, bytes exchanged, and the ideal.

    python -m benchmarks distributed [--quick] [--processes N] [--batch B] [--features F]

N processes with B windows each take the step of one process with N times B windows. Timed are one
process with N x B, one with B, and N with B each, every one with one thread, in processes of their
own that torchrun starts. The ideal step of N processes takes what one takes for B windows: the rest
is what the exchange costs, with the waiting for the slowest and what the processes take from each
other of caches and memory. The data is drawn in the shape of Amazon Beauty; items are learned
vectors (fMRLRecID), whose gradients are exchanged whole: the most that a step can exchange. With
``--features F`` they are projected from F drawn numbers (fMRLRec): by shards, which exchanges the
table and its gradient, and by each process for itself. The ideal is then that of the latter.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.drawn import BEAUTY, DRAWN, write_drawn
from benchmarks.epoch_worker import NextBatch, begin_worker, ready_trainer
from dataset_tools import features as store
from recbole_fmrlrec.files.atomic import write_json

#: What is drawn: Beauty's shape, and one for a short trial.
SHAPES = {False: BEAUTY, True: (600, 300, 5, 8.88)}


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks distributed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--processes", type=int, default=2, help="processes that train together (2)")
    add("--batch", type=int, default=64, help="windows of a batch of each process (64)")
    add("--width", type=int, default=128, help="d of the model (128)")
    add("--steps", type=int, default=40, help="steps that are timed (40)")
    add("--features", type=int, default=0, help="columns of the items' features; 0: ids (0)")
    add("--shard_items", choices=("True", "False"), help=argparse.SUPPRESS)
    add("--json", type=Path, metavar="FILE", help="write the figures there too")
    add("--quick", action="store_true", help="a few steps on small drawn data")
    add("--worker", type=Path, help=argparse.SUPPRESS)
    add("--data_path", type=Path, help=argparse.SUPPRESS)
    return parser


def main(words: Sequence[str]) -> int:
    """Print the figures; 0 done, 1 the processes failed."""
    options = build_parser().parse_args(words)
    if options.worker:
        return _work(options)
    if options.quick:
        options.steps, options.batch, options.width = 3, 16, 16
    count, batch = options.processes, options.batch
    with tempfile.TemporaryDirectory() as folder:
        write_drawn(Path(folder), *SHAPES[options.quick])
        options.data_path = Path(folder)
        try:
            hows: list[tuple[Any, ...]] = [(1, count * batch), (1, batch), (count, batch)]
            if options.features:
                write_features(Path(folder) / DRAWN, SHAPES[options.quick][1], options.features)
                hows[2:] = [(count, batch, by_shards) for by_shards in (True, False)]
            found = [measure(options, *how) for how in hows]
        except subprocess.CalledProcessError as error:
            print(f"error: the processes ended with {error.returncode}", file=sys.stderr)
            return 1
    print(table(found))
    if options.json:
        shape = {"width": options.width, "features": options.features}
        write_json(options.json, {**shape, "rows": found})
    return 0


def write_features(dataset: Path, items: int, width: int) -> None:
    """Draw the text features of a drawn dataset."""
    tokens = [f"i{item}" for item in range(items)]
    matrix = np.random.default_rng(1).standard_normal((items, width), dtype=np.float32)
    store.write_features(dataset / "features", "text", matrix, tokens, {"encoder": "generated"})


def measure(
    options: argparse.Namespace, processes: int, batch: int, by_shards: bool | None = None
) -> dict[str, Any]:
    """The figures of so many processes with so many windows each.

    Args:
        options: of the command.
        processes: how many train together.
        batch: windows of each.
        by_shards: whether they project the items together; None where they do not project.
    """
    out = options.data_path / f"{processes}-{batch}-{by_shards}.json"
    launcher = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    launcher += [f"--nproc_per_node={processes}", "-m", "benchmarks", "distributed"]
    words = [f"--worker={out}", f"--data_path={options.data_path}", f"--batch={batch}"]
    words += [f"--width={options.width}", f"--steps={options.steps}"]
    words += [f"--features={options.features}"]
    words += [] if by_shards is None else [f"--shard_items={by_shards}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*launcher, *words], check=True, env=environment)
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    how = {} if by_shards is None else {"by_shards": by_shards}
    return {"processes": processes, "batch": batch, **how, **found}


def table(found: Sequence[dict[str, Any]]) -> str:
    """The figures of one process with all windows, one with a share, and all processes; with
    features these are there twice."""
    whole, share, together, *_ = found
    lines = [
        [row["processes"], row["batch"], 1000 * row["wall"], 1000 * row["cpu"], row["bytes"] / 1e6]
        for row in found
    ]

    def percent(time: str) -> str:
        return f"{100 * share[time] / together[time]:.0f}%"

    head = ["processes", "windows of each", "ms a step", "CPU ms of each", "MB given to exchange"]
    if "by_shards" in together:
        head.append("items by shards")
        for line, row in zip(lines, found, strict=True):
            line.append({True: "yes", False: "no", None: ""}[row.get("by_shards")])
    ideal, reached = (whole["wall"] / row["wall"] for row in (share, together))
    return "\n".join(
        [
            tabulate(lines, head, floatfmt=("", "", ".1f", ".1f", ".2f", "")),
            f"times as fast as one process: {reached:.2f}; ideal {ideal:.2f}",
            f"of the ideal step: {percent('wall')} by the clock, {percent('cpu')} by CPU time",
        ]
    )


def _work(options: argparse.Namespace) -> int:
    """A process of a measurement: train steps one by one; the first one writes the figures."""
    begin_worker(1)
    from recbole.trainer import Trainer as RecBoleTrainer

    from recbole_fmrlrec import torchrun

    trainer, train = _trainer(options)
    batches = NextBatch(train)
    times, before = [], 0
    for step in range(3 + options.steps):
        if step == 3:  # the first ones allocate
            before = torchrun.added_bytes()
        wall, cpu = time.perf_counter(), time.process_time()
        RecBoleTrainer._train_epoch(trainer, batches, 0)
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = (median(column) for column in zip(*times[3:], strict=True))
    if torchrun.is_first():
        exchanged = (torchrun.added_bytes() - before) / options.steps
        write_json(options.worker, {"wall": wall, "cpu": cpu, "bytes": exchanged})
    return 0


def _trainer(options: argparse.Namespace) -> tuple[Any, Any]:
    """The model's trainer in this process, and its loader."""
    from recbole_fmrlrec import torchrun
    from recbole_fmrlrec.config.config import Config
    from recbole_fmrlrec.train.tensorboard import tensorboard_in

    sizes = [2**power for power in range(3, options.width.bit_length())]
    keys: dict[str, Any] = {"data_path": str(options.data_path), "sizes": sizes, "use_gpu": False}
    keys |= {"use_features": bool(options.features), "train_batch_size": options.batch}
    keys |= {"show_progress": False, "shard_items": options.shard_items == "True"}
    keys["checkpoint_dir"] = str(options.data_path / "saved")
    model = "fMRLRec" if options.features else "fMRLRecID"
    config = Config(model, DRAWN, config_dict=keys)
    torchrun.start(config["device"])
    tensorboard_in(options.data_path)
    trainer, train, _ = ready_trainer(config)
    trainer._share_training(train)
    return trainer, train
