"""BERT4Rec's mends: the masks' loss, whole histories in training and in ranking."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_fmrlrec import compat
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from tests.conftest import MakeConfig, as_shipped, write_inter
from tests.data.test_loaders import UNIFORM

compat.apply()

MASK = 8  # behind the items 1..7
SMALL = {
    "hidden_size": 8,
    "inner_size": 8,
    "n_layers": 1,
    "mask_ratio": 0.5,
    "MAX_ITEM_LIST_LENGTH": 4,
}


@pytest.fixture
def prepared(config: MakeConfig, tmp_path: Path) -> Any:
    """Makes a model in evaluation mode, with large weights, and its loaders: 6 users, 7 items."""
    write_inter(tmp_path, [(f"u{u}", f"i{(u + n) % 7}", n) for u in range(6) for n in range(3 + u)])

    def prepare(**keys: Any) -> Any:
        settings = config("BERT4Rec", **{**SMALL, **keys})
        loaders = data_preparation(settings, create_dataset(settings))
        torch.manual_seed(3)
        model = settings.model_class(settings, loaders[0]._dataset).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return model, loaders

    return prepare


def masked(rows: list[list[int]], index: list[list[int]], items: list[list[int]]) -> Interaction:
    """A batch with masks at ``index`` (0 where there is none) that stand for ``items``."""
    columns = {
        "Mask_item_id_list": rows,
        "MASK_INDEX": index,
        "Pos_item_id": items,
        "Neg_item_id": [[item % 7 + 1 for item in row] for row in items],
    }
    return Interaction({name: torch.tensor(values) for name, values in columns.items()})


@pytest.mark.parametrize("loss", ["CE", "BPR"])
def test_the_loss_is_recboles(prepared: Any, loss: str) -> None:
    keys = {"train_neg_sample_args": UNIFORM} if loss == "BPR" else {}
    model, _ = prepared(loss_type=loss, **keys)
    batch = masked(
        [[1, MASK, 3, MASK], [2, 5, MASK, 0], [4, 6, 0, 0]], [[1, 3], [0, 2], [0, 0]],
        [[2, 7], [0, 1], [0, 0]],
    )  # fmt: skip
    found = []
    for calculate_loss in (type(model).calculate_loss, type(model).calculate_loss.__wrapped__):
        model.zero_grad()
        value = calculate_loss(model, batch)
        value.backward()
        gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
        found.append((value.detach(), gradients))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
    assert found[0][1]["output_bias"].abs().max() > 0.01


def test_a_batch_without_a_mask_has_no_loss(prepared: Any) -> None:
    model, _ = prepared()
    batch = masked([[1, 2, 0, 0]], [[0, 0]], [[0, 0]])
    assert type(model).calculate_loss.__wrapped__(model, batch).isnan()  # the fault
    loss = model.calculate_loss(batch)
    loss.backward()
    assert loss == 0
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


def test_a_mask_at_the_first_place_counts(prepared: Any) -> None:
    model, _ = prepared()
    batch = masked([[MASK, 2, 0, 0], [3, MASK, 0, 0]], [[0, 0], [0, 1]], [[0, 5], [0, 4]])
    output = model(batch["Mask_item_id_list"])
    logits = output @ model.item_embedding.weight[:MASK].t() + model.output_bias
    by_hand = -(logits.log_softmax(2)[0, 0, 5] + logits.log_softmax(2)[1, 1, 4]) / 2
    torch.testing.assert_close(model.calculate_loss(batch), by_hand)
    shipped = type(model).calculate_loss.__wrapped__(model, batch)
    torch.testing.assert_close(shipped, -logits.log_softmax(2)[1, 1, 4])  # the fault


def rows_of(loader: Any) -> list[list[list[int]]]:
    """Of each row: its masked list, the items behind its masks, its list and its target."""
    names, batches = ("Mask_item_id_list", "Pos_item_id", "item_id_list"), list(loader)
    batch = Interaction({k: torch.cat([b[k] for b in batches]) for k in (*names, "item_id")})
    lists = [[[i for i in row if i] for row in batch[name].tolist()] for name in names]
    return [[*row] for row in zip(*lists, batch["item_id"][:, None].tolist(), strict=True)]


def test_the_target_is_what_the_last_mask_stands_for(prepared: Any) -> None:
    _, (train, *_) = prepared(ft_ratio=1.0)
    rows = rows_of(train)
    assert len(rows) == len(train._dataset) and {len(before) for _, _, before, _ in rows} == {
        1,
        2,
        3,
        4,
    }
    for list_, behind, before, target in rows:
        assert list_ == [*before, MASK][-4:] and behind == target
        assert len(list_) == min(len(before) + 1, 4)


def test_masks_are_drawn_from_whole_histories(prepared: Any) -> None:
    random.seed(1)
    _, (train, *_) = prepared(ft_ratio=0.0, mask_ratio=1.0)
    for list_, behind, before, target in rows_of(train):
        assert behind == [*before, *target][-4:] and list_ == [MASK] * len(behind)


def test_recbole_masks_no_target(prepared: Any) -> None:
    _, (train, *_) = prepared()
    shipped = as_shipped("recbole.data.transform").MaskItemSequence(train.config)
    shipped.ft_ratio = 1.0
    batch = shipped(train._dataset, train._dataset[torch.arange(len(train._dataset))])
    last = batch["item_id_list"].gather(1, batch["item_length"][:, None] - 1)
    assert torch.equal(batch["Pos_item_id"][:, -1:], last)


@pytest.mark.parametrize("trim", [False, True])
def test_histories_are_ranked_whole(prepared: Any, trim: bool) -> None:
    model, (_, _, test) = prepared(trim_batches=trim)
    batch = next(iter(test))[0]
    assert set(batch["item_length"].tolist()) == {2, 3, 4}
    lists = [[i for i in row if i] for row in batch["item_id_list"].tolist()]
    weight = model.item_embedding.weight[:MASK]
    with torch.no_grad():
        scores, predicted = model.full_sort_predict(batch), model.predict(batch)
        for row, list_ in enumerate(lists):
            read = [*list_, MASK][-4:]
            output = model(torch.tensor([read]))[0, -1]
            by_hand = weight @ output + model.output_bias
            torch.testing.assert_close(scores[row], by_hand, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(predicted[row], by_hand[batch["item_id"][row]])
        shipped = type(model).full_sort_predict.__wrapped__(model, batch)
    same = [torch.allclose(a, b, atol=1e-4) for a, b in zip(shipped, scores, strict=True)]
    assert same == [len(list_) == 4 for list_ in lists]  # the fault


def test_it_learns_an_order_that_popularity_cannot(config: MakeConfig, tmp_path: Path) -> None:
    random.seed(1)
    write_inter(tmp_path, [(f"u{u}", f"i{(u + n) % 12}", n) for u in range(48) for n in range(9)])
    keys = {**SMALL, "hidden_size": 16, "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
    settings = config("BERT4Rec", **keys, trim_batches=True)
    train, _, test = data_preparation(settings, create_dataset(settings))
    torch.manual_seed(1)
    model = settings.model_class(settings, train._dataset)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        for batch in train:
            optimizer.zero_grad()
            model.calculate_loss(batch).backward()
            optimizer.step()
    batch = next(iter(test))[0]
    with torch.no_grad():
        found = model.eval().full_sort_predict(batch)[:, 1:].argmax(1) + 1
    assert (found == batch["item_id"]).float().mean() > 0.9


def test_it_is_mended_once_and_only_when_it_is_imported() -> None:
    script = """
import sys
from recbole_fmrlrec import compat
from recbole_fmrlrec.compat import bert4rec
compat.apply()
assert "recbole.model.sequential_recommender.bert4rec" not in sys.modules
bert4rec.masks_alone_are_ranked()
bert4rec.oldest_item_is_read()
from recbole.model.sequential_recommender import BERT4Rec
names = ("calculate_loss", "predict", "full_sort_predict")
mended = [getattr(BERT4Rec, name) for name in names]
bert4rec.masks_alone_are_ranked()
bert4rec.oldest_item_is_read()
assert mended == [getattr(BERT4Rec, name) for name in names]
assert not any(hasattr(one.__wrapped__, "__wrapped__") for one in mended)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
