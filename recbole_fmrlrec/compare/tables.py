"""The tables of a comparison as rows of text, whatever they are written as."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from recbole_fmrlrec.compare.significance import marks_of
from recbole_fmrlrec.evaluation.list_metric_names import smaller_is_better
from recbole_fmrlrec.evaluation.protocol import is_masked, plain_name

#: Head, rows, and how many first columns hold text.
Grid = tuple[list[str], list[list[Any]], int]
#: Makes a cell of a value, whether it is best, whether it is second, and its marks.
Decorate = Callable[[str, bool, bool, str], Any]

_SHORT = {"ndcg": "N", "recall": "R", "hit": "H", "mrr": "MRR", "map": "MAP", "precision": "P"}
_SHORT |= {
    "itemcoverage": "Coverage",
    "giniindex": "Gini",
    "shannonentropy": "Entropy",
    "tailpercentage": "Tail",
    "averagepopularity": "Popularity",
    "novelty": "Novelty",
    "intralistdiversity": "Diversity",
}


def short(metric: str) -> str:
    """``ndcg@10`` as tables write it: ``N@10``; ``N@10 masked`` without the user's history."""
    name, _, k = plain_name(metric).partition("@")
    return f"{_SHORT[name]}@{k}" + " masked" * is_masked(metric)


def number(value: float | None) -> str:
    """A metric with four places and no leading zero; nothing of None."""
    if value is None:
        return ""
    text = f"{value:.4f}"
    return text[1:] if text.startswith("0.") else text


def ranking(systems: Sequence[dict[str, Any]], metric: str) -> tuple[set[str], set[str]]:
    """Labels of the best and of the second-best systems, as the table rounds them.

    Those of which a seed is missing are not ranked, nor those without a value.
    """
    whole = [system for system in systems if not system["missing_seeds"]]
    figures = {s["label"]: number(s["metrics"][metric]["mean"]) for s in whole}
    shown = {label: float(figure) for label, figure in figures.items() if figure}
    values = sorted(set(shown.values()), reverse=not smaller_is_better(metric))
    best = {label for label, value in shown.items() if value in values[:1]}
    second = {label for label, value in shown.items() if value in values[1:2]}
    return best, second


def marks(dataset: dict[str, Any], label: str, metric: str) -> str:
    """``*``: better than the best baseline by Wilcoxon; ``†``: by the t-test; both after Holm.

    Than the best other model, where all models are baselines or none is.
    """
    for test in dataset["tests"]:
        if (test["family"], test["system"], test["metric"]) == ("best", label, metric):
            return marks_of(test)
    return ""


