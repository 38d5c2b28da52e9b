"""For engineers who want parts: weights taken over, vectors of items and of histories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_fmrlrec import run
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.checkpoint import load_checkpoint
from recbole_fmrlrec.runs.result import RunResult
from recbole_fmrlrec.train.open_run import TrainedRun, open_run
from tests import toy


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    toy.write_toy(folder)
    return folder


def train(root: Path, model: str = "fMRLRecID", **more: Any) -> RunResult:
    small = toy.SMALL if model.startswith("fMRLRec") else {}
    keys = {**small, "data_path": str(root), "checkpoint_dir": str(root / "saved")}
    return run(model, "toy", config_dict={**keys, "use_gpu": False, "num_threads": 1, **more})


@pytest.fixture(scope="module")
def trained(root: Path) -> RunResult:
    return train(root, epochs=2)


@pytest.fixture(scope="module")
def opened(trained: RunResult) -> TrainedRun:
    return open_run(trained.run_dir)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_products_of_vectors_are_the_scores(opened: TrainedRun, size: int) -> None:
    history = opened.item_ids[:3]
    user = opened.user_vector(history, size)
    items = opened.item_vectors(size=size)
    assert user.shape == (size,) and items.shape == (len(opened.item_ids), size)
    rows = torch.tensor([[1, 2, 3]])
    fields = {opened.model.ITEM_SEQ: rows, opened.model.ITEM_SEQ_LEN: torch.tensor([3])}
    opened.model.size = size
    scores = opened.model.full_sort_predict(fields)[0, 1:]
    products = items @ user
    products[:3] += opened.history_bias(size)  # the items of the history
    torch.testing.assert_close(products, scores)
    some = opened.item_vectors([opened.item_ids[4], opened.item_ids[0]], size)
    torch.testing.assert_close(some, items[[4, 0]])


@pytest.mark.parametrize("model", ["SASRecM", "LRURec"])
def test_products_of_vectors_of_models_without_sizes(root: Path, model: str) -> None:
    opened = open_run(train(root, model, epochs=1).run_dir)
    user, items = opened.user_vector(opened.item_ids[:3]), opened.item_vectors()
    fields = {opened.model.ITEM_SEQ: torch.tensor([[1, 2, 3]])}
    fields[opened.model.ITEM_SEQ_LEN] = torch.tensor([3])
    torch.testing.assert_close(items @ user, opened.model.full_sort_predict(fields)[0, 1:])
    some = opened.item_vectors([opened.item_ids[4], opened.item_ids[0]])
    torch.testing.assert_close(some, items[[4, 0]])
    with pytest.raises(UsageError, match="size = 8: the model has one size; leave it out"):
        opened.item_vectors(size=8)


def test_wrong_parts(opened: TrainedRun, root: Path) -> None:
    with pytest.raises(UsageError, match=r"size = 3: the model has the sizes \[2, 4, 8\]"):
        opened.item_vectors(size=3)
    with pytest.raises(UsageError, match="unknown item 'nobody'"):
        opened.user_vector(["nobody"])
    with pytest.raises(UsageError, match="history: empty"):
        opened.user_vector([])
    popular = open_run(train(root, "Pop", epochs=1).run_dir)
    with pytest.raises(UsageError, match="Pop: only fMRLRec"):
        popular.item_vectors()


def test_weights_are_taken_over_as_far_as_they_fit(
    root: Path, trained: RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = trained.run_dir / "best.pth"
    again = train(root, epochs=1, learning_rate=1e-12, init_from=str(checkpoint))
    before = load_checkpoint(checkpoint)["state_dict"]
    after = load_checkpoint(again.run_dir / "best.pth")["state_dict"]
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-9)
    shown = capsys.readouterr().err
    assert f"init_from: {len(before)} of {len(before)} tensors taken from {checkpoint}" in shown
    train(root, epochs=1, init_from=str(checkpoint), num_blocks=2)
    shown = capsys.readouterr().err
    assert f"init_from: {len(before)} of " in shown and "network.blocks.1." in shown


def test_what_cannot_be_taken_over_is_refused(root: Path, trained: RunResult) -> None:
    with pytest.raises(UsageError, match="init_from: there is no checkpoint"):
        train(root, epochs=1, init_from="none.pth")
    with pytest.raises(UsageError, match=r"init_from: nothing in .* fits BPR"):
        train(root, "BPR", epochs=1, init_from=str(trained.run_dir / "best.pth"))
