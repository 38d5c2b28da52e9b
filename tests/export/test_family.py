"""The family page: numbers, and that it stands alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from recbole_fmrlrec.export.curve import svg_curve
from recbole_fmrlrec.export.family import Family, Member, readable_bytes
from tests.page_checks import check_page


def member(size: int, ndcg: float) -> Member:
    metrics = {
        kind: {"recall@10": 2 * ndcg, "recall@20": 3 * ndcg, "ndcg@10": ndcg - off}
        for kind, off in (("float32", 0.0), ("float16", -0.0001), ("int8", 0.002))
    }
    return Member(size, size * 100, size * 40, size * 1000, size / 10, metrics)


FAMILY = Family(
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
    points = ElementTree.fromstring(curves[0]).findall("circle")
    assert [point.findtext("title") for point in points] == ["8: 0.0500", "64: 0.0800"]
    content = json.loads((tmp_path / "family.json").read_text(encoding="utf-8"))
    assert content["members"][1]["latency_ms"] == 6.4


def test_a_curve_is_logarithmic_across_and_linear_up() -> None:
    curve = ElementTree.fromstring(
        svg_curve([1, 10, 100], [0.0, 2.0, 4.0], list("abc"), "bytes", "quality", str)
    )
    x, y = ([float(c.get(at, 0)) for c in curve.iter("circle")] for at in ("cx", "cy"))
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
    # Measured times may be out of order: the line goes from left to right all the same.
    mixed = ElementTree.fromstring(
        svg_curve([10, 1, 100], [2.0, 0.0, 4.0], list("bac"), "", "", str)
    )
    assert [c.findtext("title") for c in mixed.iter("circle")] == [
        "a: 0.0000",
        "b: 2.0000",
        "c: 4.0000",
    ]
    line = mixed.find("polyline")
    assert line is not None
    ends = [float(point.split(",")[0]) for point in line.attrib["points"].split()]
    assert ends == sorted(ends) == x
    # b is slower than a and worse: the line passes it by.
    beaten = ElementTree.fromstring(
        svg_curve([1, 1.1, 100], [2.0, 1.0, 4.0], list("abc"), "", "", str)
    )
    line = beaten.find("polyline")
    assert line is not None and len(line.attrib["points"].split()) == 2
    assert len(list(beaten.iter("circle"))) == 3
    assert y[0] - y[1] == pytest.approx(y[1] - y[2], abs=0.2) and y[0] > y[2]
    for wrong in ([], [0.0, 1.0, 2.0]):
        with pytest.raises(ValueError, match="as many x above 0"):
            svg_curve(wrong, [1.0, 2.0, 3.0], list("abc"), "", "", str)
    svg_curve([5.0], [0.0], ["one"], "", "", str)  # one point of quality 0 is no division by 0


def test_readable_bytes() -> None:
    counts = [0, 999, 1000, 12_345, 123_456, 1_234_567, 4.2e9]
    texts = ["0 B", "999 B", "1.00 kB", "12.3 kB", "123 kB", "1.23 MB", "4.20 GB"]
    assert [readable_bytes(count) for count in counts] == texts
