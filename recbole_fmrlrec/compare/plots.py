"""The plots of a comparison as SVG and PNG, out of the analysis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dataset_tools.page.figures import COLOURS, drawing, inline_svg, legend_below, logarithmic
from recbole_fmrlrec.compare.tables import short
from recbole_fmrlrec.evaluation.protocol import is_masked
from recbole_fmrlrec.files.atomic import replacing

#: Lines that printers tell apart.
_LINES = ("-", "--", "-.", ":")
_MARKERS = "os^Dv<>P"


def write_plots(analysis: dict[str, Any], folder: Path) -> list[tuple[str, str, str]]:
    """Draw everything there is to draw, as SVG and PNG.

    Returns:
        Dataset, title and SVG for a page of each plot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for dataset, content in analysis["datasets"].items():
        for name, title, draw in _plots(content, analysis["mains"]):
            stem = f"{dataset}-{name}"
            written.append((dataset, title, _write(folder / stem, analysis, content, draw)))
    return written


Draw = Callable[[Any, dict[str, Any], dict[str, Any]], None]


def _plots(content: dict[str, Any], mains: Sequence[str]) -> Iterator[tuple[str, str, Draw]]:
    systems = content["systems"]
    if any(system["size"] for system in systems):
        main, *others = mains
        yield "size", "Quality by size", _by_size(main)
        for metric in others:
            kind = "masked" if is_masked(metric) else "kept"
            yield f"size-{kind}", f"Quality by size, {short(metric)}", _by_size(metric)
    if any(system["cost"]["latency_ms"] for system in systems):
        yield "latency", "Quality and latency", _by_cost("latency_ms", "one user, ms")
    if any(system["cost"]["bytes_per_item"] for system in systems):
        yield "bytes", "Quality and bytes per item", _by_cost("bytes_per_item", "bytes per item")
    if content["curves"]:
        yield "epochs", "Training by epoch", _training("epochs", "epoch")
        yield "seconds", "Training by time", _training("seconds", "seconds of training")


def _write(stem: Path, analysis: dict[str, Any], content: dict[str, Any], draw: Draw) -> str:
    with drawing(stem.name) as (figure, axes):
        draw(axes, analysis, content)
        axes.grid(alpha=0.25)
        for suffix, options in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": 200})):
            with replacing(stem.with_name(f"{stem.name}.{suffix}")) as partial:
                figure.savefig(partial, format=suffix, **options)
        return inline_svg(figure, stem.name)


def _named(content: dict[str, Any], variant: str) -> str:
    """A variant as legends call it."""
    own = [system for system in content["systems"] if system["variant"] == variant]
    return variant + " (unfinished)" * any(system["missing_seeds"] for system in own)


def _with_value(content: dict[str, Any], metric: str) -> list[dict[str, Any]]:
    """The systems that have a value of a metric."""
    return [s for s in content["systems"] if s["metrics"][metric]["mean"] is not None]


def _looks(content: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Colour, line and marker of each variant."""
    names = list(dict.fromkeys(system["variant"] for system in content["systems"]))
    return {
        name: (
            COLOURS[at % len(COLOURS)],
            _LINES[at // len(COLOURS) % len(_LINES)],
            _MARKERS[at % len(_MARKERS)],
        )
        for at, name in enumerate(names)
    }


def _by_size(metric: str) -> Draw:
    def draw(axes: Any, analysis: dict[str, Any], content: dict[str, Any]) -> None:
        _draw_sizes(axes, metric, content)

    return draw


def _draw_sizes(axes: Any, main: str, content: dict[str, Any]) -> None:
    looks = _looks(content)
    for name, (colour, line, marker) in looks.items():
        own = [system for system in _with_value(content, main) if system["variant"] == name]
        for alone in (False, True):
            points = [s for s in own if s["size"] and s["alone"] == alone]
            if points:
                style = {"color": colour, "marker": marker, "markersize": 4}
                label = _named(content, name) + ", alone" * alone
                _band(axes, points, main, {**style, "linestyle": ":" if alone else "-"}, label)
        for flat in (system for system in own if not system["size"]):
            value = flat["metrics"][main]
            axes.axhline(
                value["mean"],
                color=colour,
                linestyle=line,
                linewidth=1.2,
                label=_named(content, name),
            )
            if value["interval"]:
                axes.axhspan(*value["interval"], color=colour, alpha=0.12, linewidth=0)
    sizes = sorted({system["size"] for system in content["systems"] if system["size"]})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("size")
    _finish(axes, main)


def _band(axes: Any, points: list[Any], main: str, style: dict[str, Any], label: str) -> None:
    points = sorted(points, key=lambda system: system["size"])
    sizes = [system["size"] for system in points]
    metrics = [system["metrics"][main] for system in points]
    axes.plot(sizes, [metric["mean"] for metric in metrics], label=label, **style)
    if not all(metric["interval"] for metric in metrics):
        return
    low, high = zip(*(metric["interval"] for metric in metrics), strict=True)
    axes.fill_between(sizes, low, high, color=style["color"], alpha=0.12, linewidth=0)


def _by_cost(cost: str, label: str) -> Draw:
    def draw(axes: Any, analysis: dict[str, Any], content: dict[str, Any]) -> None:
        main = analysis["main"]
        for name, (colour, _, marker) in _looks(content).items():
            own = _with_value(content, main)
            own = [s for s in own if s["variant"] == name and s["cost"][cost]]
            own = [system for system in own if not system["alone"]]
            own.sort(key=lambda system: system["cost"][cost])
            x = [system["cost"][cost] for system in own]
            y = [system["metrics"][main]["mean"] for system in own]
            if own:
                line = "-" if len(own) > 1 else ""
                axes.plot(
                    x,
                    y,
                    line,
                    color=colour,
                    marker=marker,
                    markersize=5,
                    label=_named(content, name),
                )
            for system, at in zip(own, zip(x, y, strict=True), strict=True):
                if system["size"]:
                    text = str(system["size"])
                    axes.annotate(text, at, (3, 4), textcoords="offset points", fontsize=7)
        logarithmic(axes)
        axes.set_xlabel(label)
        _finish(axes, main)

    return draw


def _training(across: str, label: str) -> Draw:
    def draw(axes: Any, analysis: dict[str, Any], content: dict[str, Any]) -> None:
        looks, named = _looks(content), set()
        for curve in content["curves"]:
            colour, line, marker = looks[curve["variant"]]
            name = curve["variant"]
            own = None if name in named else _named(content, name)
            named.add(name)
            few = {"marker": marker, "markersize": 3} if len(curve["values"]) < 8 else {}
            axes.plot(
                curve[across], curve["values"], line, color=colour, linewidth=1.2, label=own, **few
            )
        axes.set_xlabel(label)
        if across == "seconds":
            logarithmic(axes)
        else:
            axes.xaxis.get_major_locator().set_params(integer=True)
        _finish(axes, analysis["main"], "validation ")

    return draw


def _finish(axes: Any, metric: str, before: str = "") -> None:
    axes.set_ylabel(before + short(metric))
    axes.set_ylim(0, 1.04 * axes.get_ylim()[1])
    legend_below(axes.figure, axes)
