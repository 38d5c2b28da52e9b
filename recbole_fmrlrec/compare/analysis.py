"""From the ranks of all users to everything that tables, plots and pages show, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from recbole_fmrlrec.compare.beyond import (
    counting,
    with_one_count,
    without_missing_lists,
    without_pairs,
)
from recbole_fmrlrec.compare.gather import DatasetRuns, Run, System, out_of_time
from recbole_fmrlrec.compare.plan import Plan
from recbole_fmrlrec.compare.significance import Tests, correct
from recbole_fmrlrec.compare.slices import slices
from recbole_fmrlrec.compare.statistics import bootstrap_means, interval
from recbole_fmrlrec.compare.training_curves import curves, savings
from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.evaluation.list_metric_names import is_of_all_lists
from recbole_fmrlrec.evaluation.list_metrics import known_mean
from recbole_fmrlrec.evaluation.protocol import KEEP, is_masked
from recbole_fmrlrec.keys.known import our_model_file

#: How cells of an earlier version get ranks without the users' histories.
MASKED_AGAIN = (
    "the `compare` command of this comparison computes them with this version, and `evaluate "
    "--checkpoint=CELL/best.pth` shows both rankings of a trained model"
)


def analyse(plan: Plan, datasets: Sequence[DatasetRuns]) -> dict[str, Any]:
    """All numbers of a comparison in values that JSON knows.

    Args:
        plan: the comparison.
        datasets: its systems on each dataset, from `gather`.
    """
    lacking = _without_masked(datasets)
    if lacking:
        plan = _with_history_kept(plan, lacking)
    plan, without_lists = without_missing_lists(plan, datasets)
    parts = [_OneDataset(plan, runs, counting(plan, runs)) for runs in datasets]
    content = {part.runs.dataset: part.content() for part in parts}
    for of_one in content.values():
        correct(of_one["tests"])
    return {
        "name": plan.name,
        "metrics": plan.columns,
        "main": plan.main,
        "mains": plan.mains,
        "without_masked": lacking,
        "without_lists": without_lists,
        "seeds": sorted({seed for runs in datasets for s in runs.systems for seed in s.seeds}),
        "bootstrap": plan.bootstrap,
        "datasets": content,
        "settings": _settings(plan, datasets),
    }


def _without_masked(datasets: Sequence[DatasetRuns]) -> list[str]:
    """The cells that hold no ranks without the users' histories: earlier versions wrote none."""
    systems = [system for runs in datasets for system in runs.systems]
    lacking = [run for s in systems for run in s.runs if run.masked_ranks is None]
    return list(dict.fromkeys(f"{run.cell.label} ({run.cell.key})" for run in lacking))


def _with_history_kept(plan: Plan, lacking: Sequence[str]) -> Plan:
    """The plan without the metrics that some cells do not have.

    Raises:
        RunError: nothing would be left of what is asked for.
    """
    if is_masked(plan.main):
        raise RunError(
            f"{plan.valid_metric} needs ranks without the users' histories, which cells of an "
            f"earlier version do not have: {', '.join(lacking)}; {MASKED_AGAIN}"
        )
    return replace(plan, history=KEEP)


