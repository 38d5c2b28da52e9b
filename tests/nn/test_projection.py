"""Features on disk: the same rows, projections and gradients as in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_tools.features import align_features, read_features, write_features
from recbole_fmrlrec.data.mapped_features import MappedFeatures, MappedModality
from recbole_fmrlrec.nn.projection import (
    BLOCK_BYTES,
    block_rows,
    project,
    project_reference,
    split_table,
    split_table_reference,
)
from tests.models.test_fmrlrec import parts  # noqa: F401
from tests.toy import ITEMS


@dataclass
class Shuffled:
    """Rows of a matrix, read in an order of their own."""

    matrix: torch.Tensor
    order: torch.Tensor
    block_size: int | None

    @property
    def shape(self):
        return tuple(self.matrix.shape)

    def rows(self, ids):
        assert self.block_size is None or len(ids) <= self.block_size
        return self.matrix[ids]


@given(
    items=st.integers(1, 20),
    width=st.integers(1, 6),
    out=st.integers(1, 5),
    block=st.none() | st.integers(1, 7),
    chosen=st.none() | st.integers(1, 12),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_equals_the_linear_layer_in_value_and_gradient(items, width, out, block, chosen, seed):
    torch.manual_seed(seed)
    matrix = torch.randn(items, width, dtype=torch.float64)
    features = Shuffled(matrix, torch.randperm(items), block)
    ids = None if chosen is None else torch.randint(items, (chosen,))
    every = torch.arange(items) if ids is None else ids
    weight, bias = torch.randn(out, width).double(), torch.randn(out).double()
    results = []
    for function, source, wanted in ((project, features, ids), (project_reference, matrix, every)):
        w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        table = function(source, w, b, wanted)
        (table * torch.arange(table.numel()).view_as(table)).sum().backward()
        results.append((table, w.grad, b.grad))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)


@given(items=st.integers(1, 9), read=st.integers(0, 12), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_splitting_a_table_equals_two_lookups_in_value_and_gradient(items, read, seed):
    torch.manual_seed(seed)
    matrix, ids = torch.randn(items + 1, 3).double(), torch.randint(items + 1, (read,))
    results = []
    for function in (split_table, split_table_reference):
        table = matrix.clone().requires_grad_()
        rows, rest = function(table, ids)
        (rows.square().sum() + rest.pow(3).sum()).backward()
        results.append((rows, rest, table.grad))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)


def test_a_block_is_bounded_whatever_the_width():
    assert block_rows(1024) * 1024 * 4 == BLOCK_BYTES
    assert block_rows(10**9) == 1


def test_low_precision_projection_is_that_of_the_linear_layer():
    torch.manual_seed(0)
    features = Shuffled(torch.randn(9, 6), torch.randperm(9), 4)
    weight, bias = torch.randn(5, 6, requires_grad=True), torch.randn(5, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        table = project(features, weight, bias)
        plain = project_reference(features.matrix, weight, bias, torch.arange(9))
    assert table.dtype == plain.dtype == torch.bfloat16
    torch.testing.assert_close(table, plain)
    table.float().sum().backward()
    assert weight.grad.dtype == torch.float32


def test_rows_of_items_with_and_without_features():
    matrix = np.array([[3, 4], [0, 0], [0, 2]], dtype=np.float16)
    part = MappedModality.open(matrix, np.array([2, -1, 0, 1]))
    other = MappedModality.open(matrix[:, :1], np.array([0, 0, -1, 1]))
    features = MappedFeatures([part, other], scale=10)
    assert features.shape == (5, 3)
    assert features.rows(torch.tensor([3, 0, 1, 2, 4])).tolist() == [
        [6, 8, 0],
        [0, 0, 0],
        [0, 10, 10],
        [0, 0, 10],
        [0, 0, 0],
    ]
    assert features.order.tolist() == [0, 2, 3, 4, 1]


@pytest.fixture
def two_modalities(tmp_path):
    """Features of the toy items: two modalities, one of which lacks an item."""
    random = np.random.default_rng(0)
    tokens = [f"i{item}" for item in reversed(range(ITEMS))]
    folder = tmp_path / "features"
    for name, width in (("text", 6), ("image", 3)):
        empty = ["i4"] if name == "image" else []
        matrix = random.standard_normal((ITEMS, width))
        write_features(folder, name, matrix, tokens, {"empty_items": empty})
    return folder


def unit_rows(folder, tokens):
    """Aligned rows of length 1, side by side."""
    columns = []
    for name in ("text", "image"):
        rows, _ = align_features(read_features(folder, name), tokens)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        columns.append(rows / np.where(norms > 0, norms, np.float32(1)))
    return np.concatenate(columns, axis=1)


@pytest.mark.parametrize("model", ["fMRLRec", "fMRLRecID"])
@pytest.mark.parametrize("loss", ["CE", "sampled_uniform"])
def test_a_model_is_the_same_with_its_features_on_disk(parts, two_modalities, model, loss):  # noqa: F811
    keys = {"feature_path": str(two_modalities), "feature_scale": 3.0, "loss_type": loss}
    keys |= {"feature_block_size": 4, "num_sampled_items": 5}
    found = []
    for megabytes in (0, 1):
        _, loaders, made = parts(model, feature_memory_mb=megabytes, **keys)
        torch.manual_seed(1)
        value = made.calculate_loss(next(iter(loaders[0])))
        value.backward()
        found.append((value, [p.grad for p in made.parameters()], made.item_table(), made))
    disk, memory = (made for *_, made in found)
    assert isinstance(disk.features, MappedFeatures) and isinstance(memory.features, torch.Tensor)
    assert torch.equal(disk.features.rows(torch.arange(ITEMS + 1)), memory.features)
    expected = unit_rows(two_modalities, loaders[0]._dataset.field2id_token["item_id"][1:])
    assert torch.equal(memory.features[1:], 3 * torch.from_numpy(expected))
    assert disk.feature_info == memory.feature_info
    assert disk.feature_info["missing"] == {"text": 0, "image": 1}
    for ours, plain in zip(*(row[:3] for row in found), strict=True):
        torch.testing.assert_close(ours, plain)
