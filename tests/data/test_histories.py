"""The whole history of each evaluated row, from interactions and from ready lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_fmrlrec.data.histories import sequence_histories
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.evaluation.history import Histories
from tests.conftest import MakeConfig, write_inter


@pytest.fixture
def toy(tmp_path: Path) -> None:
    """User n of 3 to 9 has n interactions."""
    rows = [(f"u{n}", f"i{(n + 5 * at) % 12}", at) for n in range(3, 10) for at in range(n)]
    write_inter(tmp_path, rows, "toy")


def sets(histories: Histories) -> list[set[int]]:
    """The items before each row."""
    row, item = histories.pairs(slice(None))
    return [set(item[row == at].tolist()) - {0} for at in range(len(histories))]


@pytest.mark.parametrize("part", [1, 2], ids=["validation", "test"])
@pytest.mark.parametrize("windows", ["prefix", "overlap"])
def test_rows_of_earlier_versions_have_it_in_their_lists(
    config: MakeConfig, toy: None, windows: str, part: int
) -> None:
    """Saved by a version that did not keep it: lists of two, and what training predicted."""
    keys: dict[str, Any] = {"training_windows": windows, "MAX_ITEM_LIST_LENGTH": 2}
    settings = config("SASRec", **keys)
    loaders = data_preparation(settings, create_dataset(settings))
    loader = loaders[part]
    known = sets(loader.histories)
    assert max(map(len, known)) > 3
    loader._dataset.inter_feat.interaction.before = None
    assert sets(sequence_histories(loader._dataset, loader.earlier)) == known
    users = loader._dataset.inter_feat["user_id"]
    for user, items in zip(users.tolist(), known, strict=True):
        n = int(loader._dataset.id2token("user_id", user)[1:])
        events = [f"i{(n + 5 * at) % 12}" for at in range(n)]
        tokens = loader._dataset.id2token("item_id", torch.tensor(sorted(items)).numpy())
        assert set(tokens) == set(events[: n - 3 + part])
