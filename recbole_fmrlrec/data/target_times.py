"""How far the test targets of a leave-one-out split lie apart in time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dataset_tools.formats.dates import unit_of
from recbole_fmrlrec.data.ordering import stable_order


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
    order = stable_order(users)
    total = np.bincount(users)
    total = total[total > 0]
    first = np.cumsum(total) - total
    place = np.arange(len(users)) - np.repeat(first, total)
    trained = place < np.repeat(total - np.clip(total - 2, 0, left_out), total)
    targets = np.sort(times[order][(first + total - 1)[total > 2]])
    if not len(targets):
        return None
    of_training = times[order][trained]
    half = targets[(len(targets) - 1) // 2]
    return TargetTimes(
        first=float(targets[0]),
        last=float(targets[-1]),
        later_than_first=float((of_training > targets[0]).mean()),
        later_than_half=float((of_training > half).mean()),
    )
