"""The cells of a comparison: one run each, in a folder named by everything the run depends on."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recbole_fmrlrec.compare.code_version import code_version
from recbole_fmrlrec.compare.locks import Lock
from recbole_fmrlrec.compare.plan import Plan, Variant
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.run_folder import run_fingerprint, write_json

#: What a finished cell holds beside its ranks; the last one is written last.
RESULT, ROWS, COST = "result.json", "rows.npz", "cost.json"
#: Where a comparison keeps its plan and its list of cells.
RECORD = "comparison.json"


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
        variant: name of the model in the comparison.
        alone: the one size of a model trained separately; None for the ordinary run.
        settings: of the run, the seed included.
        key: hash of the full configuration, the data, the features and the code.
        root: folder of the comparison.
    """

    dataset: str
    variant: str
    model: str
    seed: int
    alone: int | None
    settings: dict[str, Any]
    key: str
    root: Path

    @property
    def name(self) -> str:
        """``DATASET/VARIANT-seed2020-KEY``, below the folder of cells."""
        size = "" if self.alone is None else f"-alone{self.alone}"
        variant = self.variant.replace(" ", "_")
        return f"{self.dataset}/{variant}{size}-seed{self.seed}-{self.key}"

    @property
    def label(self) -> str:
        """What messages call it."""
        size = "" if self.alone is None else f" alone at {self.alone}"
        return f"{self.variant}{size} on {self.dataset}, seed {self.seed}"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.root / "cells" / self.name

    @property
    def lock(self) -> Lock:
        """The lock that the process which computes the cell holds."""
        return Lock(self.path)

    @property
    def finished(self) -> bool:
        """Whether all of it is there."""
        return (self.path / COST).is_file()

    def state(self) -> str:
        """``finished``, ``running``, ``interrupted`` or ``to do``."""
        if self.finished:
            return "finished"
        if self.lock.is_held():
            return f"running ({self.lock.owner()})"
        return "interrupted" if (self.path / "config.json").is_file() else "to do"

    def discard(self) -> None:
        """Remove the cell's folder, to compute it anew.

        Raises:
            UsageError: a process is at work on it.
        """
        lock = self.lock
        if not lock.acquire():
            raise UsageError(f"--redo: {self.label} is being computed by {lock.owner()}")
        try:
            if self.path.is_dir():
                shutil.rmtree(self.path)
        finally:
            lock.release()

    def to_json(self) -> dict[str, Any]:
        """Values that JSON knows; ``root`` is left to the reader."""
        content = asdict(self)
        del content["root"]
        return content

    @classmethod
    def from_json(cls, content: dict[str, Any], root: Path) -> Cell:
        """The inverse of `to_json`; ``root`` is where the comparison is now."""
        return cls(**content, root=root)


def make_cells(plan: Plan) -> list[Cell]:
    """Every cell of a plan, datasets first, with its key.

    Datasets and features that are not there and can be made are made here, since keys hang on them.

    Raises:
        UsageError: a setting, a dataset or a size that cannot be used.
    """
    return [
        _cell(plan, dataset, variant, seed, alone)
        for dataset in plan.datasets
        for variant in plan.models
        for alone in _sizes_alone(plan, dataset, variant)
        for seed in plan.seeds
    ]


def _sizes_alone(plan: Plan, dataset: str, variant: Variant) -> list[int | None]:
    if variant.sizes is None and not variant.independent:
        return [None]
    sizes = list(_config(plan, dataset, variant, plan.seeds[0], None)["sizes"])
    absent = [size for size in variant.sizes or () if size not in sizes]
    if absent:
        raise UsageError(
            f"{variant.where}: {variant.name} has no size {absent[0]} on {dataset}; it has {sizes}"
        )
    return [None, *(variant.sizes or sizes)] if variant.independent else [None]


def _run_settings(
    plan: Plan, dataset: str, variant: Variant, seed: int, alone: int | None
) -> dict[str, Any]:
    size = {} if alone is None else {"sizes": [alone]}
    return {**plan.settings_of(dataset, variant), **size, "seed": seed}