@dataclass
class _OneDataset:
    plan: Plan
    runs: DatasetRuns
    counting: list[dict[str, Any]]  # how often whose training has the items, see `counting`
    whole: list[str] = field(init=False)  # those of all lists: no values by user, no tests
    metrics: list[str] = field(init=False)  # the others
    values: np.ndarray = field(init=False)  # (systems, metrics, R), averaged over seeds; or NaN
    means: np.ndarray = field(init=False)  # (systems, metrics, resamples)
    several: np.ndarray | None = field(init=False)  # whose each row is, where users have several

    def __post_init__(self) -> None:
        every = list(dict.fromkeys([*self.plan.columns, *self.plan.mains]))
        self.whole = [metric for metric in every if is_of_all_lists(metric)]
        self.metrics = [metric for metric in every if metric not in self.whole]
        rows = len(self.runs.rows["users"])
        self.runs = with_one_count(self.runs)
        by_user = [[known_mean(s.values(m), axis=0) for m in self.metrics] for s in self.systems]
        self.values = np.array(by_user).reshape(len(self.systems), len(self.metrics), rows)
        systems, metrics, _ = self.values.shape
        users = self.runs.rows["users"]
        self.several = users if len(np.unique(users)) < len(users) else None
        columns = self.values.reshape(-1, rows).T
        drawn = bootstrap_means(columns, self.plan.bootstrap, users=self.several)
        self.means = drawn.T.reshape(systems, metrics, self.plan.bootstrap)

    @property
    def systems(self) -> list[System]:
        return self.runs.systems

    def content(self) -> dict[str, Any]:
        masks = slices(self.runs.rows)
        tests = Tests(self.systems, self.metrics, self.values, self.means, self.several)
        return {
            "rows": self.values.shape[2],
            "items": max(_candidates(run) for system in self.systems for run in system.runs),
            "split": self._split(),
            "systems": [self._system(at, masks) for at in range(len(self.systems))],
            "slices": {name: int(mask.sum()) for name, mask in masks.items()},
            "against": tests.against,
            "tests": tests.all(),
            "training": savings(self.systems),
            "curves": curves(self.systems, self.plan.main),
            "counting": self.counting,
            "ranked": self._ranked(),
            "catalogue": max(len(run.rows["item_counts"]) for s in self.systems for run in s.runs),
            "without_pairs": without_pairs(self.systems, self.metrics),
            "machines": sorted({self._machine(system) for system in self.systems}),
        }

    def _split(self) -> dict[str, Any] | None:
        """The moments and keys of a split by time; ``ids_only`` names the models that rank cold
        items last. None of another split, and where cells of earlier versions do not say."""
        runs = {system.variant.name: system.runs[0].result for system in self.systems}
        facts = {name: result["split"] for name, result in runs.items() if result.get("split")}
        if not facts:
            return None
        named = [name for name, one in facts.items() if one["ids_only"]]
        return {**next(iter(facts.values())), "ids_only": named}

    def _ranked(self) -> dict[str, int]:
        """How many items each model ranks, by variant; empty where all rank as many.

        RecBole's items are also those of the items' columns that a model reads, whether or not
        anybody has interacted with them.
        """
        found = {s.variant.name: _candidates(s.runs[0]) for s in self.systems}
        return found if len(set(found.values())) > 1 else {}

    def _system(self, at: int, masks: dict[str, np.ndarray]) -> dict[str, Any]:
        system = self.systems[at]
        return {
            "label": system.label,
            "variant": system.variant.name,
            "model": system.variant.model,
            "size": system.size or None,
            "alone": system.alone,
            "baseline": system.variant.baseline,
            "seeds": system.seeds,
            "missing_seeds": system.missing,
            "parameters": system.parameters,
            "metrics": self._metrics(at),
            "slices": {name: self._in_slice(at, mask) for name, mask in masks.items()},
            "cost": system.cost(),
            "out_of_time": any(out_of_time(run.result) for run in system.runs),
            "cells": [run.cell.name for run in system.runs],
        }

    def _metrics(self, at: int) -> dict[str, dict[str, Any]]:
        """Mean, interval and seeds of each metric; those of all lists have no interval."""
        system, found = self.systems[at], {}
        for column, metric in enumerate(self.metrics):
            by_seed = known_mean(system.values(metric))
            between = interval(self.means[at, column])
            mean = float(known_mean(self.values[at, column]))
            found[metric] = _over_seeds(by_seed, mean, between)
        for metric in self.whole:
            by_seed = system.of_all_lists(metric)
            found[metric] = _over_seeds(by_seed, by_seed.mean(), None)
        return found

    def _in_slice(self, at: int, mask: np.ndarray) -> dict[str, float | None]:
        values = known_mean(self.values[at][:, mask])
        found = dict(zip(self.metrics, map(_known, values), strict=True))
        for metric in self.whole:
            found[metric] = float(self.systems[at].of_all_lists(metric, mask).mean())
        return found

    @staticmethod
    def _machine(system: System) -> str:
        run = system.runs[0]
        threads = run.cost.get("threads", run.result["machine"]["threads"])
        device = run.cost.get("device") or run.result["machine"]["device"]
        return f"{device}, {threads} thread{'s' * (threads != 1)}"


def _candidates(run: Run) -> int:
    """The items among which a run ranks a target, the history's included."""
    split = run.result.get("split")
    dropped = split["cold_items"] if split and split["cold"] == "drop" else 0
    return len(run.rows["item_counts"]) - int(dropped)


def _over_seeds(
    by_seed: np.ndarray, mean: float, between: tuple[float, float] | None
) -> dict[str, Any]:
    """None is what nothing is known of, a seed of which no list has a value for one."""
    known = by_seed[~np.isnan(by_seed)]
    return {
        "mean": _known(mean),
        "interval": between,
        "by_seed": [_known(value) for value in by_seed],
        "seed_deviation": float(known.std(ddof=1)) if len(known) > 1 else None,
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _text_encoders(variant: str, datasets: Sequence[DatasetRuns]) -> list[str]:
    """The encoders that a variant's runs began with, of a model that is published with others."""
    found = {
        run.result["features"]["encoders"]["text"]
        for dataset in datasets
        for system in dataset.systems
        for run in system.runs
        if system.variant.name == variant
        and run.result.get("features", {}).get("pretrained_on_histories") is False
    }
    return sorted(map(str, found))


def _settings(plan: Plan, datasets: Sequence[DatasetRuns]) -> list[dict[str, Any]]:
    """What each model was run with, and what that was chosen by."""
    shared = {**plan.settings, **({} if plan.epochs is None else {"epochs": plan.epochs})}
    shared = {**plan.in_force(shared), **plan.overrides}
    if plan.minutes is not None:
        shared["max_minutes"] = plan.minutes
    ours = "this package's defaults for the model and the dataset (properties/)"
    found = [
        {
            "variant": variant.name,
            "model": variant.model,
            "defaults": ours if our_model_file(variant.model) else "RecBole's defaults",
            "settings": plan.in_force(variant.settings),
            "tuned": variant.tuned,
            "text_encoders": _text_encoders(variant.name, datasets),
        }
        for variant in plan.models
    ]
    versions = {
        run.result["machine"]["packages"]["recbole"]
        for d in datasets
        for s in d.systems
        for run in s.runs
    }
    by_dataset = {name: plan.in_force(settings) for name, settings in plan.datasets.items()}
    everything: dict[str, Any] = {"variant": None, "settings": shared, "datasets": by_dataset}
    return [{**everything, "recbole": sorted(map(str, versions))}, *found]
