"""What every raw format offers. `registry` finds the formats, `conversion` reads them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.lines import FileLines
from dataset_tools.interactions.database import Database
from dataset_tools.interactions.interaction import Interaction
from dataset_tools.interactions.line_scan import LeftLines, LineScan

TEXT_COLUMNS = ("title", "brand", "categories", "price", "description")


class Source:
    """A raw data set. A format is a subclass with the two iterators below.

    With a ``name`` and in a module of its own in `dataset_tools.sources`, it is a source of
    ``python -m dataset_tools convert``, too.
    """

    # What `convert` calls the format, and what its help says of it.
    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    # "files": a file, a folder of parts, or a pattern that fits some.
    reads: ClassVar[Literal["file", "folder", "either", "files"]] = "either"
    # Arguments of the constructor that `add_options` takes from the command line.
    option_names: ClassVar[tuple[str, ...]] = ()

    item_columns: tuple[str, ...] = tuple(f"{name}:token_seq" for name in TEXT_COLUMNS)
    # Whether items without interactions are written unless the user asks otherwise.
    keeps_cold_items: bool = False
    # Whether a row that cannot be used is counted rather than refused, unless the user says:
    # public data is known to have some, in one's own they are mistakes.
    skips_bad_rows: bool = True
    # How many processes may read a large catalogue; most formats read it in one all the same.
    processes: int = 1

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add the options ``option_names`` to the parser of ``convert NAME``; here none."""

    @property
    def interactions_path(self) -> Path:
        """The file of the interactions, by which faults are named."""
        return self.path

    @property
    def unit(self) -> str:
        """What its places are counted in: lines, or rows where its file has none."""
        return "line"

    def parts(self) -> Iterator[Source]:
        """The files of the interactions in order, each as a source; here there is but one."""
        yield self

    def scanned(
        self, database: Database, report: Report, start: int
    ) -> Iterator[Interaction] | None:
        """Let SQL read into ``raw`` what it can; yield the other interactions; None: it cannot.

        Args:
            start: what line 1 has as ``seq`` in ``raw``, less 1.
        """
        scan = self.line_scan()
        if scan is None:
            return None
        lines = LeftLines(scan, database, report.undecodable, start)
        return self.left_interactions(report, lines)

    def line_scan(self) -> LineScan | None:
        """How SQL can read the plain rows of ``interactions_path``; None: it cannot.

        Where there is one, ``left_interactions`` gets the lines that are left.
        """
        return None

    def interactions(self, report: Report) -> Iterator[Interaction]:
        """Yield the interactions in file order; what is skipped goes to ``report``."""
        raise NotImplementedError

    def left_interactions(
        self, report: Report, lines: FileLines | None = None
    ) -> Iterator[Interaction]:
        """As ``interactions``, of ``lines`` alone; for formats that have a ``line_scan``."""
        raise NotImplementedError

    def items(self, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield ``(item token, values by column name)``; key ``image`` is a path or a url."""
        raise NotImplementedError

    def feature_items(self) -> list[str] | None:
        """The item that each row of an attached matrix belongs to, where the format says so."""
        return None

    def feature_files(self) -> dict[str, Path]:
        """Ready feature matrices that come with the data, by modality."""
        return {}


def is_header(line: int, fields: Sequence[str]) -> bool:
    """Whether these fields of a file of ratings (user, item, rating, time) are column names."""
    words = [field.strip() for field in fields[2:4]]
    return (
        line == 1
        and len(words) == 2
        and all(
            word.isidentifier() and word.lower() not in ("nan", "inf", "infinity") for word in words
        )
    )
