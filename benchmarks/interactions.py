"""Loading interactions from text and from Parquet, in memory and on disk: time and peak memory.

    python -m benchmarks interactions [--quick] [--folder DIR] [--json FILE]

Each form is loaded in a process of its own, up to user windows; then it trains some steps. Times
are seconds of CPU, since a clock also counts what else the machine does. Memory is the largest that
was resident, and the largest of it without pages of mapped files, which the system takes back.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from benchmarks.interactions_data import NAME, Shape, make
from dataset_tools.formats.parquet_copy import copy_path, write_copy

FORMS = ("text", "parquet", "disk")
#: /proc counts in KiB.
_KIB_OF_GIB = 2**20


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks interactions", description=__doc__)
    add = parser.add_argument
    add("--interactions", type=int, default=25_000_000, help="how many (25000000)")
    add("--users", type=int, default=162_000, help="of how many users (162000)")
    add("--items", type=int, default=59_000, help="of how many items (59000)")
    add(
        "--form",
        action="append",
        choices=FORMS,
        help="only this one: the atomic file, its Parquet copy, or that and then windows on disk "
        "(interaction_memory_mb=0); may be given again. Without text, Parquet stands alone",
    )
    add("--steps", type=int, default=20, help="training steps of 128 windows (20)")
    add("--threads", type=int, default=1, help="threads of torch (1)")
    add("--folder", type=Path, help="where the data are kept; a temporary folder if left out")
    add("--json", type=Path, help="write the figures to this file")
    add("--quick", action="store_true", help="a short trial: 200,000 interactions")
    add("--worker", help=argparse.SUPPRESS)
    return parser


def main(words: Sequence[str]) -> int:
    """Print the figures; 0 done, 1 a process failed."""
    options = build_parser().parse_args(words)
    if options.worker:
        print(f"benchmark: {json.dumps(_measure(options))}")
        return 0
    if options.quick:
        options.interactions, options.users, options.items, options.steps = 200_000, 5000, 2000, 2
    with tempfile.TemporaryDirectory() as temporary:
        options.folder = options.folder or Path(temporary)
        try:
            found = _compare(options)
        except subprocess.CalledProcessError as error:
            print(error.stderr, "error: a process failed", file=sys.stderr)
            return 1
    _print(options, found)
    if options.json:
        from recbole_fmrlrec.files.atomic import write_json

        write_json(options.json, {"interactions": options.interactions, "rows": found})
    return 0


def _compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    forms = options.form or FORMS
    shape = Shape(options.interactions, options.users, options.items)
    path = make(options.folder, shape, text="text" in forms)
    found = []
    for form in tqdm(forms, desc="forms", disable=None):
        more = {}
        if form != "text" and not copy_path(path).is_file():
            started = time.process_time()
            write_copy(path)
            more["written"] = time.process_time() - started
        words = ["--worker", form, "--folder", str(options.folder), "--steps", str(options.steps)]
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks", "interactions", *words]
        command += ["--threads", str(options.threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        line = next(x for x in done.stdout.splitlines() if x.startswith("benchmark: "))
        found.append({"form": form, **more, **json.loads(line.partition(" ")[2])})
    return found


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """Load a form, make its windows, and train some steps."""
    from recbole_fmrlrec import compat

    compat.apply()
    import torch
    from recbole.utils import init_seed

    from recbole_fmrlrec.config.config import Config
    from recbole_fmrlrec.data.loaders import create_dataset, data_preparation

    torch.set_num_threads(options.threads)
    keys = {"data_path": str(options.folder), "checkpoint_dir": str(options.folder / "saved")}
    keys |= {"use_features": False, "use_gpu": False, "sizes": [8, 16], "seed": 1}
    keys |= {"loss_type": "sampled_uniform", "num_sampled_items": 512, "train_batch_size": 128}
    keys["interaction_memory_mb"] = 0 if options.worker == "disk" else 2**20
    marks, memory = [time.process_time()], _Memory()
    config = Config("fMRLRecID", NAME, config_dict=keys)
    init_seed(config["seed"], True)
    dataset = create_dataset(config)
    marks.append(time.process_time())
    train, valid, _ = data_preparation(config, dataset)
    marks.append(time.process_time())
    loaded = memory.peaks()
    model = config.model_class(config, train._dataset)
    losses = _train(model, train, options.steps)
    next(iter(valid))
    marks.append(time.process_time())
    return {
        "load": marks[1] - marks[0],
        "windows": marks[2] - marks[1],
        "train": marks[3] - marks[2],
        "peak_loaded": loaded,
        "peak": memory.peaks(),
        "windows_made": len(train._dataset),
        "loss": losses[-1],
    }


def _train(model: Any, loader: Any, steps: int) -> list[float]:
    import torch

    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    losses = []
    for _, batch in zip(range(steps), loader, strict=False):
        optimizer.zero_grad()
        loss = model.calculate_loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return losses


class _Memory:
    """Peaks of this process's memory in GiB: all that is resident, and without mapped files."""

    def __init__(self) -> None:
        self._own = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._own = max(self._own, _status("RssAnon"))
            time.sleep(0.02)

    def peaks(self) -> tuple[float, float]:
        """So far."""
        return _status("VmHWM"), max(self._own, _status("RssAnon"))


def _status(name: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{name}:")[1].split()[0]) / _KIB_OF_GIB


def _print(options: argparse.Namespace, found: Sequence[dict[str, Any]]) -> None:
    print(
        f"{options.interactions:,} interactions of {options.users:,} users with {options.items:,} "
        f"items; {found[0]['windows_made']:,} windows; {options.steps} steps; seconds of CPU, GiB"
    )
    head = ["form", "write", "load", "windows", "train", "peak loaded", "unmapped", "peak", "loss"]
    times = ("written", "load", "windows", "train")
    rows = [
        [
            row["form"],
            *(f"{row[key]:.1f}" if key in row else "" for key in times),
            *(f"{size:.2f}" for size in (*row["peak_loaded"], row["peak"][0])),
            f"{row['loss']:.6f}",
        ]
        for row in found
    ]
    align = ("left", *["right"] * (len(head) - 1))
    print(tabulate(rows, head, disable_numparse=True, colalign=align))
