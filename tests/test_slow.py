"""What takes minutes: quality on real data. Run with ``python -m pytest -m slow``."""

from __future__ import annotations

import pytest

from recbole_fmrlrec import run

pytestmark = pytest.mark.slow


def test_both_forms_beat_popularity_on_ml_100k_and_ids_beat_features(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ndcg = {
        model: run(model, "ml-100k", config_dict={"show_progress": False}).test_result["ndcg@10"]
        for model in ("Pop", "fMRLRec", "fMRLRecID")
    }
    assert ndcg["Pop"] == pytest.approx(0.0155, abs=0.0005)
    assert ndcg["fMRLRec"] > 1.3 * ndcg["Pop"]
    assert ndcg["fMRLRecID"] > 2.2 * ndcg["Pop"]
