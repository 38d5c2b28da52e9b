"""Which columns of the items a model of side information reads when nobody says it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: What makes a column a text of one item rather than an attribute that items share.
_TEXTS = ("title", "name", "description", "text", "summary", "url", "image", "picture", "poster")
#: The attributes of the published comparisons: where a dataset has one of them, no others are read.
PUBLISHED = ("categories", "brand")
AUTO = "auto"


def attribute_columns(columns: Iterable[tuple[str, Any]], item_id: str) -> list[str]:
    """The attributes among the columns of items.

    Those of `PUBLISHED` that are there; else every column of type token or token_seq but the item's
    id and texts, which their names tell: titles, names, descriptions, addresses.

    Args:
        columns: names and RecBole's types.
        item_id: the column of the item's id.
    """
    named = [
        name
        for name, kind in columns
        if name != item_id and getattr(kind, "value", kind) in ("token", "token_seq")
    ]
    published = [name for name in PUBLISHED if name in named]
    return published or [name for name in named if not any(part in name.lower() for part in _TEXTS)]
