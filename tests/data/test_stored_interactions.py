"""Interactions on disk: the rows and the digits of interactions in memory, or a reason why not."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_fmrlrec import run
from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.data import stored_interactions
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.data.ordering import in_order, stable_order
from recbole_fmrlrec.errors import DataError, RunError
from recbole_fmrlrec.files.checkpoint import load_checkpoint
from tests import toy
from tests.conftest import LEAVE_ONE_OUT


def loaders(root: Path, model: str = "fMRLRecID", **keys: Any) -> tuple[Any, Any]:
    settings = toy.settings(root, use_features=False, **keys)
    config = Config(model, "toy", config_dict=settings)
    dataset = create_dataset(config)
    return dataset, data_preparation(config, dataset)


def assert_same_columns(one: Any, other: Any) -> None:
    assert set(one) == set(other)
    for name in one:
        assert one[name].dtype == other[name].dtype and one[name].equal(other[name])


@pytest.mark.parametrize("windows", ["overlap", "latest"])
def test_rows_and_counts_are_those_of_memory(tmp_path: Path, windows: str) -> None:
    toy.write_toy(tmp_path)
    memory, ours = loaders(tmp_path, training_windows=windows)
    disk, mapped = loaders(tmp_path, training_windows=windows, interaction_memory_mb=0)
    assert disk.on_disk and not memory.on_disk
    for one, other in zip(ours[0], mapped[0], strict=True):
        assert_same_columns(one.interaction, other.interaction)
    for left, right in zip(ours[1:], mapped[1:], strict=True):
        for one, other in zip(left, right, strict=True):
            assert_same_columns(one[0].interaction, other[0].interaction)
            for mine, theirs in zip(one[2:], other[2:], strict=True):
                assert mine.equal(theirs)
        assert left.histories.pairs(slice(None))[1].tolist() == (
            right.histories.pairs(slice(None))[1].tolist()
        )
    parts = ours[0]._dataset, mapped[0]._dataset
    assert parts[0].item_counter == parts[1].item_counter
    # 40 users of 9: two are left out, the first is not predicted
    assert [part.inter_num for part in parts] == [40 * 6] * 2
    assert sum(parts[1].user_counter.values()) == 40 * 6
    assert [part.inter_matrix().sum() for part in parts] == [40 * 7] * 2


def test_what_is_mapped_is_small_and_has_no_name(tmp_path: Path) -> None:
    toy.write_toy(tmp_path)
    _, (train, valid, _) = loaders(tmp_path, interaction_memory_mb=0)
    flat = valid._dataset.inter_feat.interaction.flat
    assert {name: column.dtype for name, column in flat.items()} == {
        **dict.fromkeys(["user_id", "item_id"], torch.int32),
        "timestamp": torch.float32,
    }
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    places = [line for line in maps if str(tmp_path) in line]
    assert places and all(line.endswith("(deleted)") for line in places)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
    assert len(next(iter(train))["item_id_list"]) == toy.SMALL["train_batch_size"]


@pytest.mark.parametrize("keys", [{}, {"loss_type": "sampled_popularity", "num_sampled_items": 5}])
def test_training_has_the_digits_of_memory(tmp_path: Path, keys: dict[str, Any]) -> None:
    toy.write_toy(tmp_path)
    results = [
        run(
            "fMRLRecID", "toy", config_dict=toy.settings(tmp_path, use_features=False, **keys, **on)
        )
        for on in ({}, {"interaction_memory_mb": 0})
    ]
    assert results[0].fingerprint == results[1].fingerprint
    assert results[0].test == results[1].test and results[0].valid == results[1].valid
    weights = [load_checkpoint(result.run_dir / "best.pth", "cpu") for result in results]
    for name, tensor in weights[0]["state_dict"].items():
        assert tensor.equal(weights[1]["state_dict"][name])


BY_TIME = {"order": "TO", "split": {"time": [0.6, 0.8]}, "mode": "full"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"eval_args": BY_TIME}, "eval_args.split is one by time"),
    ({"eval_args": {**LEAVE_ONE_OUT, "mode": "uni5"}}, "eval_args.mode: .* draws negatives"),
    ({"save_dataset": True}, "save_dataset would copy them"),
    ({"numerical_features": ["timestamp"]}, "column timestamp is not one number"),
]


@pytest.mark.parametrize(("keys", "message"), REFUSED)
def test_what_cannot_be_on_disk_says_why(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    keys: dict[str, Any],
    message: str,
) -> None:
    toy.write_toy(tmp_path)
    with pytest.raises(DataError, match=f"exceed interaction_memory_mb: 0, .*{message}"):
        loaders(tmp_path, interaction_memory_mb=0, **keys)
    # By the default alone nothing is refused that worked before.
    monkeypatch.setattr(stored_interactions, "exceed_memory", lambda *_: True)
    config = Config(
        "fMRLRecID", "toy", config_dict=toy.settings(tmp_path, use_features=False, **keys)
    )
    with caplog.at_level(logging.WARNING):
        assert not create_dataset(config).on_disk
    assert "stay in memory all the same" in "\n".join(caplog.messages)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write_toy(tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(RunError, match="interactions need 4,320 bytes on disk"):  # 360 x 3 x 4
        loaders(tmp_path, interaction_memory_mb=0)


@pytest.mark.parametrize("at_once", [1 << 24, 1000, 1])
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.float64])
def test_orders_are_numpys(monkeypatch: pytest.MonkeyPatch, kind: type, at_once: int) -> None:
    monkeypatch.setattr("recbole_fmrlrec.data.ordering._SORTED", at_once)
    random = np.random.default_rng(0)
    values = random.integers(-50, 50, 5000).astype(kind)
    fractions = values + (0.25 * random.integers(0, 3, 5000) if kind is np.float64 else 0)
    large = (values.astype(np.float64) * 2.0**50) if kind is np.float64 else values
    for column in (values, fractions, large, values[:0]):
        assert stable_order(column).tolist() == np.argsort(column, kind="stable").tolist()


def test_tables_in_order_are_pandas() -> None:
    frame = pd.DataFrame(
        {"a": [3, 1, 2], "b": [0.5, np.nan, 1.5], "c": ["x", None, "y"], "d": [[1], [], [2]]},
        index=[4, 9, 2],
    )
    frame.columns = pd.Index(list("abcd"), dtype=object)
    order = np.array([1, 2, 0])
    wanted = frame.take(order).reset_index(drop=True)
    pd.testing.assert_frame_equal(in_order(frame, order), wanted)
