"""A curve as inline SVG: no plotting package, no network."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Callable, Sequence

WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 60, 24, 24, 56


def svg_curve(
    x: Sequence[float],
    y: Sequence[float],
    names: Sequence[str],
    x_label: str,
    y_label: str,
    x_text: Callable[[float], str],
) -> str:
    """Points by a cost x, logarithmic, and a quality y from 0, linear.

    A line joins, from left to right, those that no other point beats: cheaper or as cheap, and
    better. So it never turns back, and what was measured at almost the same cost makes no zig-zag.

    Args:
        x: values above 0.
        y: values of 0 or more.
        names: written beside the points.
        x_label: what x is.
        y_label: what y is.
        x_text: writes a value of x.

    Raises:
        ValueError: lengths differ, nothing to draw, or a value of x is not above 0.
    """
    if not x or not len(x) == len(y) == len(names) or min(x) <= 0:
        raise ValueError("a curve needs as many x above 0 as y and names, and one or more of them")
    order = sorted(range(len(x)), key=lambda at: (x[at], -y[at]))
    x, y = [x[at] for at in order], [y[at] for at in order]
    names = [names[at] for at in order]
    points = list(zip(_across(x), _up(y), strict=True))
    below = _crowded(points)
    line = " ".join(f"{px:.1f},{py:.1f}" for px, py in (points[at] for at in _unbeaten(y)))
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" font-size="13" role="img" '
        f'aria-label="{html.escape(y_label)} against {html.escape(x_label)}">',
        *_frame(x, y, x_text),
        f'<polyline points="{line}" fill="none" stroke="var(--mark, #1f6feb)" stroke-width="2"/>',
    ]
    for at, ((px, py), name, value) in enumerate(zip(points, names, y, strict=True)):
        label = html.escape(name)
        parts.append(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="var(--mark, #1f6feb)">'
            f"<title>{label}: {value:.4f}</title></circle>"
            f'<text x="{px:.1f}" y="{py + (20 if at in below else -9):.1f}" '
            f'text-anchor="middle">{label}</text>'
        )
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(x_label)}</text>'
        f'<text x="{LEFT}" y="14" text-anchor="start">{html.escape(y_label)}</text></svg>'
    )
    return "\n".join(parts)


def _unbeaten(y: Sequence[float]) -> list[int]:
    """Which points are better than all before them; x ascends."""
    best = list(itertools.accumulate(y, max))
    return [at for at, value in enumerate(y) if at == 0 or value > best[at - 1]]


def _crowded(points: Sequence[tuple[float, float]]) -> set[int]:
    """Points whose name would stand on the one before it, and stands below its point instead."""
    found: set[int] = set()
    for at, (one, other) in enumerate(itertools.pairwise(points), start=1):
        near = abs(one[0] - other[0]) < 30 and abs(one[1] - other[1]) < 16
        if near and at - 1 not in found:
            found.add(at)
    return found


def _across(x: Sequence[float]) -> list[float]:
    low, high = math.log(min(x)), math.log(max(x))
    span, room = (high - low) or 1.0, WIDTH - LEFT - RIGHT - 20
    return [LEFT + 10 + room * (math.log(value) - low) / span for value in x]


def _up(y: Sequence[float]) -> list[float]:
    top = max(y) or 1.0
    room = HEIGHT - TOP - BOTTOM - 16
    return [HEIGHT - BOTTOM - room * value / top for value in y]


def _frame(x: Sequence[float], y: Sequence[float], x_text: Callable[[float], str]) -> list[str]:
    """Horizontal lines at quarters of the largest y, and the ends of x."""
    parts = []
    digits = 3 if max(y) >= 0.1 else 4  # quarters of a small number look uneven at three
    for value in [max(y) * quarter / 4 for quarter in range(5)]:
        at = _up([value, max(y)])[0]
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" '
            f'stroke="var(--rule, #8884)"/>'
            f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{value:.{digits}f}</text>'
        )
    for value, at in {
        min(x): _across(x)[x.index(min(x))],
        max(x): _across(x)[x.index(max(x))],
    }.items():
        parts.append(
            f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{html.escape(x_text(value))}</text>"
        )
    return parts
