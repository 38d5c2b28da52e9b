"""The dropout of item vectors that each shipped file trains with."""

from __future__ import annotations

import pytest

from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.keys.yaml_files import properties_dir

DATASETS = sorted(file.stem for file in (properties_dir() / "dataset").glob("*.yaml"))


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_published_rate_stands_where_it_was_measured(dataset):
    rate = Config("fMRLRec", dataset)["input_dropout_prob"]
    assert rate == (0.6 if dataset == "amazon-beauty" else 0.0)


def test_data_of_ones_own_gets_the_published_rates_and_the_hybrid_model_none():
    published, hybrid = Config("fMRLRec", "mine"), Config("fMRLRecID", "mine")
    assert (published["dropout_prob"], published["input_dropout_prob"]) == (0.6, 0.6)
    assert hybrid["input_dropout_prob"] == 0.0
