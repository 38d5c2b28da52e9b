"""``run_recbole.py evaluate``: a trained model measured again, by any metric, size and slice."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_fmrlrec.compare.checkpoint_ranks import PARTS, TrainedPart
from recbole_fmrlrec.compare.plan import METRICS, lists_for
from recbole_fmrlrec.compare.slices import NAMES, WITHOUT, slices
from recbole_fmrlrec.config.command_line import Parser, whole_numbers
from recbole_fmrlrec.config.model_names import model_name
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation.list_metric_names import is_of_lists
from recbole_fmrlrec.evaluation.list_record import ListRecord
from recbole_fmrlrec.evaluation.protocol import BOTH, HISTORY, shown_names
from recbole_fmrlrec.evaluation.rank_record import RankRecord
from recbole_fmrlrec.files.atomic import write_json
from recbole_fmrlrec.files.trust import FILE_KEYS
from recbole_fmrlrec.files.writable import check_file
from recbole_fmrlrec.program import usage_name
from recbole_fmrlrec.train.threads import take_threads

#: Keys of files that a model reads when it is built.
MODEL_FILES = [key for key in FILE_KEYS if not key.endswith(("save_path", "xgb_model"))]

DESCRIPTION = """\
Measure a trained model again: on validation or test, with any metrics and cut-offs, at any of its
sizes, for all users or slices of them. An unknown slice name gives an error that lists the slices.
"""

#: Keys that say where and how an evaluation runs; its numbers do not depend on them.
MACHINE: dict[str, tuple[str, str]] = {
    "num_threads": ("N", "threads on the CPU (as many as there are free CPUs)"),
    "use_gpu": ("BOOL", "rank on a GPU (False)"),
    "gpu_id": ("N", "which one"),
    "worker": ("N", "processes that load batches (0)"),
    "eval_batch_size": ("N", "rows ranked at once (as in the training)"),
    "show_progress": ("BOOL", "show a bar on a terminal (True)"),
}


def build_parser() -> Parser:
    """The parser; imports nothing heavy."""
    parser = Parser(prog=f"{usage_name()} evaluate", description=DESCRIPTION)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="best.pth of a run"
    )
    parser.add_argument(
        "--model",
        metavar="SPEC",
        help="the class of a model from outside, as in training: file.py:Class or package:Class",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="other data: a model of features alone ranks another catalogue's items if the same "
        "encoder made theirs; others need the ids of their items (the data of the training)",
    )
    parser.add_argument("--part", choices=PARTS, default="test", help="rows (test)")
    parser.add_argument(
        "--metrics", default="NDCG,Recall", metavar="M,M", help=f"of {', '.join(METRICS)}"
    )
    parser.add_argument("--topk", default="5,10", metavar="K,K", help="cut-offs (5,10)")
    parser.add_argument(
        "--history",
        choices=HISTORY,
        default=BOTH,
        help="rank the items of the user's history too (keep), leave them out (mask, columns "
        "masked_...), or both (both)",
    )
    parser.add_argument("--sizes", default="all", metavar="S,S", help="nested sizes (all)")
    parser.add_argument(
        "--slices", default="", metavar="A,B", help="rows by slice, as head,tail; all for each"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write JSON")
    parser.add_argument("--data_path", metavar="DIR", help="folder of the datasets, if it moved")
    for key, (value, says) in MACHINE.items():
        parser.add_argument(f"--{key}", metavar=value, help=says)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    files = parser.add_argument_group(
        "files that a model of RecBole was initialised from",
        "What the checkpoint says about them is ignored, since reading them can run code.",
    )
    for key in MODEL_FILES:
        files.add_argument(f"--{key}", metavar="FILE", help=FILE_KEYS[key])
    return parser


def main(words: Sequence[str]) -> int:
    """Run the command; returns 0.

    What cannot be is said as early as it can be known: by the words, the checkpoint, the data.

    Raises:
        UsageError: a metric, a size, a slice, a dataset, a checkpoint or an output that cannot be
            used.
    """
    options = build_parser().parse_args(words)
    if options.model:
        model_name(options.model)
    machine = {key: value for key in MACHINE if (value := getattr(options, key)) is not None}
    columns = shown_names(_columns(options.metrics, options.topk), options.history)
    wanted = _numbers("--sizes", options.sizes) if options.sizes != "all" else None
    names = _slice_names(options.slices)
    if options.output:
        check_file(options.output, "--output")
    files = {key: file for key in MODEL_FILES if (file := getattr(options, key)) is not None}
    source = TrainedPart.open(
        options.checkpoint, options.part, options.data_path, files, machine, options.dataset
    )
    sizes = _sizes(source.sizes, wanted)
    print(f"threads: {take_threads(source.config['num_threads'])}", file=sys.stderr)
    rows = source.read()
    _masks(rows.known, names)
    keep = lists_for(columns)
    if keep is not None and keep.distances:
        rows.check_features()
    record, known, lists = rows.rank_and_list(keep)
    found = [
        {"size": size or None, "slice": name, "rows": int(mask.sum()), "metrics": values}
        for name, mask in _masks(known, names).items()
        for size in sizes
        for values in [_values(record, lists, size, mask, columns)]
    ]
    if options.output:
        about = {"checkpoint": str(options.checkpoint), "part": options.part, "values": found}
        about |= {"dataset": source.config["dataset"]}
        write_json(options.output, about)
    print(_table(found, columns))
    return 0


def _columns(metrics: str, topk: str) -> list[str]:
    known = {metric.lower() for metric in METRICS}
    names = [name.strip().lower() for name in metrics.strip("[]() ").split(",")]
    for name in names:
        if name not in known:
            raise UsageError(f"--metrics: unknown metric {name!r}; known: {', '.join(METRICS)}")
    return list(dict.fromkeys(f"{name}@{k}" for k in _numbers("--topk", topk) for name in names))


def _numbers(option: str, text: str) -> list[int]:
    """Whole numbers from 1, each once."""
    found = whole_numbers(option, text)
    if min(found) < 1:
        raise UsageError(f"{option} takes numbers of at least 1, not {min(found)}")
    return list(dict.fromkeys(found))


def _sizes(there: list[int], wanted: list[int] | None) -> list[int]:
    for size in wanted or ():
        if size not in there:
            has = f"its sizes are {there}" if there != [0] else "it has no sizes"
            raise UsageError(f"--sizes: the model has no size {size}; {has}")
    return there if wanted is None else wanted


def _slice_names(text: str) -> list[str] | None:
    """The slices that are asked for; None for all there are."""
    if text in ("", "all"):
        return [] if not text else None
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in NAMES and not name.startswith(WITHOUT):
            there = ", ".join((*NAMES, f"{WITHOUT}MODALITY"))
            raise UsageError(f"--slices: there is no slice `{name}`; known: all, {there}")
    return names


def _masks(rows: Mapping[str, np.ndarray], names: list[str] | None) -> dict[str, np.ndarray]:
    there = slices(rows)
    if not names:
        everything = {"all": np.ones(len(rows["history"]), dtype=bool)}
        return {**everything, **(there if names is None else {})}
    for name in names:
        if name not in there:
            raise UsageError(f"--slices: no row is in `{name}`; there are {', '.join(there)}")
    return {name: there[name] for name in names}


def _values(
    record: RankRecord,
    lists: ListRecord | None,
    size: int,
    mask: np.ndarray,
    columns: Sequence[str],
) -> dict[str, float | None]:
    """The metrics of some rows; None where no list has a value."""
    from recbole_fmrlrec.compare.statistics import per_user

    at = record.sizes.tolist().index(size)
    found: dict[str, float | None] = {}
    for column in columns:
        if is_of_lists(column):
            own = None if lists is None else lists.lists(size, column, mask)
            assert own is not None  # they were asked for
            value = own.value(column, int(column.partition("@")[2]))
            found[column] = None if np.isnan(value) else value
        else:
            found[column] = float(per_user(record.ranks_of(column)[at][mask], column).mean())
    return found


def _table(found: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    from tabulate import tabulate

    head = ["slice", "rows", "size", *columns]
    rows = [
        [
            one["slice"],
            f"{one['rows']:,}",
            one["size"] or "",
            *(
                "" if (value := one["metrics"][name]) is None else f"{value:.4f}"
                for name in columns
            ),
        ]
        for one in found
    ]
    align = ["left"] + ["right"] * (len(head) - 1)
    return tabulate(rows, head, disable_numparse=True, colalign=align)
