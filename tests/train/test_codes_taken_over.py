"""VQRec's codes and their vectors, where a training begins with those of another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataset_tools.features import write_features
from recbole_fmrlrec import run
from recbole_fmrlrec.files.checkpoint import load_checkpoint, save_checkpoint
from recbole_fmrlrec.runs.result import RunResult
from tests import toy

SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "inner_size": 16,
    "n_heads": 2,
    "code_dim": 3,
    "code_cap": 8,
    "MAX_ITEM_LIST_LENGTH": 6,
    "train_batch_size": 64,
    "modalities": ["text"],
}
BOTH = {"item_codes", "vectors.weight"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two datasets with features of the same shapes."""
    pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    items = [f"i{number}" for number in range(toy.ITEMS)]
    for seed, name in enumerate(("toy", "other")):
        folder = toy.write_toy(tmp_path, name) / "features"
        draw = np.random.default_rng(seed)
        for modality in ("text", "image"):
            matrix = draw.standard_normal((toy.ITEMS, 12))
            write_features(folder, modality, matrix, items, {"encoder": "drawn", "revision": "1"})
    return tmp_path


def train(root: Path, dataset: str = "toy", **keys: Any) -> RunResult:
    own = ("data_path", "checkpoint_dir", "use_gpu", "topk", "metrics")
    base = {key: value for key, value in toy.settings(root).items() if key in own}
    return run(
        "VQRec", dataset, config_dict={**base, "epochs": 1, "num_threads": 1, **SMALL, **keys}
    )


def tensors(result: RunResult) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_checkpoint(result.run_dir / "best.pth")["state_dict"]
    return found


def begin(root: Path, file: Path, dataset: str = "toy", **keys: Any) -> dict[str, torch.Tensor]:
    """The tensors of a training that hardly moves the weights that it begins with."""
    return tensors(train(root, dataset, init_from=str(file), learning_rate=1e-9, **keys))


def same(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The tensors that were taken over."""
    return {
        name
        for name, one in before.items()
        if one.shape == after[name].shape and torch.allclose(one, after[name], rtol=0, atol=1e-6)
    }


def test_codes_of_the_same_features_come_with_their_vectors(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = train(root)
    before = tensors(trained)
    assert same(before, begin(root, trained.run_dir / "best.pth")) == {*before}
    assert f"init_from: {len(before)} of {len(before)} tensors taken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dataset", "keys"),
    [
        ("toy", {"modalities": ["image"]}),
        ("toy", {"code_cap": 4}),
        ("toy", {"code_cap": 16}),
        ("other", {}),
    ],
)
def test_other_codes_are_made_anew_and_their_vectors_too(
    root: Path, capsys: pytest.CaptureFixture[str], dataset: str, keys: dict[str, Any]
) -> None:
    trained = train(root)
    before = tensors(trained)
    after = begin(root, trained.run_dir / "best.pth", dataset, **keys)
    assert same(before, after) == before.keys() - BOTH
    codes = tensors(train(root, dataset, **keys))["item_codes"]
    assert torch.equal(after["item_codes"], codes)
    assert "item_codes (of other codes)" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_version_does_not_say_what_its_codes_are_of(root: Path) -> None:
    trained = train(root)
    state = load_checkpoint(trained.run_dir / "best.pth")
    del state["format"], state["features"]["codes"]
    save_checkpoint(root / "old.pth", state)
    before = tensors(trained)
    taken = same(before, begin(root, root / "old.pth"))
    assert taken == before.keys() - {"vectors.weight"}  # the codes are the same, made anew
