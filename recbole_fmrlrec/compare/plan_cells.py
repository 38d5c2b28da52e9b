"""The cells of a plan: what each run is, and whether it is possible, before any starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_fmrlrec.atomic_files.parquet import is_there
from recbole_fmrlrec.compare.cells import Cell
from recbole_fmrlrec.compare.code_version import code_version
from recbole_fmrlrec.compare.plan import Plan, Variant
from recbole_fmrlrec.compare.plan_checks import check_same_split, rows_fault
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation.list_metric_names import is_diversity
from recbole_fmrlrec.evaluation.list_record import KeepLists
from recbole_fmrlrec.model_api.protocols import NestedModel
from recbole_fmrlrec.program import command_name
from recbole_fmrlrec.runs.folder import run_fingerprint

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config

#: The key of a cell whose data is not there, in a list.
UNKNOWN = "-" * 12


def make_cells(plan: Plan, look_only: bool = False) -> list[Cell]:
    """Every cell of a plan, datasets first, with its key.

    Missing datasets and features that can be made are made here: keys depend on them.

    Args:
        look_only: make and write nothing, and need no data: the key of a cell is `UNKNOWN` where
            it depends on data that is not there.

    Raises:
        UsageError: a setting, a dataset or a size that cannot be used.
    """
    checked = []
    for dataset in plan.datasets:
        configs = [_check(plan, dataset, variant, look_only) for variant in plan.models]
        check_same_split(plan.models, [config["eval_args"] for config in configs])
        for variant, config in zip(plan.models, configs, strict=True):
            sizes = _sizes_alone(plan, dataset, variant, config)
            checked.append((dataset, variant, sizes, config))
    if not look_only:
        for dataset, variant, _, config in checked:
            # Where diversity chooses models, keys of those that read no features depend on them.
            if config.reads_features and any(map(is_diversity, config["metrics"])):
                _key_or_fault(dataset, variant, config, _key)  # makes what can be made
    key_of = _known_key if look_only else _key
    cells = [
        _cell(plan, dataset, variant, seed, alone, key_of)
        for dataset, variant, sizes, _ in checked
        for alone in sizes
        for seed in plan.seeds
    ]
    if plan.keep_lists is None or not plan.keep_lists.distances:
        return cells
    features = _fingerprints(plan, look_only)  # now those are made that can be
    return [replace(cell, features=features[cell.dataset]) for cell in cells]


def _fingerprints(plan: Plan, look_only: bool) -> dict[str, str]:
    """Those of the features that IntraListDiversity compares, by dataset.

    Raises:
        UsageError: a dataset has none, unless that is only looked at.
    """
    from recbole_fmrlrec.data.item_features import all_features_fingerprint, find_features

    found = {}
    for dataset in plan.datasets:
        config = _config(plan, dataset, plan.models[0], plan.seeds[0], None)
        folder = find_features(config)
        if folder is None and not look_only:
            raise UsageError(
                f"{plan.line_of('datasets', dataset)}: IntraListDiversity compares features of "
                f"items, and {dataset} has none: `python -m dataset_tools encode-text --help` "
                "makes some; or leave it out of metrics"
            )
        found[dataset] = all_features_fingerprint(folder) if folder else ""
    return found


def _sizes_alone(plan: Plan, dataset: str, variant: Variant, config: Config) -> list[int | None]:
    """Sizes of the separate models, None for the model with all of them."""
    if variant.sizes is None and not variant.independent:
        return [None]
    sizes = list(config["sizes"])
    absent = [size for size in variant.sizes or () if size not in sizes]
    if absent:
        wanted = list(variant.sizes or ())
        raise UsageError(
            f"{plan.line_of('sizes', variant.name)}: {variant.name} has no size {absent[0]} on "
            f"{dataset}; its sizes are {sizes}. `show_sizes` chooses what the tables show of "
            "them; for a "
            f"model of other sizes say `settings: {{sizes: {wanted}}}`"
        )
    return [None, *(variant.sizes or sizes)] if variant.independent else [None]


def _run_settings(
    plan: Plan, dataset: str, variant: Variant, seed: int, alone: int | None
) -> dict[str, Any]:
    size = {} if alone is None else {"sizes": [alone]}
    return {**plan.settings_of(dataset, variant), **size, "seed": seed}


def _config(plan: Plan, dataset: str, variant: Variant, seed: int, alone: int | None) -> Config:
    from recbole_fmrlrec.config.config import Config

    keys = _run_settings(plan, dataset, variant, seed, alone)
    try:
        return Config(variant.model, dataset, config_dict=keys)
    except UsageError as error:
        raise UsageError(f"{variant.where}: {variant.name} on {dataset}: {error}") from error


def _cell(
    plan: Plan,
    dataset: str,
    variant: Variant,
    seed: int,
    alone: int | None,
    key_of: Callable[[Config], str],
) -> Cell:
    config = _config(plan, dataset, variant, seed, alone)
    key = _key_or_fault(dataset, variant, config, key_of)
    settings = _run_settings(plan, dataset, variant, seed, alone)
    names = dataset, variant.name, variant.model
    trained = tuple(config["sizes"]) if issubclass(config.model_class, NestedModel) else ()
    wanted = variant.sizes if alone is None else None
    shown = tuple(size for size in trained if wanted is None or size in wanted)
    keep = plan.keep_lists or KeepLists(0)
    return Cell(*names, seed, alone, settings, key, plan.output, trained, shown, *keep)


def _key_or_fault(
    dataset: str, variant: Variant, config: Config, key_of: Callable[[Config], str]
) -> str:
    try:
        return key_of(config)
    except UsageError as error:
        raise UsageError(f"{variant.where}: {variant.name} on {dataset}: {error}") from error


def _key(config: Config) -> str:
    """The key of a run, whose data is made where it is not there and can be."""
    from recbole_fmrlrec.data.prepare_missing import prepare_missing

    prepare_missing(config)
    return _hash(run_fingerprint(config))


def _known_key(config: Config) -> str:
    """The key of a run by what is there, `UNKNOWN` where that is too little; writes nothing."""
    from recbole_fmrlrec.data.item_features import find_features

    made_on_the_way = config.reads_features and not config["feature_path"]
    needs_some = made_on_the_way or any(map(is_diversity, config["metrics"]))
    if _absent_files(config) or (needs_some and find_features(config) is None):
        return UNKNOWN
    try:
        return _hash(run_fingerprint(config, remake=False))
    except UsageError:  # a modality is not there
        return UNKNOWN


def _hash(fingerprint: str) -> str:
    parts = [fingerprint, code_version()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _check(plan: Plan, dataset: str, variant: Variant, look_only: bool) -> Config:
    """Refuse what would fail halfway, or leave rows that do not compare."""
    config = _config(plan, dataset, variant, plan.seeds[0], None)
    if not look_only:
        _check_dataset(plan, dataset, config)
    _check_budget(plan, variant, config)
    if (fault := rows_fault(config["eval_args"])) is not None:
        raise UsageError(f"{variant.where}: {variant.name} on {dataset}: {fault}")
    return config


def _check_dataset(plan: Plan, dataset: str, config: Config) -> None:
    """A dataset has its interactions, or is one that `prepare_missing` can make."""
    from dataset_tools.fetch.descriptions import known_names
    from recbole_fmrlrec.keys.yaml_files import load_yaml
    from recbole_fmrlrec.model_api.registry import recbole_dir

    absent = _absent_files(config)
    if not absent or (not config["benchmark_filename"] and dataset in known_names()):
        return
    way = "`python -m dataset_tools convert` makes one of raw files, and data_path says where it is"
    if dataset in load_yaml(recbole_dir() / "properties" / "dataset" / "url.yaml"):
        way = f"RecBole downloads it with `{command_name()} --model=Pop --dataset={dataset}`"
    raise UsageError(
        f"{plan.line_of('datasets', dataset)}: there is no dataset `{dataset}`: {absent[0]} is not "
        f"in {Path(config['data_path']).absolute()}; {way}. Prepared on demand: "
        f"{', '.join(known_names())}"
    )


def _absent_files(config: Config) -> list[str]:
    """Files of interactions that a dataset has not, by name."""
    folder, parts = Path(config["data_path"]), config["benchmark_filename"]
    dataset = config["dataset"]
    names = [f"{dataset}.{part}.inter" for part in parts] if parts else [f"{dataset}.inter"]
    return [name for name in names if not is_there(folder / name)]


def _check_budget(plan: Plan, variant: Variant, config: Config) -> None:
    from recbole_fmrlrec.train.trainer import Trainer, trainer_class

    if plan.minutes is not None and not issubclass(trainer_class(config), Trainer):
        raise UsageError(
            f"{variant.where}: budget.minutes: {variant.model} has a trainer of RecBole's own, "
            "which has no time limit; budget.epochs limits every model"
        )
