"""What a recommendation is: ids, titles and scores, by name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# Control characters, line and paragraph separators, half characters; and what turns the direction
# of writing around.
_STEERING = ("Cc", "Zl", "Zp", "Cs")
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@dataclass(frozen=True)
class Recommendation:
    """One recommended item."""

    id: str
    title: str | None
    score: float


@dataclass(frozen=True)
class Recommendations:
    """Recommended items of one history, the best first.

    Attributes:
        ids: item ids.
        titles: a title or None for each.
        scores: the model's scores, descending; they rank items and are not probabilities.
        unknown: items of the history that the model does not know and that were skipped.
    """

    ids: list[str]
    titles: list[str | None]
    scores: list[float]
    unknown: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Recommendation]:
        rows = zip(self.ids, self.titles, self.scores, strict=True)
        return (Recommendation(*row) for row in rows)

    def to_json(self) -> dict[str, Any]:
        """Values that JSON knows."""
        items = [{"item_id": r.id, "title": r.title, "score": r.score} for r in self]
        return {"items": items, **({"unknown": self.unknown} if self.unknown else {})}

    def __str__(self) -> str:
        """A line for each item: rank, score, id, title."""
        if not self.ids:
            return "(nothing to recommend)"
        width = max(map(len, self.ids))
        return "\n".join(
            _line(f"{rank:4}  {row.score:9.4f}  {row.id:{width}}  {row.title or ''}".rstrip())
            for rank, row in enumerate(self, start=1)
        )


def _line(text: str) -> str:
    """One line to print: titles come from anybody, and control characters steer a terminal."""
    if text.isprintable():
        return text
    bad = (c in _TURNING or unicodedata.category(c) in _STEERING for c in text)
    return "".join("\ufffd" if is_bad else c for c, is_bad in zip(text, bad, strict=True))
