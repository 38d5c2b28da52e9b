"""The plots of a comparison as SVG and PNG, out of the analysis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recbole_fmrlrec.compare.tables import short
from recbole_fmrlrec.whole_files import replacing

#: Colours that colour-blind people tell apart (Okabe and Ito, 2008), and lines that printers do.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", "-.", ":")
_MARKERS = "os^Dv<>P"
#: Inches: narrow, so that letters stay readable on a phone.
_WIDE, _HIGH = 4.4, 3.5


def write_plots(analysis: dict[str, Any], folder: Path) -> list[tuple[str, str, Path]]:
    """Draw everything there is to draw.

    Returns:
        Dataset, title and SVG file of each plot; a PNG of the same name stands beside it.
    """
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for dataset, content in analysis["datasets"].items():
        for name, title, draw in _plots(content):
            stem = f"{dataset}-{name}"
            _write(folder / stem, analysis, content, draw)
            written.append((dataset, title, folder / f"{stem}.svg"))
    return written


Draw = Callable[[Any, dict[str, Any], dict[str, Any]], None]


def _plots(content: dict[str, Any]) -> Iterator[tuple[str, str, Draw]]:
    systems = content["systems"]
    if any(system["size"] for system in systems):
        yield "size", "Quality by size", _by_size
    if any(system["cost"]["latency_ms"] for system in systems):
        yield "latency", "Quality and latency", _by_cost("latency_ms", "one user, ms")
    if any(system["cost"]["bytes_per_item"] for system in systems):
        yield "bytes", "Quality and bytes per item", _by_cost("bytes_per_item", "bytes per item")
    if content["curves"]:
        yield "epochs", "Training by epoch", _training("epochs", "epoch")
        yield "seconds", "Training by time", _training("seconds", "seconds of training")


def _write(stem: Path, analysis: dict[str, Any], content: dict[str, Any], draw: Draw) -> None:
    from matplotlib import pyplot, rc_context

    # A fixed salt and no date: the same numbers give the same file.
    style: dict[Any, Any] = {"font.size": 9, "legend.fontsize": 7.5, "svg.hashsalt": stem.name}
    with rc_context({**style, "axes.spines.right": False, "axes.spines.top": False}):
        figure, axes = pyplot.subplots(figsize=(_WIDE, _HIGH), layout="constrained")
        draw(axes, analysis, content)
        axes.grid(alpha=0.25)
        for suffix, options in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": 200})):
            with replacing(stem.with_name(f"{stem.name}.{suffix}")) as partial:
                figure.savefig(partial, format=suffix, **options)
        pyplot.close(figure)


def _looks(content: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Colour, line and marker of each variant."""
    names = list(dict.fromkeys(system["variant"] for system in content["systems"]))
    return {
        name: (
            _COLOURS[at % len(_COLOURS)],
            _LINES[at // len(_COLOURS) % len(_LINES)],
            _MARKERS[at % len(_MARKERS)],
        )
        for at, name in enumerate(names)
    }


def _by_size(axes: Any, analysis: dict[str, Any], content: dict[str, Any]) -> None:
    main, looks = analysis["main"], _looks(content)
    for name, (colour, line, marker) in looks.items():
        own = [system for system in content["systems"] if system["variant"] == name]
        for alone in (False, True):
            points = [s for s in own if s["size"] and s["alone"] == alone]
            if points:
                style = {"color": colour, "marker": marker, "markersize": 4}
                label = f"{name}, alone" if alone else name
                _band(axes, points, main, {**style, "linestyle": ":" if alone else "-"}, label)
        for flat in (system for system in own if not system["size"]):
            value = flat["metrics"][main]
            axes.axhline(value["mean"], color=colour, linestyle=line, linewidth=1.2, label=name)
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
    low, high = zip(*(metric["interval"] for metric in metrics), strict=True)
    axes.fill_between(sizes, low, high, color=style["color"], alpha=0.12, linewidth=0)


def _logarithmic(axes: Any) -> None:
    """A logarithmic axis with plain numbers, as many as fit."""
    from matplotlib import ticker

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    steps = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=steps, numticks=12))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())


def _by_cost(cost: str, label: str) -> Draw:
    def draw(axes: Any, analysis: dict[str, Any], content: dict[str, Any]) -> None:
        main = analysis["main"]
        for name, (colour, _, marker) in _looks(content).items():
            own = [s for s in content["systems"] if s["variant"] == name and s["cost"][cost]]
            own = [system for system in own if not system["alone"]]
            x = [system["cost"][cost] for system in own]
            y = [system["metrics"][main]["mean"] for system in own]
            if own:
                line = "-" if len(own) > 1 else ""
                axes.plot(x, y, line, color=colour, marker=marker, markersize=5, label=name)
            for system, at in zip(own, zip(x, y, strict=True), strict=True):
                if system["size"]:
                    text = str(system["size"])
                    axes.annotate(text, at, (3, 4), textcoords="offset points", fontsize=7)
        _logarithmic(axes)
        axes.set_xlabel(label)
        _finish(axes, main)

    return draw


def _training(across: str, label: str) -> Draw:
    def draw(axes: Any, analysis: dict[str, Any], content: dict[str, Any]) -> None:
        looks, named = _looks(content), set()
        for curve in content["curves"]:
            colour, line, marker = looks[curve["variant"]]
            own = None if curve["variant"] in named else curve["variant"]
            named.add(curve["variant"])
            few = {"marker": marker, "markersize": 3} if len(curve["values"]) < 8 else {}
            axes.plot(
                curve[across], curve["values"], line, color=colour, linewidth=1.2, label=own, **few
            )
        axes.set_xlabel(label)
        if across == "seconds":
            _logarithmic(axes)
        else:
            axes.xaxis.get_major_locator().set_params(integer=True)
        _finish(axes, analysis["main"], "validation ")

    return draw


def _finish(axes: Any, metric: str, before: str = "") -> None:
    axes.set_ylabel(before + short(metric))
    axes.set_ylim(0, 1.04 * axes.get_ylim()[1])
    axes.figure.legend(frameon=False, loc="outside lower center", ncols=3)
