"""Saving data changes nothing, and a run from the saved file has the batches of one without it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.utils import KGDataLoaderState, init_seed

from recbole_fmrlrec import compat
from recbole_fmrlrec.data.loaders import DataError, create_dataset, data_preparation
from tests.conftest import LEAVE_ONE_OUT, MakeConfig
from tests.data.test_loaders import UNIFORM

compat.apply()

POPULARITY = {**UNIFORM, "distribution": "popularity"}
BY_TIME = {"order": "TO", "split": {"time": [3, 5]}, "mode": "full", "context": "frozen"}
BY_RATIO = {"order": "RO", "split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user"}
#: A model for every kind of loader, with its settings.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "windows": ("SASRec", {"training_windows": "overlap"}),
    "prefix rows": ("SASRec", {}),
    "masked rows": ("BERT4Rec", {"mask_ratio": 0.5, "transform": "mask_itemseq"}),
    "negatives": ("BPR", {"train_neg_sample_args": UNIFORM}),
    "popular negatives": ("BPR", {"train_neg_sample_args": POPULARITY}),
    "random split": (
        "BPR",
        {"train_neg_sample_args": UNIFORM, "eval_args": {**BY_RATIO, "mode": "full"}},
    ),
    "sampled ranking": (
        "BPR",
        {"train_neg_sample_args": UNIFORM, "eval_args": {**LEAVE_ONE_OUT, "mode": "uni5"}},
    ),
    "history left out": ("BPR", {"train_neg_sample_args": UNIFORM, "mask_history": True}),
    "windows by time": ("SASRec", {"training_windows": "overlap", "eval_args": BY_TIME}),
    "negatives by time": ("BPR", {"train_neg_sample_args": UNIFORM, "eval_args": BY_TIME}),
    "users": ("MultiVAE", {}),
    "items drawn before": ("DIEN", {"train_neg_sample_args": UNIFORM}),
    "knowledge graph": ("CKE", {"train_neg_sample_args": UNIFORM}),
}


def values(content: Any) -> Iterator[Any]:
    """Everything in a batch, in plain values."""
    if isinstance(content, Interaction):
        content = dict(sorted(content.interaction.items()))
    if isinstance(content, dict):
        for name, value in content.items():
            yield name
            yield from values(value)
    elif isinstance(content, tuple | list):
        for value in content:
            yield from values(value)
    else:
        yield content.tolist() if isinstance(content, torch.Tensor | np.ndarray) else content


def batches(config: Any) -> list[Any]:
    """All batches of two epochs of training, of a validation after each, and of a test."""
    init_seed(config["seed"], True)
    train, valid, test = data_preparation(config, create_dataset(config))
    found: list[Any] = []
    for _ in range(2):
        if hasattr(train, "set_mode"):
            train.set_mode(KGDataLoaderState.RSKG)
        found += [list(values(batch)) for batch in train]
        found += [list(values(batch)) for batch in valid]
    return found + [list(values(batch)) for batch in test]


@pytest.mark.parametrize("kind", KINDS)
def test_saving_and_loading_leave_the_batches_as_they_are(
    config: MakeConfig, rich: Path, tmp_path: Path, kind: str
) -> None:
    model, keys = KINDS[kind]
    keys = {"train_batch_size": 16, **keys}
    plain = batches(config(model, "rich", **keys))
    assert plain[0] != plain[1]
    saving = config(model, "rich", save_dataset=True, save_dataloaders=True, **keys)
    assert batches(saving) == plain
    folder = tmp_path / "saved"
    (dataset,) = folder.glob("rich-*Dataset.pth")
    loaders = folder / f"rich-for-{model}-dataloader.pth"
    (rich / "rich.inter").rename(rich / "away")
    keys["dataset_save_path"] = str(dataset)
    assert batches(config(model, "rich", **keys)) == plain
    assert batches(config(model, "rich", dataloaders_save_path=str(loaders), **keys)) == plain


def test_loaders_from_a_file_follow_the_settings_of_the_run(
    config: MakeConfig, rich: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = {"train_neg_sample_args": UNIFORM}
    small = batches(config("BPR", "rich", train_batch_size=16, **keys))
    data = config("BPR", "rich", train_batch_size=64, save_dataloaders=True, **keys)
    assert batches(data) != small
    path = str(tmp_path / "saved/rich-for-BPR-dataloader.pth")
    keys["dataloaders_save_path"] = path
    assert batches(config("BPR", "rich", train_batch_size=16, **keys)) == small
    assert "other settings" not in caplog.text
    popular = {**keys, "train_neg_sample_args": POPULARITY}
    without = {"train_batch_size": 16, "train_neg_sample_args": POPULARITY}
    drawn = batches(config("BPR", "rich", train_batch_size=16, **popular))
    assert drawn == batches(config("BPR", "rich", **without)) != small
    assert f"dataloaders_save_path: {path} was saved with other settings (train_neg_" in caplog.text
    sequential = config("SASRec", "rich", dataloaders_save_path=path)
    assert batches(sequential) == batches(config("SASRec", "rich"))
    assert "of class ExactDataset, not ExactSequentialDataset" in caplog.text


def test_loaders_that_older_versions_and_recbole_saved_are_read(
    config: MakeConfig, rich: Path, tmp_path: Path
) -> None:
    from recbole.data.utils import save_split_dataloaders

    keys = {"train_neg_sample_args": UNIFORM, "train_batch_size": 16}
    settings = config("BPR", "rich", **keys)
    init_seed(settings["seed"], True)
    save_split_dataloaders(settings, data_preparation(settings, create_dataset(settings)))
    keys["dataloaders_save_path"] = str(tmp_path / "saved/rich-for-BPR-dataloader.pth")
    assert batches(config("BPR", "rich", **keys)) == batches(settings)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"damaged", "cannot be read"),
        (pickle.dumps([1, 2, 3]), "does not hold"),
    ],
)
@pytest.mark.parametrize("key", ["dataset_save_path", "dataloaders_save_path"])
def test_files_without_data_are_refused(
    config: MakeConfig, rich: Path, tmp_path: Path, key: str, content: bytes | None, says: str
) -> None:
    path = tmp_path / "data.pth"
    if content is not None:
        path.write_bytes(content)
    settings = config("SASRec", "rich", **{key: str(path)})
    with pytest.raises(DataError, match=rf"{key}: .*{says}") as error:
        data_preparation(settings, create_dataset(settings))
    assert str(path) in str(error.value)
