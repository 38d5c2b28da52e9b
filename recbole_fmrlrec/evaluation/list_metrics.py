"""Metrics of what is recommended, whatever the target: coverage, popularity, novelty, diversity.

Five of them are RecBole's (recbole.evaluator.metrics) and have its values, its oddities included:
ItemCoverage and GiniIndex count the padding among the items, ShannonEntropy is divided by the
number of different items. It imports neither RecBole nor torch: a comparison reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recbole_fmrlrec.evaluation.list_metric_names import is_diversity, is_of_all_lists, metric_name


@dataclass(frozen=True)
class Lists:
    """The lists of R rows, at one size and of one ranking.

    Attributes:
        items: item ids, the best first, (R, k); 0 where a row has too few candidates.
        counts: how often training has each item, as RecBole counts for the model, (N+1,).
        tail_ratio: RecBole's: the share of the rarest items that are the tail, or above 1 the
            largest count of one.
        distances: mean distance of two of the first j items, (R, k) for j = 1..k, NaN where fewer
            than two of them have features; None where there are no features.
    """

    items: np.ndarray
    counts: np.ndarray
    tail_ratio: float | None = None
    distances: np.ndarray | None = None

    def value(self, metric: str, k: int) -> float:
        """A metric at k over all rows; the diversity is NaN where no list has any.

        Raises:
            ValueError: it needs features, and there are none.
        """
        name = metric_name(metric)
        if is_of_all_lists(name):
            return _OF_ALL[name](self.items[:, :k], len(self.counts))
        # As RecBole takes the mean, a column at a time, so that not even the last bit differs.
        return float(known_mean(self._by_list(name), axis=0)[k - 1])

    def per_list(self, metric: str, k: int) -> np.ndarray:
        """Values of a metric at k of each list, (R,); NaN where a list has none.

        Raises:
            ValueError: it has none, or needs features and there are none.
        """
        name = metric_name(metric)
        if is_of_all_lists(name):
            raise ValueError(f"{metric} has one value for all lists")
        return self._by_list(name)[:, k - 1]

    def _by_list(self, name: str) -> np.ndarray:
        if not is_diversity(name):
            return _means(self._of_items[name]()[self.items], self.items > 0)
        if self.distances is None:
            raise ValueError(f"{name}: the items have no features")
        return self.distances.astype(np.float64)

    @cached_property
    def _of_items(self) -> dict[str, Callable[[], np.ndarray]]:
        return {
            "averagepopularity": lambda: self.counts.astype(np.float64),
            "tailpercentage": lambda: tail(self.counts, self.tail_ratio).astype(np.float64),
            "novelty": lambda: self_information(self.counts),
        }


def list_metrics(
    lists: Lists, metrics: Sequence[str], topk: Sequence[int], decimals: int
) -> dict[str, float]:
    """Metrics keyed and rounded as RecBole does it: ``itemcoverage@10``.

    They are numbers: the diversity is 0 where no list has any.
    """
    found = {f"{metric.lower()}@{k}": lists.value(metric, k) for metric in metrics for k in topk}
    return {key: 0.0 if np.isnan(value) else round(value, decimals) for key, value in found.items()}


def known_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Means of what is not NaN; NaN where nothing is known."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    means: np.ndarray = np.where(known, values, 0.0).sum(axis=axis) / np.maximum(count, 1)
    return np.where(count > 0, means, np.nan)


def _means(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Means (R, k) over the first 1..k items of each list; 0 of a list without any."""
    return (values * there).cumsum(axis=1) / np.maximum(there.cumsum(axis=1), 1)


def tail(counts: np.ndarray, ratio: float | None) -> np.ndarray:
    """Which items are the tail, (N+1,), out of those that training has, as RecBole chooses them.

    Args:
        counts: (N+1,).
        ratio: above 1 the largest count; else the share of items, the rarest and of equal ones the
            lowest ids, at least one of them; None or 0 for 0.1.
    """
    ratio = ratio if ratio is not None and ratio > 0 else 0.1
    known = np.flatnonzero(counts > 0)
    if ratio > 1:
        return (counts > 0) & (counts <= ratio)
    rarest = known[np.argsort(counts[known], kind="stable")]
    found = np.zeros(len(counts), dtype=bool)
    found[rarest[: max(int(len(known) * ratio), 1)]] = True
    return found


def self_information(counts: np.ndarray) -> np.ndarray:
    """-log2 p(i) of each item in bits, (N+1,), with p(i) the item's share of the training.

    The self-information of an item (Zhou et al., PNAS 2010, doi 10.1073/pnas.1000488107: its
    "surprisal"), with p as the share of all interactions (Vargas and Castells, RecSys 2011, doi
    10.1145/2043932.2043955, section 4: the novelty of an item that is found freely). Items that
    training never saw count as if it had seen them once.
    """
    seen = np.maximum(counts, 1).astype(np.float64)
    return np.log2(max(1.0, float(counts[1:].sum()))) - np.log2(seen)


# All lists together


def _occurrences(items: np.ndarray) -> np.ndarray:
    """How often the lists hold each item that they hold."""
    return np.unique(items[items > 0], return_counts=True)[1]


def _coverage(items: np.ndarray, num_items: int) -> float:
    return len(_occurrences(items)) / num_items


def _gini(items: np.ndarray, num_items: int) -> float:
    counts = np.sort(_occurrences(items))
    if not len(counts):
        return 0.0
    place = np.arange(num_items - len(counts) + 1, num_items + 1)
    return float(np.sum((2 * place - num_items - 1) * counts) / counts.sum() / num_items)


def _entropy(items: np.ndarray, num_items: int) -> float:
    counts = _occurrences(items)
    if not len(counts):
        return 0.0
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum() / len(counts)) + 0.0  # of one item 0, not -0


_OF_ALL: dict[str, Callable[[np.ndarray, int], float]] = {
    "itemcoverage": _coverage,
    "giniindex": _gini,
    "shannonentropy": _entropy,
}
