"""Times as numbers: what tables and options write, and the unit that a number is in.

One rule tells the unit of a stamp, wherever one is read, filtered, ordered or shown: by its size.
From 100,000,000 (1973) to 9,000,000,000 (2255) it counts seconds since 1970; a thousand times
as much milliseconds, then microseconds, then nanoseconds. What lies elsewhere is no time but a
number that counts up.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta, timezone

from dataset_tools.errors import UsageError
from dataset_tools.formats.date_texts import AmbiguousDate, read_date_text

UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
FIRST_SECOND, END_SECOND = 100_000_000, 9_000_000_000
MAX_STAMP = 2**63 - 1
MAX_DIGITS = 300
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_CLOCK = re.compile(r"(?<![-+\d])\d{1,2}:\d\d|\dT\d")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def unit_of(number: float) -> str | None:
    """The unit of a stamp by its size (a key of ``UNITS``), or None where it is no time."""
    for unit, factor in UNITS.items():
        if FIRST_SECOND * factor <= number < END_SECOND * factor:
            return unit
    return None


def show_stamp(number: float, unit: str | None = None) -> str:
    """A stamp as a date (UTC) where it is a time, else as a number.

    ``unit`` (a key of ``UNITS``) is that of the stamp where it is known, else its size tells.
    """
    unit = unit or unit_of(number)
    try:
        moment = _EPOCH + timedelta(seconds=number / UNITS[unit or ""])
    except (KeyError, OverflowError):
        return f"{number:.15g}"
    return moment.isoformat(" ", "minutes").removesuffix("+00:00")


def read_number(value: object) -> int | float:
    """A finite number as it is written: whole ones stay exact; raises ``ValueError``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value):
        return value
    text = str(value).strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a number" if text else "is empty")
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits is too long")
    number = int(text) if text.lstrip("+-").isdigit() else float(text)
    if not _is_finite(number):
        raise ValueError(f"{text!r} is too large")
    return number


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond all floats
        return False


def read_time(value: object, time_format: str = "auto") -> int | float:
    """A point in time as a number: a number as it is, a date in seconds since 1970.

    Dates without a zone are UTC. ``time_format`` is ``auto`` (a number, or a date that can be
    read in one way only) or a ``strptime`` pattern. Raises ``ValueError``, and its subclass
    ``AmbiguousDate`` for a date whose day and month could change places.
    """
    return read_stamp(value, time_format)[0]


def read_stamp(value: object, time_format: str = "auto") -> tuple[int | float, bool]:
    """As ``read_time``, and whether it was written as a date and so counts seconds."""
    if isinstance(value, date):
        whole = value if isinstance(value, datetime) else datetime(*value.timetuple()[:3])
        return _seconds(whole), True
    if time_format != "auto":
        return _seconds(datetime.strptime(str(value).strip(), time_format)), True
    try:
        return read_number(value), False
    except ValueError:
        if not str(value).strip():
            raise
    return _seconds(read_date_text(str(value).strip())), True


def check_time_format(time_format: str) -> None:
    """Raise ``UsageError`` for a ``--time-format`` that ``strptime`` itself refuses."""
    if time_format == "auto":
        return
    try:
        datetime.strptime(datetime(2001, 2, 3).strftime(time_format), time_format)
    except (ValueError, re.error) as error:
        raise UsageError(
            f"--time-format {time_format!r}: {error}; a pattern is written like '%d.%m.%Y %H:%M'"
        ) from None


def _seconds(moment: datetime) -> int | float:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    seconds = int(moment.replace(microsecond=0).timestamp())
    return seconds + moment.microsecond / 1e6 if moment.microsecond else seconds


def check_bound(text: str) -> None:
    """Raise ``UsageError`` for a ``--since`` or ``--until`` that is neither number nor date."""
    try:
        read_time(text)
    except ValueError as error:
        hint = f" ({error})" if "is not a date" in str(error) else ""
        if isinstance(error, AmbiguousDate):
            hint = " (day and month could change places; write the year first)"
        raise UsageError(
            f"{text!r}: neither a number nor a date such as 2014-07-31{hint}"
        ) from None


def is_day(text: str) -> bool:
    """Whether a bound that is a date names no time of day, and so a whole day."""
    return not _NUMBER.fullmatch(text.strip()) and not _CLOCK.search(text)


def read_bound(
    text: str, unit: str | None, end: bool, span: tuple[float, float] | None = None
) -> int | float:
    """A ``--since`` or ``--until`` value in the ``unit`` of the stamps.

    An end date includes its whole day. A number is in the unit that its size tells; one that is
    no time is taken as it stands where it lies in ``span``, the first and last stamp.

    Raises:
        UsageError: neither a number nor a date, or a time for stamps that are no times, or the
            reverse.
    """
    check_bound(text)
    bound, dated = read_stamp(text)
    own = "s" if dated else unit_of(bound)
    if own is None and (unit is None or (span and span[0] <= bound <= span[1])):
        return bound
    if own is None:
        raise UsageError(
            f"{text!r} is not a time; the timestamps are {UNIT_NAMES[unit or 's']} since 1970; "
            "write a date such as 2014-07-31 or a stamp"
        )
    if unit is None:
        raise UsageError(
            f"{text!r}: the timestamps of this source are numbers"
            + (f" from {span[0]:.15g} to {span[1]:.15g}" if span else "")
            + ", not dates"
        )
    if end and dated and is_day(text):
        return (int(bound) + 86_400) * UNITS[unit] - 1
    factor, divisor = UNITS[unit], UNITS[own]
    return bound * (factor // divisor) if factor >= divisor else bound / (divisor // factor)
