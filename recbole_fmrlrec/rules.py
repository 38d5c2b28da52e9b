"""Kinds of values, each of which knows how to say what it allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

#: The largest integer that RecBole, numpy and torch take.
LARGEST = 2**63 - 1

Problem = tuple[str, Any, str]  # (path below the key, the value there, what is wrong with it)


@dataclass(frozen=True)
class Rule:
    """A kind of value.

    ``listed``: a single value, or values with commas between them, mean a list. ``text``: the
    command line gives the text as it is, so that ``[0,5]`` and ``0`` stay text.
    ``inner``: rules for the entries of a mapping; unless ``open``, it has no others.
    """

    says: str
    accepts: Callable[[Any], bool]
    listed: bool = False
    text: bool = False
    inner: Mapping[str, Rule] = field(default_factory=dict)
    open: bool = True

    def problem(self, value: Any, path: str = "") -> Problem | None:
        """What is wrong with a value, or None."""
        if not self.accepts(value):
            return path, value, f"must be {self.says}"
        if isinstance(value, dict) and self.inner:
            for key, below in value.items():
                where = f"{path}.{key}"
                if key in self.inner:
                    found = self.inner[key].problem(below, where)
                elif self.open:
                    continue
                else:
                    found = (where, below, "is not a key; known: " + ", ".join(self.inner))
                if found:
                    return found
        return None


def is_number(value: Any) -> bool:
    """A finite float, or an int of 64 bits; True and False are none."""
    if isinstance(value, float):
        return math.isfinite(value)
    return is_whole(value)


def is_whole(value: Any) -> bool:
    """An int of 64 bits; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def whole(low: int | None = None, high: int = LARGEST) -> Rule:
    """An integer, at least ``low`` and at most ``high``."""
    says = "an integer" if low is None else f"an integer of at least {low}"
    if high < LARGEST:
        says += f" and at most {high}"
    return Rule(
        says, lambda value: is_whole(value) and (low is None or value >= low) and value <= high
    )


def shown(value: Any, most: int = 200) -> str:
    """A value as a message shows it: a long one is cut."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def number(low: float, high: float = math.inf, *, above: bool = False, below: bool = False) -> Rule:
    """A number of [low, high]; ``above`` and ``below`` leave out the end."""
    if high == math.inf:
        says = f"a number above {low:g}" if above else f"a number of at least {low:g}"
    else:
        says = f"a number in {'(' if above else '['}{low:g}, {high:g}{')' if below else ']'}"

    def accepts(value: Any) -> bool:
        if not is_number(value):
            return False
        return (value > low or (value == low and not above)) and (
            value < high or (value == high and not below)
        )

    return Rule(says, accepts)


def flag() -> Rule:
    """True or False."""
    return Rule("True or False", lambda value: isinstance(value, bool))


def text(says: str = "a string") -> Rule:
    """Any text."""
    return Rule(says, lambda value: isinstance(value, str), text=True)


def choice(*values: Any) -> Rule:
    """One of some values."""
    return Rule(
        "one of " + ", ".join(str(value) for value in values), lambda value: value in values
    )


def list_of(rule: Rule, says: str, *, ascending: bool = False) -> Rule:
    """A list, not empty, of one kind of value."""

    def accepts(value: Any) -> bool:
        if not isinstance(value, list) or not value or not all(map(rule.accepts, value)):
            return False
        return not ascending or all(a < b for a, b in pairwise(value))

    return Rule(says, accepts, listed=True)


def mapping(says: str, inner: Mapping[str, Rule] | None = None, *, open: bool = True) -> Rule:
    """A dict; ``open`` lets it hold keys that are not in ``inner``."""
    return Rule(says, lambda value: isinstance(value, dict), inner=inner or {}, open=open)


def null_or(rule: Rule) -> Rule:
    """The rule's values, or null."""
    return Rule(
        f"{rule.says}, or null",
        lambda value: value is None or rule.accepts(value),
        rule.listed,
        rule.text,
        rule.inner,
        rule.open,
    )
