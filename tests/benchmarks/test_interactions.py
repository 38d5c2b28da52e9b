"""Interactions that ``benchmarks interactions`` generates, and its measurement of a few of them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.interactions import _measure
from benchmarks.interactions_data import Shape, make
from dataset_tools.formats.parquet_copy import copy_path, write_copy

pytest.importorskip("pyarrow", reason="needs pyarrow (extra `parquet`)")

SHAPE = Shape(interactions=4000, users=100, items=60)


def test_text_and_parquet_hold_the_same(tmp_path: Path) -> None:
    text = make(tmp_path / "text", SHAPE, text=True)
    write_copy(text)
    alone = make(tmp_path / "alone", SHAPE, text=False)
    assert not alone.exists()
    frames = [pd.read_parquet(copy_path(path)) for path in (text, alone)]
    pd.testing.assert_frame_equal(*frames)
    assert len(frames[0]) == 4000 and frames[0]["user_id:token"].nunique() == 100
    read = pd.read_csv(text, sep="\t", dtype=dict.fromkeys(list(frames[0])[:2], str))
    assert read["item_id:token"].tolist() == frames[0]["item_id:token"].tolist()


def test_every_form_trains_to_the_same_loss(tmp_path: Path) -> None:
    path = make(tmp_path, SHAPE, text=True)
    found = []
    for form in ("text", "parquet", "disk"):
        if form == "parquet":
            write_copy(path)
        options = argparse.Namespace(worker=form, folder=tmp_path, threads=1, steps=3)
        found.append(_measure(options))
    assert found[0]["loss"] == found[1]["loss"] == found[2]["loss"]
    # 100 users of about 40: more than one window of 50 is rare
    assert 100 <= found[0]["windows_made"] == found[2]["windows_made"] < 120
    for one in found:
        assert 0 < one["peak_loaded"][1] <= one["peak_loaded"][0] <= one["peak"][0]
