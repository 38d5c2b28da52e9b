"""Quality against a cost, by size: the sizes that no other beats, joined by a line."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from dataset_tools.page import Figure
from dataset_tools.page.figures import COLOURS, drawing, inline_svg, logarithmic


def curve(
    x: Sequence[float],
    y: Sequence[float],
    names: Sequence[str],
    labels: tuple[str, str],
    x_text: Callable[[float], str],
    caption: str,
) -> Figure:
    """`draw_curve` as a drawing for a page; needs matplotlib.

    Args:
        labels: what x and y are; x, in the caption too, tells two drawings of a page apart.
        x_text: writes a value of x.

    Raises:
        ValueError: as `draw_curve`.
    """
    with drawing(labels[0]) as (figure, axes):
        draw_curve(axes, x, y, names)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.xaxis.set_major_formatter(lambda value, _: x_text(value))
        return Figure(inline_svg(figure, labels[0]), caption)


def draw_curve(axes: Any, x: Sequence[float], y: Sequence[float], names: Sequence[str]) -> None:
    """Points by a cost x, logarithmic, and a quality y from 0, linear.

    A line joins, from left to right, those that no other point beats: cheaper or as cheap, and
    better. So it never turns back, and what was measured at almost the same cost makes no zig-zag.

    Args:
        x: values above 0.
        y: values of 0 or more.
        names: written beside the points.

    Raises:
        ValueError: lengths differ, nothing to draw, or a value of x is not above 0.
    """
    if not x or not len(x) == len(y) == len(names) or min(x) <= 0:
        raise ValueError("a curve needs as many x above 0 as y and names, and one or more of them")
    points = sorted(zip(x, y, names, strict=True), key=lambda point: (point[0], -point[1]))
    heights = [point[1] for point in points]
    line = [points[at][:2] for at in _unbeaten(heights)]
    axes.plot(*zip(*line, strict=True), color=COLOURS[0])
    axes.plot([point[0] for point in points], heights, "o", color=COLOURS[0])
    logarithmic(axes)
    axes.margins(x=0.08)
    axes.set_ylim(0, 1.15 * max(y) or 1.0)
    below = _crowded(axes.transData.transform([point[:2] for point in points]))
    for at, (*place, name) in enumerate(points):
        shift = (0, -13) if at in below else (0, 5)
        axes.annotate(name, place, shift, textcoords="offset points", ha="center")


def _unbeaten(y: Sequence[float]) -> list[int]:
    """Which points are better than all before them; x ascends."""
    best = list(itertools.accumulate(y, max))
    return [at for at, value in enumerate(y) if at == 0 or value > best[at - 1]]


def _crowded(points: Sequence[Sequence[float]]) -> set[int]:
    """Points, in pixels, whose name would be written over that of the one before: put it below."""
    found: set[int] = set()
    for at, (one, other) in enumerate(itertools.pairwise(points), start=1):
        near = abs(one[0] - other[0]) < 30 and abs(one[1] - other[1]) < 16
        if near and at - 1 not in found:
            found.add(at)
    return found