def p_text(p: float) -> str:
    """A p-value with three places, or its power of ten."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}" if p > 0 else "< 1e-300"


def metric_cells(
    dataset: dict[str, Any], metrics: Sequence[str], decorate: Decorate
) -> list[list[Any]]:
    """A row for each system, a cell for each metric: value, best, second, marks to a text."""
    systems = dataset["systems"]
    ranked = {metric: ranking(systems, metric) for metric in metrics}
    return [
        [
            decorate(
                _value(system["metrics"][metric]),
                system["label"] in ranked[metric][0],
                system["label"] in ranked[metric][1],
                marks(dataset, system["label"], metric),
            )
            for metric in metrics
        ]
        for system in systems
    ]


def _value(metric: dict[str, Any]) -> str:
    deviation = metric["seed_deviation"]
    text = number(metric["mean"])
    return text if deviation is None else f"{text} ± {number(deviation)}"


def sections(
    analysis: dict[str, Any], dataset: dict[str, Any], decorate: Decorate
) -> list[tuple[str, Grid]]:
    """Titles and tables of one dataset; those without a row are left out."""
    tests, nesting, by_slice = [], [], []
    for main in analysis["mains"]:
        name = short(main)
        tests.append((f"Tests, {name}", tests_grid(main, dataset, ("best", "each"))))
        title = "Nested against trained alone" + f", {name}" * (main != analysis["main"])
        nesting.append((title, tests_grid(main, dataset, ("nesting",))))
        by_slice.append((f"Slices, {name}", slices_grid(main, dataset)))
    found = [
        ("Quality", quality_grid(analysis, dataset, decorate)),
        *tests,
        *nesting,
        ("Training for all sizes", training_grid(dataset)),
        *by_slice,
        ("Cost", cost_grid(dataset)),
    ]
    return [(title, grid) for title, grid in found if grid[1]]


def quality_grid(analysis: dict[str, Any], dataset: dict[str, Any], decorate: Decorate) -> Grid:
    """Model, size, parameters and every metric."""
    metrics = analysis["metrics"]
    cells = metric_cells(dataset, metrics, decorate)
    rows = [
        [*_naming(system), f"{system['parameters']:,}" if system["parameters"] else "", *values]
        for system, values in zip(dataset["systems"], cells, strict=True)
    ]
    return ["model", "size", "parameters", *map(short, metrics)], rows, 1


def _naming(system: dict[str, Any]) -> list[str]:
    name = system["variant"] + (", alone" if system["alone"] else "")
    return [name + unfinished(system), str(system["size"] or "")]


def unfinished(system: dict[str, Any]) -> str:
    """What a row bears of which a seed is missing: `` (unfinished: 1 of 3 seeds)``."""
    there, missing = len(system["seeds"]), len(system["missing_seeds"])
    return f" (unfinished: {there} of {there + missing} seeds)" if missing else ""


def tests_grid(metric: str, dataset: dict[str, Any], families: Sequence[str]) -> Grid:
    """Paired tests on a metric."""
    head = ["model", "against", "difference", "95 % interval", "wins / ties / losses"]
    head += ["Wilcoxon p", "Holm", "t-test p", "Holm", "d", "rank r"]
    best = {
        frozenset((t["system"], t["against"]))
        for t in dataset["tests"]
        if t["family"] == "best" and t["metric"] == metric
    }
    suffix = " (best)" if dataset["against"] == "baseline" else " (best other)"
    rows = []
    for family in families:
        for test in dataset["tests"]:
            pair = frozenset((test["system"], test["against"]))
            if test["family"] != family or test["metric"] != metric:
                continue
            if family == "each" and pair in best and "best" in families:
                continue  # shown with the stricter family already
            rows.append(_test_row(test, suffix if family == "best" else ""))
    return head, rows, 2


def _test_row(test: dict[str, Any], suffix: str) -> list[str]:
    low, high = test["interval"]
    return [
        test["system"],
        test["against"] + suffix,
        f"{test['difference']:+.4f}",
        f"{low:+.4f} to {high:+.4f}",
        f"{test['wins']:,} / {test['ties']:,} / {test['losses']:,}",
        *(p_text(test[key]) for key in ("wilcoxon_p", "wilcoxon_holm", "t_p", "t_holm")),
        _optional(test["cohens_d"], "+.3f"),
        f"{test['rank_biserial']:+.3f}",
    ]


def training_grid(dataset: dict[str, Any]) -> Grid:
    """One training for all sizes against one for each."""
    rows = []
    for saved in dataset["training"]:
        together, alone = saved["together_seconds"], saved["alone_total_seconds"]
        factor = f"{alone / together:.1f}" if together else ""
        count = len(saved["alone_seconds"])
        seconds = "" if together is None else f"{together:,.0f}"
        rows.append([saved["variant"], seconds, str(count), f"{alone:,.0f}", factor])
    head = ["model", "once for all sizes, s", "separate models", "all of them, s", "times as long"]
    return head, rows, 1


def slices_grid(metric: str, dataset: dict[str, Any]) -> Grid:
    """A metric of every system in every slice."""
    names = list(dataset["slices"])
    head = ["model", "size", *(f"{name} ({dataset['slices'][name]:,})" for name in names)]
    rows = [
        [*_naming(system), *(number(system["slices"][name][metric]) for name in names)]
        for system in dataset["systems"]
    ]
    return head, rows if names else [], 1


def cost_grid(dataset: dict[str, Any]) -> Grid:
    """What each system costs."""
    head = ["model", "size", "parameters", "training, s", "to the best epoch, s", "test, s"]
    head += ["epochs, best", "one user, ms", "bytes per item", "peak memory, MB"]
    rows = []
    for system in dataset["systems"]:
        cost = system["cost"]
        rows.append(
            [
                *_naming(system),
                f"{system['parameters']:,}" if system["parameters"] else "",
                _optional(cost["training_seconds"], ",.1f"),
                _optional(cost["seconds_to_best"], ",.1f"),
                _optional(cost["test_seconds"], ",.1f"),
                _epochs(cost),
                _optional(cost["latency_ms"], ".2f"),
                _optional(cost["bytes_per_item"], ",.0f"),
                _optional(cost["peak_memory_bytes"] / 1e6, ",.0f"),
            ]
        )
    return head, rows, 1


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _epochs(cost: dict[str, Any]) -> str:
    """Epochs run and the best of them, means over the seeds."""
    if cost["best_epoch"] is None:
        return _optional(cost["epochs_run"], "g")
    return f"{cost['epochs_run']:g}, {cost['best_epoch']:g}"
