"""Items held out of training altogether, recommended from their features alone.

    python -m benchmarks cold-items --dataset=amazon-beauty [--quick] [--set KEY=VALUE ...]

A tenth of the items is drawn and every interaction with them leaves the training. A case is a user
whose last interaction is with such an item: the history is everything before it, and the item is
ranked among the cold items and among all items. Nothing of that user lies after the case, so that
the training has seen none of the user's future.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from benchmarks.cold_scores import score_cases
from benchmarks.cold_split import ColdSplit, split_dataset
from recbole_fmrlrec import compat

QUICK = {"sizes": [8, 16, 32, 64], "epochs": 2, "train_batch_size": 256, "learning_rate": 0.001}


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks cold-items", description=__doc__)
    add = parser.add_argument
    add("--dataset", default="amazon-beauty", help="a dataset folder with features (amazon-beauty)")
    add("--data_path", type=Path, default=Path("dataset"), help="folder of datasets (dataset)")
    add("--model", default="fMRLRec", help="fMRLRec or fMRLRecID (fMRLRec)")
    add("--share", type=float, default=0.1, help="share of items held out (0.1)")
    add("--seed", type=int, default=0, help="of the draw of items (0)")
    add("--work_dir", type=Path, help="where the cut dataset and the run go; temporary if left out")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the training")
    add("--quick", action="store_true", help=f"a short trial: {QUICK}, unless --set says otherwise")
    return parser


def main(words: Sequence[str]) -> int:
    """Print the figures; returns 0."""
    options = build_parser().parse_args(words)
    if options.work_dir is not None:
        return _run(options, options.work_dir)
    with tempfile.TemporaryDirectory() as folder:
        return _run(options, Path(folder))


def _run(options: argparse.Namespace, work: Path) -> int:
    split = split_dataset(options.data_path / options.dataset, work, options.share, options.seed)
    print(
        f"{options.dataset}: {len(split.cold):,} of {len(split.cold) + len(split.warm):,} items "
        f"held out, {split.dropped:,} interactions with them dropped; {len(split.cases):,} cases"
    )
    models = _train(options, split, work)
    rows = score_cases(split, models)
    head = ["", *(f"{m}, {among}" for among in ("cold only", "all items") for m in _METRICS)]
    print(tabulate(rows, head, floatfmt=".4f"))
    sys.stdout.flush()
    return 0


_METRICS = ("Recall@10", "NDCG@10")


def _train(options: argparse.Namespace, split: ColdSplit, work: Path) -> Path:
    """Train on the warm items and export all sizes; the folder of the family."""
    compat.apply()
    from recbole_fmrlrec import run
    from recbole_fmrlrec.export.export import Export

    keys: dict[str, Any] = dict(QUICK) if options.quick else {}
    for setting in options.set:
        key, _, value = setting.partition("=")
        keys[key] = yaml.safe_load(value)
    places = {
        "data_path": str(work),
        "checkpoint_dir": str(work / "saved"),
        "feature_path": str(split.features.absolute()),
    }
    result = run(options.model, options.dataset, config_dict={**keys, **places})
    print(result.table())
    family = work / "family"
    Export(checkpoint=result.run_dir / "best.pth", output=family, evaluate=False).run()
    return family
