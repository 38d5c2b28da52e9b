"""Tensors taken over row by row, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from recbole_fmrlrec.train.new_rows import FeatureStart
from recbole_fmrlrec.train.row_mapping import RowMapping
from recbole_fmrlrec.train.row_places import Axis, Misfit
from recbole_fmrlrec.train.vocabulary import Match, from_text, to_text

ITEMS = Match.of(["a", "b", "c"], ["c", "x", "a", "y"])  # b is gone, x and y are new
USERS = Match.of(["u", "v"], ["v", "u"])


PLACES = {
    "item.weight": [Axis(0, "items", 0)],
    "item_bias": [Axis(0, "items", -1)],
    "masked.weight": [Axis(0, "items", 1)],
    "layer": [Axis(1, "items", 0)],
    "user.weight": [Axis(0, "users", 0)],
    "codes": [Axis(0, "items", 0)],
    "both": [Axis(0, "several kinds together", 0)],
}


@pytest.fixture
def mapping() -> RowMapping:
    return RowMapping({"items": ITEMS, "users": USERS}, PLACES)


def rows(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def test_ids_are_matched_with_the_padding_first() -> None:
    assert ITEMS.rows.tolist() == [0, 3, -1, 1, -1]
    assert (ITEMS.kept, ITEMS.new, ITEMS.gone) == (2, 2, ["b"])
    assert ITEMS.shifted(-1).tolist() == [2, -1, 0, -1]
    assert ITEMS.shifted(1).tolist() == [0, 3, -1, 1, -1, 4]
    assert Match.of(["a", "b"], ["a", "b"]).is_same and not USERS.is_same
    words = {"items": ["a", "b c"], "users": ["u"]}
    assert from_text(to_text(words)) == words and from_text({"items": "a"}) is None


def test_rows_go_by_id_and_new_ones_get_the_mean(mapping: RowMapping) -> None:
    table = rows(0, 10, 20, 30)  # the padding, a, b, c
    assert mapping.take("item.weight", table, (5, 1), "mean").flatten().tolist() == [
        *(0, 30, 20, 10, 20),  # x and y: the mean of a and c
    ]
    assert mapping.take("item.weight", table, (5, 1), "zero").flatten().tolist() == [
        *(0, 30, 0, 10, 0),
    ]
    bias = torch.tensor([1.0, 2.0, 4.0])  # of a, b, c, without the padding
    assert mapping.take("item_bias", bias, (4,), "mean").tolist() == [4, 2.5, 1, 2.5]
    masked = rows(0, 10, 20, 30, 99)  # RecBole's mask token behind the items
    assert mapping.take("masked.weight", masked, (6, 1), "mean").flatten()[-1] == 99
    across = torch.tensor([[0.0, 1, 2, 3], [0, 4, 5, 6]])
    assert mapping.take("layer", across, (2, 5), "mean").tolist() == [
        [0, 3, 2, 1, 2],
        [0, 6, 5, 4, 5],
    ]
    assert mapping.take("user.weight", rows(0, 7, 8), (3, 1), "mean").flatten().tolist() == [
        *(0, 8, 7),
    ]


def test_what_belongs_to_no_id_stays_or_is_refused(mapping: RowMapping) -> None:
    weight = torch.arange(12.0).view(6, 2)
    kept = mapping.take("layer.weight", weight, (6, 2), "mean")
    assert torch.equal(kept, weight) and kept.data_ptr() != weight.data_ptr()
    with pytest.raises(Misfit, match="not a number of items"):
        mapping.take("layer.weight", weight, (7, 2), "mean")
    with pytest.raises(Misfit, match="made for the items of that training alone"):
        mapping.take("codes", torch.zeros(4, 2, dtype=torch.int32), (5, 2), "mean")
    with pytest.raises(Misfit, match="how its rows depend on several kinds together is not known"):
        mapping.take("both", rows(0, 1, 2), (3, 1), "mean")
    with pytest.raises(Misfit, match="not a number of items"):  # more rows than ids
        mapping.take("item.weight", rows(0, 1, 2, 3, 4), (5, 1), "mean")
    strangers = RowMapping({"items": Match.of(["a"], ["x", "y"])}, PLACES)
    with pytest.raises(Misfit, match="none of its items is among those here"):
        strangers.take("item.weight", rows(0, 1), (3, 1), "mean")


def test_a_layer_as_wide_as_there_are_items_is_none_of_them() -> None:
    """Where only the order changed, lengths do not tell a table of items from a layer."""
    turned = RowMapping({"items": Match.of(["a", "b", "c"], ["c", "b", "a"])}, PLACES)
    square = torch.arange(16.0).view(4, 4)
    assert torch.equal(turned.take("item.weight", square, (4, 4), "mean"), square[[0, 3, 2, 1]])
    assert torch.equal(turned.take("item_layer.weight", square, (4, 4), "mean"), square)
    output = rows(1, 2, 3)  # without the padding
    assert turned.take("item_bias", output, (3, 1), "mean").flatten().tolist() == [3, 2, 1]


class Model(torch.nn.Module):
    """A layer, and buffers of a kind that any model may have."""

    def __init__(self, numbers: list[int], seen: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.register_buffer("numbers", torch.tensor(numbers))
        self.register_buffer("seen", torch.tensor(seen))


def test_numbers_of_items_are_refused_wherever_they_stand() -> None:
    old = Model([1, 2], seen=5).state_dict()
    same = RowMapping({"items": Match.of(["a", "b"], ["a", "b"])})
    turned = RowMapping({"items": Match.of(["a", "b"], ["b", "a"])})
    assert same.take_all(Model([0, 0], seen=0), old)["numbers"].tolist() == [1, 2]
    taken = turned.take_all(Model([1, 2], seen=0), old)  # made anew, and the same as before
    assert taken["numbers"].tolist() == [1, 2] and taken["seen"] == 5
    with pytest.raises(Misfit, match="numbers cannot be taken over: made for the items of that"):
        turned.take_all(Model([0, 0], seen=0), old)


def circle(count: int) -> Tensor:
    """Features of items on a circle, row 0 the padding's."""
    angle = torch.arange(count + 1.0)
    matrix = torch.stack([angle.cos(), angle.sin()], dim=1)
    matrix[0] = 0
    return matrix


