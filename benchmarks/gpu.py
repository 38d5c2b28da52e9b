"""fMRLRec on a GPU: steps, an epoch, an evaluation, the scan, a million items; time and memory.

    python -m benchmarks gpu [--section NAME ...] [--json FILE] [--markdown FILE]

It takes less than eight minutes on one GPU and needs no data: what it trains on is generated in the
shape of Amazon Beauty. Every section runs in a process of its own with a time of its own; what
fails, for want of memory for example, is a row that says so. Results go to the screen as Markdown
tables. Where there is no GPU it says so and ends with exit code 2; ``--device=cpu --quick``
rehearses it on a CPU, which shows that it runs and is no figure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.gpu_measuring import PREFIX
from recbole_fmrlrec.files.atomic import write_json, write_text

#: Seconds that a section may take; imports, data and a last measurement come on top.
BUDGETS = {"steps": 90.0, "epoch": 110.0, "scan": 40.0, "million": 90.0}
#: After so many more its process is ended.
GRACE = 30.0
HEAD = ["what", "precision", "time", "peak memory", "note"]
REHEARSAL = "A rehearsal on a CPU with small shapes: it shows that the benchmark runs. No figure."


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--section", choices=list(BUDGETS), action="append", help="only this; may be given again")
    add("--quick", action="store_true", help="a trial: small shapes, few measurements")
    add("--device", choices=["cuda", "cpu"], default="cuda", help="cpu, with --quick: a rehearsal")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    add("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    return parser


def main(words: Sequence[str]) -> int:
    """Print the tables; 0 done, 2 no GPU or wrong use."""
    import torch

    options = build_parser().parse_args(words)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "error: there is no GPU that torch can use, so nothing was measured; "
            "--device=cpu --quick rehearses the benchmark on a CPU",
            file=sys.stderr,
        )
        return 2
    if options.device == "cpu" and not options.quick:
        print("error: --device=cpu is a rehearsal: give --quick with it", file=sys.stderr)
        return 2
    machine = facts(options.device)
    sections = options.section or list(BUDGETS)
    found = {name: measure(name, options.device, options.quick) for name in sections}
    text = report(machine, found)
    print(text)
    if options.markdown:
        write_text(options.markdown, text + "\n")
    if options.json:
        write_json(options.json, {"machine": machine, "quick": options.quick, "sections": found})
    return 0


def facts(device: str) -> dict[str, Any]:
    """The card, the versions and the commit that figures depend on."""
    import torch

    from benchmarks.measuring import facts as machine

    found = {**machine(), "cuda": torch.version.cuda, "commit": _commit(), "device": "cpu"}
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        found |= {"device": card.name, "gpu_bytes": card.total_memory}
        found["capability"] = f"{card.major}.{card.minor}"
    return found


def _commit() -> str:
    """The checkout's commit, marked where files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def measure(section: str, device: str, quick: bool, seconds: float | None = None) -> list[Any]:
    """The rows of a section, as its process says them; the last one says if it failed."""
    budget = BUDGETS[section] if seconds is None else seconds
    words = [section, device, str(budget), *(["quick"] if quick else [])]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu_worker", *words]
    print(f"measuring {section} ...", file=sys.stderr, flush=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    timer = threading.Timer(budget + GRACE, process.kill)
    timer.start()
    rows = []
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(PREFIX):
            rows.append(json.loads(line.removeprefix(PREFIX)))
    code = process.wait()
    ended = not timer.is_alive()
    timer.cancel()
    if code:
        why = f"ended after {budget + GRACE:.0f} s" if ended else f"failed with exit code {code}"
        rows.append(_failed(section, why))
    return rows


def _failed(section: str, why: str) -> dict[str, Any]:
    row = {"what": section, "precision": "", "seconds": None, "per": "", "peak_bytes": None}
    return row | {"note": f"the section {why}"}


def report(machine: dict[str, Any], found: dict[str, list[dict[str, Any]]]) -> str:
    """What was measured where, in Markdown."""
    torch = f"torch {machine['packages']['torch']}, CUDA {machine['cuda']}"
    lines = [f"{machine['device']}, {torch}, commit {machine['commit']}"]
    if machine["device"] == "cpu":
        lines.append(REHEARSAL)
    for section, rows in found.items():
        cells = [_cells(row) for row in with_ratios(rows)]
        lines += [f"## {section}", tabulate(cells, HEAD, tablefmt="github", disable_numparse=True)]
    return "\n\n".join(lines)


def with_ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows; ours say how much faster they are, and smaller, than the published form's."""
    published, marked = "published formulation, ", []
    theirs = {
        (row["what"].removeprefix(published), row["precision"]): row
        for row in rows
        if row["what"].startswith(published) and row["seconds"]
    }
    for row in rows:
        what = row["what"].removeprefix("ours, ")
        other = theirs.get((what, row["precision"])) or theirs.get((what, "float32"))
        if what == row["what"] or other is None or not row["seconds"]:
            marked.append(row)
            continue
        note = f"{other['seconds'] / row['seconds']:.1f} times as fast"
        if row["peak_bytes"] and other["peak_bytes"]:
            note += f", {row['peak_bytes'] / other['peak_bytes']:.2f} of the memory"
        if other["precision"] != row["precision"]:
            note += f" (published in {other['precision']})"
        marked.append({**row, "note": note})
    return marked


def _cells(row: dict[str, Any]) -> list[str]:
    seconds, peak = row["seconds"], row["peak_bytes"]
    time = (
        "" if seconds is None else f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.2f} ms"
    )
    memory = "" if peak is None else f"{peak / 2**30:.2f} GiB"
    return [
        row["what"],
        row["precision"],
        f"{time} per {row['per']}" if time else "",
        memory,
        row["note"],
    ]
