"""Times of events in a file of users: all numbers of one unit, or all ISO dates."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone

from recbole_fmrlrec.errors import UsageError

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
#: Numbers that are times since 1970 in seconds, in milliseconds, and so on (1973 to 2128).
_UNITS = {"seconds": 1e8, "milliseconds": 1e11, "microseconds": 1e14, "nanoseconds": 1e17}
#: Numbers that no unit can be told of: 1, 2, 3, or times before 1973.
_PLAIN = "plain numbers"
_DATES = "ISO dates"
#: A date with a time; a part of a second and a zone may follow.
_MOMENT = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[T ](?P<clock>\d\d:\d\d(:\d\d)?)"
    r"([.,](?P<part>\d+))?(?P<zone>[zZ]|[+-]\d\d(:?\d\d)?)?"
)


def _clash(one: str, other: str) -> bool:
    """Whether times of two kinds cannot be put in one order."""
    return one != other and (_DATES in (one, other) or _PLAIN not in (one, other))


def _as_python_3_10_reads_it(text: str) -> str:
    """The same time with six digits of a part of a second, and a zone in hours and minutes."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return text
    part, zone = found["part"], found["zone"] or ""
    if zone:
        digits = "+0000" if zone in "zZ" else zone.replace(":", "").ljust(5, "0")
        zone = f"{digits[:3]}:{digits[3:]}"
    return f"{found['day']}T{found['clock']}{'.' + part[:6].ljust(6, '0') if part else ''}{zone}"


@dataclass
class EventTimes:
    """Reads the times of one file, which must all be of one kind.

    Numbers are kept exactly as they are written; dates without a zone are UTC.

    Attributes:
        path: of the file, for messages.
        kinds: the line in which each kind of time was met first.
    """

    path: object
    kinds: dict[str, int] = field(default_factory=dict)

    def read(self, text: str, line: int) -> int | float:
        """The time in a cell.

        Raises:
            UsageError: it is not a time, or of another kind than those before it.
        """
        text = text.strip()
        known = _NUMBER.fullmatch(text) is not None
        value, kind = self._number(text, line) if known else self._date(text, line)
        self.kinds.setdefault(kind, line)
        for first, at in self.kinds.items():
            if _clash(first, kind):
                raise UsageError(
                    f"{self.path}, line {line}: a timestamp in {kind}, line {at} has one in "
                    f"{first}: events in two formats cannot be put in order; write all of them "
                    "in one format"
                )
        return value

    def _number(self, text: str, line: int) -> tuple[int | float, str]:
        value = int(text) if text.lstrip("+-").isdigit() else float(text)
        if not math.isfinite(value):
            raise self._wrong(text, line)
        unit = _PLAIN
        for name, low in _UNITS.items():
            if low <= abs(value) < 50 * low:
                unit = name
        return value, unit

    def _date(self, text: str, line: int) -> tuple[float, str]:
        try:
            moment = datetime.fromisoformat(_as_python_3_10_reads_it(text))
        except ValueError:
            raise self._wrong(text, line) from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return moment.timestamp(), _DATES

    def _wrong(self, text: str, line: int) -> UsageError:
        return UsageError(
            f"{self.path}, line {line}: the timestamp {text!r} is neither a number nor an ISO date "
            "such as 2024-03-01 10:00"
        )
