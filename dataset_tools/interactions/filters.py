"""Choosing interactions: rating, dates, duplicates, k-core, a sample of users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.dates import check_bound, is_day, read_bound
from dataset_tools.interactions.log import InteractionLog


@dataclass(frozen=True)
class Filters:
    """What to keep; the defaults keep everything but exact duplicates.

    ``since`` and ``until`` are dates or stamps (see ``dates.read_bound``), both included.
    ``duplicates``
    is ``none`` (keep all), ``exact`` (same user, item and time once), ``first`` or ``last``
    (a user's first or last event on an item).
    """

    user_core: int = 1
    item_core: int = 1
    min_rating: float | None = None
    since: str | float | None = None
    until: str | float | None = None
    duplicates: str = "exact"
    max_users: int | None = None
    seed: int = 0

    def apply(self, log: InteractionLog, report: Report) -> None:
        """Remove rows from ``log`` and count them in ``report`` by reason."""
        if self.min_rating is not None:
            low = ~(log.rating >= np.float32(self.min_rating))
            _drop(log, low, f"interactions rated below {self.min_rating:g} or not rated", report)
        self._apply_bounds(log, report)
        if self.duplicates != "none":
            _drop(log, duplicate_rows(log, self.duplicates), "repeated interactions", report)
        self._apply_core(log, report)
        if self.max_users is not None and log.user_count() > self.max_users:
            users = np.unique(log.user)
            chosen = np.random.default_rng(self.seed).choice(users, self.max_users, replace=False)
            _drop(log, ~np.isin(log.user, chosen), "interactions outside the sample", report)
            self._apply_core(log, report)

    def _apply_bounds(self, log: InteractionLog, report: Report) -> None:
        if not len(log):
            return
        span = (log.timestamp.min().item(), log.timestamp.max().item())
        if self.since is not None:
            first = read_bound(str(self.since), log.time_unit, end=False, span=span)
            _drop(log, log.timestamp < first, "interactions before the first date", report)
        if self.until is not None:
            last = read_bound(str(self.until), log.time_unit, end=True, span=span)
            # The last second of a day goes on to the next one.
            whole = is_day(str(self.until))
            late = log.timestamp >= last + 1 if whole else log.timestamp > last
            _drop(log, late, "interactions after the last date", report)

    def _apply_core(self, log: InteractionLog, report: Report) -> None:
        outside = ~core_rows(log.user, log.item, self.user_core, self.item_core)
        reason = f"interactions outside the {self.user_core}-user, {self.item_core}-item core"
        _drop(log, outside, reason, report)


def build_filters(options: dict[str, Any]) -> Filters:
    """``Filters`` from option names; raises ``UsageError`` for an unreadable date."""
    core = options.get("k_core") or 1
    bounds = {key: str(options[key]) for key in ("since", "until") if options.get(key) is not None}
    for text in bounds.values():
        check_bound(text)
    return Filters(
        user_core=options.get("user_core") or core,
        item_core=options.get("item_core") or core,
        min_rating=options.get("min_rating"),
        since=bounds.get("since"),
        until=bounds.get("until"),
        duplicates=options.get("duplicates") or "exact",
        max_users=options.get("max_users"),
        seed=options.get("seed") or 0,
    )


def _drop(log: InteractionLog, drop: np.ndarray, reason: str, report: Report) -> None:
    report.add(reason, int(drop.sum()))
    log.select(~drop)


def duplicate_rows(log: InteractionLog, kind: str) -> np.ndarray:
    """Mask (rows,) of repeated events; order is by time, ties by file order."""
    order = np.lexsort((log.timestamp, log.item, log.user))  # stable: ties keep file order
    same = (np.diff(log.user[order]) == 0) & (np.diff(log.item[order]) == 0)
    if kind == "exact":
        same &= np.diff(log.timestamp[order]) == 0
    mask = np.zeros(len(log), dtype=bool)
    mask[order[:-1][same] if kind == "last" else order[1:][same]] = True
    return mask


def core_rows(user: np.ndarray, item: np.ndarray, user_core: int, item_core: int) -> np.ndarray:
    """Mask (rows,) of the largest set where every user and item has that many interactions."""
    keep = np.ones(len(user), dtype=bool)
    while True:
        users, items = np.bincount(user[keep]), np.bincount(item[keep])
        few = keep.copy()
        few[keep] = (users[user[keep]] < user_core) | (items[item[keep]] < item_core)
        if not few.any():
            return keep
        keep &= ~few
