"""How batches are dealt to the processes of a training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_fmrlrec import torchrun
from recbole_fmrlrec.data.dealing import own_rows
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.errors import UsageError
from tests.conftest import MakeConfig
from tests.data.test_prefix_rows import small


@given(st.lists(st.integers(), max_size=40), st.integers(1, 9))
def test_every_row_goes_to_one_process_and_no_share_is_larger_by_two(
    index: list[int], size: int
) -> None:
    shares = [own_rows(index, rank, size) for rank in range(size)]
    assert list(chain(*shares)) == index
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def as_process(monkeypatch: pytest.MonkeyPatch, rank: int, size: int) -> None:
    """Be one of several processes, without the others."""
    monkeypatch.setattr(torchrun, "size", lambda: size)
    monkeypatch.setattr(torchrun, "rank", lambda: rank)


def users(loader: Any) -> list[list[int]]:
    """The users of each batch."""
    return [batch["user_id"].tolist() for batch in loader]


@pytest.mark.parametrize("model", ["fMRLRecID", "SASRec"])
def test_shares_in_rank_order_are_the_batches_of_one_process(
    rich: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    def made(rows: int) -> Any:
        keys = {"use_features": False, "use_id_embedding": True} if model == "fMRLRecID" else {}
        settings = small(rich.parent, model, train_batch_size=rows, **keys)
        return data_preparation(settings, create_dataset(settings))[0]

    whole = users(made(21))
    shares: list[Sequence[list[int]]] = []
    positions = []
    for rank in range(3):
        as_process(monkeypatch, rank, 3)
        loader = made(7)
        assert len(loader) == len(whole)
        batches, counted = [], []
        for batch in loader:
            batches.append(batch["user_id"].tolist() if loader.share.positions else [])
            counted.append(loader.share.positions)
        shares.append(batches)
        positions.append(counted)
    assert [list(chain(*parts)) for parts in zip(*shares, strict=True)] == whole
    if model == "SASRec":  # a position is a row
        assert [sum(counts) for counts in zip(*positions, strict=True)] == list(map(len, whole))


def test_data_workers_are_refused(
    config: MakeConfig, rich: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_process(monkeypatch, 0, 2)
    settings = config("SASRec", "rich", worker=2)
    with pytest.raises(UsageError, match="worker: 2: processes of torchrun make their batches"):
        data_preparation(settings, create_dataset(settings))


def test_a_counting_model_sees_all_rows(
    config: MakeConfig, rich: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config("Pop", "rich", train_batch_size=10)
    alone = users(data_preparation(settings, create_dataset(settings))[0])
    as_process(monkeypatch, 1, 2)
    settings = config("Pop", "rich", train_batch_size=10)
    assert users(data_preparation(settings, create_dataset(settings))[0]) == alone
    assert sum(map(len, alone)) == 120
