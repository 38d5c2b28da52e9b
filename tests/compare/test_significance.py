"""Which way a test points, and what it is of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recbole_fmrlrec.compare import significance
from recbole_fmrlrec.compare.gather import System
from recbole_fmrlrec.compare.plan import Variant
from recbole_fmrlrec.compare.significance import correct, marks_of
from recbole_fmrlrec.compare.statistics import bootstrap_means, per_user
from recbole_fmrlrec.compare.tables import marks

NOTHING = np.empty((1, 0))


def system(name: str, baseline: bool) -> System:
    return System(Variant(name, name, baseline=baseline), 0, False, [1], NOTHING, [], [])


def best_test(
    ours: np.ndarray, theirs: np.ndarray, metric: str, users: np.ndarray | None = None
) -> dict[str, Any]:
    """Of two models' values ``(R,)`` the test of ours against the best baseline, corrected."""
    values = np.stack([ours, theirs])[:, None]
    means = bootstrap_means(values[:, 0].T, 500, users=users).T[:, None]
    systems = [system("ours", False), system("theirs", True)]
    found = significance.Tests(systems, [metric], values, means, users).all()
    correct(found)
    return next(test for test in found if test["family"] == "best")


def stars(test: dict[str, Any]) -> str:
    assert marks({"tests": [test]}, test["system"], test["metric"]) == marks_of(test)
    return marks_of(test)


def test_a_model_that_loses_with_most_users_bears_no_mark() -> None:
    # One user of 40 rows is served better, thirty of one row worse: by rows ours is ahead, and by
    # users, which is what is tested, it is behind with p < 0.01.
    users = np.array([0] * 40 + list(range(1, 31)))
    better, worse = np.ones(40), np.full(30, 3)
    ours = per_user(np.concatenate([better, worse]), "ndcg@10")
    theirs = per_user(np.concatenate([better * 9, worse - 1]), "ndcg@10")
    test = best_test(ours, theirs, "ndcg@10", users)
    assert (test["wins"], test["losses"]) == (1, 30)
    assert test["difference"] == pytest.approx((ours - theirs).mean()) and test["difference"] > 0
    means = (ours[0] - theirs[0], ours[-1] - theirs[-1])
    assert test["tested_difference"] == pytest.approx((means[0] + 30 * means[1]) / 31)
    assert max(test["wilcoxon_holm"], test["t_holm"]) < 0.01
    assert test["rank_biserial"] < 0 and test["cohens_d"] < 0
    assert stars(test) == ""
    # Where both point the same way the marks are there.
    assert stars(best_test(ours[40:] + 0.3, theirs[40:], "ndcg@10")) == "*†"


def test_each_mark_follows_its_own_statistic() -> None:
    # Sixty users lose a little and twenty win much: better by the mean, worse by the ranks' signs.
    rng = np.random.default_rng(0)
    difference = np.concatenate([np.full(60, -0.1), np.full(20, 1.0)]) + rng.normal(0, 0.01, 80)
    test = best_test(difference + 1, np.ones(80), "ndcg@10")
    assert test["difference"] > 0 and test["t_holm"] < 0.05
    assert test["rank_biserial"] < 0
    assert stars(test) == "†"
    assert stars({**test, "wilcoxon_holm": 0.001}) == "†"


def test_where_less_is_better() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.random(50)
    test = best_test(theirs - 0.2 + rng.normal(0, 0.01, 50), theirs, "averagepopularity@10")
    assert test["difference"] == pytest.approx(-0.2, abs=0.01)
    assert (test["wins"], test["losses"], test["rank_biserial"]) == (50, 0, 1.0)
    assert test["cohens_d"] > 0 and stars(test) == "*†"
    turned = best_test(theirs + 0.2, theirs, "averagepopularity@10")
    assert (turned["wins"], turned["losses"], turned["rank_biserial"]) == (0, 50, -1.0)
    assert turned["cohens_d"] is None and turned["t_p"] == 0.0  # all differences are one
    assert stars(turned) == ""


def test_rows_without_a_value_are_in_no_test() -> None:
    ours = np.array([0.5, np.nan, 0.7, 0.9, 0.8])
    theirs = np.array([0.3, 0.9, np.nan, 0.6, 0.4])
    test = best_test(ours, theirs, "intralistdiversity@10")
    assert (test["wins"], test["ties"], test["losses"]) == (3, 0, 0)
    assert test["tested_difference"] == pytest.approx((0.2 + 0.3 + 0.4) / 3)
    assert test["difference"] == pytest.approx((0.5 + 0.7 + 0.9 + 0.8) / 4 - 2.2 / 4)
    low, high = test["interval"]
    assert low < test["difference"] < high


@pytest.mark.parametrize("users", [None, np.array([1, 1, 2, 2, 3])])
def test_systems_without_a_row_in_common_are_not_tested(users: np.ndarray | None) -> None:
    nan = np.nan
    rows = np.array([[0.5, 0.7, nan, 0.9, 0.8], [nan] * 5, [nan, nan, 0.4, nan, nan]])
    means = bootstrap_means(rows.T, 500, users=users).T[:, None]
    systems = [system(name, True) for name in ("some", "none", "other")]
    metric = "intralistdiversity@10"
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        chosen = [systems[at] for at in order]
        tested = significance.Tests(chosen, [metric], rows[order][:, None], means[order], users)
        assert tested.all() == []
    rows[2, 0] = 0.3
    tested = significance.Tests(systems, [metric], rows[:, None], means, users)
    pairs = [(test["family"], test["system"], test["against"]) for test in tested.all()]
    assert pairs == [("best", "some", "other"), ("each", "some", "other")]
