"""The two protocols of next-item ranking, and how each is called.

The user's history is kept among the candidates, or it is left out ("masked"). A metric without a
prefix is of the first, for every model: ``ndcg@10``. One of the second says so in its name:
``masked_ndcg@10``. It imports neither RecBole nor torch: a comparison reads these names.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Values of the key ``history``: which of the two a result shows.
KEEP, MASK, BOTH = "keep", "mask", "both"
HISTORY = (KEEP, MASK, BOTH)

#: How the name of a metric begins that is of rankings without the user's history.
MASKED = "masked_"


def masked_name(metric: str) -> str:
    """``ndcg@10`` without the history: ``masked_ndcg@10``."""
    return metric if is_masked(metric) else f"{MASKED}{metric}"


def is_masked(metric: str) -> bool:
    """Whether a metric is of rankings without the user's history."""
    return metric.lower().startswith(MASKED)


def plain_name(metric: str) -> str:
    """The metric itself, whichever ranking it is of: ``ndcg@10`` of both."""
    return metric[len(MASKED) :] if is_masked(metric) else metric


def shown_names(metrics: Sequence[str], history: str) -> list[str]:
    """The names of some metrics in the rankings that are shown, a ranking at a time.

    Args:
        metrics: plain names.
        history: of `HISTORY`.
    """
    kept = [] if history == MASK else list(metrics)
    return kept if history == KEEP else [*kept, *map(masked_name, metrics)]
