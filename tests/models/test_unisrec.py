"""UniSRec: its scores, its two settings, its rows, features on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_fmrlrec.errors import UsageError
from tests import toy
from tests.models.small import loss_and_gradients, parts_of

SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "inner_size": 16,
    "n_exps": 3,
    "MAX_ITEM_LIST_LENGTH": 10,
    "train_batch_size": 10_000,
}
Make = Callable[..., tuple[Any, Any]]


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Loaders and model of a small run; keys may be given."""
    monkeypatch.chdir(tmp_path)
    foreign = ("sizes", "dropout_prob", "input_dropout_prob")
    make = parts_of("UniSRec", SMALL, foreign, tmp_path)
    return lambda **keys: make(**keys)[1:]


@torch.no_grad()
@pytest.mark.parametrize("ids", [True, False], ids=["transductive", "inductive"])
def test_a_score_is_a_cosine_over_the_temperature(parts: Make, ids: bool) -> None:
    loaders, model = parts(use_id_embedding=ids)
    assert (model.id_embedding is not None) == ids
    model.eval()
    items = model.adaptor(model.features)
    if ids:
        items = items + model.id_embedding.weight
    rows = next(iter(loaders[1]))[0]
    hidden = model.forward(rows["item_id_list"], rows["item_length"])
    scores = model.full_sort_predict(rows)
    for user in (0, 5):
        cosines = torch.cosine_similarity(hidden[user][None], items[1:])
        torch.testing.assert_close(scores[user, 1:], cosines / 0.07)


@torch.no_grad()
def test_an_inductive_model_ranks_by_features_alone(parts: Make) -> None:
    loaders, model = parts(use_id_embedding=False)
    model.features[7] = model.features[3]
    model.eval()
    scores = model.full_sort_predict(next(iter(loaders[1]))[0])
    torch.testing.assert_close(scores[:, 7], scores[:, 3])


@pytest.mark.parametrize("ids", [True, False], ids=["transductive", "inductive"])
def test_an_item_without_features_does_not_drown_what_the_others_teach(
    parts: Make, ids: bool
) -> None:
    loaders, model = parts(use_id_embedding=ids)
    gradients = []
    for empty in (False, True):
        if empty:
            model.features[7] = 0
        loss_and_gradients(loaders, model)
        gradients.append(model.adaptor.shift.grad.norm())
        model.zero_grad()
    assert gradients[1] < 10 * gradients[0]


def test_windows_and_the_authors_prefix_rows_give_the_same_loss_and_gradient(parts: Make) -> None:
    # Every history fits one window, so both train the same targets from the same inputs.
    windows, prefixes = (
        loss_and_gradients(*parts(training_windows=rows)) for rows in ("overlap", "prefix")
    )
    torch.testing.assert_close(windows, prefixes, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("loss", ["CE", "sampled_uniform"])
def test_features_on_disk_give_the_same_loss_and_gradient(parts: Make, loss: str) -> None:
    keys = {"loss_type": loss, "num_sampled_items": toy.ITEMS}
    memory = loss_and_gradients(*parts(**keys))
    disk = loss_and_gradients(*parts(feature_memory_mb=0, feature_block_size=4, **keys))
    torch.testing.assert_close(memory, disk, rtol=1e-4, atol=1e-6)


def test_a_sampled_loss_with_every_item_as_candidate_is_the_exact_one(parts: Make) -> None:
    sampled = parts(loss_type="sampled_uniform", num_sampled_items=toy.ITEMS)
    exact = loss_and_gradients(*parts())
    torch.testing.assert_close(loss_and_gradients(*sampled), exact, rtol=1e-3, atol=1e-5)


def test_without_features_there_is_no_unisrec(parts: Make) -> None:
    with pytest.raises(UsageError, match="use_features: False: UniSRec makes item vectors from"):
        parts(use_features=False)
