"""Numbers of a stored configuration against the tensors beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_fmrlrec import compat
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.runs.checkpoint_bounds import check_bounds

TINY = {"state_dict": {"weights": torch.ones(10)}}


def check(model: str, **keys: Any) -> None:
    compat.apply()
    from recbole_fmrlrec.config.config import Config

    check_bounds(Path("best.pth"), Config(model, "ml-100k", config_dict=keys), TINY)


@pytest.mark.parametrize("model", ["SASRecM", "LRURec", "BSARec", "gSASRec", "eSASRec", "UniSRec"])
def test_what_is_drawn_or_held_at_once_is_no_extent_of_a_model(model: str) -> None:
    """8,192 sampled items and 2,048 MB of features, the defaults, are more than 10 numbers."""
    check(model, eval_batch_size=4096, train_batch_size=4096)


@pytest.mark.parametrize(
    ("model", "key"),
    [("SASRecM", "hidden_size"), ("LRURec", "hidden_size"), ("BPR", "embedding_size")],
)
def test_an_extent_beyond_all_numbers_is_refused(model: str, key: str) -> None:
    with pytest.raises(UsageError, match=rf"{key} = 2,048, and its tensors have 10 numbers in all"):
        check(model, **{key: 2048})
