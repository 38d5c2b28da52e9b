"""Metrics of recommended items in a comparison: which cells have them, and how they are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recbole_fmrlrec.compare.gather import DatasetRuns, Run, System
from recbole_fmrlrec.compare.plan import Plan, lists_for
from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.evaluation.list_metric_names import is_diversity, is_of_lists, metric_name
from recbole_fmrlrec.evaluation.protocol import is_masked

#: How cells without lists get them.
LISTS_AGAIN = (
    "the `compare` command of this comparison makes them with the trained models, without training "
    "again where this version trained them"
)

_COUNTED = ("averagepopularity", "tailpercentage", "novelty")


def is_counted(metric: str) -> bool:
    """Whether a metric depends on how often training has an item."""
    return metric_name(metric) in _COUNTED


def without_missing_lists(
    plan: Plan, datasets: Sequence[DatasetRuns]
) -> tuple[Plan, dict[str, list[str]]]:
    """The plan without metrics whose lists some cells do not have, and these cells by metric.

    Raises:
        RunError: nothing would be left of what is asked for.
    """
    columns = [column for column in (*plan.columns, *plan.mains) if is_of_lists(column)]
    runs = [run for one in datasets for run in _runs(one)]
    lacking: dict[str, list[str]] = {}
    for column in dict.fromkeys(columns):
        cells = [f"{run.cell.label} ({run.cell.key})" for run in runs if not _has(run, column)]
        if cells:
            known = lacking.setdefault(metric_name(column), [])
            known += [cell for cell in dict.fromkeys(cells) if cell not in known]
    left = tuple(metric for metric in plan.metrics if metric not in lacking)
    if lacking and (not left or metric_name(plan.main) in lacking):
        wanted = ", ".join(lacking)
        cells = list(dict.fromkeys(cell for own in lacking.values() for cell in own))
        raise RunError(f"{wanted}: no recorded lists in {', '.join(cells)}; {LISTS_AGAIN}")
    return replace(plan, metrics=left), lacking


def _has(run: Run, column: str) -> bool:
    """Whether a run has the lists that ``masked_novelty@10`` and the like are of.

    Distances have to be by the features that the comparison knows.
    """
    keep, lists = lists_for([column]), run.lists
    assert keep is not None
    if lists is None or int(lists.length) < keep.length:
        return False
    masked = is_masked(column)
    items = lists.masked_items if masked else lists.items
    apart = lists.masked_distances if masked else lists.distances
    if items is None or not is_diversity(column):
        return items is not None
    return apart is not None and str(lists.features) == run.cell.features


def counting(plan: Plan, runs: DatasetRuns) -> list[dict[str, Any]]:
    """Groups of models whose training has the items equally often, the most often first.

    RecBole leaves the first interaction of each user out for sequence models: training does not
    predict it.

    Returns:
        ``interactions`` and the ``models`` of each group; empty where there is one group alone, and
        where no metric asks for it.

    Raises:
        RunError: a group has an item more often than the first one: it was trained on other data.
    """
    asked = {metric_name(metric) for metric in (*plan.columns, *plan.mains) if is_counted(metric)}
    groups: list[tuple[np.ndarray, list[str]]] = []
    for run in _runs(runs) if asked else ():
        if run.lists is None:
            continue
        counts = np.trim_zeros(run.lists.counts, "b")  # of items that it has never seen
        known = [names for other, names in groups if np.array_equal(other, counts)]
        if not known:
            groups.append((counts, []))
        names = known[0] if known else groups[-1][1]
        if run.cell.variant not in names:
            names.append(run.cell.variant)
    if len(groups) < 2:
        return []
    groups.sort(key=lambda group: -int(group[0].sum()))
    for counts, names in groups[1:]:
        most, others = groups[0]
        if (counts > _of_length(most, len(counts))).any():
            raise RunError(
                f"no table: {', '.join(sorted(asked))} go by how often training has an item, and "
                f"{names[0]} and {others[0]} were trained on different interactions of "
                f"{runs.dataset}; give all models the same data settings and eval_args, or leave "
                "these metrics out"
            )
    return [{"interactions": int(one.sum()), "models": names} for one, names in groups]


def with_one_count(runs: DatasetRuns) -> DatasetRuns:
    """The same runs with items and their interactions counted alike for all models.

    The interactions are those of the whole training part; the items all that any of the models
    knows.
    """
    counts = [run.lists.counts for run in _runs(runs) if run.lists is not None]
    if not counts:
        return runs
    whole = max(counts, key=lambda one: int(one.sum()))
    whole = _of_length(whole, max(map(len, counts)))
    if all(np.array_equal(one, whole) for one in counts):
        return runs
    systems = [
        replace(system, runs=[_recounted(run, whole) for run in system.runs])
        for system in runs.systems
    ]
    return replace(runs, systems=systems)


def _recounted(run: Run, counts: np.ndarray) -> Run:
    return run if run.lists is None else replace(run, lists=replace(run.lists, counts=counts))


def _of_length(counts: np.ndarray, length: int) -> np.ndarray:
    """The first of some counts; 0 of further items, which columns of items alone have."""
    return np.pad(counts[:length], (0, max(0, length - len(counts))))


def _runs(runs: DatasetRuns) -> list[Run]:
    return [run for system in runs.systems for run in system.runs]


def without_pairs(systems: Sequence[System], metrics: Sequence[str]) -> dict[str, dict[str, float]]:
    """The share of lists in which fewer than two items have features, by system and metric.

    Those have no diversity. Systems and metrics without such lists are left out.
    """
    diverse = list(filter(is_diversity, metrics))
    found = {
        system.label: {
            metric: float(share)
            for metric in diverse
            if (share := np.isnan(system.values(metric)).mean())
        }
        for system in systems
    }
    return {label: shares for label, shares in found.items() if shares}
