"""Drawings of a study out of its trials: history, curves, importance, a slice a parameter."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dataset_tools.page import Figure
from dataset_tools.page.figures import COLOURS, drawing, inline_svg, legend_below, logarithmic
from recbole_fmrlrec.tuning.plan import Plan
from recbole_fmrlrec.tuning.space import Parameter, label
from recbole_fmrlrec.tuning.study import best_among

BLUE, ORANGE, GREY = COLOURS[0], COLOURS[1], "#8c8c8c"
#: Curves drawn, the best ones: more could not be told apart, and would make the page large.
CURVES = 60
#: Letters of a value below an axis.
_SHORT = 16

Trials = Mapping[int, FrozenTrial]


def draw_all(plan: Plan, trials: Trials, study: optuna.Study) -> list[Figure]:
    """Every drawing for which there are trials enough.

    Args:
        trials: the latest of each slot.
        study: the same ones, as Optuna reads them.
    """
    done = {slot: t for slot, t in trials.items() if t.state == TrialState.COMPLETE}
    if not done:
        return []
    found = [_history(plan, done), _curves(plan, trials)]
    if weights := _weights(study):
        found.append(_importance(weights))
    parameters = sorted(plan.space.parameters, key=lambda p: -weights.get(p.name, 0.0))
    return [*found, *(_slice(plan, done, parameter) for parameter in parameters)]


def _figure(name: str, caption: str, draw: Callable[[Any], None], high: float = 2.7) -> Figure:
    with drawing(name, high) as (figure, axes):
        draw(axes)
        axes.grid(alpha=0.25)
        legend_below(figure, axes)
        return Figure(inline_svg(figure, name), caption)


def _history(plan: Plan, done: Trials) -> Figure:
    def draw(axes: Any) -> None:
        slots = list(done)
        values = [trial.values[0] for trial in done.values()]
        better, best = (max if plan.maximize else min), [values[0]]
        for value in values[1:]:
            best.append(better(best[-1], value))
        axes.plot(slots, values, "o", color=BLUE, markersize=4, label="trial")
        axes.step(slots, best, where="post", color=ORANGE, linewidth=1.4, label="best so far")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("trial")
        axes.set_ylabel(plan.metric)

    return _figure("history", "History: complete trials in the order in which they began", draw)


def _curves(plan: Plan, trials: Trials) -> Figure:
    curves = {slot: t for slot, t in trials.items() if t.intermediate_values}
    sign = -1 if plan.maximize else 1
    ranked = sorted(curves, key=lambda at: min(sign * v for v in _values(curves[at])))[:CURVES]
    best = best_among(trials, plan.maximize)

    def draw(axes: Any) -> None:
        named: set[str] = set()
        for slot in reversed(ranked):
            trial = curves[slot]
            kind, style = _look(trial, best is not None and best[0] == slot)
            text = kind if kind not in named else None
            named.add(kind)
            epochs = [epoch + 1 for epoch in trial.intermediate_values]
            few = {"marker": "o", "markersize": 3} if len(epochs) < 3 else {}
            axes.plot(epochs, _values(trial), label=text, **style, **few)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("epoch")
        axes.set_ylabel(plan.metric)

    some = f"the best {CURVES} of {len(curves)} trials" if len(curves) > CURVES else "every trial"
    return _figure("curves", f"Validation by epoch, {some}", draw)


def _values(trial: FrozenTrial) -> list[float]:
    return list(trial.intermediate_values.values())


def _look(trial: FrozenTrial, is_best: bool) -> tuple[str, dict[str, Any]]:
    if is_best:
        return f"best, trial {trial.user_attrs['place']}", {"color": ORANGE, "linewidth": 2.0}
    if trial.state == TrialState.COMPLETE:
        return "complete", {"color": BLUE, "linewidth": 0.9, "alpha": 0.6}
    pruned = trial.state == TrialState.PRUNED
    line = {"color": GREY if pruned else COLOURS[3], "linestyle": "--" if pruned else ":"}
    return "pruned" if pruned else "not complete", {**line, "linewidth": 0.9, "alpha": 0.8}


def _weights(study: optuna.Study) -> dict[str, float]:
    """What share of the differences each parameter explains; empty where that cannot be known."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: dict[str, float] = optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError):  # too few trials, or all of one value
        return {}
    return found


def _importance(weights: Mapping[str, float]) -> Figure:
    def draw(axes: Any) -> None:
        names = [name for name, _ in sorted(weights.items(), key=lambda one: one[1])]
        texts = [textwrap.fill(name, 24) for name in names]
        bars = axes.barh(texts, [weights[name] for name in names], color=BLUE, height=0.6)
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.set_xlim(0, 1.15 * max([*weights.values(), 1e-9]))
        axes.set_xlabel("share")

    caption = "Importance: share of the differences between trials, by fANOVA"
    return _figure("importance", caption, draw, max(1.6, 0.8 + 0.35 * len(weights)))


def _slice(plan: Plan, done: Trials, parameter: Parameter) -> Figure:
    name = parameter.name
    own = {slot: trial for slot, trial in done.items() if name in trial.params}
    best = best_among(done, plan.maximize)

    def draw(axes: Any) -> None:
        across, where = list(own.values()), _positions(axes, parameter)
        x, y = [where(t.params[name]) for t in across], [t.values[0] for t in across]
        axes.plot(x, y, "o", color=BLUE, markersize=4, alpha=0.6)
        if best is not None and best[0] in own:
            at, value = where(best[1].params[name]), best[1].values[0]
            axes.plot(
                [at], [value], "D", color=ORANGE, markersize=6, label=f"best, trial {best[0]}"
            )
        axes.set_xlabel(name)
        axes.set_ylabel(plan.metric)

    return _figure(f"slice-{name}", f"{plan.metric} by {name}", draw)


def _positions(axes: Any, parameter: Parameter) -> Callable[[Any], Any]:
    """The position of a stored value on the axis, which is made for the parameter's kind."""
    if parameter.kind != "choice":
        low, high = parameter.values[:2]
        if parameter.kind == "loguniform":
            axes.set_xlim(low / 1.1, high * 1.1)
            logarithmic(axes)
        elif parameter.kind == "int":
            axes.xaxis.get_major_locator().set_params(integer=True)
        return parameter.tidy
    labels = [label(value) for value in parameter.values]
    texts = [_shortened(str(value)) for value in labels]
    axes.set_xticks(range(len(labels)), texts, rotation=_slant(texts))
    axes.set_xlim(-0.5, len(labels) - 0.5)
    return labels.index


def _shortened(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"


def _slant(texts: Sequence[str]) -> int:
    return 30 if sum(map(len, texts)) > 40 else 0
