"""Figures by matplotlib: legends that fit, and SVG that can stand in a page, light or dark."""

from __future__ import annotations

import importlib.util
import io
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Colours that colour-blind people tell apart (Okabe and Ito, 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: Inches: narrow, so that letters stay readable on a phone.
WIDE, HIGH = 4.4, 3.3
#: Columns of a legend and letters of a line in it, the first that fits.
_LEGENDS = ((3, 48), (2, 48), (1, 48), (1, 34), (1, 22))


#: What a page says in place of its plots where `can_draw` is false.
NO_PLOTS = "Plots need matplotlib: pip install matplotlib, then the same command again."


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


@contextmanager
def drawing(salt: str, high: float = HIGH) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes in our style; the same drawing gives the same file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, rc_context

    style: dict[Any, Any] = {
        "font.size": 9,
        "legend.fontsize": 7.5,
        "svg.hashsalt": salt,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "text.parse_math": False,  # a $ in a name is a $
    }
    with rc_context(style):
        figure, axes = pyplot.subplots(figsize=(WIDE, high), layout="constrained")
        try:
            yield figure, axes
        finally:
            pyplot.close(figure)


def legend_below(figure: Any, axes: Any) -> None:
    """Put the legend below the axes, in as many columns as fit, in a figure that grows by it."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    renderer = figure.canvas.get_renderer()
    legend = None
    for columns, letters in _LEGENDS:
        if legend is not None:
            legend.remove()
        broken = [textwrap.fill(label, letters) for label in labels]
        legend = figure.legend(
            handles, broken, frameon=False, loc="outside lower center", ncols=columns
        )
        box = legend.get_window_extent(renderer)
        if box.width <= figure.bbox.width:
            break
    wide, high = figure.get_size_inches()
    figure.set_size_inches(wide, high + box.height / figure.dpi)


def logarithmic(axes: Any) -> None:
    """A logarithmic axis with plain numbers, as many as fit."""
    from matplotlib import ticker

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    steps = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=steps, numticks=12))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())


def inline_svg(figure: Any, name: str) -> str:
    """The figure as SVG for a page: text as text, in the page's colour, on the page's ground.

    Args:
        name: of the figure in its page; sets its ids apart from those of others.
    """
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    for part in (r"<metadata>.*?</metadata>", r"<style[^>]*>.*?</style>", r"<!--.*?-->"):
        text = re.sub(part, "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = text.replace("#000000", "currentColor").replace("#0072b2", "var(--blue, #0072b2)")
    wanted = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    prefix = re.sub(r"[^A-Za-z0-9]+", "-", name)

    def named(found: re.Match[str]) -> str:
        return f' id="{prefix}-{found[1]}"' if found[1] in wanted else ""

    text = re.sub(r' id="([^"]*)"', named, text)
    return re.sub(r'(url\(#|href="#)', rf"\1{prefix}-", text).strip()
