"""Names of the metrics of what is recommended, see `list_metrics`; imports nothing."""

from __future__ import annotations

#: Metrics that have a value for each list; the figure is the mean over the lists.
PER_LIST = ("AveragePopularity", "TailPercentage", "Novelty", "IntraListDiversity")
#: Metrics of all lists together: there is no value for a user.
OF_ALL_LISTS = ("ItemCoverage", "GiniIndex", "ShannonEntropy")
LIST_METRICS = (*OF_ALL_LISTS, *PER_LIST)
#: Those that RecBole does not have.
OURS = ("Novelty", "IntraListDiversity")
#: Of these a smaller value counts as the better one, as in RecBole.
SMALLER = ("giniindex", "averagepopularity")

_LOWER = {metric.lower() for metric in LIST_METRICS}
_WHOLE = {metric.lower() for metric in OF_ALL_LISTS}


def metric_name(metric: str) -> str:
    """``giniindex`` of ``GiniIndex``, ``giniindex@10`` and ``masked_giniindex@10``."""
    return metric.lower().removeprefix("masked_").partition("@")[0]


def is_of_lists(metric: str) -> bool:
    """Whether a metric is one of these, with its K or without."""
    return metric_name(metric) in _LOWER


def is_of_all_lists(metric: str) -> bool:
    """Whether a metric has one value for all lists together, and none for each."""
    return metric_name(metric) in _WHOLE


def is_diversity(metric: str) -> bool:
    """Whether a metric is the one that needs features of the items."""
    return metric_name(metric) == "intralistdiversity"


def smaller_is_better(metric: str) -> bool:
    """Whether a smaller value counts as the better one."""
    return metric_name(metric) in SMALLER
