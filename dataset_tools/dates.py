"""Times as numbers: what tables and options write, in a data set's own unit."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from dataset_tools.errors import UsageError

UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")


def read_number(value: object) -> int | float:
    """A number as it is written: whole numbers stay exact; raises ``ValueError``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
        return value
    text = str(value).strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is no number")
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def read_time(value: object, time_format: str = "auto") -> int | float:
    """A point in time as a number: a number as it is, a date in seconds since 1970.

    Dates without a zone are UTC. ``time_format`` is ``auto`` (number or ISO 8601) or a
    ``strptime`` pattern. Raises ``ValueError``.
    """
    if isinstance(value, datetime):
        return _seconds(value)
    if time_format != "auto":
        return _seconds(datetime.strptime(str(value).strip(), time_format))
    try:
        return read_number(value)
    except ValueError:
        text = re.sub("[zZ]$", "+00:00", str(value).strip())
        return _seconds(datetime.fromisoformat(text))


def _seconds(moment: datetime) -> int | float:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    seconds = int(moment.replace(microsecond=0).timestamp())
    return seconds + moment.microsecond / 1e6 if moment.microsecond else seconds


def read_bound(text: str, unit: str | None, end: bool) -> int | float:
    """A ``--since`` or ``--until`` value in ``unit``; an end date includes its whole day.

    Raises:
        UsageError: neither a number nor an ISO date, or a date for stamps that are no times.
    """
    try:
        return read_number(text)
    except ValueError:
        pass
    try:
        seconds = read_time(text)
    except ValueError:
        raise UsageError(f"{text!r}: neither a number nor a date such as 2014-07-31") from None
    if unit is None:
        raise UsageError(f"{text!r}: this source has no dates, its timestamps are 1, 2, 3, ...")
    factor = UNITS[unit]
    whole_day = end and re.fullmatch(r"\d{4}-\d\d-\d\d", text.strip())
    return (seconds + 86_400) * factor - 1 if whole_day else seconds * factor
