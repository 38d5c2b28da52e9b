"""In what two settings differ: why work that was begun cannot go on, or results are of others."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any


def changed_entries(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    alike: Callable[[Any, Any], bool] = operator.eq,
    above: str = "",
) -> Iterator[tuple[str, str, str]]:
    """Yield each changed entry: key, old value, new value, as they are shown to the user.

    The entries of two dictionaries are compared one by one, with keys such as ``above.key``.
    """
    for key in dict.fromkeys([*old, *new]):
        before, now = old.get(key), new.get(key)
        if (key in old) == (key in new) and alike(before, now):
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            yield from changed_entries(before, now, alike, f"{above}{key}.")
            continue
        sides = [repr(side[key]) if key in side else "not there" for side in (old, new)]
        yield f"{above}{key}", sides[0], sides[1]
