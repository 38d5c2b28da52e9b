"""A training step in one and in two processes: time, bytes exchanged, and the ideal.

    python -m benchmarks distributed [--quick] [--processes N] [--batch B] [--json FILE]

N processes with B windows each take the step of one process with N times B windows. Timed are one
process with N x B, one with B, and N with B each, every one with one thread, in processes of their
own that torchrun starts. The ideal step of N processes takes what one takes for B windows: the rest
is what the exchange costs, with the waiting for the slowest and what the processes take from each
other of caches and memory. The data is drawn in the shape of Amazon Beauty; items are learned
vectors (fMRLRecID), whose gradients are exchanged whole: the most that a step can exchange.
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

from tabulate import tabulate

from benchmarks.drawn import BEAUTY, DRAWN, write_drawn
from benchmarks.epoch_worker import NextBatch, begin_worker, ready_trainer
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
            found = [
                measure(options, *how) for how in ((1, count * batch), (1, batch), (count, batch))
            ]
        except subprocess.CalledProcessError as error:
            print(f"error: the processes ended with {error.returncode}", file=sys.stderr)
            return 1
    print(table(found))
    if options.json:
        write_json(options.json, {"width": options.width, "rows": found})
    return 0


def measure(options: argparse.Namespace, processes: int, batch: int) -> dict[str, Any]:
    """The figures of so many processes with so many windows each."""
    out = options.data_path / f"{processes}-{batch}.json"
    launcher = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    launcher += [f"--nproc_per_node={processes}", "-m", "benchmarks", "distributed"]
    words = [f"--worker={out}", f"--data_path={options.data_path}", f"--batch={batch}"]
    words += [f"--width={options.width}", f"--steps={options.steps}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*launcher, *words], check=True, env=environment)
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return {"processes": processes, "batch": batch, **found}


def table(found: Sequence[dict[str, Any]]) -> str:
    """The figures of one process with all windows, one with a share, and all processes."""
    whole, share, together = found
    lines = [
        [row["processes"], row["batch"], 1000 * row["wall"], 1000 * row["cpu"], row["bytes"] / 1e6]
        for row in found
    ]

    def percent(time: str) -> str:
        return f"{100 * share[time] / together[time]:.0f}%"

    head = ["processes", "windows of each", "ms a step", "CPU ms of each", "MB given to exchange"]
    ideal, reached = (whole["wall"] / row["wall"] for row in (share, together))
    return "\n".join(
        [
            tabulate(lines, head, floatfmt=("", "", ".1f", ".1f", ".2f")),
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
    keys |= {"use_features": False, "train_batch_size": options.batch, "show_progress": False}
    keys["checkpoint_dir"] = str(options.data_path / "saved")
    config = Config("fMRLRecID", DRAWN, config_dict=keys)
    torchrun.start(config["device"])
    tensorboard_in(options.data_path)
    trainer, train, _ = ready_trainer(config)
    trainer._share_training(train)
    return trainer, train
