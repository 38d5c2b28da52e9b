"""What a study leaves behind: the best configuration, the table of trials, the plots, the test."""

from __future__ import annotations

import csv
import html
import io
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState
from tabulate import tabulate

from recbole_fmrlrec.files.atomic import write_json, write_text
from recbole_fmrlrec.tuning.plan import Plan
from recbole_fmrlrec.tuning.study import best_of, outcomes, without_experimental_warnings
from recbole_fmrlrec.tuning.study_page import study_page
from recbole_fmrlrec.tuning.trial import quiet, remove_damaged_files, run_slot
from recbole_fmrlrec.tuning.worker import hours_used

TESTS = "tests"  # the study's record of slots that were tested


def chosen(plan: Plan, trial: FrozenTrial) -> dict[str, Any]:
    """The settings of a stored trial."""
    return plan.space.suggest(optuna.trial.FixedTrial(trial.params))


def state(plan: Plan, study: optuna.Study) -> str:
    """How far a study is, in one line."""
    trials = outcomes(study)
    counted = Counter(trial.state.name.lower() for trial in trials.values())
    counted["failed"] = counted.pop("fail", 0)
    parts = [f"{count} {name}" for name, count in counted.items() if count]
    budget = f" of {plan.trials}" if plan.trials is not None else ""
    if plan.hours is not None:
        parts.append(f"{hours_used(study):.2f} of {plan.hours:g} hours")
    inside = f" ({', '.join(parts)})" if parts else ""
    return f"{plan.study}: {len(trials)}{budget} trials{inside}, {_sampling(plan)}"


def _sampling(plan: Plan) -> str:
    if plan.sampler != "grid":
        return f"sampler {plan.sampler}"
    points = len(plan.space.points())
    return f"sampler grid: {plan.trials} of {points} points in a fixed shuffled order"


def table(plan: Plan, study: optuna.Study) -> tuple[list[str], list[list[Any]]]:
    """Head and rows of all trials in the order of their slots; what is not there is empty."""
    names = [parameter.name for parameter in plan.space.parameters]
    rows = []
    for slot, trial in outcomes(study).items():
        attrs = trial.user_attrs
        params = plan.space.tidy(trial.params)
        values = [params.get(name, "") for name in names]
        note = attrs.get("error") or (f"as trial {attrs['copy_of']}" if "copy_of" in attrs else "")
        if trial.state == TrialState.FAIL and not note:
            note = "its process died"
        epochs = attrs.get("epochs") or (
            max(trial.intermediate_values) + 1 if trial.intermediate_values else ""
        )
        seconds = round(attrs["seconds"], 1) if "seconds" in attrs else ""
        value = trial.values[0] if trial.values else ""
        state = "failed" if trial.state == TrialState.FAIL else trial.state.name.lower()
        run = str(plan.run_root(attrs.get("copy_of", slot)))
        rows.append([slot, state, value, epochs, seconds, *values, run, note])
    return ["trial", "state", plan.metric, "epochs", "seconds", *names, "folder", "note"], rows


def as_rows(plan: Plan, study: optuna.Study) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the trials as short text, best first, without their folders."""
    head, rows = table(plan, study)
    sign = -1 if plan.maximize else 1
    rows.sort(key=lambda row: (row[1] != "complete", sign * row[2] if row[2] != "" else 0))
    at = head.index("folder")
    shown = [[_short(cell) for cell in [*row[:at], *row[at + 1 :]]] for row in rows]
    return [*head[:at], *head[at + 1 :]], shown


def as_text(plan: Plan, study: optuna.Study) -> str:
    """The same as a Markdown table."""
    head, rows = as_rows(plan, study)
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return tabulate(escaped, head, "github", disable_numparse=True)


def _short(cell: Any) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def write_trials(plan: Plan, study: optuna.Study) -> None:
    """Write ``trials.csv`` and ``trials.md``."""
    head, rows = table(plan, study)
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([head, *rows])
    write_text(plan.output / "trials.csv", file.getvalue())
    trials = html.escape(as_text(plan, study), quote=False)  # errors may name a <class 'int'>
    head_line = f"# {plan.study}: {plan.model} on {plan.dataset}"
    write_text(plan.output / "trials.md", f"{head_line}\n\n{trials}\n")


def write_best(plan: Plan, slot: int, trial: FrozenTrial) -> Path:
    """Write ``best.yaml``: the best configuration, which ``--config_files`` takes."""
    content = {
        "model": plan.model,
        "dataset": plan.dataset,
        **plan.settings,
        **chosen(plan, trial),
    }
    path = plan.output / "best.yaml"
    head = (
        f"# Best of the study {plan.study}: trial {slot}, "
        f"{plan.metric} {trial.values[0]:.6g} on validation.\n"
    )
    write_text(path, head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return path


def write_plots(plan: Plan, study: optuna.Study) -> None:
    """Write ``plots.html``: the best, history, curves, importance, slices; needs no network."""
    view, best = _visible(study, plan), best_of(study, plan.maximize)
    settings = chosen(plan, best[1]) if best else {}
    text = study_page(plan, state(plan, study), as_rows(plan, study), settings, view)
    write_text(plan.output / "plots.html", text)


def _visible(study: optuna.Study, plan: Plan) -> optuna.Study:
    """A copy in memory of the latest trial of each slot: dead ones would be listed twice."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    copy = optuna.create_study(
        study_name=plan.study, direction="maximize" if plan.maximize else "minimize"
    )
    with without_experimental_warnings():
        copy.set_metric_names([plan.metric])
    copy.add_trials([t for t in outcomes(study).values() if t.state != TrialState.WAITING])
    optuna.logging.set_verbosity(level)
    return copy


def test_of_best(
    plan: Plan, study: optuna.Study, slot: int, trial: FrozenTrial, *, debug: bool = False
) -> dict[str, Any]:
    """The test of the best trial: run once, then remembered in the study and in ``test.json``."""
    tests = study.user_attrs.get(TESTS, {})
    if str(slot) not in tests:
        remove_damaged_files(plan, slot)
        with quiet(not debug):
            result = run_slot(plan, slot, chosen(plan, trial), test=True)
        tested = {
            "valid_of_tested": {plan.metric: result.best_valid_score},
            "test": result.test,
            "run_dir": str(result.run_dir),
        }
        tests = {**tests, str(slot): tested}
        study.set_user_attr(TESTS, tests)
    content = {
        "study": plan.study,
        "model": plan.model,
        "dataset": plan.dataset,
        "trial": slot,
        "valid": {plan.metric: trial.values[0]},
        "parameters": chosen(plan, trial),
        **tests[str(slot)],
    }
    write_json(plan.output / "test.json", content)
    return content


def test_table(content: dict[str, Any]) -> str:
    """The test metrics as text, a row for every size."""
    rows = content["test"]
    names = list(rows[0]["metrics"]) if rows else []
    nested = any(row["size"] is not None for row in rows)
    cells = [
        [*([row["size"]] if nested else []), *(f"{row['metrics'][name]:.4f}" for name in names)]
        for row in rows
    ]
    head = [*(["size"] if nested else []), *names]
    return tabulate(cells, head, disable_numparse=True, colalign=["right"] * len(head))


def write_outputs(plan: Plan, study: optuna.Study) -> tuple[int, FrozenTrial] | None:
    """Write everything but the test; returns slot and trial of the best, if there is one."""
    write_trials(plan, study)
    write_plots(plan, study)
    best = best_of(study, plan.maximize)
    if best is not None:
        write_best(plan, *best)
    return best
