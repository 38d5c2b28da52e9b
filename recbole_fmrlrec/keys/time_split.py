"""The values of ``eval_args.split.time`` and of the keys beside it that only this split has."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from recbole_fmrlrec.rules import Rule, choice, is_number


def _is_moment(value: Any) -> bool:
    """Whether a value can be a point in time: a number, or a date that reads in one way only."""
    from dataset_tools.formats.dates import read_time

    try:
        read_time(value)
    except ValueError:
        return False
    return isinstance(value, str | date) or is_number(value)


MOMENTS = Rule(
    "two points in time, VALID_FROM and TEST_FROM: dates such as 2014-03-01, values of the time "
    "column, or shares of the interactions between 0 and 1, such as [0.8, 0.9]",
    lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_moment, value)),
    listed=True,
)

#: Keys of ``eval_args`` beside a split by time: what each may be, the default first.
CHOICES = {
    "targets": ("all", "first", "last"),
    "context": ("rolling", "frozen"),
    "cold": ("keep", "drop"),
}
RULES = {key: choice(*values) for key, values in CHOICES.items()}


def protocol(arguments: Mapping[str, Any]) -> dict[str, str]:
    """The keys of ``eval_args`` that only a split by time has, with their defaults."""
    return {key: str(arguments.get(key, values[0])) for key, values in CHOICES.items()}
