"""The command lines of ``run_recbole.py compare`` and ``run_recbole.py report``."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_fmrlrec.deploy.arguments import Parser, whole_numbers
from recbole_fmrlrec.errors import RunError, UsageError

DESCRIPTION = """\
Compare models: train each on each dataset with each seed; write tables, tests, plots and one page.
What to compare stands in a YAML file (properties/comparison/ has some), or for a quick comparison
in --model and --dataset. The command given again keeps finished cells and goes on with the others.
"""
INTERRUPTED = 130
_EPILOG = """\
Without a file, every other --KEY=VALUE is a setting of all models, as --epochs=5.
"""


def build_parser() -> Parser:
    """The parser of ``compare``; imports nothing heavy."""
    parser = Parser(
        prog="run_recbole.py compare",
        description=DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE.yaml", help="the comparison")
    parser.add_argument("--model", metavar="A,B", help="models with their defaults, without a file")
    parser.add_argument("--dataset", metavar="A,B", help="datasets, without a file (ml-100k)")
    parser.add_argument("--seeds", metavar="S,S", help="seeds, without a file (2020)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of cells and tables")
    parser.add_argument(
        "--only", metavar="NAME,..", help="compute only these models, datasets, keys or seedS"
    )
    parser.add_argument(
        "--redo", metavar="NAME,..", help="compute these anew, finished or not; all for everything"
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes on this machine (1)"
    )
    parser.add_argument("--list", action="store_true", help="show the cells, compute nothing")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(words: Sequence[str]) -> int:
    """Run ``compare``; returns 0, 1 where a cell has failed, 130 when interrupted.

    Raises:
        UsageError: an option, a file or something in it that cannot be used.
        RunError: the cells cannot be put into one table.
    """
    options, rest = build_parser().parse_known_args(words)
    plan = _plan(options, rest)
    if options.workers < 1:
        raise UsageError("--workers takes a number of at least 1")
    _need_matplotlib()
    try:
        return _compare(plan, options)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED


def _compare(plan: Any, options: argparse.Namespace) -> int:
    from recbole_fmrlrec import compat

    compat.apply()
    from recbole_fmrlrec.compare.cells import choose, make_cells, write_record

    cells = make_cells(plan)
    chosen = choose(cells, options.only.split(","), "--only") if options.only else cells
    if options.list:
        for cell in chosen:
            print(f"{cell.key}  {cell.label}: {cell.state()}")
        return 0
    for cell in choose(chosen, options.redo.split(","), "--redo") if options.redo else []:
        cell.discard()
    write_record(plan, cells)
    return _compute_and_report(plan, cells, chosen, options.workers)


def _compute_and_report(plan: Any, cells: list[Any], chosen: list[Any], workers: int) -> int:
    from recbole_fmrlrec.compare.schedule import Schedule

    failed = Schedule(chosen, workers).run()
    for label, reason in failed.items():
        print(f"error: {label}: {reason}", file=sys.stderr)
    if not any(cell.finished for cell in cells):
        raise RunError("no cell is finished")
    _report(plan, cells)
    return 1 if failed else 0


def _plan(options: argparse.Namespace, rest: Sequence[str]) -> Any:
    from dataclasses import replace

    quick = [name for name in ("model", "dataset", "seeds") if getattr(options, name)]
    if options.file is not None:
        if quick or rest:
            given = f"--{quick[0]}" if quick else rest[0]
            raise UsageError(f"{given} and a file: the file says what is compared")
        from recbole_fmrlrec.compare.plan_file import read_plan

        plan = read_plan(options.file)
        return replace(plan, output=options.output) if options.output else plan
    if not options.model:
        raise UsageError(
            "compare needs a file, as in `compare properties/comparison/ml-100k-quick.yaml`, or "
            "models, as in `compare --model=fMRLRec,SASRec --dataset=ml-100k`"
        )
    return _quick(options, rest)


def _quick(options: argparse.Namespace, rest: Sequence[str]) -> Any:
    from recbole_fmrlrec.cli import parse
    from recbole_fmrlrec.compare.plan import quick_plan

    models, datasets = options.model.split(","), (options.dataset or "ml-100k").split(",")
    seeds = whole_numbers("--seeds", options.seeds) if options.seeds else [2020]
    given = parse(["train", *rest]).keys
    return quick_plan(models, datasets, _settings(given, models), options.output, seeds)


def _settings(given: dict[str, str], models: Sequence[str]) -> dict[str, Any]:
    """Settings of all models out of texts, checked against each of the models."""
    from recbole_fmrlrec.settings import Setting, apply

    found: dict[str, Any] = {}
    for key, text in given.items():
        for model in models:
            values: dict[str, Any] = {}
            apply([Setting(key, text, "command line", is_text=True)], values, model)
            value: Any = values
            for part in key.split("."):
                value = value[part]
            found[key] = value
    return found


def _need_matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("the plots need a package that is not installed: pip install matplotlib")


def _report(plan: Any, cells: list[Any]) -> None:
    from recbole_fmrlrec.compare.formats import text
    from recbole_fmrlrec.compare.report import write_report

    analysis = write_report(plan, cells)
    print(text(analysis))
    print(plan.output / "report.html")


def report(words: Sequence[str]) -> int:
    """Make the tables, plots and page of a stored comparison anew; returns 0.

    Raises:
        UsageError: there is no comparison in the folder.
        RunError: its cells cannot be put into one table.
    """
    parser = Parser(
        prog="run_recbole.py report",
        description="Make tables, plots and page of a comparison anew from its stored runs.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="output folder of `compare`")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(words)
    _need_matplotlib()
    from recbole_fmrlrec.compare.cells import read_record

    _report(*read_record(options.folder))
    return 0
