"""The numerical core against the published formulation: steps, memory, evaluation, scan.

    python -m benchmarks core [--part PART ...] [--quick] [--json FILE]

Both sides run in one process on the same batch with the same parameters, in turns; figures are
medians over pairs. Data is drawn in the shapes of Amazon Beauty, so that nothing is needed but the
package. Peak memory is measured in a process for each side.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from benchmarks import core_evaluation, core_scan, core_steps
from benchmarks.core_setup import Shapes
from benchmarks.measuring import facts
from recbole_fmrlrec.files.atomic import write_json
from recbole_fmrlrec.nn.devices import emulates
from recbole_fmrlrec.train.allocator import keep_freed_memory

Row = tuple[str, str, str]


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks core", description=__doc__)
    add = parser.add_argument
    add("--part", choices=list(PARTS), action="append", help="only this part; may be given again")
    add("--pairs", type=int, default=5, help="pairs of measurements (5)")
    add("--threads", type=int, help="threads of torch; its own choice if left out")
    add("--bf16", action="store_true", help="measure bfloat16 also where the CPU emulates it")
    add("--quick", action="store_true", help="a short trial: batch 32 and fewer measurements")
    add("--json", type=Path, help="write all figures to this file")
    return parser


def step_part(options: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    """Steps at batch 32 and, unless quick, at 256."""
    shapes, count = Shapes(), 2 if options.quick else options.pairs
    found: dict[str, Any] = {"agreement": core_steps.agreement(shapes)}
    rows = [
        (
            "loss and gradients, relative distance to the published formulation",
            f"{found['agreement']['loss']:.1e}, {found['agreement']['gradient']:.1e}",
            "1e-5, 1e-4",
        )
    ]
    batches = [(32, 32, "8 times")] + ([] if options.quick else [(256, 128, "20 times")])
    for users, theirs, target in batches:
        name = f"step_{users}"
        found[name] = core_steps.step_times(shapes, users, theirs, count)
        rows.append((_step_label(found[name]), _step_text(found[name]), target))
        found[f"useful_{users}"] = share = core_steps.useful_share(shapes, users, count + 2)
        rows.append(
            (
                f"useful arithmetic at batch {users}, of {share['gflops']:.0f} GFLOP/s",
                f"{100 * share['share']:.0f} %",
                "60 %",
            )
        )
    if options.bf16 or not emulates(torch.bfloat16):
        found["bfloat16"] = low = core_steps.low_precision(shapes, 32, count)
        text = f"{low['ratio']:.2f} times float32, loss off by {low['loss_distance']:.1e}"
        rows.append(("bfloat16 step at batch 32", text, "1.75 times, 1e-2"))
    else:
        rows.append(("bfloat16", "not measured: this CPU only emulates it (--bf16)", "1.75 times"))
    return found, rows


def _step_label(step: dict[str, Any]) -> str:
    if step["users"] == step["published_users"]:
        return f"training step, batch {step['users']} ({step['positions']} positions)"
    return (
        f"the same at batch {step['users']} ({step['positions']} positions), "
        f"per position; published at {step['published_users']}"
    )


def _step_text(step: dict[str, Any]) -> str:
    return f"{step['ratio']:.1f} times: {step['slow']:.2f} s, {step['fast']:.2f} s"


def memory_part(options: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    """Peak memory of a step, a process for each side."""
    found, rows = {}, []
    for users in (32,) if options.quick else (32, 128):
        found[f"peak_{users}"] = peak = core_steps.peaks(users)
        sides = f"{peak['published'] / 2**30:.2f} GiB, {peak['ours'] / 2**30:.2f} GiB"
        rows.append(
            (
                f"peak memory at batch {users} (imports, features: {peak['none'] / 2**30:.2f} GiB)",
                f"{peak['ours'] / peak['published']:.2f}: {sides}",
                "0.25",
            )
        )
    return found, rows


def evaluation_part(options: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    """One evaluation of all users at all sizes."""
    users = 4096 if options.quick else core_evaluation.USERS
    found = core_evaluation.measure(Shapes(), 1 if options.quick else 3, sample=32, users=users)
    text = f"{found['ratio']:.0f} times: {found['published_scaled']:.0f} s, {found['ours']:.1f} s"
    return found, [
        (f"evaluation of {users:,} users; published scaled from {found['sample']}", text, "100"),
        ("the same over the time of its plain products", f"{found['over_products']:.2f}", "2.5"),
    ]


def scan_part(options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Row]]:
    """The scan at several lengths."""
    found = core_scan.measure()
    text = ", ".join(f"{row['length']}: {row['ns_per_number']:.1f}" for row in found)
    return found, [("scan of 64 sequences, ns a number by length, both passes", text, "constant")]


PARTS: dict[str, Callable[[argparse.Namespace], tuple[Any, list[Row]]]] = {
    "steps": step_part,
    "memory": memory_part,
    "evaluation": evaluation_part,
    "scan": scan_part,
}


def main(words: Sequence[str]) -> int:
    """Print the table; returns 0."""
    options = build_parser().parse_args(words)
    keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    found: dict[str, Any] = {"machine": facts()}
    print(
        f"{found['machine']['cpu']}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    rows: list[Row] = []
    for part in options.part or PARTS:
        print(f"measuring {part} ...", file=sys.stderr, flush=True)
        found[part], more = PARTS[part](options)
        rows += more
    print(tabulate(rows, ["what", "measured", "target"], disable_numparse=True))
    if options.json:
        write_json(options.json, found)
    return 0
