"""The tables of a comparison: as Markdown, CSV and LaTeX, out of the analysis."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from tabulate import tabulate

from recbole_fmrlrec.compare.analysis import LEVEL

_SHORT = {"ndcg": "N", "recall": "R", "hit": "H", "mrr": "MRR", "map": "MAP", "precision": "P"}


def short(metric: str) -> str:
    """``ndcg@10`` as tables write it: ``N@10``."""
    name, _, k = metric.partition("@")
    return f"{_SHORT[name]}@{k}"


def number(value: float) -> str:
    """A metric with four places and no leading zero."""
    return f"{value:.4f}".replace("0.", ".", 1)


def ranking(systems: Sequence[dict[str, Any]], metric: str) -> tuple[set[str], set[str]]:
    """Labels of the best and of the second-best systems, as the table rounds them."""
    shown = {s["label"]: number(s["metrics"][metric]["mean"]) for s in systems}
    values = sorted(set(shown.values()), reverse=True)
    best = {label for label, text in shown.items() if text == values[0]}
    second = {label for label, text in shown.items() if text in values[1:2]}
    return best, second


def marks(dataset: dict[str, Any], label: str, metric: str) -> str:
    """``*``: better than the best baseline by Wilcoxon; ``†``: by the t-test; both after Holm."""
    for test in dataset["tests"]:
        key = (test["family"], test["system"], test["metric"])
        if key == ("best", label, metric) and test["difference"] > 0:
            stars = "*" if test["wilcoxon_holm"] < LEVEL else ""
            return stars + ("†" if test["t_holm"] < LEVEL else "")
    return ""


Decorate = Callable[[str, bool, bool, str], str]


def metric_cells(
    dataset: dict[str, Any], metrics: Sequence[str], decorate: Decorate
) -> list[list[str]]:
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


def notes(analysis: dict[str, Any]) -> list[str]:
    """What stands below every table: what was compared, how, and what was tuned."""
    seeds = analysis["seeds"]
    several = len(seeds) > 1
    tests = {t["family"] for d in analysis["datasets"].values() for t in d["tests"]}
    found = [
        "All models were tested on the same rows (same users, same targets), each target ranked "
        "against all items.",
        (
            f"Mean ± standard deviation over the seeds {', '.join(map(str, seeds))}; for tests and "
            "intervals each user's metric is first averaged over the seeds."
            if several
            else f"One seed ({seeds[0]}): differences between trainings of one model are not seen."
        ),
    ]
    if "best" in tests:
        found.append(
            f"* better than the best baseline with p < {LEVEL} by the Wilcoxon signed-rank test, † "
            "by the paired t-test; two-sided, by user, Holm-corrected over all such tests of this "
            "page. The best baseline is the best on the test rows, metric by metric."
        )
    found.append(
        f"Intervals: 95 %, percentile bootstrap over users, {analysis['bootstrap']:,} resamples."
    )
    return found + settings_notes(analysis)


def settings_notes(analysis: dict[str, Any]) -> list[str]:
    """What each model was run with and what was tuned."""
    shared, *models = analysis["settings"]
    found = []
    if shared["settings"]:
        found.append(f"For all models: {_listed(shared['settings'])}.")
    for dataset, settings in shared["datasets"].items():
        if settings:
            found.append(f"For all models on {dataset}: {_listed(settings)}.")
    for model in models:
        name = model["variant"]
        named = name if name == model["model"] else f"{name} ({model['model']})"
        changed = f", with {_listed(model['settings'])}" if model["settings"] else ""
        tuned = f"tuned: {model['tuned']}" if model["tuned"] else "not tuned for this comparison"
        found.append(f"{named}: {model['defaults']}{changed}; {tuned}.")
    return found


def _listed(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in settings.items())


def text(analysis: dict[str, Any]) -> str:
    """The tables of quality for a terminal."""
    parts = []
    for name, dataset in analysis["datasets"].items():
        head, rows, texts = quality_grid(
            analysis, dataset, lambda v, best, second, stars: v + stars
        )
        align = ["left"] * texts + ["right"] * (len(head) - texts)
        table = tabulate(rows, head, disable_numparse=True, colalign=align)
        parts.append(f"Test on {name}, {dataset['rows']:,} rows\n{table}")
    return "\n\n".join(parts)


# Markdown


def markdown(analysis: dict[str, Any]) -> str:
    """Tables of quality, tests, slices and cost for a pull request."""
    parts = [f"# {analysis['name']}"]
    for name, dataset in analysis["datasets"].items():
        parts.append(f"## {name}\n\n{dataset['rows']:,} test rows, {dataset['items']:,} items.")
        parts += [f"### {title}\n\n{_grid(*grid)}" for title, grid in sections(analysis, dataset)]
    parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in notes(analysis)))
    return "\n\n".join(parts) + "\n"


Grid = tuple[list[str], list[list[str]], int]


def sections(
    analysis: dict[str, Any], dataset: dict[str, Any], decorate: Decorate | None = None
) -> list[tuple[str, Grid]]:
    """Titles and tables of one dataset: head, rows, and how many first columns hold text."""
    found = [
        ("Quality", quality_grid(analysis, dataset, decorate or _markdown_cell)),
        (f"Tests, {short(analysis['main'])}", tests_grid(analysis, dataset, ("best", "each"))),
        ("Nested against trained alone", tests_grid(analysis, dataset, ("nesting",))),
        ("Training for all sizes", training_grid(dataset)),
        (f"Slices, {short(analysis['main'])}", slices_grid(analysis, dataset)),
        ("Cost", cost_grid(dataset)),
    ]
    return [(title, grid) for title, grid in found if grid[1]]


def _markdown_cell(value: str, best: bool, second: bool, stars: str) -> str:
    text = f"**{value}**" if best else f"<u>{value}</u>" if second else value
    return text + stars.replace("*", "\\*")


def _grid(head: list[str], rows: list[list[str]], texts: int) -> str:
    rule = ["---"] * texts + ["---:"] * (len(head) - texts)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


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
    return [name, str(system["size"] or "")]


def tests_grid(analysis: dict[str, Any], dataset: dict[str, Any], families: Sequence[str]) -> Grid:
    """Paired tests on the main metric."""
    head = ["model", "against", "difference", "95 % interval", "wins / ties / losses"]
    head += ["Wilcoxon p", "Holm", "t-test p", "Holm", "d", "rank r"]
    best = {
        (t["system"], t["against"])
        for t in dataset["tests"]
        if t["family"] == "best" and t["metric"] == analysis["main"]
    }
    rows = []
    for family in families:
        for test in dataset["tests"]:
            pair = (test["system"], test["against"])
            if test["family"] != family or test["metric"] != analysis["main"]:
                continue
            if family == "each" and pair in best and "best" in families:
                continue  # shown with the stricter family already
            rows.append(_test_row(test, " (best)" if family == "best" else ""))
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
        f"{test['cohens_d']:+.3f}",
        f"{test['rank_biserial']:+.3f}",
    ]


def p_text(p: float) -> str:
    """A p-value with three places, or its power of ten."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}" if p > 0 else "< 1e-300"


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