def _config(plan: Plan, dataset: str, variant: Variant, seed: int, alone: int | None) -> Any:
    from recbole_fmrlrec.config import Config

    keys = _run_settings(plan, dataset, variant, seed, alone)
    try:
        return Config(variant.model, dataset, config_dict=keys)
    except UsageError as error:
        raise UsageError(f"{variant.where}: {variant.name} on {dataset}: {error}") from error


def _cell(plan: Plan, dataset: str, variant: Variant, seed: int, alone: int | None) -> Cell:
    from recbole_fmrlrec.prepare import prepare_missing

    config = _config(plan, dataset, variant, seed, alone)
    prepare_missing(config)
    _check_budget(plan, variant, config)
    parts = [run_fingerprint(config), _features_fingerprint(config), code_version()]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
    keys = _run_settings(plan, dataset, variant, seed, alone)
    return Cell(dataset, variant.name, variant.model, seed, alone, keys, key, plan.output)


def _check_budget(plan: Plan, variant: Variant, config: Any) -> None:
    from recbole_fmrlrec.registry import get_trainer_class
    from recbole_fmrlrec.trainer import Trainer

    if plan.minutes is not None and not issubclass(get_trainer_class(config), Trainer):
        raise UsageError(
            f"{variant.where}: budget.minutes: {variant.model} has a trainer of RecBole's own, "
            "which keeps no time; budget.epochs limits every model"
        )


def _features_fingerprint(config: Any) -> str:
    """A hash of the features that a model reads; empty for a model without."""
    from recbole_fmrlrec.features import chosen_features
    from recbole_fmrlrec.registry import is_ours

    if not (is_ours(config.model_class) and config["use_features"]):
        return ""
    folder, names = chosen_features(config)
    files = [folder / "items.txt", *(folder / f"{name}.npy" for name in names)]
    return " ".join(_file_hash(file, file.stat().st_mtime_ns) for file in files)


@functools.cache
def _file_hash(file: Path, changed: int) -> str:
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(2**22):
            digest.update(block)
    return digest.hexdigest()


def choose(cells: Sequence[Cell], names: Sequence[str], option: str) -> list[Cell]:
    """The cells that belong to any of some names: variants, datasets, keys or ``seed2020``.

    Raises:
        UsageError: a name that no cell bears.
    """
    for name in names:
        if not any(name in _names(cell) for cell in cells):
            known = sorted({name for cell in cells for name in _names(cell)})
            raise UsageError(f"{option}: no cell is called `{name}`; there are {', '.join(known)}")
    return [cell for cell in cells if not set(names).isdisjoint(_names(cell))]


def _names(cell: Cell) -> set[str]:
    return {"all", cell.variant, cell.dataset, cell.key, f"seed{cell.seed}"}


def write_record(plan: Plan, cells: Iterable[Cell]) -> None:
    """Write down plan and cells, so that tables can be made anew without the plan's file."""
    plan.output.mkdir(parents=True, exist_ok=True)
    content = {"plan": plan.to_json(), "cells": [cell.to_json() for cell in cells]}
    write_json(plan.output / RECORD, {**content, "code_version": code_version()})


def read_record(folder: Path) -> tuple[Plan, list[Cell]]:
    """The plan and the cells of a stored comparison.

    Raises:
        UsageError: there is none in the folder.
    """
    file = folder / RECORD
    if not file.is_file():
        raise UsageError(
            f"no comparison in {folder.absolute()} ({RECORD} is not there); `compare` makes one"
        )
    content = json.loads(file.read_text(encoding="utf-8"))
    cells = [Cell.from_json(cell, folder) for cell in content["cells"]]
    return Plan.from_json(content["plan"], folder), cells


def read_cost(folder: Path) -> dict[str, Any]:
    """``cost.json`` of a finished cell: latency and bytes per item by size, and on what."""
    content: dict[str, Any] = json.loads((folder / COST).read_text(encoding="utf-8"))
    return content
