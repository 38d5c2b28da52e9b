"""Statistics against values worked out by hand, scipy's own, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recbole_fmrlrec.compare.statistics import (
    bootstrap_means,
    by_user,
    holm,
    interval,
    paired,
    per_user,
)


def test_values_of_ranks():
    ranks = np.array([[1, 2, 11], [3, 10, 1]])
    assert per_user(ranks, "recall@10").tolist() == [[1, 1, 0], [1, 1, 1]]
    assert per_user(ranks, "mrr@2").tolist() == [[1, 0.5, 0], [0, 0, 1]]
    expected = [[1, 1 / np.log2(3), 0], [0.5, 1 / np.log2(11), 1]]
    np.testing.assert_allclose(per_user(ranks, "ndcg@10"), expected)


def test_holm_by_hand():
    # Sorted: .01 * 4, .02 * 3, .03 * 2, .04 * 1; each at least the one before it.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_raises_and_keeps_the_order(p_values):
    corrected = holm(p_values)
    assert all(p <= c <= 1 for p, c in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


def test_a_pair_by_hand():
    # Differences 3, -1, 2, 0: ranks of |d| without the tie are 3, 1, 2.
    found = paired(np.array([4.0, 0, 3, 5]), np.array([1.0, 1, 1, 5]))
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.difference == 1.0
    assert found.rank_biserial == pytest.approx((3 - 1 + 2) / 6)
    assert found.cohens_d == pytest.approx(1 / np.sqrt(10 / 3))  # deviations 2, -2, 1, -1
    assert found.wilcoxon_p == 0.5  # 4 of the 8 sign patterns are as far out: W is 1
    assert found.t_p == pytest.approx(2 * stats.t.sf(1 / (np.sqrt(10 / 3) / 2), 3))


def test_pairs_are_scipys_on_many_users():
    rng = np.random.default_rng(0)
    ours = per_user(rng.integers(1, 40, 500), "ndcg@10")
    theirs = per_user(rng.integers(1, 50, 500), "ndcg@10")
    found = paired(ours, theirs)
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(ours, theirs).pvalue, rel=1e-6)
    assert found.t_p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert found.wins + found.ties + found.losses == 500
    back = paired(theirs, ours)
    assert (back.wins, back.losses) == (found.losses, found.wins)
    assert back.rank_biserial == pytest.approx(-found.rank_biserial)


def test_pairs_without_spread():
    same = paired(np.array([0.5, 0.2]), np.array([0.5, 0.2 + 1e-17]))
    assert (same.wilcoxon_p, same.t_p, same.cohens_d, same.ties) == (1.0, 1.0, None, 2)
    shifted = paired(np.array([2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    assert (shifted.wins, shifted.t_p, shifted.difference) == (3, 0.0, 1.0)
    assert shifted.cohens_d is None


def test_where_a_smaller_value_wins_all_but_the_difference_turns():
    found = paired(np.array([2.0, 3.0, 4.5]), np.array([1.0, 2.5, 5.0]))
    turned = found.turned()
    assert (turned.wins, turned.ties, turned.losses) == (found.losses, found.ties, found.wins)
    assert turned.cohens_d == -found.cohens_d and turned.rank_biserial == -found.rank_biserial
    assert turned.difference == found.difference and turned.t_p == found.t_p
    assert paired(np.ones(2), np.zeros(2)).turned().cohens_d is None
    assert str(paired(np.ones(2), np.ones(2)).turned().rank_biserial) == "0.0"  # and not -0.0


def test_one_user_is_no_proof():
    found = paired(np.array([1.0]), np.array([0.5]))
    assert (found.wins, found.t_p, found.wilcoxon_p) == (1, 1.0, 1.0)


def test_differences_that_are_equal_but_for_the_last_digit_share_a_rank():
    # 0.1 + 0.2 and -0.3, as averages over seeds come: ranks 1.5 each, not 2 and 1.
    found = paired(np.array([0.1 + 0.2, 0.0]), np.array([0.0, 0.3]))
    assert found.rank_biserial == 0.0 and (found.wins, found.losses) == (1, 1)


def test_bootstrap_draws_the_same_users_for_all_columns():
    values = np.random.default_rng(1).random((300, 2))
    both = np.column_stack([values, values[:, 0] + 1])
    means = bootstrap_means(both, 1000)
    np.testing.assert_allclose(means[:, 2] - means[:, 0], 1)
    low, high = interval(means[:, 0])
    # The percentile interval of a mean is about 1.96 standard errors to each side.
    error = values[:, 0].std() / np.sqrt(300)
    assert low == pytest.approx(values[:, 0].mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values[:, 0].mean() + 1.96 * error, abs=0.3 * error)
    assert np.array_equal(means, bootstrap_means(both, 1000))


def test_users_are_drawn_with_all_their_rows():
    users, values = np.array(["b", "a", "b", "b"]), np.array([[1.0], [5.0], [2.0], [6.0]])
    sums, count = by_user(values, users)
    assert (sums.tolist(), count.tolist()) == ([[5.0], [9.0]], [1, 3])
    # Of two users drawn with return: a and a, a and b, b and b.
    means = bootstrap_means(values, 400, users=users)
    assert {round(float(mean), 9) for mean in means[:, 0]} == {5.0, 14 / 4, 9 / 3}
    each = np.arange(4).astype(str)
    np.testing.assert_allclose(bootstrap_means(values, 50, users=each), bootstrap_means(values, 50))


def test_bootstrap_of_what_has_no_value_for_some_rows():
    values = np.array([[1.0, 1.0], [np.nan, 2.0], [3.0, np.nan], [np.nan, np.nan]])
    means = bootstrap_means(values, 2000)
    # Of (1, 3) and (1, 2), each drawn with the same weights; NaN where neither was drawn.
    assert set(means[~np.isnan(means[:, 0]), 0].round(6)) > {1.0, 2.0, 3.0}
    assert abs(np.isnan(means[:, 1]).mean() - 1 / 16) < 0.02
    assert interval(means[:, 1]) == (1.0, 2.0)
    assert interval(bootstrap_means(values[3:], 10)[:, 0]) is None
    users = np.array([0, 0, 1, 1])
    by_user = bootstrap_means(values, 500, users=users)
    assert set(by_user[:, 0]) == {1.0, 2.0, 3.0}
    assert set(by_user[~np.isnan(by_user[:, 1]), 1]) == {1.5}
    assert np.array_equal(
        bootstrap_means(np.nan_to_num(values), 50)[:, :1],
        bootstrap_means(np.nan_to_num(values)[:, :1], 50),
    )
