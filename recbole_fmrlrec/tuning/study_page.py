"""``plots.html``: a study on one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna

from dataset_tools.page import Cell, Figures, Heading, Page, Part, Table, Text
from dataset_tools.page.figures import NO_PLOTS, can_draw
from recbole_fmrlrec.tuning.plan import Plan
from recbole_fmrlrec.tuning.study import best_of, outcomes

#: Trials in the table of the page; all of them are in trials.csv.
SHOWN = 30


def study_page(
    plan: Plan,
    state: str,
    table: tuple[Sequence[str], Sequence[Sequence[Any]]],
    chosen: dict[str, Any],
    study: optuna.Study,
) -> str:
    """The page.

    Args:
        state: how far the study is, in one line.
        table: head and rows of trials as text, best first.
        chosen: settings of the best trial; empty where there is none.
        study: with one trial a slot, as Optuna reads them.
    """
    parts: list[Part] = [*_best(plan, chosen, study), Heading("Plots"), *_plots(plan, study)]
    head, rows = table
    names = [parameter.name for parameter in plan.space.parameters]
    head, *rows = (_texts_first(row) for row in (head, *rows))
    parts += [Heading("Trials"), Table("trials", head, rows[:SHOWN], texts=3)]
    if len(rows) > SHOWN:
        parts.append(Text(f"The best {SHOWN} of {len(rows)} trials; trials.csv lists all."))
    summary = [
        state,
        f"{plan.model} on {plan.dataset}; searched: {', '.join(names)}; "
        f"objective: {plan.metric} on validation, {'higher' if plan.maximize else 'lower'} is "
        "better. The test of the best trial is in test.json.",
    ]
    return Page(f"{plan.study}: {plan.model} on {plan.dataset}", parts, summary).html()


def _texts_first(row: Sequence[str]) -> list[str]:
    """A row of trials with its note, the last cell, beside its state: texts may be broken."""
    return [*row[:2], row[-1], *row[2:-1]]


def _best(plan: Plan, chosen: dict[str, Any], study: optuna.Study) -> list[Part]:
    best = best_of(study, plan.maximize)
    if best is None:
        return [Text("No trial is complete yet.")]
    slot, trial = best
    rows: list[list[str | Cell]] = [[name, Cell(str(value))] for name, value in chosen.items()]
    value = f"Trial {slot}: {plan.metric} {trial.values[0]:.4f} on validation."
    return [Heading("Best"), Text(value), Table("best", ["parameter", "value"], rows)]


def _plots(plan: Plan, study: optuna.Study) -> list[Part]:
    if not can_draw():
        return [Text(NO_PLOTS)]
    from recbole_fmrlrec.tuning.plots import draw_all

    figures = draw_all(plan, outcomes(study), study)
    return [Figures(figures)] if figures else [Text("No trial is complete: nothing to draw.")]
