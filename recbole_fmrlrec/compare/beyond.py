"""Metrics of recommended items in a comparison: which cells have them, and how they are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recbole_fmrlrec.compare.gather import DatasetRuns, Run, System
from recbole_fmrlrec.compare.plan import Plan, lists_for
from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.evaluation.list_metric_names import DIVERSITY, is_of_lists, metric_name
from recbole_fmrlrec.evaluation.protocol import is_masked

#: How cells without lists get them.
LISTS_AGAIN = (
    "the `compare` command of this comparison makes them with the trained models, without training "
    "again where this version trained them"
)

#: Metrics that depend on how often training has an item.
_COUNTED = ("averagepopularity", "tailpercentage", "novelty")


def without_missing_lists(
    plan: Plan, datasets: Sequence[DatasetRuns]
) -> tuple[Plan, dict[str, list[str]]]:
    """The plan without metrics whose lists some cells do not have, and these cells by metric.

    Raises:
        RunError: nothing would be left of what is asked for.
    """
    columns = [column for column in (*plan.columns, *plan.mains) if is_of_lists(column)]
    runs = [run for one in datasets for system in one.systems for run in system.runs]
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
    """Whether a run has the lists that ``masked_novelty@10`` and the like are of."""
    keep, lists = lists_for([column]), run.lists
    assert keep is not None
    if lists is None or int(lists.length) < keep.length:
        return False
    masked = is_masked(column)
    items = lists.masked_items if masked else lists.items
    apart = lists.masked_distances if masked else lists.distances
    return items is not None and (apart is not None or metric_name(column) != DIVERSITY)


def counting(systems: Sequence[System], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Groups of systems whose training has the items equally often, where there are several.

    RecBole leaves the first interaction of each user out for sequence models: training does not
    predict it. Metrics of popularity of two groups cannot be compared.

    Returns:
        ``interactions`` and the ``models`` of each group; empty where no metric asks for it.
    """
    if not {metric_name(metric) for metric in metrics}.intersection(_COUNTED):
        return []
    groups: list[tuple[np.ndarray, list[str]]] = []
    for system in systems:
        counts = [run.lists.counts for run in system.runs if run.lists is not None]
        for one in counts[:1]:
            known = [names for other, names in groups if np.array_equal(other, one)]
            if not known:
                groups.append((one, []))
            names = known[0] if known else groups[-1][1]
            if system.variant.name not in names:
                names.append(system.variant.name)
    if len(groups) < 2:
        return []
    return [{"interactions": int(one.sum()), "models": names} for one, names in groups]
