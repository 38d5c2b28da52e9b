"""The outputs of a comparison: tables, results, plots, and one page with all of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from dataset_tools.page import Cell as PageCell
from dataset_tools.page import Figure, Figures, Heading, Notes, Page, Part, Table, Text
from recbole_fmrlrec.compare.analysis import analyse
from recbole_fmrlrec.compare.cells import Cell
from recbole_fmrlrec.compare.formats import csv_table, latex, markdown
from recbole_fmrlrec.compare.gather import gather
from recbole_fmrlrec.compare.notes import notes, unfinished_notes
from recbole_fmrlrec.compare.plan import Plan
from recbole_fmrlrec.compare.plots import write_plots
from recbole_fmrlrec.compare.tables import Grid, sections
from recbole_fmrlrec.files.atomic import write_json, write_text

#: Dataset, title and SVG of each plot.
Plots = Sequence[tuple[str, str, str]]


def write_report(plan: Plan, cells: Sequence[Cell]) -> dict[str, Any]:
    """Write everything that a comparison shows into its folder, from the finished cells.

    ``table.md``, ``table.csv``, ``table.tex``, ``results.json``, ``plots/*.svg`` and ``.png``,
    ``report.html``.

    Returns:
        The content of ``results.json``.

    Raises:
        RunError: nothing is finished, or the cells were tested on different rows.
    """
    missing = [cell.label for cell in cells if not cell.measured]
    analysis = {**analyse(plan, gather(plan, cells)), "unfinished": missing}
    folder = plan.output
    write_json(folder / "results.json", analysis)
    write_text(folder / "table.md", markdown(analysis))
    write_text(folder / "table.csv", csv_table(analysis))
    write_text(folder / "table.tex", latex(analysis))
    plots = write_plots(analysis, folder / "plots")
    write_text(folder / "report.html", page(analysis, plots))
    return analysis


def page(analysis: dict[str, Any], plots: Plots) -> str:
    """The page as one HTML file: it loads nothing from anywhere.

    Args:
        analysis: what `analyse` gave.
        plots: what `write_plots` gave.
    """
    parts: list[Part] = []
    for name, dataset in analysis["datasets"].items():
        parts.append(Heading(name))
        parts.append(Text(f"{dataset['rows']:,} test rows, {dataset['items']:,} items."))
        quality, *others = sections(analysis, dataset, _cell)
        parts += _section(*quality)
        parts.append(Figures([Figure(svg, title) for of, title, svg in plots if of == name]))
        for section in others:
            parts += _section(*section)
        parts.append(Text(f"Times were measured on: {'; '.join(dataset['machines'])}."))
    parts += [Heading("Notes"), Notes(notes(analysis))]
    made = f"Made {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC."
    return Page(analysis["name"], parts, [*unfinished_notes(analysis), made]).html()


def _section(title: str, grid: Grid) -> list[Part]:
    head, rows, texts = grid
    return [Heading(title, 3), Table(title, head, rows, texts)]


def _cell(value: str, best: bool, second: bool, stars: str) -> PageCell:
    return PageCell(value, "b" if best else "u" if second else "", stars)
