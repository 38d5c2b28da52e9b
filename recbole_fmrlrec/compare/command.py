"""The command lines of ``run_recbole.py compare`` and ``run_recbole.py report``."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_fmrlrec.compare.plan_options import plan_from_file, plan_from_options
from recbole_fmrlrec.config.command_line import Parser, names
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.files.writable import check_folder
from recbole_fmrlrec.keys.yaml_files import shipped_file
from recbole_fmrlrec.launch.gpus import refuse_gpu_id
from recbole_fmrlrec.launch.workers import Workers, add_options, read_workers
from recbole_fmrlrec.program import usage_name

DESCRIPTION = """\
Compare models: train each on each dataset with each seed; write tables, tests, plots and one page.
What to compare is said in a YAML file (properties/comparison/ has some), or for a quick comparison
in --model and --dataset. The same command given again keeps finished cells and continues with the
others.
"""
INTERRUPTED = 130
#: Where jobs of a launcher have their files, below the output folder.
JOBS = "jobs"
_EPILOG = """\
Every other --KEY=VALUE is a setting of all models, as --epochs=5. What is said here overrides
the file; keep the tables of a trial apart with --output.
"""


def build_parser() -> Parser:
    """The parser of ``compare``; imports nothing heavy."""
    parser = Parser(
        prog=f"{usage_name()} compare",
        description=DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE.yaml",
        help="the comparison; by NAME.yaml also one that comes with the package",
    )
    parser.add_argument("--model", metavar="A,B", help="models with their defaults, without a file")
    parser.add_argument("--dataset", metavar="A,B", help="datasets (the file's; ml-100k)")
    parser.add_argument("--seeds", metavar="S,S", help="seeds (the file's; 2020)")
    parser.add_argument("--metrics", metavar="M,M", help="metrics (the file's; NDCG,Recall)")
    parser.add_argument("--topk", metavar="K,K", help="cut-offs (the file's; 5,10)")
    parser.add_argument(
        "--valid_metric", metavar="M@K", help="stops training (the file's; NDCG@10)"
    )
    parser.add_argument(
        "--history",
        metavar="keep|mask|both",
        help="show rankings with the user's history among the items, without it, or both (the "
        "file's; both)",
    )
    parser.add_argument("--output", metavar="DIR", help="folder of cells and tables")
    parser.add_argument(
        "--only",
        metavar="NAME,..",
        help="compute only these models, datasets, seeds (seed2020) or keys; names of one kind add "
        "up, kinds restrict each other: BPR,Pop,seed2 is seed 2 of two models",
    )
    parser.add_argument(
        "--redo",
        metavar="NAME,..",
        help="compute these again, finished or not, chosen like --only; all for everything",
    )
    add_options(parser, "each cell")
    parser.add_argument(
        "--list",
        action="store_true",
        help="show the cells and what each trains; needs no data and writes nothing",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(words: Sequence[str]) -> int:
    """Run ``compare``; returns 0, 1 where a chosen cell is not finished, 130 when interrupted.

    Raises:
        UsageError: an option, a file or something in it that cannot be used.
        RunError: a file of a finished cell is damaged, or the cells cannot be put into one table.
    """
    options, rest = build_parser().parse_known_args(words)
    if options.file is not None:
        options.file = shipped_file("comparison", options.file)
    make_plan = plan_from_options if options.file is None else plan_from_file
    plan = make_plan(options, rest)
    if options.workers is not None and options.workers < 1:
        raise UsageError("--workers takes a number of at least 1")
    workers = Workers() if options.list else _workers(plan, options)
    if not options.list:
        _need_matplotlib()
    try:
        return _compare(plan, options, workers)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return INTERRUPTED


def _workers(plan: Any, options: argparse.Namespace) -> Workers:
    """The workers, checked before anything is made."""
    workers = read_workers(options).with_options(plan.launcher_options)
    if workers.gpus:
        refuse_gpu_id(plan.settings_of(name, v) for name in plan.datasets for v in plan.models)
    return workers


def _compare(plan: Any, options: argparse.Namespace, workers: Workers) -> int:
    from recbole_fmrlrec import compat

    compat.apply()
    from recbole_fmrlrec.compare.cells import choose, discard, write_record
    from recbole_fmrlrec.compare.gather import read_runs
    from recbole_fmrlrec.compare.plan_cells import make_cells

    cells = make_cells(plan, look_only=options.list)
    chosen, to_redo = list(cells), []
    if options.only is not None:
        chosen = choose(cells, names(options.only), "--only")
    if options.redo is not None:
        redo = names(options.redo)
        named = [cell for cell in cells if cell.key in redo]  # whatever --only says
        chosen += [cell for cell in named if cell not in chosen]
        to_redo = choose(chosen, redo, "--redo")
    if options.list:
        for cell in chosen:
            sizes = f" ({cell.about_sizes})" if cell.trained else ""
            print(f"{cell.key}  {cell.label}{sizes}: {_state(cell)}")
        return 0
    check_folder(plan.output, "output")
    discard(to_redo)
    read_runs(cells)  # a damaged file is said now, and not after hours of other cells
    write_record(plan, cells)
    return _compute_and_report(plan, cells, chosen, workers)


def _state(cell: Any) -> str:
    from recbole_fmrlrec.compare.plan_cells import UNKNOWN

    return cell.state() if cell.key != UNKNOWN else "to do (its data is not there yet)"


def _say_what_is_trained(cells: Sequence[Any]) -> None:
    """A line on standard error for each training of a model with sizes that is to be done."""
    todo: dict[str, list[str]] = {}
    for cell in cells:
        if cell.trained and not cell.measured:
            alone = ", alone" if cell.alone is not None else ""
            line = f"{cell.variant}{alone} on {cell.dataset}, {cell.about_sizes}"
            todo.setdefault(line, []).append(str(cell.seed))
    for line, seeds in todo.items():
        print(f"to train: {line}; seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}", file=sys.stderr)


def _compute_and_report(plan: Any, cells: list[Any], chosen: list[Any], workers: Workers) -> int:
    from recbole_fmrlrec.compare.runners import runner
    from recbole_fmrlrec.compare.schedule import Schedule

    _say_what_is_trained(chosen)
    failed = Schedule(chosen, runner(workers, plan.output / JOBS)).run()
    unfinished = [cell for cell in chosen if not cell.finished]
    for cell in unfinished:
        print(f"error: {cell.label}: {failed.get(cell.key, 'not finished')}", file=sys.stderr)
    if not any(cell.measured for cell in cells):
        raise RunError("no cell is finished")
    _report(plan, cells)
    return 1 if unfinished else 0


def _need_matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise ModuleNotFoundError("the plots need matplotlib", name="matplotlib")


def _report(plan: Any, cells: list[Any]) -> None:
    from recbole_fmrlrec.compare.formats import text
    from recbole_fmrlrec.compare.notes import unfinished_notes
    from recbole_fmrlrec.compare.report import write_report

    analysis = write_report(plan, cells)
    print(text(analysis))
    for note in unfinished_notes(analysis):
        print(f"warning: {note}", file=sys.stderr)
    print(plan.output / "report.html")


def report(words: Sequence[str]) -> int:
    """Rebuild the tables, plots and page of a stored comparison; returns 0.

    Raises:
        UsageError: there is no comparison in the folder.
        RunError: a file of it is damaged, or its cells cannot be put into one table.
    """
    parser = Parser(
        prog=f"{usage_name()} report",
        description="Make the tables, plots and page of a comparison again from its stored runs.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="output folder of `compare`")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(words)
    _need_matplotlib()
    from recbole_fmrlrec.compare.cells import read_record

    plan, cells = read_record(options.folder)
    check_folder(plan.output, "report")
    _report(plan, cells)
    return 0
