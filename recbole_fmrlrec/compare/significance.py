"""Which systems of a table are tested against which, and the p-values corrected over the table."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_fmrlrec.compare.gather import System
from recbole_fmrlrec.compare.statistics import DECIMALS, by_user, holm, interval, paired
from recbole_fmrlrec.evaluation.list_metric_names import is_of_lists, smaller_is_better
from recbole_fmrlrec.evaluation.list_metrics import known_mean
from recbole_fmrlrec.evaluation.protocol import is_masked

#: p-values below it bear a mark.
LEVEL = 0.05


def correct(tests: Sequence[dict[str, Any]]) -> None:
    """Add p-values corrected over all tests of one kind in a dataset's table.

    A family is of all systems and metrics, for Wilcoxon's test and the t-test each: the kinds (the
    best baseline, each baseline, nested against alone) ask different questions of one table. The
    rankings with the users' histories and without them are a table each, and so are metrics of
    hits and of what is recommended.
    """
    kinds = ("best", "each", "nesting"), (False, True), (False, True)
    for family, masked, of_lists in itertools.product(*kinds):
        members = [
            test
            for test in tests
            if test["family"] == family
            and is_masked(test["metric"]) == masked
            and is_of_lists(test["metric"]) == of_lists
        ]
        for name in ("wilcoxon", "t"):
            corrected = holm([test[f"{name}_p"] for test in members])
            for test, p in zip(members, corrected, strict=True):
                test[f"{name}_holm"] = p


@dataclass
class Tests:
    """The tests between the systems of one dataset.

    Attributes:
        systems: what is compared.
        metrics: those that have a value for each row.
        values: ``(systems, metrics, R)``, averaged over seeds; NaN where a row has no value.
        means: ``(systems, metrics, resamples)`` of the bootstrap.
        several: ``(R,)`` whose each row is, where users have several rows; else None.
    """

    systems: Sequence[System]
    metrics: Sequence[str]
    values: np.ndarray
    means: np.ndarray
    several: np.ndarray | None

    def all(self) -> list[dict[str, Any]]:
        """Against the best baseline, against each of them, nested against trained alone."""
        found = [*self._against_best(), *self._against_each(), *self._nesting()]
        return [test for test in found if test is not None]

    def _sides(self) -> tuple[list[int], list[int]]:
        """Which systems are compared, and with which: all with all where one side is empty.

        Those of which a seed is missing take no part.
        """
        everything = [at for at, system in enumerate(self.systems) if system.complete]
        theirs = [at for at in everything if self.systems[at].variant.baseline]
        ours = [at for at in everything if at not in theirs]
        return (ours, theirs) if ours and theirs else (everything, everything)

    @property
    def against(self) -> str:
        """What the best of "the best" is: of the baselines, or of all other models."""
        ours, theirs = self._sides()
        return "baseline" if set(ours).isdisjoint(theirs) else "other model"

    def _against_best(self) -> Iterator[dict[str, Any] | None]:
        ours, theirs = self._sides()
        for column in range(len(self.metrics)):
            mean = _direction(self.metrics[column]) * known_mean(self.values[:, column])
            pairs: dict[frozenset[int], tuple[int, int]] = {}
            # Among models that are all alike a pair may be met from both sides: it counts once,
            # as the better one's test, which is the one that can bear a mark.
            valued = {at for at in range(len(self.systems)) if not np.isnan(mean[at])}
            for at in sorted(valued.intersection(ours), key=lambda at: -mean[at]):
                name = self.systems[at].variant.name
                others = [
                    other
                    for other in theirs
                    if other in valued and self.systems[other].variant.name != name
                ]
                if others:
                    best = max(others, key=lambda other: mean[other])
                    pairs.setdefault(frozenset((at, best)), (at, best))
            for at, best in sorted(pairs.values()):
                yield self._test("best", at, best, column)

    def _against_each(self) -> Iterator[dict[str, Any] | None]:
        ours, theirs = self._sides()
        pairs = [(a, b) for a in ours for b in theirs if a != b and self._comparable(a, b)]
        seen: set[frozenset[int]] = set()
        for a, b in pairs:
            if frozenset((a, b)) in seen:
                continue
            seen.add(frozenset((a, b)))
            for column in range(len(self.metrics)):
                yield self._test("each", a, b, column)

    def _comparable(self, a: int, b: int) -> bool:
        """Two models with sizes are compared at the same size, the same variant never."""
        one, other = self.systems[a], self.systems[b]
        if one.variant.name == other.variant.name:
            return False
        return not (one.size and other.size) or one.size == other.size

    def _nesting(self) -> Iterator[dict[str, Any] | None]:
        for a, nested in enumerate(self.systems):
            for b, alone in enumerate(self.systems):
                same = (nested.variant.name, nested.size) == (alone.variant.name, alone.size)
                same = same and nested.complete and alone.complete
                if same and alone.alone and not nested.alone:
                    for column in range(len(self.metrics)):
                        yield self._test("nesting", a, b, column)

    def _test(self, family: str, a: int, b: int, column: int) -> dict[str, Any] | None:
        """A paired test of what both have a value for: of the rows, or of each user's mean of them.

        There is none where there is no such row.

        ``difference`` is that of the table, over all rows that a system has a value for, and so is
        its interval; the tests may see another one, ``tested_difference``.
        """
        both, metric = self.values[[a, b], column], self.metrics[column]
        ours, theirs = known_mean(both)
        rows = ~np.isnan(both).any(axis=0)
        if not rows.any():
            return None
        both = both[:, rows]
        if self.several is not None:
            sums, count = by_user(both.T, self.several[rows])
            both = sums.T / count
        found = paired(*both)
        if smaller_is_better(metric):
            found = found.turned()
        tested = found.difference
        return {
            "family": family,
            "metric": metric,
            "system": self.systems[a].label,
            "against": self.systems[b].label,
            **found._replace(difference=round(float(ours - theirs), DECIMALS) + 0.0)._asdict(),
            "tested_difference": tested,
            "interval": interval(self.means[a, column] - self.means[b, column]),
        }


def marks_of(test: dict[str, Any]) -> str:
    """``*``: the first model is better by Wilcoxon's test; ``†``: by the t-test; both after Holm.

    A test's own statistic has to favour it as well as the difference in the table does: ranks, and
    where users have several rows their means, may point the other way.
    """
    direction = _direction(test["metric"])
    if direction * test["difference"] <= 0:
        return ""
    by_ranks = test["rank_biserial"] > 0 and test["wilcoxon_holm"] < LEVEL
    by_mean = direction * test["tested_difference"] > 0 and test["t_holm"] < LEVEL
    return "*" * by_ranks + "†" * by_mean


def _direction(metric: str) -> int:
    """1 where more is better, -1 where less is."""
    return -1 if smaller_is_better(metric) else 1
