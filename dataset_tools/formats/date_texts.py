"""Dates as people write them, as far as they can be read in one way only."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(?P<name>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_TIME = (
    r"(?:[T ,]\s*(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<part>\d+))?)?"
    r"(?:\s*(?P<half>[ap])\.?m\.?)?)?"
    r"\s*(?P<zone>z|utc|gmt|[+-]\d\d:?\d\d|[+-]\d\d)?"
)
_DATES = (
    r"(?P<year>\d{4})(?P<sign>[-/.])(?P<month>\d{1,2})(?P=sign)(?P<day>\d{1,2})",
    rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th)?[-. /]\s*{_MONTH}[-. /,]\s*(?P<year>\d{{4}})",
    rf"{_MONTH}\s*(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<year>\d{{4}})",
)
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_WRITTEN = [re.compile(_WEEKDAY + day + _TIME, re.IGNORECASE) for day in _DATES]
_NUMERIC = re.compile(
    r"(?P<one>\d{1,2})(?P<sign>[-/.])(?P<two>\d{1,2})(?P=sign)(?P<year>\d{4}|\d\d)" + _TIME,
    re.IGNORECASE,
)
_WEEK = re.compile(r"(\d{4})-?W(\d\d)(?:-?(\d))?")


class AmbiguousDate(ValueError):
    """A date whose day and month could stand either way round; the message has the ways out."""


def read_date_text(text: str) -> datetime:
    """A date with the year first (ISO 8601) or with the month's English name, time and zone.

    Raises:
        AmbiguousDate: day and month are both numbers, and the year does not stand first.
        ValueError: no date, or one that the calendar does not have.
    """
    for pattern in _WRITTEN:
        found = pattern.fullmatch(text)
        if found:
            try:
                return _moment(found.groupdict())
            except ValueError as error:  # the calendar's words, without the text itself
                raise ValueError(f"{text!r} is not a date: {error}") from None
    numeric = _NUMERIC.fullmatch(text)
    if numeric:
        raise AmbiguousDate(_both_readings(text, numeric))
    try:
        week = _WEEK.fullmatch(text)
        if week:  # Python reads it by fromisoformat since 3.11
            return datetime.fromisocalendar(*(int(part) for part in week.groups(default="1")))
        return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    except ValueError:
        raise ValueError(f"{text!r} is neither a number nor a date") from None


def _moment(parts: dict[str, str | None]) -> datetime:
    name = parts.get("name")
    month = MONTHS.index(name.lower()) + 1 if name else int(parts["month"] or 0)
    hour = int(parts["hour"] or 0)
    if parts["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(f"hour {hour} cannot be combined with a.m. or p.m.")
        hour = hour % 12 + (12 if parts["half"].lower() == "p" else 0)
    clock = (hour, int(parts["minute"] or 0), int(parts["second"] or 0))
    micro = int((parts["part"] or "0")[:6].ljust(6, "0"))
    day = datetime(int(parts["year"] or 0), month, int(parts["day"] or 0), *clock, micro)
    return day.replace(tzinfo=_zone(parts["zone"]))


def _zone(text: str | None) -> timezone:
    if not text or text[0] not in "+-":
        return timezone.utc
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _both_readings(text: str, found: re.Match[str]) -> str:
    one, two, sign = int(found["one"]), int(found["two"]), found["sign"]
    year = "%Y" if len(found["year"]) == 4 else "%y"
    clock = ""
    if found["hour"]:
        between = text[found.end("year") : found.start("hour")]
        clock = (
            between + ("%I:%M" if found["half"] else "%H:%M") + (":%S" if found["second"] else "")
        )
        clock += (".%f" if found["part"] else "") + (" %p" if found["half"] else "")
    readings = []
    for day, month, order in ((one, two, "%d{0}%m"), (two, one, "%m{0}%d")):
        if 1 <= month <= 12 and 1 <= day <= 31:
            pattern = f"{order.format(sign)}{sign}{year}{clock}"
            written = f"{day} {MONTHS[month - 1].title()} {found['year']}"
            readings.append((written, f"--time-format '{pattern}'"))
    if not readings:
        return f"{text!r} is not a date"
    said = " or ".join(written for written, _ in readings)
    options = " or ".join(option for _, option in readings)
    why = (
        ""
        if len(readings) > 1
        else ", although day and month may be the other way round in other rows"
    )
    return f"{text!r} could be {said}{why}; say which with {options}"
