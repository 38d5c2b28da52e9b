"""Learning on: a model of the first 80 % of time that goes on with what came after.

    python -m benchmarks continue --dataset=ml-100k [--model=LRURec] [--set KEY=VALUE ...] [--quick]

The interactions are cut by time. The older training sees the first 80 % (validated on the next
5 %). The newer one sees 90 %, is validated on the 5 % after that and tested on the last 5 %. Four
models are tested on these same rows: the older one as it is, the older one continued for a few
epochs on the newer data, without and with its optimiser's state, and a new one trained on all of
the newer data. CPU seconds are those of the whole run, data and test included.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from recbole_fmrlrec import compat

#: Shares of the interactions: end of the older training, its validation, its file; likewise newer.
OLDER, NEWER = (0.80, 0.85, 0.90), (0.90, 0.95, 1.0)
METRICS = ("ndcg@10", "masked_ndcg@10", "recall@10")
SMALL: dict[str, dict[str, Any]] = {
    "LRURec": {"hidden_size": 64},
    "fMRLRec": {"sizes": [16, 64]},
    "fMRLRecID": {"sizes": [16, 64]},
}


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks continue", description=__doc__)
    add = parser.add_argument
    add("--dataset", default="ml-100k", help="a dataset with times (ml-100k, which RecBole has)")
    add("--data_path", type=Path, default=Path("dataset"), help="folder of datasets (dataset)")
    add("--model", default="LRURec", help="the model (LRURec)")
    add("--epochs", type=int, default=20, help="of a training from the beginning, at most (20)")
    add("--continue_epochs", type=int, default=3, help="of the continued training (3)")
    add("--continue_rate", type=float, help="learning rate of the continued training, if another")
    add("--work_dir", type=Path, help="where cut data and runs go; temporary if left out")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the trainings")
    add("--quick", action="store_true", help="a short trial: two epochs, then one")
    return parser


def main(words: Sequence[str]) -> int:
    """Print the figures; returns 0."""
    options = build_parser().parse_args(words)
    if options.quick:
        options.epochs, options.continue_epochs = 2, 1
    if options.work_dir is not None:
        return _run(options, options.work_dir)
    with tempfile.TemporaryDirectory() as folder:
        return _run(options, Path(folder))


def _run(options: argparse.Namespace, work: Path) -> int:
    compat.apply()
    moments = cut_by_time(_source(options), work)
    rows = []
    older, seconds = _timed(options, work, "older", moments["older"], epochs=options.epochs)
    untouched = _as_it_is(older, work, moments["newer"])
    rows.append(["the older model as it is", "", seconds, *untouched])
    rate = {"learning_rate": options.continue_rate} if options.continue_rate else {}
    for kept in (False, True):
        going_on = {"continue_from": str(older), "epochs": options.continue_epochs, **rate}
        keys = {**going_on, "continue_optimizer": kept}
        folder, seconds, *values = _tested(options, work, moments["newer"], **keys)
        name = "continued, with the optimiser's state" if kept else "continued"
        rows.append([name, _epochs(folder), seconds, *values])
    keys = {"epochs": options.epochs}
    folder, seconds, *values = _tested(options, work, moments["newer"], **keys)
    rows.append(["trained on all from the beginning", _epochs(folder), seconds, *values])
    rows[0][1] = _epochs(older)
    head = [f"{options.model} on {options.dataset}", "epochs", "CPU s", *METRICS]
    print(tabulate(rows, head, floatfmt=("", "", ".1f", ".4f", ".4f", ".4f")))
    sys.stdout.flush()
    return 0


def _source(options: argparse.Namespace) -> Path:
    from recbole_fmrlrec.model_api.registry import recbole_dir

    own: Path = options.data_path / options.dataset
    if options.dataset == "ml-100k" and not own.is_dir():
        return recbole_dir() / "dataset_example" / "ml-100k"
    return own


def cut_by_time(source: Path, work: Path) -> dict[str, list[float]]:
    """Write the datasets ``older`` and ``newer``.

    Returns:
        Of each, the times from which it is validated and tested.
    """
    import pandas as pd

    log = pd.read_csv(source / f"{source.name}.inter", sep="\t", dtype=str)
    times = log["timestamp:float"].astype(float)
    log, times = log.loc[order := times.sort_values(kind="stable").index], times.loc[order]
    moments = {}
    for name, (train, valid, end) in (("older", OLDER), ("newer", NEWER)):
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        log.iloc[: int(end * len(log))].to_csv(folder / f"{name}.inter", sep="\t", index=False)
        if (items := source / f"{source.name}.item").is_file():
            shutil.copy(items, folder / f"{name}.item")
        if (source / "features").is_dir():
            shutil.copytree(source / "features", folder / "features", dirs_exist_ok=True)
        moments[name] = [float(times.iloc[int(share * len(log))]) for share in (train, valid)]
    return moments


def _keys(options: argparse.Namespace, work: Path, moments: list[float]) -> dict[str, Any]:
    keys: dict[str, Any] = {**SMALL.get(options.model, {}), "stopping_step": 2, "num_threads": 1}
    for setting in options.set:
        key, _, value = setting.partition("=")
        keys[key] = yaml.safe_load(value)
    places = {"data_path": str(work), "checkpoint_dir": str(work / "saved"), "use_gpu": False}
    return {
        **keys,
        **places,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": _split(moments),
    }


def _split(moments: list[float]) -> dict[str, Any]:
    return {"split": {"time": moments}, "order": "TO", "mode": "full"}


def _timed(
    options: argparse.Namespace, work: Path, name: str, moments: list[float], **keys: Any
) -> tuple[Path, float]:
    """Train on one of the two datasets; the run's folder, and its CPU seconds."""
    from recbole_fmrlrec import run

    started = time.process_time()
    result = run(options.model, name, config_dict={**_keys(options, work, moments), **keys})
    return result.run_dir, time.process_time() - started


def _tested(
    options: argparse.Namespace, work: Path, moments: list[float], **keys: Any
) -> tuple[Any, ...]:
    folder, seconds = _timed(options, work, "newer", moments, **keys)
    from recbole_fmrlrec.runs.folder import RunFolder

    result = RunFolder.open(folder).result()
    assert result is not None
    return folder, seconds, *(result.test_result[metric] for metric in METRICS)


def _as_it_is(older: Path, work: Path, moments: list[float]) -> list[float]:
    """The older model on the test rows of the newer data."""
    from recbole_fmrlrec.compare.checkpoint_ranks import TrainedPart
    from recbole_fmrlrec.compare.statistics import per_user

    part = TrainedPart.open(
        older / "best.pth", "test", dataset="newer", evaluation={"eval_args": _split(moments)}
    )
    record, _ = part.read().rank()
    return [float(per_user(record.ranks_of(name)[-1], name).mean()) for name in METRICS]


def _epochs(folder: Path) -> str:
    from recbole_fmrlrec.runs.folder import RunFolder

    result = RunFolder.open(folder).result()
    assert result is not None
    return f"{result.epochs_run}, best {result.best_epoch}"
