"""The page about exported sizes: its numbers, and that it needs no other file."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from dataset_tools.page.figures import drawing
from recbole_fmrlrec.export.pareto_plot import draw_curve
from recbole_fmrlrec.export.sizes_page import ExportedSize, SizesPage
from tests.page_checks import check_page


def member(size: int, ndcg: float) -> ExportedSize:
    metrics = {
        kind: {"recall@10": 2 * ndcg, "recall@20": 3 * ndcg, "ndcg@10": ndcg - off}
        for kind, off in (("float32", 0.0), ("float16", -0.0001), ("int8", 0.002))
    }
    return ExportedSize(size, size * 100, size * 40, size * 1000, size / 10, metrics)


FAMILY = SizesPage(
    model="fMRLRec",
    dataset="a<b",
    num_items=1682,
    added_items=0,
    table_dtype="float32",
    metric="ndcg@10",
    rows=943,
    measured_on="some processor, 1 thread",
    members=(member(8, 0.05), member(64, 0.08)),
)


def test_the_table() -> None:
    head, rows = FAMILY.table()
    assert head == [
        *("size", "parameters", "item table", "all files", "one user", "recall@10", "ndcg@10"),
        *("ndcg@10 float16 table", "ndcg@10 int8 table"),
    ]
    assert rows[0] == [
        *("8", "800", "320 B", "8.00 kB", "0.80 ms", "0.1000", "0.0500"),
        *("0.0501 (+0.0001)", "0.0480 (-0.0020)"),
    ]


def test_masked_metrics_are_named() -> None:
    assert not any("masked" in note for note in FAMILY.notes())
    metrics = {
        kind: {**of, "masked_ndcg@10": 0.09} for kind, of in FAMILY.members[0].metrics.items()
    }
    both = replace(FAMILY, members=(replace(FAMILY.members[0], metrics=metrics),))
    assert both.table()[0][5:8] == ["recall@10", "ndcg@10", "masked_ndcg@10"]
    assert any("in masked_ columns without those that the user had" in n for n in both.notes())


def test_an_int8_family_shows_its_own_quality() -> None:
    head, rows = replace(FAMILY, table_dtype="int8").table()
    assert head[-3:] == ["ndcg@10", "ndcg@10 float32 table", "ndcg@10 float16 table"]
    assert rows[1][-3:] == ["0.0780", "0.0800", "0.0801 (+0.0001)"]


def test_without_an_evaluation() -> None:
    bare = replace(FAMILY, rows=0, members=(replace(FAMILY.members[0], metrics={}),))
    assert bare.table()[0] == ["size", "parameters", "item table", "all files", "one user"]
    assert "Quality was not evaluated." in bare.markdown()
    assert "<svg" not in bare.html()


def test_the_pages(tmp_path: Path) -> None:
    FAMILY.write(tmp_path)
    markdown = (tmp_path / "family.md").read_text(encoding="utf-8")
    assert "| 64 | 6,400 | 2.56 kB | 64.0 kB | 6.40 ms | 0.1600 | 0.0800 |" in markdown
    page = (tmp_path / "family.html").read_text(encoding="utf-8")
    assert "<h1>fMRLRec on a&lt;b</h1>" in page and "<td>0.0480 (-0.0020)</td>" in page
    check_page(page)
    curves = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(curves) == 2
    for curve, label in zip(curves, ("bytes of all files", "one user, ms"), strict=True):
        texts = {text.text for text in ElementTree.fromstring(curve).iter("text")}
        assert {"8", "64", "NDCG@10", label} <= texts
    content = json.loads((tmp_path / "family.json").read_text(encoding="utf-8"))
    assert content["members"][1]["latency_ms"] == 6.4


def curve_of(x: list[float], y: list[float], names: str) -> tuple[Any, list[Any], list[Any]]:
    """The axes of a curve, the ends of its line, its points by name."""
    with drawing("a") as (_, axes):
        draw_curve(axes, x, y, list(names))
        line, points = (list(map(tuple, drawn.get_xydata().tolist())) for drawn in axes.lines)
        assert [text.xy for text in axes.texts] == points  # each name stands at its point
        return axes, line, [(text.get_text(), *text.xy) for text in axes.texts]


def test_a_curve_is_logarithmic_across_and_linear_up() -> None:
    axes, line, points = curve_of([1, 10, 100], [0.0, 2.0, 4.0], "abc")
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_ylim()[0]) == ("log", "linear", 0)
    assert line == [(1, 0), (10, 2), (100, 4)]
    # Measured times may be out of order: the line goes from left to right all the same.
    mixed = curve_of([10, 1, 100], [2.0, 0.0, 4.0], "bac")
    assert mixed[1] == line
    assert mixed[2] == points == [("a", 1, 0), ("b", 10, 2), ("c", 100, 4)]
    # b is slower than a and worse: the line passes it by.
    beaten = curve_of([1, 1.1, 100], [2.0, 1.0, 4.0], "abc")
    assert beaten[1] == [(1, 2), (100, 4)] and len(beaten[2]) == 3
    for wrong in ([], [0.0, 1.0, 2.0]):
        with pytest.raises(ValueError, match="as many x above 0"):
            curve_of(wrong, [1.0, 2.0, 3.0], "abc")
    curve_of([5.0], [0.0], "a")  # one point of quality 0 is no empty range


def test_the_pages_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataset_tools.page.figures.can_draw", lambda: False)
    page = FAMILY.html()
    assert "<svg" not in page and "Plots need matplotlib: pip install matplotlib" in page
