"""The quality of each nested size, beside models trained for one size and models without sizes.

    python -m benchmarks sizes [NAME=]RUN ... [--metric NDCG@10] [--plot FILE.svg]

Reads what runs have measured (`result.json`); trains nothing. RUN is the folder of a run, or the
cell of a comparison. A run of several sizes is drawn as a line, runs of one size and one name as
dots, joined, and a model without sizes as a horizontal line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from dataset_tools.page.figures import COLOURS, drawing, legend_below
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.atomic import replacing


@dataclass(frozen=True)
class Quality:
    """One row of a run: its metrics at a size, or of a model without sizes."""

    name: str
    size: int | None
    parameters: int
    nested: bool
    metrics: dict[str, float]


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks sizes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="[NAME=]RUN", help="folders with a result.json")
    add("--metric", default="NDCG@10", help="of the plot; masked_NDCG@10 leaves histories out")
    add("--part", choices=("test", "valid"), default="test", help="test or validation (test)")
    add("--plot", type=Path, metavar="FILE", help="draw it: FILE.svg or FILE.png")
    return parser


def main(words: Sequence[str]) -> int:
    """Print the table and draw the plot; returns 0, or 2 where a run cannot be read."""
    options = build_parser().parse_args(words)
    metric = options.metric.lower()
    try:
        rows = [row for run in options.runs for row in read(run, options.part)]
        lacking = next((row.name for row in rows if metric not in row.metrics), None)
        if lacking is not None:
            raise UsageError(f"--metric={options.metric}: {lacking} has not measured it")
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    names = [name for name in rows[0].metrics if all(name in row.metrics for row in rows)]
    table = [[r.name, r.size, r.parameters, *(r.metrics[name] for name in names)] for r in rows]
    head = ["model", "size", "parameters", *names]
    formats = ["", "", ","] + [".4f"] * len(names)
    print(tabulate(table, head, tablefmt="github", floatfmt=formats, intfmt=",", missingval=""))
    if options.plot:
        _draw(rows, metric, options.plot)
    return 0


def read(run: str, part: str) -> list[Quality]:
    """The rows of a run, named as asked or by its model.

    Raises:
        UsageError: there is no finished run in the folder.
    """
    name, found, folder = run.partition("=")
    file = Path(folder if found else run) / "result.json"
    try:
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        rows = result[part]
        label = name if found else str(result["model"])
        nested = len(rows) > 1
        return [
            Quality(label, row["size"], row["parameters"], nested, row["metrics"]) for row in rows
        ]
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; RUN is the folder of a run") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} is not the result of a finished run") from error


def _draw(rows: Iterable[Quality], metric: str, file: Path) -> None:
    by_name: dict[tuple[str, bool], list[Quality]] = {}
    for row in rows:
        by_name.setdefault((row.name, row.nested), []).append(row)
    with drawing(file.stem) as (figure, axes):
        for at, ((name, nested), own) in enumerate(by_name.items()):
            colour = COLOURS[at % len(COLOURS)]
            points = sorted((row.size, row.metrics[metric]) for row in own if row.size)
            if points:
                style = "-" if nested else ":"
                axes.plot(*zip(*points, strict=True), style, marker="o", color=colour, label=name)
            for row in own:
                if not row.size:
                    axes.axhline(row.metrics[metric], linestyle="--", color=colour, label=name)
        sizes = sorted({row.size for own in by_name.values() for row in own if row.size})
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("size")
        axes.set_ylabel(metric.replace("masked_", "masked ").replace("ndcg", "NDCG"))
        axes.grid(alpha=0.25)
        legend_below(figure, axes)
        suffix = file.suffix.removeprefix(".")
        with replacing(file) as partial:
            metadata = {"metadata": {"Date": None}} if suffix == "svg" else {"dpi": 200}
            figure.savefig(partial, format=suffix, **metadata)
