"""The page about exported sizes: what each costs and how good it is, to choose one for a device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_fmrlrec.deploy.description import TABLE_DTYPES
from recbole_fmrlrec.evaluation.protocol import is_masked
from recbole_fmrlrec.files.atomic import write_json, write_text

if TYPE_CHECKING:
    from dataset_tools.page import Part


@dataclass(frozen=True)
class ExportedSize:
    """One exported size.

    Attributes:
        size: width of the model.
        parameters: numbers in ``model.safetensors``.
        table_bytes: length of ``items.safetensors``.
        total_bytes: length of all files of the folder.
        latency_ms: time of one `Recommender.recommend` of one user, k = 10: the least of the
            medians of several rounds.
        metrics: test metrics by type of the item table; empty where nothing was evaluated.
    """

    size: int
    parameters: int
    table_bytes: int
    total_bytes: int
    latency_ms: float
    metrics: dict[str, dict[str, float]]


@dataclass(frozen=True)
class SizesPage:
    """All exported sizes of one training, and the page about them.

    Attributes:
        model, dataset: of the training.
        num_items: items of the training, the candidates of the evaluation.
        added_items: new items in the tables beside them.
        table_dtype: how the tables are stored.
        metric: the metric of early stopping, ``ndcg@10``, that the page compares by.
        rows: users in the evaluation; 0 where there was none.
        measured_on: processor and threads behind the latencies.
        members: smallest size first.
    """

    model: str
    dataset: str
    num_items: int
    added_items: int
    table_dtype: str
    metric: str
    rows: int
    measured_on: str
    members: tuple[ExportedSize, ...]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows of the page's table, as text."""
        shown = self._metrics()
        others = [kind for kind in TABLE_DTYPES if kind != self.table_dtype and self.rows]
        head = ["size", "parameters", "item table", "all files", "one user", *shown]
        head += [f"{self.metric} {kind} table" for kind in others]
        return head, [self._row(member, shown, others) for member in self.members]

    def _metrics(self) -> list[str]:
        if not self.rows:
            return []
        known = list(self.members[-1].metrics[self.table_dtype])
        cut = self.metric.partition("@")[2]
        return [name for name in known if name.partition("@")[2] == cut]

    def _row(self, member: ExportedSize, shown: Sequence[str], others: Sequence[str]) -> list[str]:
        row = [
            str(member.size),
            f"{member.parameters:,}",
            readable_bytes(member.table_bytes),
            readable_bytes(member.total_bytes),
            f"{member.latency_ms:.2f} ms",
        ]
        row += [f"{member.metrics[self.table_dtype][name]:.4f}" for name in shown]
        return row + [self._against_float32(member, kind) for kind in others]

    def _against_float32(self, member: ExportedSize, kind: str) -> str:
        value, exact = member.metrics[kind][self.metric], member.metrics["float32"][self.metric]
        if kind == "float32":
            return f"{value:.4f}"
        return f"{value:.4f} ({value - exact:+.4f})"

    def notes(self) -> list[str]:
        """What the numbers are, in sentences."""
        masked = any(map(is_masked, self._metrics()))
        history = ", in masked_ columns without those that the user had before" * masked
        quality = (
            f"Quality is that of the deployed files on the {self.rows:,} test rows of "
            f"{self.dataset}, each ranked against all {self.num_items:,} items{history}; in "
            "brackets the difference from the float32 table."
            if self.rows
            else "Quality was not evaluated."
        )
        return [
            f"{self.model}, trained once on {self.dataset}; every size is the first dimensions of "
            f"the largest. Item vectors are stored as {self.table_dtype}.",
            *self._about_added(),
            quality,
            "Parameters are those of model.safetensors: the blocks and the projector of the "
            "features. Learned vectors of items, which a training counts too, are in the item "
            "table.",
            "One user: time of one answer (history read, all items ranked, k = 10), the least "
            f"median of several rounds, without what other programs took, on {self.measured_on}.",
        ]

    def _about_added(self) -> list[str]:
        if not self.added_items:
            return []
        return [
            f"{self.added_items:,} items that the training did not have are in the tables, scored "
            "from their features; they are not among the candidates of the evaluation."
        ]

    def text(self) -> str:
        """The table for a terminal."""
        from tabulate import tabulate

        head, rows = self.table()
        return tabulate(rows, head, disable_numparse=True, colalign=["right"] * len(head))

    def markdown(self) -> str:
        """The page as Markdown."""
        head, rows = self.table()
        lines = [f"| {' | '.join(row)} |" for row in [head, ["---:"] * len(head), *rows]]
        notes = "\n".join(f"- {note}" for note in self.notes())
        return f"# {self.model} on {self.dataset}\n\n" + "\n".join(lines) + f"\n\n{notes}\n"

    def html(self) -> str:
        """The page as one HTML file with its plots inside it; it loads nothing."""
        from dataset_tools.page import Notes, Page, Table

        parts: list[Part] = [Table("sizes", *self.table(), texts=0)]
        if self.rows:
            parts.append(self._plots())
        first, *more = self.notes()
        return Page(f"{self.model} on {self.dataset}", [*parts, Notes(more)], [first]).html()

    def _plots(self) -> Part:
        from dataset_tools.page import Figures, Text
        from dataset_tools.page.figures import NO_PLOTS, can_draw

        if not can_draw():
            return Text(NO_PLOTS)
        from recbole_fmrlrec.export.pareto_plot import curve

        quality = [member.metrics[self.table_dtype][self.metric] for member in self.members]
        names = [str(member.size) for member in self.members]
        by_bytes = [float(member.total_bytes) for member in self.members]
        by_time = [member.latency_ms for member in self.members]
        line = "the line joins the sizes on the Pareto front"
        costs: list[tuple[str, list[float], str, Callable[[float], str]]] = [
            ("bytes", by_bytes, "bytes of all files", readable_bytes),
            ("latency", by_time, "one user, ms", lambda value: f"{value:.3g}"),
        ]
        return Figures(
            [
                curve(
                    x,
                    quality,
                    names,
                    (label, self.metric.upper()),
                    text,
                    f"Quality and {what}; {line}",
                )
                for what, x, label, text in costs
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Values that JSON knows."""
        return asdict(self)

    def write(self, folder: Path) -> None:
        """Write ``family.md``, ``family.html`` and ``family.json``."""
        write_text(folder / "family.md", self.markdown())
        write_text(folder / "family.html", self.html())
        write_json(folder / "family.json", self.to_json())


def readable_bytes(count: float) -> str:
    """A number of bytes with three digits and a unit: ``1.23 MB``."""
    if count < 1000:
        return f"{count:.0f} B"
    power = min(4, int(math.log10(count) // 3))
    value = count / 1000**power
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {' kMGT'[power]}B"
