"""The outputs of a comparison: tables, results, plots, and one page with all of it."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from recbole_fmrlrec.compare.analysis import analyse
from recbole_fmrlrec.compare.cells import Cell
from recbole_fmrlrec.compare.formats import csv_table, latex, markdown
from recbole_fmrlrec.compare.gather import gather
from recbole_fmrlrec.compare.notes import notes
from recbole_fmrlrec.compare.page import PAGE
from recbole_fmrlrec.compare.plan import Plan
from recbole_fmrlrec.compare.plots import write_plots
from recbole_fmrlrec.compare.tables import Grid, sections
from recbole_fmrlrec.whole_files import write_json, write_text

#: Dataset, title and SVG file of each plot.
Plots = Sequence[tuple[str, str, Path]]


def write_report(plan: Plan, cells: Sequence[Cell]) -> dict[str, Any]:
    """Write everything that a comparison shows into its folder, from the finished cells.

    ``table.md``, ``table.csv``, ``table.tex``, ``results.json``, ``plots/*.svg`` and ``.png``,
    ``report.html``.

    Returns:
        The content of ``results.json``.

    Raises:
        RunError: nothing is finished, or the cells were tested on different rows.
    """
    missing = [cell.label for cell in cells if not cell.finished]
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
    parts = []
    for name, dataset in analysis["datasets"].items():
        parts.append(f"<h2>{html.escape(name)}</h2>")
        parts.append(f"<p>{dataset['rows']:,} test rows, {dataset['items']:,} items.</p>")
        titled = sections(analysis, dataset, _cell)
        parts.append(_section(*titled[0]))
        parts.append(_pictures([plot for plot in plots if plot[0] == name]))
        parts += [_section(*section) for section in titled[1:]]
        machines = "; ".join(map(html.escape, dataset["machines"]))
        parts.append(f"<p class=small>Times were measured on: {machines}.</p>")
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes(analysis))
    return PAGE.format(
        title=html.escape(analysis["name"]),
        made=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        body="\n".join(parts),
        notes=listed,
    )


def _cell(value: str, best: bool, second: bool, stars: str) -> str:
    text = f"<b>{value}</b>" if best else f"<u>{value}</u>" if second else value
    return f"{text}<sup>{stars}</sup>"


def _section(title: str, grid: Grid) -> str:
    head, rows, texts = grid
    quality = title == "Quality"  # its metrics are HTML already
    columns = "".join(
        f"<th{_side(at, texts)}>{html.escape(name)}</th>" for at, name in enumerate(head)
    )
    lines = []
    for row in rows:
        cells = [
            f"<td{_side(at, texts)}>{cell if quality and at > 2 else html.escape(cell)}</td>"
            for at, cell in enumerate(row)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    table = f"<table><thead><tr>{columns}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<h3>{html.escape(title)}</h3><div class="wide" tabindex="0">{table}</div>'


def _side(at: int, texts: int) -> str:
    return " class=text" if at < texts else ""


def _pictures(plots: Plots) -> str:
    figures = []
    for _, title, file in plots:
        data = base64.b64encode(file.read_bytes()).decode()
        name = html.escape(title)
        figures.append(
            f'<figure><img alt="{name}" src="data:image/svg+xml;base64,{data}">'
            f"<figcaption>{name}</figcaption></figure>"
        )
    return f'<div class="plots">{"".join(figures)}</div>'