def test_new_vectors_are_those_that_features_predict() -> None:
    features, kept = circle(60), np.r_[0, np.arange(1, 51), np.full(10, -1)]
    values = features @ torch.tensor([[2.0, 0, 1], [0, -3, 1]]) + 5
    start = FeatureStart.of(features, kept)
    assert start is not None
    found, explained = start.predict(values)
    torch.testing.assert_close(found, values[51:], rtol=0, atol=1e-3)
    assert explained > 0.999


def test_features_that_say_nothing_give_the_mean() -> None:
    features, kept = circle(400), np.r_[0, np.arange(1, 391), np.full(10, -1)]
    values = torch.randn(401, 3, generator=torch.Generator().manual_seed(1))
    features[395] = 0  # an item without features
    start = FeatureStart.of(features, kept)
    assert start is not None
    found, explained = start.predict(values)
    mean = values[1:391].mean(0)
    assert (found - mean).abs().max() < 0.1 and explained < 0.02
    torch.testing.assert_close(found[4], mean)


def test_there_must_be_something_to_fit() -> None:
    features = circle(12)
    assert FeatureStart.of(None, np.r_[0, 1, -1]) is None
    assert FeatureStart.of(features, np.arange(13)) is None  # nothing is new
    assert FeatureStart.of(features, np.r_[0, np.arange(1, 6), np.full(7, -1)]) is None
    features[1:5] = 0  # of eleven kept items, seven have features
    assert FeatureStart.of(features, np.r_[np.arange(12), -1]) is None
