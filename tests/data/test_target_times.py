"""When test targets were, and how much of training was later: by hand, and by a sort of all."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_fmrlrec.data import target_times as module
from recbole_fmrlrec.data.target_times import target_times

DAY = 86400.0
START = 1_600_000_000.0


def test_by_hand() -> None:
    # Users 1: days 0 1 2 5; 2: days 3 4 9; 3: days 6 7, which is never tested; 4: day 8.
    users = np.array([1, 1, 1, 2, 2, 1, 3, 3, 4, 2])
    times = START + DAY * np.arange(10)
    found = target_times(users, times, 2)
    # Targets are days 5 and 9. Left out are 2 and 5 of user 1 and 9 of user 2: of the days
    # 0 1 3 4 6 7 8, three are later than 5, which is half of the targets, too.
    assert found == (START + 5 * DAY, START + 9 * DAY, 3 / 7, 3 / 7)
    one = target_times(users, times, 1)
    assert one is not None and one.later_than_first == 3 / 8  # day 2 is trained


@pytest.mark.parametrize("left_out", [1, 2])
@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_as_a_sort_by_user_finds_it(
    monkeypatch: pytest.MonkeyPatch, left_out: int, kind: type
) -> None:
    monkeypatch.setattr(module, "_BLOCK", 7)
    random = np.random.default_rng(3)
    users = (1 + random.integers(0, 60, 200) ** 2 // 60).astype(kind)  # some have one row, or none
    times = np.sort(START + random.integers(0, 50, 200) * DAY)  # ties
    targets, later, trained = [], [], []
    for user in np.unique(users):
        own = times[users == user]
        kept = len(own) - min(left_out, max(0, len(own) - 2))
        trained += own[:kept].tolist()
        targets += own[-1:].tolist() if len(own) > 2 else []
    targets.sort()
    for time in (targets[0], targets[(len(targets) - 1) // 2]):
        later.append(sum(other > time for other in trained) / len(trained))
    assert target_times(users, times, left_out) == (targets[0], targets[-1], *later)


def test_nobody_is_tested() -> None:
    assert target_times(np.array([1, 1, 2]), START + np.arange(3) * DAY, 2) is None
    assert target_times(np.array([1, 1, 1]), np.arange(1.0, 4.0), 2) is None  # no dates
