"""Filters against rows worked out by hand and against slow twins."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_tools.errors import UsageError
from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.dates import read_bound, read_number, read_time
from dataset_tools.interactions.filters import Filters
from dataset_tools.interactions.interaction import Interaction
from dataset_tools.interactions.log import InteractionLog, LogFile

ROWS = [
    Interaction("u", "a", 30, 5.0),
    Interaction("u", "b", 10, 1.0),
    Interaction("u", "a", 20, 4.1),
    Interaction("v", "a", 20, None),
    Interaction("u", "a", 30, 5.0),
]


def log_of(rows: list[Interaction]) -> InteractionLog:
    return InteractionLog([LogFile(rows, Report())], Report())


def written(log: InteractionLog) -> list[list[str]]:
    return [line.split("\t") for line in "".join(log.texts()).splitlines()]


def kept(filters: Filters, rows: list[Interaction] = ROWS) -> list[list[str]]:
    log = log_of(rows)
    filters.apply(log, Report())
    return written(log)


def test_rows_come_back_exactly() -> None:
    rows = written(log_of(ROWS))
    assert rows[2] == ["u", "a", "4.1", "20"]
    assert rows[3] == ["v", "a", "", "20"]
    assert log_of(ROWS).columns() == [
        "user_id:token",
        "item_id:token",
        "rating:float",
        "timestamp:float",
    ]


def test_millisecond_stamps_stay_whole_and_fractions_stay_fractions() -> None:
    log = log_of([Interaction("u", "a", 1612345678901), Interaction("u", "b", 2.0)])
    assert [row[2] for row in written(log)] == ["1612345678901", "2"]
    mixed = log_of([Interaction("u", "a", 3), Interaction("u", "b", 2.5)])
    assert [row[2] for row in written(mixed)] == ["3.0", "2.5"]


def test_without_times_a_user_counts_up() -> None:
    rows = [Interaction(user, "i") for user in "uvuuv"]
    assert [row[2] for row in written(log_of(rows))] == ["1", "1", "2", "3", "2"]


def test_rows_without_an_id_are_counted() -> None:
    report = Report()
    log = InteractionLog(
        [LogFile([Interaction("", "a", 1), Interaction("u", "NA", 1)], report)], report
    )
    assert len(log) == 0 and sum(report.counts.values()) == 2


@pytest.mark.parametrize(
    ("filters", "stamps"),
    [
        (Filters(duplicates="none"), [30, 10, 20, 20, 30]),
        (Filters(), [30, 10, 20, 20]),
        (Filters(duplicates="first"), [10, 20, 20]),
        (Filters(duplicates="last"), [10, 20, 30]),
        (Filters(min_rating=4.1), [30, 20]),
        (Filters(since=20, until=29), [20, 20]),
        (Filters(user_core=2, item_core=2), [30, 20]),
    ],
)
def test_each_filter(filters: Filters, stamps: list[int]) -> None:
    assert [row[3] for row in kept(filters)] == list(map(str, stamps))


def slow_core(pairs: list[tuple[int, int]], users: int, items: int) -> list[tuple[int, int]]:
    while True:
        by_user, by_item = Counter(u for u, _ in pairs), Counter(i for _, i in pairs)
        left = [(u, i) for u, i in pairs if by_user[u] >= users and by_item[i] >= items]
        if left == pairs:
            return pairs
        pairs = left


events = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=40)


@settings(max_examples=30, deadline=None)  # each opens a database
@given(pairs=events, users=st.integers(1, 4), items=st.integers(1, 4))
def test_core_equals_its_slow_twin(pairs: list, users: int, items: int) -> None:
    rows = [Interaction(str(u), str(i), 1) for u, i in pairs]
    left = kept(Filters(duplicates="none", user_core=users, item_core=items), rows)
    assert [(int(u), int(i)) for u, i, _ in left] == slow_core(pairs, users, items)


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.tuples(*[st.integers(0, 2)] * 3), max_size=20))
def test_first_and_last_keep_one_row_a_pair(rows: list) -> None:
    for kind, choose in (("first", min), ("last", max)):
        events = [Interaction(str(u), str(i), t) for u, i, t in rows]
        left = [tuple(map(int, row)) for row in kept(Filters(duplicates=kind), events)]
        expected = {(u, i): choose(t for a, b, t in rows if (a, b) == (u, i)) for u, i, _ in rows}
        assert {(u, i): t for u, i, t in left} == expected and len(left) == len(expected)
        assert left == [
            row for at, row in enumerate(rows) if row in left and _counts(rows, at, kind)
        ]


def _counts(rows: list, at: int, kind: str) -> bool:
    """Whether, of equal rows, this is the one that is kept: the first, or the last."""
    return rows[at] not in (rows[:at] if kind == "first" else rows[at + 1 :])


def test_a_sample_keeps_whole_users_and_the_core() -> None:
    rows = [Interaction(f"u{n}", f"i{n % 3}", t) for n in range(30) for t in range(3)]
    log = log_of(rows)
    Filters(max_users=6, item_core=4, user_core=3, seed=1).apply(log, Report())
    assert 0 < log.user_count() <= 6
    left = written(log)
    assert set(Counter(user for user, *_ in left).values()) == {3}
    assert min(Counter(item for _, item, _ in left).values()) >= 4


def test_numbers_and_dates() -> None:
    assert read_number("1612345678901") == 1612345678901
    assert isinstance(read_number(" 12 "), int) and read_number("1.5e3") == 1500.0
    assert read_time("2021-01-01") == 1609459200  # date -d 2021-01-01T00:00Z +%s
    assert read_time("2021-01-01T01:00:00+01:00") == read_time("2021-01-01T00:00:00Z")
    assert read_time("31.12.2020 23:59", "%d.%m.%Y %H:%M") == 1609459140
    assert read_time("2021-01-01T00:00:00.250") == 1609459200.25
    for text in ("soon", "", "nan", "0x10", None, True):
        with pytest.raises(ValueError):
            read_time(text)


def test_bounds_in_the_units_of_the_stamps() -> None:
    assert read_bound("2021-01-01", "ms", end=False) == 1609459200000
    assert read_bound("2021-01-01", "s", end=True) == 1609459200 + 86_400 - 1
    assert read_bound("17", None, end=True) == 17
    with pytest.raises(UsageError, match=r"numbers.*, not dates"):
        read_bound("2021-01-01", None, end=False)
    with pytest.raises(UsageError, match="neither"):
        read_bound("soon", "s", end=False)