def slices_grid(analysis: dict[str, Any], dataset: dict[str, Any]) -> Grid:
    """The main metric of every system in every slice; the best of a slice bold."""
    names, metric = list(dataset["slices"]), analysis["main"]
    head = ["model", "size", *(f"{name} ({dataset['slices'][name]:,})" for name in names)]
    rows = [
        [*_naming(system), *(number(system["slices"][name][metric]) for name in names)]
        for system in dataset["systems"]
    ]
    return head, rows if names else [], 1


def cost_grid(dataset: dict[str, Any]) -> Grid:
    """What each system costs."""
    head = ["model", "size", "parameters", "training, s", "to the best epoch, s", "test, s"]
    head += ["one user, ms", "bytes per item", "peak memory, MB"]
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
                _optional(cost["latency_ms"], ".2f"),
                _optional(cost["bytes_per_item"], ",.0f"),
                _optional(cost["peak_memory_bytes"] / 1e6, ",.0f"),
            ]
        )
    return head, rows, 1


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


# CSV


def csv_table(analysis: dict[str, Any]) -> str:
    """A line for each dataset, system and metric, with full precision."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    head = ["dataset", "variant", "model", "size", "alone", "baseline", "seeds", "parameters"]
    writer.writerow([*head, "metric", "mean", "seed_deviation", "low", "high", "marks"])
    for name, dataset in analysis["datasets"].items():
        for system in dataset["systems"]:
            own = [system[key] for key in head[1:6]]
            seeds = " ".join(map(str, system["seeds"]))
            for metric in analysis["metrics"]:
                values = system["metrics"][metric]
                numbers = [values["mean"], values["seed_deviation"], *values["interval"]]
                stars = marks(dataset, system["label"], metric)
                writer.writerow([name, *own, seeds, system["parameters"], metric, *numbers, stars])
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
            r"bold, second underlined. $^*$, $^\dagger$: better than the best baseline, $p < "
            rf"{LEVEL}$, Wilcoxon signed-rank and paired $t$, Holm-corrected.}}",
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
    """Text in which LaTeX's own signs stand for themselves."""
    return "".join(_TEX.get(sign, sign) for sign in text)
