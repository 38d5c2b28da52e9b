"""The command line of ``run_recbole.py tune``."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_fmrlrec.config.command_line import Parser
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.launch.gpus import refuse_gpu_id
from recbole_fmrlrec.launch.workers import Workers, add_options, read_workers
from recbole_fmrlrec.program import usage_name
from recbole_fmrlrec.rules import is_number

if TYPE_CHECKING:
    from recbole_fmrlrec.tuning.plan import Plan
    from recbole_fmrlrec.tuning.search_file import Draft

DESCRIPTION = """\
Search the parameters of a model by the validation metric, with Optuna. FILE is a YAML file (see
properties/grid/) or a range file of RecBole (.test). The same command given again continues the
study, even after it was killed; given elsewhere too, it works on the same study. The test data is
read once, at the end, by the best configuration.
"""
EPILOG = """\
Any key of the model can be given as --KEY=VALUE too: it is fixed, and overrides the file's
settings. FILE's name without path may be one of the files that come with the package:
`tune fMRLRec.yaml`.
"""


def build_parser() -> Parser:
    """The parser of what follows FILE; imports nothing heavy."""
    parser = Parser(
        prog=f"{usage_name()} tune",
        usage=f"{usage_name()} tune FILE [options] [--KEY=VALUE ...]",
        description=DESCRIPTION,
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--trials", type=int, metavar="N", help="the budget in trials")
    parser.add_argument(
        "--hours", type=float, metavar="H", help="the budget in hours of all trials together"
    )
    add_options(parser, "each worker")
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="sqlite:///FILE (study.db in the output folder) for one machine; journal:FILE, or a "
        "name that ends in .journal or .log, in a folder that all machines share; "
        "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE or mysql+pymysql://...; "
        "grpc://HOST:PORT, a proxy before a database",
    )
    parser.add_argument("--study", metavar="NAME", help="name of the study (the file's)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder of runs and tables (saved/tune/STUDY)"
    )
    parser.add_argument("--model", metavar="NAME", help="the model, or one of the file's models")
    parser.add_argument("--dataset", metavar="NAME", help="the dataset")
    parser.add_argument("--show", action="store_true", help="print the trials and do nothing")
    parser.add_argument(
        "--retry_failed", action="store_true", help="run trials again that ended in an error"
    )
    parser.add_argument("--debug", action="store_true", help="show logs of runs and tracebacks")
    return parser


def main(words: Sequence[str]) -> int:
    """Run the command; returns 0, or 130 after an interruption.

    Raises:
        UsageError: an option, the file, or a stored study that does not agree with it.
        RunError: no trial succeeded, or the storage cannot be used.
        ModuleNotFoundError: Optuna is not installed.
    """
    words = list(words)
    parser = build_parser()
    if not words or words[0].startswith("-"):
        parser.parse_known_args(words)  # --help ends here
        raise UsageError("tune needs a file, as in `tune properties/grid/fMRLRec.yaml`")
    options, rest = parser.parse_known_args(words[1:])
    if rest and not rest[0].startswith("-"):
        raise UsageError(f"`{rest[0]}` belongs to no option; tune takes one file, here {words[0]}")
    for name in ("trials", "hours", "workers"):
        value = getattr(options, name)
        if value is not None and not (is_number(value) and value > 0):
            raise UsageError(f"--{name} must be a number above 0, not {value}")
    if importlib.util.find_spec("optuna") is None:
        raise ModuleNotFoundError("tuning needs Optuna", name="optuna")
    workers = Workers() if options.show else read_workers(options)
    try:
        _search(_plans(Path(words[0]), options, rest), options, workers)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue the study", file=sys.stderr)
        return 130
    return 0


def _options() -> list[str]:
    """The options of this command by name."""
    known = [word for action in build_parser()._actions for word in action.option_strings]
    return [word.removeprefix("--") for word in known if word.startswith("--")]


def _plans(file: Path, options: argparse.Namespace, rest: list[str]) -> list[Plan]:
    from recbole_fmrlrec import compat
    from recbole_fmrlrec.config.command_line import check_options, parse
    from recbole_fmrlrec.config.model_names import model_name
    from recbole_fmrlrec.keys.yaml_files import shipped_file
    from recbole_fmrlrec.tuning.search_file import read_drafts

    if options.model:
        options.model = model_name(options.model)
    drafts = read_drafts(shipped_file("grid", file))
    models = [str(draft.model) for draft in drafts if draft.model is not None]
    check_options(rest, models or [name for name in [options.model] if name], "tune", _options())
    more = parse(rest)
    drafts = _chosen(drafts, options)
    compat.apply()
    from recbole_fmrlrec.tuning.plan import Given, make_plan

    given = Given(
        options.model,
        options.dataset,
        options.study,
        options.output,
        tuple(more.config_files),
        more.keys,
    )
    drafts = [
        replace(d, trials=options.trials or d.trials, hours=options.hours or d.hours)
        for d in drafts
    ]
    return [make_plan(draft, given) for draft in drafts]


def _chosen(drafts: list[Draft], options: argparse.Namespace) -> list[Draft]:
    """Those of the models that the command line names, of a file with several."""
    found = drafts
    if len(drafts) > 1 and options.model:
        found = [draft for draft in drafts if draft.model == options.model]
        if not found:
            names = ", ".join(str(draft.model) for draft in drafts)
            raise UsageError(f"--model={options.model}: {drafts[0].file} has {names}")
    if len(found) > 1 and (options.study or options.output):
        raise UsageError("--study and --output belong to one model: add --model")
    return found


def _search(plans: Sequence[Plan], options: argparse.Namespace, workers: Workers) -> None:
    from recbole_fmrlrec.tuning.search import check, retry_failed, search, show

    urls = [options.storage or f"sqlite:///{plan.output / 'study.db'}" for plan in plans]
    teams = [workers.with_options(plan.launcher_options) for plan in plans]
    if workers.gpus:
        refuse_gpu_id([{**plan.settings, **plan.space.first()} for plan in plans])
    if not options.show:
        for plan, url in zip(plans, urls, strict=True):  # all of them, before the first begins
            check(plan, url)
    for plan, url, team in zip(plans, urls, teams, strict=True):
        if options.show:
            print(show(plan, url))
            continue
        if options.retry_failed:
            retry_failed(plan, url)
        print(search(plan, url, team, debug=options.debug))
