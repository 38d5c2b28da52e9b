"""What a conversion left out: counted, with the place of the first of each kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dataset_tools.errors import UsageError

BAD_ROWS_OPTION = "--skip-bad-rows"
ROUNDED_IDS = (
    "ids written as 1.2E+12, read as that whole number; a spreadsheet may have cut their digits"
)


@dataclass
class Report:
    """Counts by reason; ``lines`` tells them to the user.

    ``skip_bad_rows`` decides whether a row that cannot be used is counted or ends the
    conversion, ``skip_undecodable`` the same for a line that is not in the file's encoding.
    ``unit`` is what places are counted in: lines, or rows where a file has none.
    """

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    skip_bad_rows: bool = True
    skip_undecodable: bool = False
    unit: str = "line"

    def skip(self, reason: str, path: Path | None = None, line: int | None = None) -> None:
        """Count one more case of ``reason``; the first place of each reason is kept."""
        self.add(reason, 1, f"{path.name} {self.unit} {line}" if path is not None else "")

    def bad(self, kind: str, path: Path, line: int, detail: str = "") -> None:
        """A row that cannot be used: counted under ``kind``, or refused.

        Raises:
            UsageError: bad rows are not skipped; the message has file, line and the option.
        """
        if not self.skip_bad_rows:
            raise UsageError(
                f"{path}, {self.unit} {line}: {detail or kind}; correct it, or leave such rows "
                f"out with {BAD_ROWS_OPTION}"
            )
        self.skip(kind, path, line)

    def undecodable(self, path: Path, line: int, detail: str) -> None:
        """A line that is not in the encoding: counted, or refused as ``bad`` does."""
        if not self.skip_undecodable:
            raise UsageError(
                f"{path}, line {line}: {detail}; convert the file to UTF-8, or name its encoding "
                f"where there is --encoding, or leave such lines out with {BAD_ROWS_OPTION}"
            )
        self.skip("lines in another encoding", path, line)

    def add(self, reason: str, count: int, first: str = "") -> None:
        """Count ``count`` cases of ``reason`` at once."""
        if count:
            self.counts[reason] = self.counts.get(reason, 0) + count
            if first:
                self.first.setdefault(reason, first)

    def merge(self, later: Report) -> None:
        """Add what was found further on."""
        for reason, count in later.counts.items():
            self.add(reason, count, later.first.get(reason, ""))

    def lines(self) -> list[str]:
        """One line a reason, such as ``skipped 3: malformed record (first: a.gz line 7)``."""
        return [
            f"{count:,} {reason}"
            + (f" (first: {self.first[reason]})" if reason in self.first else "")
            for reason, count in self.counts.items()
        ]
