"""The tables of a comparison for a terminal, as Markdown, as CSV and as LaTeX."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

from tabulate import tabulate

from recbole_fmrlrec.compare.beyond import is_counted
from recbole_fmrlrec.compare.notes import notes
from recbole_fmrlrec.compare.significance import LEVEL
from recbole_fmrlrec.compare.tables import marks, quality_grid, sections
from recbole_fmrlrec.evaluation.protocol import is_masked


def text(analysis: dict[str, Any]) -> str:
    """The tables of quality for a terminal."""
    parts = []
    for name, dataset in analysis["datasets"].items():
        head, rows, texts = quality_grid(
            analysis, dataset, lambda v, best, second, stars: v + stars
        )
        align = ["left"] * texts + ["right"] * (len(head) - texts)
        table = tabulate(rows, head, disable_numparse=True, colalign=align)
        masked = any(map(is_masked, analysis["metrics"]))
        said = "; masked: without the items of the user's history" * masked
        parts.append(f"Test on {name}, {dataset['rows']:,} rows{said}\n{table}")
    return "\n\n".join(parts)


# Markdown


def markdown(analysis: dict[str, Any]) -> str:
    """Tables of quality, tests, slices and cost for a pull request."""
    parts = [f"# {analysis['name']}"]
    for name, dataset in analysis["datasets"].items():
        parts.append(
            f"## {_no_tags(name)}\n\n{dataset['rows']:,} test rows, {dataset['items']:,} items."
        )
        parts += [
            f"### {title}\n\n{_grid(*grid)}"
            for title, grid in sections(analysis, dataset, _markdown_cell)
        ]
    listed = "\n".join(f"- {_no_tags(note)}" for note in notes(analysis))
    return "\n\n".join([*parts, f"## Notes\n\n{listed}"]) + "\n"


def _no_tags(text: str) -> str:
    """Text in which nothing begins an HTML tag; ``p < 0.05`` stays as it is."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def _markdown_cell(value: str, best: bool, second: bool, stars: str) -> str:
    text = f"**{value}**" if best else f"<u>{value}</u>" if second else value
    return text + stars.replace("*", "\\*")


def _grid(head: list[str], rows: list[list[str]], texts: int) -> str:
    rule = ["---"] * texts + ["---:"] * (len(head) - texts)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


# CSV


def csv_table(analysis: dict[str, Any]) -> str:
    """A line for each dataset, system and metric, with full precision."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    head = ["dataset", "variant", "model", "size", "alone", "baseline", "seeds", "parameters"]
    columns = ["metric", "mean", "seed_deviation", "low", "high", "marks", "missing_seeds"]
    columns.append("history")
    writer.writerow([*head, *columns])
    for name, dataset in analysis["datasets"].items():
        for system in dataset["systems"]:
            own = [system[key] for key in head[1:6]]
            seeds, missing = (" ".join(map(str, system[key])) for key in ("seeds", "missing_seeds"))
            for metric in analysis["metrics"]:
                values = system["metrics"][metric]
                between = values["interval"] or (None, None)
                numbers = [values["mean"], values["seed_deviation"], *between]
                stars = marks(dataset, system["label"], metric)
                about = [name, *own, seeds, system["parameters"]]
                history = "masked" if is_masked(metric) else "kept"
                writer.writerow([*about, metric, *numbers, stars, missing, history])
    return stream.getvalue()


# LaTeX


def latex(analysis: dict[str, Any]) -> str:
    """A booktabs table for each dataset; needs ``\\usepackage{booktabs}``."""
    tables = [
        _latex_table(analysis, name, dataset) for name, dataset in analysis["datasets"].items()
    ]
    comments = "\n".join(f"% {note}" for note in notes(analysis))
    return f"% \\usepackage{{booktabs}}\n{comments}\n\n" + "\n\n".join(tables) + "\n"


def _latex_table(analysis: dict[str, Any], name: str, dataset: dict[str, Any]) -> str:
    head, rows, _ = quality_grid(analysis, dataset, _latex_cell)
    lines = []
    for at, row in enumerate(rows):
        if at and row[0] != rows[at - 1][0]:
            lines.append(r"\midrule")
        texts = [tex_escape(cell) for cell in row[:3]]
        lines.append(" & ".join([*texts, *row[3:]]) + r" \\")
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{Test metrics on {tex_escape(name)}, {dataset['rows']:,} test rows. Best "
            rf"bold, second underlined.{_latex_history(analysis)}{_latex_counts(analysis, dataset)}"
            rf"{_latex_marks(dataset)}}}",
            rf"\label{{tab:{''.join(c if c.isalnum() else '-' for c in name)}}}",
            r"\begin{tabular}{l" + "r" * (len(head) - 1) + "}",
            r"\toprule",
            " & ".join(map(tex_escape, head)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _latex_history(analysis: dict[str, Any]) -> str:
    """What the columns are of."""
    if not any(map(is_masked, analysis["metrics"])):
        return " The user's history is ranked too."
    return (
        " Masked: without the items of the user's history; the other columns rank them too."
        if not all(map(is_masked, analysis["metrics"]))
        else " Masked: without the items of the user's history."
    )


def _latex_counts(analysis: dict[str, Any], dataset: dict[str, Any]) -> str:
    """By what popularity is counted, where models count differently."""
    if not (dataset["counting"] and any(map(is_counted, analysis["metrics"]))):
        return ""
    interactions = dataset["counting"][0]["interactions"]
    return f" Popularity, Tail and Novelty by all {interactions:,} training interactions."


def _latex_marks(dataset: dict[str, Any]) -> str:
    """What the marks mean, where there are tests that give any."""
    if not any(test["family"] == "best" for test in dataset["tests"]):
        return ""
    return (
        rf" $^*$, $^\dagger$: better than the best {dataset['against']}, $p < {LEVEL}$, Wilcoxon "
        r"signed-rank and paired $t$, Holm-corrected over this table."
    )


def _latex_cell(value: str, best: bool, second: bool, stars: str) -> str:
    text = value.replace("±", r"$\pm$")
    if best:
        text = rf"\textbf{{{text}}}"
    elif second:
        text = rf"\underline{{{text}}}"
    signs = stars.replace("†", r"\dagger")
    return f"{text}$^{{{signs}}}$" if signs else text


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX.update({sign: "\\" + sign for sign in "&%$#_{}"})


def tex_escape(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_TEX.get(sign, sign) for sign in text)
