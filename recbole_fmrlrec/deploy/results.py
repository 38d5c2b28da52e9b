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
class Reason:
    """An event of the history, and what it added to the score of a recommended item."""

    id: str
    title: str | None
    contribution: float

    def to_json(self) -> dict[str, Any]:
        """Values that JSON knows."""
        return {"item_id": self.id, "title": self.title, "contribution": self.contribution}

    def __str__(self) -> str:
        return f"because you liked {self.title or self.id} ({self.contribution:+.4f})"


@dataclass(frozen=True)
class Recommendations:
    """Recommended items of one history, the best first.

    Attributes:
        ids: item ids.
        titles: a title or None for each.
        scores: the model's scores, descending unless varied items were asked for; they rank items
            and are not probabilities.
        unknown: items of the history that the model does not know and that were skipped.
        reasons: for each the event of the history that added most to its score, or None where none
            did; empty where reasons were not asked for.
    """

    ids: list[str]
    titles: list[str | None]
    scores: list[float]
    unknown: list[str] = field(default_factory=list)
    reasons: list[Reason | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Recommendation]:
        rows = zip(self.ids, self.titles, self.scores, strict=True)
        return (Recommendation(*row) for row in rows)

    def to_json(self) -> dict[str, Any]:
        """Values that JSON knows."""
        items: list[dict[str, Any]] = [
            {"item_id": r.id, "title": r.title, "score": r.score} for r in self
        ]
        for entry, reason in zip(items, self.reasons, strict=False):
            entry["because"] = None if reason is None else reason.to_json()
        return {"items": items, **({"unknown": self.unknown} if self.unknown else {})}

    def __str__(self) -> str:
        """A line for each item: rank, score, id, title; and one for its reason, if it has one."""
        if not self.ids:
            return "(nothing to recommend)"
        width = max(map(len, self.ids))
        lines = []
        for rank, row in enumerate(self, start=1):
            lines.append(f"{rank:4}  {row.score:9.4f}  {row.id:{width}}  {row.title or ''}")
            if rank <= len(self.reasons) and (reason := self.reasons[rank - 1]) is not None:
                lines.append(f"{'':19}{'':{width}}  {reason}")
        return "\n".join(one_line(line.rstrip()) for line in lines)


def one_line(text: str) -> str:
    """One line to print: titles come from anybody, and control characters steer a terminal."""
    if text.isprintable():
        return text
    bad = (c in _TURNING or unicodedata.category(c) in _STEERING for c in text)
    return "".join("\ufffd" if is_bad else c for c, is_bad in zip(text, bad, strict=True))
