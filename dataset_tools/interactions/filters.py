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
            low = "rating IS NULL OR CAST(rating AS DOUBLE) < ?"
            count = log.drop(low, float(np.float32(self.min_rating)))
            report.add(f"interactions rated below {self.min_rating:g} or not rated", count)
        self._apply_bounds(log, report)
        if self.duplicates != "none":
            report.add("repeated interactions", drop_duplicates(log, self.duplicates))
        self._apply_core(log, report)
        if self.max_users is not None and log.user_count() > self.max_users:
            report.add("interactions outside the sample", self._drop_users(log, self.max_users))
            self._apply_core(log, report)

    def _drop_users(self, log: InteractionLog, count: int) -> int:
        """Remove all users but a sample; returns how many rows went."""
        rows = log.database.rows("SELECT DISTINCT user_code FROM log ORDER BY user_code")
        users = np.array([code for (code,) in rows], dtype=np.int64)
        chosen = np.random.default_rng(self.seed).choice(users, count, replace=False)
        log.database.insert("CREATE TEMP TABLE chosen AS SELECT code FROM batch", {"code": chosen})
        dropped = log.drop("user_code NOT IN (SELECT code FROM chosen)")
        log.database.run("DROP TABLE chosen")
        return dropped

    def _apply_bounds(self, log: InteractionLog, report: Report) -> None:
        if not len(log):
            return
        span = log.span()
        if self.since is not None:
            first = read_bound(str(self.since), log.time_unit, end=False, span=span)
            report.add("interactions before the first date", log.drop("stamp < ?", first))
        if self.until is not None:
            last = read_bound(str(self.until), log.time_unit, end=True, span=span)
            # The last second of a day goes on to the next one.
            whole = is_day(str(self.until))
            count = log.drop("stamp >= ?", last + 1) if whole else log.drop("stamp > ?", last)
            report.add("interactions after the last date", count)

    def _apply_core(self, log: InteractionLog, report: Report) -> None:
        reason = f"interactions outside the {self.user_core}-user, {self.item_core}-item core"
        report.add(reason, drop_outside_core(log, self.user_core, self.item_core))


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


def drop_duplicates(log: InteractionLog, kind: str) -> int:
    """Remove repeated events (see ``Filters``); order is by time, ties by file order."""
    event = "user_code, item_code, stamp" if kind == "exact" else "user_code, item_code"
    way = "DESC" if kind == "last" else "ASC"
    return log.drop(
        f"""seq IN (
            SELECT seq FROM (
                SELECT seq, row_number() OVER (PARTITION BY {event} ORDER BY stamp {way}, seq {way})
                    AS time
                FROM log SEMI JOIN (
                    SELECT {event} FROM log GROUP BY {event} HAVING count(*) > 1
                ) AS repeated USING ({event}))
            WHERE time > 1)"""
    )


def drop_outside_core(log: InteractionLog, user_core: int, item_core: int) -> int:
    """Keep the largest set where every user and item has that many interactions."""
    few = [
        f"{kind} IN (SELECT {kind} FROM log GROUP BY {kind} HAVING count(*) < {core:d})"
        for kind, core in (("user_code", user_core), ("item_code", item_core))
        if core > 1
    ]
    dropped = 0
    while few and (count := log.drop(" OR ".join(few))):
        dropped += count
    return dropped
