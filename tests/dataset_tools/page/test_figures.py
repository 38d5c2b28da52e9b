"""Legends that fit their figures, and drawings that can stand in one page."""

from __future__ import annotations

import re

import pytest

from dataset_tools.page.figures import drawing, inline_svg, legend_below

pytest.importorskip("matplotlib")


def legend_box(names: list[str]) -> tuple[float, float, float, int]:
    """Left and right end of a legend in shares of the figure, the figure's height, columns."""
    with drawing("a", 3.0) as (figure, axes):
        for at, name in enumerate(names):
            axes.plot([0, 1], [at, at], label=name)
        legend_below(figure, axes)
        figure.canvas.draw()
        (legend,) = figure.legends
        box = legend.get_window_extent(figure.canvas.get_renderer())
        width = figure.bbox.width
        return box.x0 / width, box.x1 / width, figure.get_size_inches()[1], legend._ncols


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["a", "b", "c"], 3),
        (["n" * 44, "m" * 44, "w" * 44], 1),
        (["a model with a name of forty-four letters 44"] * 2, 1),
        (["x" * 150], 1),
        (["W" * 150, "a"], 1),
    ],
)
def test_a_legend_is_not_cut_off(names: list[str], columns: int) -> None:
    left, right, high, used = legend_box(names)
    assert left >= -0.001 and right <= 1.001
    assert high > 3.0 and used == columns


def test_two_drawings_share_no_id_and_take_the_colours_of_the_page() -> None:
    found = []
    for name in ("one", "two"):
        with drawing(name) as (figure, axes):
            axes.plot([0, 1, 2], [0, 2, 1], "o-", color="#000000", label="<b>$x$ & y")
            axes.fill_between([0, 1, 2], 0, 1)
            legend_below(figure, axes)
            found.append(inline_svg(figure, name))
    ids = [re.findall(r' id="([^"]+)"', svg) for svg in found]
    assert ids[0] and not set(ids[0]) & set(ids[1])
    for svg, own in zip(found, ids, strict=True):
        assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg)) == set(own)
        assert svg.startswith("<svg ") and svg.endswith("</svg>") and "http" not in svg
        assert "#000000" not in svg and "currentColor" in svg and "#ffffff" not in svg
        assert "&lt;b&gt;$x$ &amp; y" in svg
