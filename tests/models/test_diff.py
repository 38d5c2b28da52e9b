"""DIFF in RecBole: what its item vectors are made of, and what its loss adds up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from recbole_fmrlrec import compat
from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.nn.diff import alignment_loss
from tests.data.test_side_information import write

compat.apply()

SMALL: dict[str, Any] = {
    "hidden_size": 4,
    "inner_size": 8,
    "MAX_ITEM_LIST_LENGTH": 5,
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "train_batch_size": 64,
    "use_gpu": False,
}
Make = Callable[..., tuple[Any, tuple[Any, Any, Any]]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A model and its loaders; keys may be given."""
    write(tmp_path)
    places = {"data_path": str(tmp_path), "checkpoint_dir": str(tmp_path / "saved")}

    def made(**keys: Any) -> tuple[Any, tuple[Any, Any, Any]]:
        config = Config("DIFF", "toy", config_dict={**SMALL, **places, **keys})
        loaders = data_preparation(config, create_dataset(config))
        torch.manual_seed(0)
        return config.model_class(config, loaders[0]._dataset), loaders

    return made


def test_impossible_shapes_are_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="n_layers must be 1 or more, got 0"):
        make(n_layers=0)
    with pytest.raises(UsageError, match=r"pooling_mode = 'sums'.* must be one of sum, mean, max"):
        make(pooling_mode="sums")


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_item_vectors_stand_beside_pooled_vectors_of_attributes(make: Make, pooling: str) -> None:
    model, loaders = make(pooling_mode=pooling)
    dataset, (categories, brand) = loaders[0]._dataset, model.attribute_embeddings
    row, table = int(dataset.token2id("item_id", "i0")), model.item_vectors()
    words = [dataset.token2id("categories", word) for word in ("home", "light")]
    both = categories.weight[words].sum(0) / (1 if pooling == "sum" else 2)
    acme = brand.weight[dataset.token2id("brand", "acme")]
    torch.testing.assert_close(
        table[row], torch.cat([model.item_embedding.weight[row], both, acme])
    )
    bare = int(dataset.token2id("item_id", "i3"))
    assert table[bare, :4].all() and not table[bare, 4:].any()
    ids = torch.tensor([bare, row, row])
    torch.testing.assert_close(model.item_vectors(ids), table[ids])


def test_the_loss_is_that_of_the_items_plus_the_weighted_alignment(make: Make) -> None:
    losses = []
    for weight in (0.0, 2.0):
        model, loaders = make(alignment_weight=weight)
        batch = next(iter(loaders[0]))
        losses.append(model.calculate_loss(batch))
    item_seq, lengths = batch["item_id_list"], batch["item_length"]
    assert item_seq.shape[1] == 5
    ids, *attributes = model._sequences(model.item_vectors(), item_seq, lengths)
    assert not torch.stack(attributes)[:, item_seq == 0].any()
    kinds = model.kinds[item_seq]
    same = (kinds[:, :, None] == kinds[:, None]) & (kinds[:, None] > 0)
    assert same.any() and not same.all()
    units = [functional.normalize(x, dim=2) for x in (ids, attributes[0] + attributes[1])]
    aligned = alignment_loss(*units, same, lengths, 0.1)
    torch.testing.assert_close(losses[1] - losses[0], 2 * aligned)


@pytest.mark.parametrize("loss", ["sampled_uniform", "sampled_in_batch"])
def test_a_sampled_loss_is_aligned_too(make: Make, loss: str) -> None:
    losses = []
    for weight in (0.0, 2.0):
        model, loaders = make(loss_type=loss, num_sampled_items=3, alignment_weight=weight)
        batch = next(iter(loaders[0]))
        torch.manual_seed(1)
        losses.append(model.calculate_loss(batch).item())
    assert losses[1] > losses[0] + 0.1


@pytest.mark.parametrize("features", ["auto", []])
def test_scores_do_not_depend_on_the_width_of_the_rows_and_agree(make: Make, features: Any) -> None:
    model, loaders = make(selected_features=features)
    model.eval()
    rows, _, _, targets = next(iter(loaders[2]))
    narrow = rows.to("cpu")
    narrow["item_id_list"] = rows["item_id_list"][:, : int(rows["item_length"].max())]
    assert narrow["item_id_list"].shape[1] < rows["item_id_list"].shape[1] == 5
    with torch.no_grad():
        scores = model.full_sort_predict(rows)
        torch.testing.assert_close(model.full_sort_predict(narrow), scores)
        alone = model.predict(rows)
    torch.testing.assert_close(alone, scores.gather(1, targets[:, None]).squeeze(1))
    assert not scores[:, 0].any()
