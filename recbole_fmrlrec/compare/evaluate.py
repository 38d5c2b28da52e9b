"""``run_recbole.py evaluate``: a trained model measured again, by any metric, size and slice."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_fmrlrec.compare.gather import order_rows
from recbole_fmrlrec.compare.plan import METRICS
from recbole_fmrlrec.deploy.arguments import Parser, whole_numbers
from recbole_fmrlrec.deploy.files import write_json
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.places import check_file
from recbole_fmrlrec.rank_files import RankRecord

DESCRIPTION = """\
Measure a trained model again: on validation or test, with any metrics and cut-offs, at any of its
sizes, for all users or slices of them. It says which slices there are when one is asked for that is
not there.
"""


def build_parser() -> Parser:
    """The parser; imports nothing heavy."""
    parser = Parser(prog="run_recbole.py evaluate", description=DESCRIPTION)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="best.pth of a run"
    )
    parser.add_argument("--part", choices=("valid", "test"), default="test", help="rows (test)")
    parser.add_argument(
        "--metrics", default="NDCG,Recall", metavar="M,M", help=f"of {', '.join(METRICS)}"
    )
    parser.add_argument("--topk", default="5,10", metavar="K,K", help="cut-offs (5,10)")
    parser.add_argument("--sizes", default="all", metavar="S,S", help="nested sizes (all)")
    parser.add_argument(
        "--slices", default="", metavar="A,B", help="rows by slice, as head,tail; all for each"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write JSON")
    parser.add_argument("--data_path", metavar="DIR", help="folder of the datasets, if it moved")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(words: Sequence[str]) -> int:
    """Run the command; returns 0.

    Raises:
        UsageError: a metric, a size, a slice, a dataset, a checkpoint or an output that cannot be
            used.
    """
    options = build_parser().parse_args(words)
    metrics, cuts = _metrics(options.metrics), whole_numbers("--topk", options.topk)
    if min(cuts) < 1:
        raise UsageError("--topk takes numbers of at least 1")
    columns = [f"{metric}@{k}" for k in cuts for metric in metrics]
    if options.output:
        check_file(options.output, "--output")
    record, rows = evaluate(options.checkpoint, options.part, options.data_path)
    chosen = _sizes(record, options.sizes)
    found = [
        {"size": size or None, "slice": name, "rows": int(mask.sum()), "metrics": values}
        for name, mask in _masks(rows, options.slices).items()
        for size in chosen
        for values in [_values(record, size, mask, columns)]
    ]
    if options.output:
        about = {"checkpoint": str(options.checkpoint), "part": options.part, "values": found}
        write_json(options.output, about)
    print(_table(found, columns))
    return 0


def evaluate(
    checkpoint: Path, part: str = "test", data_path: str | None = None
) -> tuple[RankRecord, dict[str, np.ndarray]]:
    """Rank the target of every row of a part with a trained model of ours or RecBole's.

    Args:
        checkpoint: ``best.pth`` of a run.
        part: ``valid`` or ``test``.
        data_path: the folder that holds the dataset, where it is not where training had it.

    Returns:
        The ranks at every size, and what is known of each row, in the same order (see `measure`).

    Raises:
        UsageError: the checkpoint is missing or damaged, the data has changed, or the evaluation
            is not one of ranks.
    """
    from recbole_fmrlrec import compat

    compat.apply()
    from recbole_fmrlrec.compare.measure import count_interactions, known_of_rows
    from recbole_fmrlrec.data import create_dataset, data_preparation
    from recbole_fmrlrec.export_source import saved_config, saved_model
    from recbole_fmrlrec.ranked import rank_record
    from recbole_fmrlrec.registry import get_trainer_class
    from recbole_fmrlrec.runner import tensorboard_in

    watched = {"metrics": ["NDCG"], "topk": [10], "valid_metric": "NDCG@10"}
    try:
        config, state = saved_config(checkpoint, data_path, settings=watched)
    except RunError as error:  # here the file is what the user gave
        raise UsageError(f"--checkpoint: {error}") from error
    dataset = create_dataset(config)
    counts = count_interactions(dataset)
    loaders = data_preparation(config, dataset)
    model = saved_model(checkpoint, config, state, loaders[0])
    loader = loaders[("valid", "test").index(part) + 1]
    with tempfile.TemporaryDirectory() as scratch:  # RecBole's trainers write when they are made
        config["checkpoint_dir"] = scratch
        tensorboard_in(Path(scratch))
        trainer = get_trainer_class(config)(config, model)
        trainer.evaluate(loader, load_best_model=False, show_progress=config["show_progress"])
        trainer.tensorboard.close()
    if getattr(trainer, "ranks", None) is None:
        raise UsageError(
            f"{checkpoint}: its evaluation is not one of ranks; it needs one target a row "
            "and eval_args.mode: full"
        )
    record = rank_record(trainer.ranks, tuple(getattr(model, "sizes", ())), loader)
    known = known_of_rows(config, dataset, counts, loaders, part)
    return record, _in_order_of(record, known)


def _in_order_of(record: RankRecord, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows in the order of a record: that of a general model's loader goes by users."""
    mine = order_rows(rows["users"], rows["targets"])
    theirs = np.argsort(order_rows(record.users, record.targets))
    return {
        name: column if name == "item_counts" else column[mine][theirs]
        for name, column in rows.items()
    }


def _metrics(text: str) -> list[str]:
    known = {metric.lower() for metric in METRICS}
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise UsageError(f"--metrics: no metric {name!r}; there are {', '.join(METRICS)}")
    return names


def _sizes(record: RankRecord, text: str) -> list[int]:
    there = [int(size) for size in record.sizes]
    wanted = there if text == "all" else whole_numbers("--sizes", text)
    for size in wanted:
        if size not in there:
            has = f"its sizes are {there}" if there != [0] else "it has no sizes"
            raise UsageError(f"--sizes: the model has no size {size}; {has}")
    return wanted


def _masks(rows: Mapping[str, np.ndarray], text: str) -> dict[str, np.ndarray]:
    from recbole_fmrlrec.compare.slices import slices

    everything = {"all": np.ones(len(rows["history"]), dtype=bool)}
    there = slices(rows)
    if text in ("", "all"):
        return {**everything, **(there if text else {})}
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in there:
            raise UsageError(f"--slices: no row is in `{name}`; there are {', '.join(there)}")
    return {name: there[name] for name in names}


def _values(
    record: RankRecord, size: int, mask: np.ndarray, columns: Sequence[str]
) -> dict[str, float]:
    from recbole_fmrlrec.compare.statistics import per_user

    ranks = record.ranks[record.sizes.tolist().index(size)][mask]
    return {column: float(per_user(ranks, column).mean()) for column in columns}


def _table(found: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    from tabulate import tabulate

    head = ["slice", "rows", "size", *columns]
    rows = [
        [
            one["slice"],
            f"{one['rows']:,}",
            one["size"] or "",
            *(f"{one['metrics'][column]:.4f}" for column in columns),
        ]
        for one in found
    ]
    align = ["left"] + ["right"] * (len(head) - 1)
    return tabulate(rows, head, disable_numparse=True, colalign=align)
