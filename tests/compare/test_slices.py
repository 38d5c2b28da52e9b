"""Slices of test rows by hand."""

from __future__ import annotations

import numpy as np

from recbole_fmrlrec.compare.slices import popularity_bounds, slices


def test_bounds_share_the_interactions_out():
    # 30 interactions: the first item has a third of them, the next two the second third.
    assert popularity_bounds(np.array([10, 6, 4, 3, 3, 2, 2])) == (10, 4)
    assert popularity_bounds(np.array([1, 1, 1])) == (1, 1)  # equally popular items stay together
    assert popularity_bounds(np.array([0, 0])) == (1, 1)


def test_masks():
    rows = {
        "history": np.array([1, 5, 6, 21, 51, 400]),
        "popularity": np.array([10, 4, 3, 0, 6, 12]),
        "item_counts": np.array([10, 6, 4, 3, 3, 2, 2]),
        "without_text": np.array([False, True, False, False, False, True]),
        "without_image": np.zeros(6, dtype=bool),
    }
    found = {name: np.flatnonzero(mask).tolist() for name, mask in slices(rows).items()}
    assert found == {
        "history 1-5": [0, 1],
        "history 6-10": [2],
        "history 21-50": [3],
        "history 51 and more": [4, 5],
        "head": [0, 5],
        "middle": [1, 4],
        "tail": [2],
        "cold": [3],
        "without text": [1, 5],
    }


def test_new_users_are_a_slice_where_a_split_by_time_knows_them():
    rows = {name: np.array([1, 2]) for name in ("history", "popularity", "item_counts")}
    assert "new user" not in slices(rows)
    assert slices({**rows, "new_user": np.array([0, 1])})["new user"].tolist() == [False, True]
    assert "new user" not in slices({**rows, "new_user": np.array([0, 0])})
