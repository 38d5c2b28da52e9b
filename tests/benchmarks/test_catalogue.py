"""The generated catalogue, and one measurement on a tiny one."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from benchmarks.catalogue_data import Features, Shape, make
from benchmarks.catalogue_run import Job, measure
from dataset_tools.features import read_features

SHAPE = Shape(items=500, users=300, width=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A generated catalogue with fewer users than items."""
    root = tmp_path_factory.mktemp("catalogue")
    make(root, SHAPE)
    return root


def test_every_item_occurs_and_every_user_can_be_tested(folder):
    table = pd.read_csv(folder / "catalogue" / "catalogue.inter", sep="\t")
    assert set(table["item_id:token"]) == {f"i{item}" for item in range(500)}
    lengths = table.groupby("user_id:token").size()
    assert len(lengths) == 300 and lengths.min() >= 4 and 9 < lengths.mean() < 12
    last = table["item_id:token"].str[1:].astype(int).shift()
    follows = table["item_id:token"].str[1:].astype(int) == (last + 1) % 500
    assert 0.3 < follows.mean() < 0.6


def test_features_are_those_of_the_shape_and_items_of_a_cluster_lie_together(folder):
    stored = read_features(folder / "catalogue" / "features", "text")
    made = Features(SHAPE)[slice(0, 500)]
    assert np.array_equal(stored.matrix, made.astype(np.float16))
    assert np.allclose(np.linalg.norm(made, axis=1), 1)
    alike = made @ made.T
    assert alike[:200, :200].mean() > 0.4 > abs(alike[:200, 200:400].mean())


def test_what_is_there_is_used_again_and_another_shape_is_made_anew(folder, tmp_path):
    inter = folder / "catalogue" / "catalogue.inter"
    before = inter.stat().st_mtime_ns
    make(folder, SHAPE)
    assert inter.stat().st_mtime_ns == before
    make(tmp_path, SHAPE)
    again = tmp_path / "catalogue" / "catalogue.inter"
    assert again.read_bytes() == inter.read_bytes()
    make(tmp_path, Shape(items=50, users=60, width=8))
    assert again.stat().st_size < inter.stat().st_size


@pytest.mark.parametrize("loss", ["CE", "sampled_uniform"])
def test_a_measurement_trains_and_ranks_what_was_asked_for(folder, monkeypatch, tmp_path, loss):
    monkeypatch.chdir(tmp_path)
    found = measure(
        Job(
            folder=folder,
            loss_type=loss,
            model="fMRLRec",
            sizes=(2, 4),
            batch=32,
            warm_up=1,
            steps=3,
            candidates=1000,
            ranked_users=40,
            threads=1,
        )
    )
    assert found["loss_type"] == loss and found["steps"] == 3
    # More draws than items make both losses the exact one, which begins at that of chance.
    assert found["first_loss"] == pytest.approx(math.log(500), rel=0.02)
    seconds = found["seconds"]
    assert found["steps_per_second"] == pytest.approx(3 / seconds["train"])
    assert found["ranked_users_per_second"] == pytest.approx(40 / seconds["rank"])
    peaks = [found["peak_memory_bytes"][phase] for phase in ("data", "train", "rank")]
    assert peaks == sorted(peaks)
    assert set(found["ndcg@10"]) == {"2", "4"}
