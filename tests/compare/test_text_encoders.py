"""A model that begins with another encoder than the published one is named so below its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recbole_fmrlrec.compare import report
from recbole_fmrlrec.compare.plan import Variant
from recbole_fmrlrec.compare.report import write_report
from recbole_fmrlrec.runs.folder import RESULT
from tests.compare.synthetic import make_plan, write_cell


def test_the_note_names_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "write_plots", lambda analysis, folder: [])
    text = Variant("by text", "RecFormer", baseline=True)
    plan = make_plan(tmp_path, [text, Variant("Pop", "Pop", baseline=True)])
    cells = [write_cell(tmp_path, variant, {0: [1, 4, 2, 11]}) for variant in plan.models]
    file = cells[0].path / RESULT
    features = {"encoders": {"text": "MiniLM"}, "pretrained_on_histories": False}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"features": features}))
    write_report(plan, cells)
    notes = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "by text (RecFormer): on MiniLM, not pre-trained on recommendation data; " in notes
    assert "Pop: RecBole's defaults; not tuned" in notes
