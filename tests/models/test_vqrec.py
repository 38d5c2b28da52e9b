"""VQRec: its codes in vectors and scores, in the state, and without faiss."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_fmrlrec.data.item_codes import product_codes
from recbole_fmrlrec.errors import UsageError
from tests import toy
from tests.models.small import loss_and_gradients, parts_of

SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "inner_size": 16,
    "code_dim": 3,
    "code_cap": 8,
    "MAX_ITEM_LIST_LENGTH": 10,
    "train_batch_size": 10_000,
}
Make = Callable[..., tuple[Any, Any]]


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Loaders and model of a small run; keys may be given."""
    pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    monkeypatch.chdir(tmp_path)
    foreign = ("sizes", "dropout_prob", "input_dropout_prob")
    make = parts_of("VQRec", SMALL, foreign, tmp_path)
    return lambda **keys: make(**keys)[1:]


@torch.no_grad()
def test_an_item_is_the_mean_of_the_vectors_of_its_codes(parts: Make) -> None:
    loaders, model = parts()
    model.eval()
    found = model.item_vectors()
    trained = sorted(
        {*loaders[0]._dataset.inter_feat["item_id_list"].flatten().tolist()} - {0}
        | {*loaders[0]._dataset.inter_feat["target_id_list"].flatten().tolist()} - {0}
    )
    codes = product_codes(model.features, torch.tensor(trained), 3, 8)
    tables = model.vectors.weight[1:].view(3, 8, 8)
    for item in range(1, toy.ITEMS + 1):
        expected = sum(tables[part, codes[item, part]] for part in range(3)) / 3
        torch.testing.assert_close(found[item], expected)
    assert not found[0].any()
    rows = next(iter(loaders[1]))[0]
    hidden = model.forward(rows["item_id_list"], rows["item_length"])
    cosines = torch.cosine_similarity(hidden[:1], found[1:])
    torch.testing.assert_close(model.full_sort_predict(rows)[0, 1:], cosines / 0.07)


def test_items_of_the_test_alone_do_not_shape_the_codes(parts: Make) -> None:
    loaders, model = parts()
    rows = loaders[0]._dataset.inter_feat
    seen = {*rows["item_id_list"].flatten().tolist(), *rows["target_id_list"].flatten().tolist()}
    assert model._trained.tolist() == sorted(seen - {0})


@torch.no_grad()
def test_a_loaded_state_needs_no_faiss(parts: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    loaders, model = parts()
    rows = next(iter(loaders[1]))[0]
    before = model.eval().full_sort_predict(rows)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert state["item_codes"].shape == (toy.ITEMS + 1, 3)
    monkeypatch.setitem(sys.modules, "faiss", None)
    for file in model._codes_folder.glob("*.npy"):
        file.unlink()
    _, other = parts()
    other.load_state_dict(state)
    assert torch.equal(other.eval().full_sort_predict(rows), before)


def test_without_faiss_a_training_says_what_to_install(
    parts: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaders, model = parts()
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UsageError, match=r'by faiss: .* not installed: pip install ".*\[faiss\]"'):
        model.calculate_loss(next(iter(loaders[0])))


def test_windows_and_the_authors_prefix_rows_give_the_same_loss_and_gradient(parts: Make) -> None:
    windows, prefixes = (
        loss_and_gradients(*parts(training_windows=rows)) for rows in ("overlap", "prefix")
    )
    torch.testing.assert_close(windows, prefixes, rtol=1e-3, atol=1e-5)


def test_without_features_there_are_no_codes(parts: Make) -> None:
    with pytest.raises(UsageError, match="use_features: False: VQRec makes item vectors from"):
        parts(use_features=False)


def test_a_number_of_centroids_is_a_power_of_two(parts: Make) -> None:
    with pytest.raises(UsageError, match="code_cap must be one of 2, 4, 8, 16, 32"):
        parts(code_cap=100)
