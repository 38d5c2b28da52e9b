"""What a conversion left out: counted, with the place of the first of each kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Report:
    """Counts by reason; ``lines`` tells them to the user."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def skip(self, reason: str, path: Path | None = None, line: int | None = None) -> None:
        """Count one more case of ``reason``; the first place of each reason is kept."""
        self.add(reason, 1, f"{path.name} line {line}" if path is not None else "")

    def add(self, reason: str, count: int, first: str = "") -> None:
        """Count ``count`` cases of ``reason`` at once."""
        if count:
            self.counts[reason] = self.counts.get(reason, 0) + count
            if first:
                self.first.setdefault(reason, first)

    def lines(self) -> list[str]:
        """One line a reason, such as ``skipped 3: malformed record (first: a.gz line 7)``."""
        return [
            f"{count:,} {reason}"
            + (f" (first: {self.first[reason]})" if reason in self.first else "")
            for reason, count in self.counts.items()
        ]
