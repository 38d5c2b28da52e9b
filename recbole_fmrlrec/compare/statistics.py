"""Statistics over per-user ranks: metrics, bootstrap intervals, paired tests, Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from recbole_fmrlrec.evaluation.protocol import plain_name
from recbole_fmrlrec.evaluation.rank_record import metric_values

#: Seed of the resamples: the same users are drawn for every model.
SEED = 2020


def per_user(ranks: np.ndarray, metric: str) -> np.ndarray:
    """Values of ``ndcg@10`` and the like, float64, for ranks of any shape (1 is best).

    Args:
        ranks: those that the metric is of: without the history for ``masked_ndcg@10``.
    """
    name, _, k = plain_name(metric).partition("@")
    return metric_values(ranks, name, int(k))


def by_user(values: np.ndarray, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of rows and their number, of each user.

    Args:
        values: ``(R, C)``.
        users: ``(R,)``, whose each row is.

    Returns:
        ``(U, C)`` and ``(U,)``, users in ascending order.
    """
    order = np.argsort(users, kind="stable")
    _, first, count = np.unique(users[order], return_index=True, return_counts=True)
    return np.add.reduceat(values[order], first, axis=0), count


def bootstrap_means(
    values: np.ndarray, resamples: int, seed: int = SEED, users: np.ndarray | None = None
) -> np.ndarray:
    """Means ``(resamples, C)`` of the columns of ``values`` (R, C) over users drawn with return.

    All columns see the same draws, so that differences of two columns are paired. NaN is left out
    as `known_mean` does it: a mean is NaN where no row with a value was drawn.

    Args:
        users: ``(R,)`` whose each row is, where a user may have several: a user is drawn with all
            of them, since rows of one user are no independent observations.
    """
    known = ~np.isnan(values)
    # One column of ones where nothing is unknown: all columns divide by the same number.
    sizes = (known[:, :1] if known.all() else known).astype(np.float64)
    values = np.where(known, values, 0.0)
    if users is not None:
        values, sizes = by_user(values, users)[0], by_user(sizes, users)[0]
    rng, count = np.random.default_rng(seed), len(values)
    means = np.empty((resamples, values.shape[1]))
    step = max(1, 2**22 // max(1, count))
    for start in range(0, resamples, step):
        part = range(start, min(start + step, resamples))
        weights = np.stack(
            [np.bincount(rng.integers(0, count, count), minlength=count) for _ in part]
        )
        with np.errstate(invalid="ignore"):
            means[start : part.stop] = weights @ values / (weights @ sizes)
    return means


def interval(means: np.ndarray, level: float = 0.95) -> tuple[float, float] | None:
    """The percentile interval of bootstrap means ``(resamples,)``, NaN left out; or None."""
    means = means[~np.isnan(means)]
    if not len(means):
        return None
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


#: Decimals of a difference that count: means over seeds that are equal differ in their last digits.
DECIMALS = 12


class Paired(NamedTuple):
    """One model against another, user by user.

    ``difference`` is ours less theirs. All else speaks of what is better: ``cohens_d`` is the mean
    difference by the standard deviation of differences, None where that is zero; ``rank_biserial``
    the share of Wilcoxon's rank sum in favour less the share against, -1 to 1.
    """

    difference: float
    wins: int
    ties: int
    losses: int
    wilcoxon_p: float
    t_p: float
    cohens_d: float | None
    rank_biserial: float

    def turned(self) -> Paired:
        """The same where a smaller value wins; the difference stays ours less theirs."""
        d = self.cohens_d
        return self._replace(
            wins=self.losses,
            losses=self.wins,
            cohens_d=None if d is None else 0.0 - d,  # of 0 it is 0, not -0
            rank_biserial=0.0 - self.rank_biserial,
        )


def paired(ours: np.ndarray, theirs: np.ndarray) -> Paired:
    """Compare two models' values ``(R,)`` of the same users, two-sided.

    Ties are left out of the signed ranks, as Wilcoxon did. Without any difference both p are 1, and
    so is the t-test's of one user, who has no spread to measure the difference by.
    """
    from scipy import stats

    differences = np.round(ours - theirs, DECIMALS)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    ties = len(differences) - wins - losses
    if wins + losses == 0:
        return Paired(0.0, 0, ties, 0, 1.0, 1.0, None, 0.0)
    moved = differences[differences != 0]
    rank = stats.rankdata(np.abs(moved))
    biserial = float((rank * np.sign(moved)).sum() / rank.sum())
    mean, deviation = float(differences.mean()), float(differences.std())
    alike = deviation <= 1e-12 * abs(mean)  # one and the same difference for all: t is infinite
    return Paired(
        difference=mean,
        wins=wins,
        ties=ties,
        losses=losses,
        wilcoxon_p=float(stats.wilcoxon(moved).pvalue),
        t_p=float(len(differences) < 2)
        if alike
        else float(stats.ttest_1samp(differences, 0).pvalue),
        cohens_d=None if alike else mean / float(differences.std(ddof=1)),
        rank_biserial=biserial,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of one family corrected by Holm (1979): never smaller, in the same order."""
    count, largest = len(p_values), 0.0
    corrected = [0.0] * count
    for smaller, at in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (count - smaller) * p_values[at]))
        corrected[at] = largest
    return corrected
