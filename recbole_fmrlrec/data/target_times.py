"""How far the test targets of a leave-one-out split lie apart in time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dataset_tools.formats.dates import unit_of

_BLOCK = 1 << 22


class TargetTimes(NamedTuple):
    """When the test targets were, and how much of the training was later.

    Attributes:
        first, last: times of the first and of the last target.
        later_than_first: share of the training interactions that are later than the first target.
        later_than_half: share of those that are later than half of the targets.
    """

    first: float
    last: float
    later_than_first: float
    later_than_half: float


def target_times(users: np.ndarray, times: np.ndarray, left_out: int) -> TargetTimes | None:
    """The times of each user's last interaction against those of training.

    Args:
        users: ``(M,)``, in order of time.
        times: ``(M,)``, ascending.
        left_out: how many interactions training leaves out of a user's at most; two stay.

    Returns:
        None where the times are no dates but numbers that count up, or where there is no target.
    """
    unit = unit_of(float(times[0])) if len(times) else None
    if unit is None or unit != unit_of(float(times[-1])):
        return None
    total = np.bincount(users)
    last = _last_of_each(users, np.ones(len(users), dtype=bool), len(total))
    targets = np.sort(times[last[total > 2]])
    if not len(targets):
        return None
    trained: np.ndarray = np.ones(len(users), dtype=bool)
    for number in range(1, left_out + 1):
        trained[last[total > number + 1]] = False
        if number < left_out:
            last = _last_of_each(users, trained, len(total))
    count = int(np.count_nonzero(trained))

    def later_than(time: float) -> float:
        return int(np.count_nonzero(trained[np.searchsorted(times, time, "right") :])) / count

    return TargetTimes(
        first=float(targets[0]),
        last=float(targets[-1]),
        later_than_first=later_than(targets[0]),
        later_than_half=later_than(targets[(len(targets) - 1) // 2]),
    )


def _last_of_each(users: np.ndarray, among: np.ndarray, number: int) -> np.ndarray:
    """The last row of each user ``(number,)`` among some of them; 0 where there is none."""
    last = np.zeros(number, dtype=np.int64)
    for start in range(0, len(users), _BLOCK):
        rows = start + np.flatnonzero(among[start : start + _BLOCK])
        last[users[rows]] = rows  # of a user's rows the last one stays
    return last
