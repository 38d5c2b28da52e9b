"""Metrics of lists, worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation import list_metric_names
from recbole_fmrlrec.evaluation.list_metric_names import is_of_all_lists, is_of_lists
from recbole_fmrlrec.evaluation.list_metrics import Lists, known_mean, list_metrics, tail
from recbole_fmrlrec.evaluation.list_record import KeepLists, ListRecord, holds_lists

#: Items 1 to 5; training has 8 interactions of them, and none of item 5.
COUNTS = np.array([0, 4, 2, 1, 1, 0])
LISTS = Lists(np.array([[1, 2], [1, 3], [1, 5]], dtype=np.int32), COUNTS)


def test_coverage_counts_the_padding_among_the_items_as_recbole_does() -> None:
    assert LISTS.value("ItemCoverage", 1) == 1 / 6
    assert LISTS.value("masked_itemcoverage@2", 2) == 4 / 6


def test_gini() -> None:
    # Of 6 items three are recommended once and one three times: sum of (2 i - 7) n_i by i = 3..6.
    assert LISTS.value("GiniIndex", 2) == pytest.approx((-1 + 1 + 3 + 5 * 3) / 6 / 6)
    assert LISTS.value("GiniIndex", 1) == pytest.approx(5 / 6)  # one item only


def test_entropy_is_divided_by_the_number_of_items_as_recbole_does() -> None:
    entropy = 0.5 * math.log(2) + 3 * math.log(6) / 6
    assert LISTS.value("ShannonEntropy", 2) == pytest.approx(entropy / 4)
    assert str(LISTS.value("ShannonEntropy", 1)) == "0.0"  # and not -0.0


def test_popularity() -> None:
    assert LISTS.per_list("AveragePopularity", 2).tolist() == [3.0, 2.5, 2.0]
    assert LISTS.value("AveragePopularity", 2) == 2.5


def test_novelty_is_the_self_information_in_bits() -> None:
    # p = 4/8, 2/8, 1/8; item 5 counts as if it had been there once.
    assert LISTS.per_list("Novelty", 2).tolist() == [1.5, 2.0, 2.0]
    assert LISTS.value("Novelty", 1) == 1.0


def test_tail() -> None:
    # A tenth of four known items is none, and one is the least: of items 3 and 4 the lower id.
    assert np.flatnonzero(tail(COUNTS, None)).tolist() == [3]
    assert np.flatnonzero(tail(COUNTS, 0.5)).tolist() == [3, 4]
    assert np.flatnonzero(tail(COUNTS, 2)).tolist() == [2, 3, 4]
    assert LISTS.value("TailPercentage", 2) == pytest.approx(0.5 / 3)


def test_lists_that_end_early_are_as_long_as_they_are() -> None:
    short = Lists(np.array([[1, 2, 0], [0, 0, 0]], dtype=np.int32), COUNTS)
    assert short.per_list("AveragePopularity", 3).tolist() == [3.0, 0.0]
    assert short.value("ItemCoverage", 3) == 2 / 6
    assert short.value("ShannonEntropy", 3) == pytest.approx(math.log(2) / 2)
    nothing = Lists(np.zeros((2, 3), dtype=np.int32), COUNTS)
    assert [nothing.value(name, 3) for name in list_metric_names.OF_ALL_LISTS] == [0.0, 0.0, 0.0]


def test_lists_without_a_pair_have_no_diversity() -> None:
    nan = float("nan")
    apart = np.array([[nan, 0.5, 0.75], [nan, nan, nan], [nan, nan, 0.25]], dtype=np.float32)
    lists = Lists(np.ones((3, 3), dtype=np.int32), COUNTS, distances=apart)
    assert lists.value("IntraListDiversity", 3) == 0.5
    assert lists.value("IntraListDiversity", 2) == 0.5
    assert np.isnan(lists.value("IntraListDiversity", 1))  # no list to take the mean of
    found = list_metrics(lists, ["IntraListDiversity"], [1, 2], 4)  # RecBole's are numbers
    assert found == {"intralistdiversity@1": 0.0, "intralistdiversity@2": 0.5}
    assert np.isnan(lists.per_list("masked_intralistdiversity@3", 3)).tolist() == [
        False,
        True,
        False,
    ]


def test_known_mean() -> None:
    values = np.array([[1.0, np.nan, 3.0], [np.nan] * 3])
    assert known_mean(values).tolist() == pytest.approx([2.0, np.nan], nan_ok=True)
    rows = np.random.default_rng(0).random((7, 1001))
    assert np.array_equal(known_mean(rows, 0), rows.mean(axis=0))
    assert np.array_equal(known_mean(rows), rows.mean(axis=1))  # to the last bit


def test_which_metrics_are_of_lists() -> None:
    assert is_of_lists("masked_Novelty@5") and is_of_lists("GiniIndex")
    assert not is_of_lists("NDCG@10") and not is_of_all_lists("Novelty")
    with pytest.raises(ValueError, match="one value for all lists"):
        LISTS.per_list("GiniIndex", 1)
    with pytest.raises(ValueError, match="no features"):
        LISTS.value("IntraListDiversity", 2)


# The file


def record(**changes: object) -> ListRecord:
    items = np.array([[[1, 2], [3, 4]]], dtype=np.int32)
    values = {
        "sizes": np.array([8]),
        "length": np.array(2),
        "items": items,
        "counts": COUNTS,
        "tail_ratio": np.array(0.5),
        "masked_items": items[:, :, ::-1],
        "distances": np.array([[[np.nan, 0.5], [np.nan, 1.5]]], dtype=np.float32),
        "features": np.array("abc"),
    }
    return ListRecord(**{**values, **changes})  # type: ignore[arg-type]


def test_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "lists.npz"
    record().save(path)
    found = ListRecord.load(path)
    lists = found.lists(8, "masked_novelty@1")
    assert lists is not None and lists.items.tolist() == [[2, 1], [4, 3]]
    assert lists.tail_ratio == 0.5 and lists.distances is None
    some = found.lists(8, "intralistdiversity@2", np.array([False, True]))
    assert some is not None and some.value("IntraListDiversity", 2) == 1.5
    turned = found.reordered(np.array([1, 0])).lists(8, "novelty@1")
    assert turned is not None and turned.items.tolist() == [[3, 4], [1, 2]]
    assert record(masked_items=None).lists(8, "masked_novelty@1") is None
    assert holds_lists(path, KeepLists(2)) and not holds_lists(path, KeepLists(3))
    assert holds_lists(path, KeepLists(2, True), "abc")
    assert not holds_lists(path, KeepLists(2, True), "other features")
    record(features=None).save(path)  # of an earlier version, that did not say
    assert holds_lists(path, KeepLists(2)) and not holds_lists(path, KeepLists(2, True), "abc")
    assert not holds_lists(tmp_path / "none.npz", KeepLists(1))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"length": np.array(3)}, "shapes do not agree"),
        ({"masked_items": np.zeros((1, 2, 1), dtype=np.int32)}, "shapes do not agree"),
        ({"counts": np.array([0, 1])}, "an item is not among those that are counted"),
        ({"items": np.zeros((1, 2, 2))}, "items is of type float64"),
    ],
)
def test_what_cannot_be(changes: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        record(**changes)


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "lists.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(UsageError, match=r"lists\.npz: not a file of lists, or damaged"):
        ListRecord.load(path)
    assert not holds_lists(path, KeepLists(1))
