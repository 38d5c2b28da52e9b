"""The cells of a comparison: one run each, in a folder named by all that the run depends on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recbole_fmrlrec.compare.code_version import code_version
from recbole_fmrlrec.compare.plan import Plan
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.evaluation.list_record import TEST_LISTS, KeepLists, holds_lists
from recbole_fmrlrec.files.atomic import write_json
from recbole_fmrlrec.files.names import check_name
from recbole_fmrlrec.runs.folder import CONFIG
from recbole_fmrlrec.runs.lock import Lock

#: What a finished cell holds beside its ranks; the last one is written last.
ROWS, COST = "rows.npz", "cost.json"
#: Where a comparison keeps its plan and its list of cells.
RECORD = "comparison.json"


@dataclass(frozen=True)
class Cell:
    """One run of a comparison, under the name that a variant gives it.

    Attributes:
        variant: name of the model in the comparison.
        alone: the one size of a model trained separately; None for the ordinary run.
        settings: of the run, the seed included.
        key: hash of the full configuration, the data, the features and the code.
        root: folder of the comparison.
        trained: the nested sizes that its training makes; empty for a model without.
        shown: those of them that the tables show.
        list_length: items of the lists that the tables' metrics need; 0 for none.
        distances: whether they need distances between listed items too.
        features: the fingerprint of the features that distances are by; empty where none are
            needed or there.
    """

    dataset: str
    variant: str
    model: str
    seed: int
    alone: int | None
    settings: dict[str, Any]
    key: str
    root: Path
    trained: tuple[int, ...] = ()
    shown: tuple[int, ...] = ()
    list_length: int = 0
    distances: bool = False
    features: str = ""

    @property
    def name(self) -> str:
        """``DATASET/MODEL-seed2020-KEY``, below the folder of cells.

        It depends on the run alone: cells of the same run under several names have
        one folder.
        """
        return f"{self.dataset}/{self.model}-seed{self.seed}-{self.key}"

    @property
    def label(self) -> str:
        """What messages call it."""
        size = "" if self.alone is None else f" alone at {self.alone}"
        return f"{self.variant}{size} on {self.dataset}, seed {self.seed}"

    @property
    def about_sizes(self) -> str:
        """Which sizes are trained and which of them shown; empty for a model without."""
        if not self.trained:
            return ""
        trained, shown = (", ".join(map(str, sizes)) for sizes in (self.trained, self.shown))
        more = "" if trained == shown else f"; the tables show {shown}"
        return f"trained at size{'s' * (len(self.trained) > 1)} {trained}{more}"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.root / "cells" / self.name

    @property
    def lock(self) -> Lock:
        """The lock that the process which computes the cell holds."""
        return Lock(self.path)

    @property
    def keep_lists(self) -> KeepLists | None:
        """The lists that it is to keep."""
        return KeepLists(self.list_length, self.distances) if self.list_length else None

    @property
    def measured(self) -> bool:
        """Whether it is trained, tested and measured; lists may be missing."""
        return (self.path / COST).is_file()

    @property
    def finished(self) -> bool:
        """Whether all of it is there."""
        keep = self.keep_lists
        lists = self.path / TEST_LISTS
        return self.measured and (keep is None or holds_lists(lists, keep, self.features))

    def state(self) -> str:
        """``finished``, ``running``, ``interrupted``, ``to do``, or what is missing."""
        if self.finished:
            return "finished"
        if self.measured and not self.lock.is_held():
            return "trained, its lists are to be made"
        if self.lock.is_held():
            return f"running ({self.lock.owner()})"
        return "interrupted" if (self.path / CONFIG).is_file() else "to do"

    def to_json(self) -> dict[str, Any]:
        """Values that JSON knows; ``root`` is left to the reader."""
        content = asdict(self)
        del content["root"]
        return content

    @classmethod
    def from_json(cls, content: dict[str, Any], root: Path) -> Cell:
        """The inverse of `to_json`; ``root`` is where the comparison is now."""
        sizes = {key: tuple(content.get(key, ())) for key in ("trained", "shown")}
        cell = cls(**{**content, **sizes}, root=root)
        for what in ("dataset", "model", "key"):
            check_name(f"cells: {what}", getattr(cell, what), "the folder of cells")
        check_name("cells: seed", f"seed{cell.seed}", "the folder of cells")
        return cell


def choose(cells: Sequence[Cell], names: Sequence[str], option: str) -> list[Cell]:
    """The cells that some names choose: variants, datasets, seeds (``seed2020``), keys, or all.

    Names of one kind add up, and kinds restrict each other: ``BPR,Pop,seed2`` is seed 2 of two.

    Raises:
        UsageError: a name that no cell has, or no cell has all kinds of them.
    """
    for name in names:
        if name != "all" and not any(name in _names(cell).values() for cell in cells):
            known = sorted({name for cell in cells for name in _names(cell).values()})
            raise UsageError(f"{option}: there is no cell `{name}`; known: all, {', '.join(known)}")
    if "all" in names:
        return list(cells)
    kinds = [
        (kind, wanted)
        for kind in ("variant", "dataset", "seed", "key")
        if (wanted := {_names(cell)[kind] for cell in cells}.intersection(names))
    ]
    found = [cell for cell in cells if all(_names(cell)[kind] in own for kind, own in kinds)]
    if not found:
        raise UsageError(f"{option}: no cell matches all of {', '.join(names)}; see --list")
    return found


def discard(cells: Sequence[Cell]) -> None:
    """Remove the folders of cells, to recompute them: all of them or none.

    Raises:
        UsageError: a process is working on one.
    """
    with ExitStack() as held:
        for cell in {cell.path: cell for cell in cells}.values():
            lock = cell.lock
            if not lock.acquire():
                raise UsageError(f"--redo: {cell.label} is being computed by {lock.owner()}")
            held.callback(lock.release)
        for cell in cells:
            if cell.path.is_dir():
                shutil.rmtree(cell.path)


def _names(cell: Cell) -> dict[str, str]:
    seed = f"seed{cell.seed}"
    return {"variant": cell.variant, "dataset": cell.dataset, "seed": seed, "key": cell.key}


def write_record(plan: Plan, cells: Iterable[Cell]) -> None:
    """Write down plan and cells, so that tables can be rebuilt without the plan's file."""
    plan.output.mkdir(parents=True, exist_ok=True)
    content = {"plan": plan.to_json(), "cells": [cell.to_json() for cell in cells]}
    write_json(plan.output / RECORD, {**content, "code_version": code_version()})


def read_record(folder: Path) -> tuple[Plan, list[Cell]]:
    """The plan and the cells of a stored comparison.

    Raises:
        UsageError: there is none in the folder.
        RunError: it is damaged.
    """
    file = folder / RECORD
    if not file.is_file():
        raise UsageError(
            f"no comparison in {folder.absolute()} ({RECORD} is not there); `compare` makes one"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        cells = [Cell.from_json(cell, folder) for cell in content["cells"]]
        return Plan.from_json(content["plan"], folder), cells
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(
            f"{file}: damaged ({type(error).__name__}: {error}); the `compare` command of this "
            "folder writes it again and keeps finished cells"
        ) from error
