"""Item ids in one text: with a separator between them, or as a JSON list."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from recbole_fmrlrec.errors import UsageError


def split_history(text: str, separator: str | None, where: str) -> list[str]:
    """The ids of a history, the oldest first.

    Args:
        text: ids with the separator between them, or a JSON list such as ``["MUG 1", "CUP-2"]``.
        separator: between ids; None for blanks of any kind.
        where: option, or file and line, for the message.

    Raises:
        UsageError: the text looks like a JSON list of texts but is not one.
    """
    text = text.strip()
    if text.startswith("["):
        try:
            return ids_of_list(json.loads(text), where)
        except ValueError as error:
            if text.startswith('["'):
                raise UsageError(
                    f"{where}: the history looks like a JSON list but is not valid JSON "
                    f"({error}); it is "
                    'written as ["MUG 1", "CUP-2"]'
                ) from None
    parts = text.split(separator)
    return [part.strip() for part in parts if part.strip()]


def ids_of_list(items: Sequence[object], where: str) -> list[str]:
    """The ids in a list of JSON.

    Raises:
        UsageError: one is neither a text nor an integer.
    """
    for item in items:
        if not isinstance(item, str | int) or isinstance(item, bool):
            raise UsageError(f"{where}: {json.dumps(item)} is not an item id; ids are strings")
    return [str(item) for item in items]


def separator_hint(unknown: Iterable[str], known: Iterable[str], separator: str | None) -> str:
    """What to do where ids of the model hold the separator and may have been taken apart.

    Args:
        unknown: some unknown items.
        known: ids of the model.
    """
    unknown = list(unknown)
    apart = set(unknown)
    for item in known:
        parts = item.split(separator)
        if len(parts) > 1 and apart & {part.strip() for part in parts}:
            return (
                f"; the model knows {item!r}: ids that hold the separator are given as a JSON "
                f"list, [{_json(item)}, ...], or with another --separator"
            )
    for text in unknown:
        if any(mark in text for mark in (" ", ",", ";", "|", "\t")):
            return f"; {text!r} was read as one id: --separator says what separates ids"
    return ""


def _json(item: str) -> str:
    return json.dumps(item, ensure_ascii=False)
