"""The nested layers against plain masked ones, and the nesting itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_fmrlrec.nn import linear as layers
from recbole_fmrlrec.nn.linear import (
    MatryoshkaFeedForward,
    MatryoshkaLayerNorm,
    MatryoshkaLinear,
    check_sizes,
    chunk_bounds,
    matryoshka_linear_reference,
    nested_mask,
)

nested_sizes = st.lists(st.integers(1, 24), min_size=1, max_size=4, unique=True).map(sorted)
copies = st.sampled_from([(1, 1), (2, 1), (1, 2)])


@pytest.fixture(params=[1, 8, 128], ids=lambda width: f"merged-to-{width}")
def merged_width(request, monkeypatch):
    """Small layers are one merged block; a low limit makes them many, as large ones are."""
    monkeypatch.setattr(layers, "MERGED_WIDTH", request.param)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([], "whole numbers"),
        ([0, 4], "whole numbers"),
        ([4.0], "whole numbers"),
        ([True, 4], "whole numbers"),
        ([4, 4], "strictly ascending"),
        ([8, 4], "strictly ascending"),
    ],
)
def test_bad_sizes_are_refused(sizes, said):
    with pytest.raises(ValueError, match=said):
        check_sizes(sizes)


def test_chunks_and_mask_by_hand():
    assert chunk_bounds([1, 3]) == [(0, 1), (1, 3)]
    assert nested_mask([1, 3]).int().tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 1]]
    assert nested_mask([1, 2], out_copies=2).int().tolist() == [[1, 0], [1, 0], [1, 1], [1, 1]]
    assert nested_mask([1, 2], in_copies=2).int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


@given(sizes=nested_sizes, copy=copies, rows=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("merged", [1, 8, 128])
def test_linear_equals_the_masked_full_product(merged, sizes, copy, rows, seed):
    torch.manual_seed(seed)
    out_copies, in_copies = copy
    before, layers.MERGED_WIDTH = layers.MERGED_WIDTH, merged
    try:
        layer = MatryoshkaLinear(sizes, out_copies, in_copies).double()
    finally:
        layers.MERGED_WIDTH = before
    weight, bias = layer.full_weight().detach().requires_grad_(), layer.bias.detach().clone()
    bias.requires_grad_()
    x = torch.randn(rows, in_copies * sizes[-1], dtype=torch.float64, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    probe = torch.randn(rows, out_copies * sizes[-1], dtype=torch.float64)

    ours = layer(x)
    plain = matryoshka_linear_reference(other, weight, bias, sizes, out_copies, in_copies)
    (ours * probe).sum().backward()
    (plain * probe).sum().backward()

    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(x.grad, other.grad)
    torch.testing.assert_close(layer.bias.grad, bias.grad)
    width = layer.weights[-1].shape[1]
    padded = [
        torch.nn.functional.pad(block.grad, (0, width - block.shape[1])) for block in layer.weights
    ]
    torch.testing.assert_close(torch.cat(padded), weight.grad)


@pytest.mark.usefixtures("merged_width")
def test_linear_passes_gradcheck_and_keeps_its_zeros():
    torch.manual_seed(0)
    layer = MatryoshkaLinear([2, 5, 12]).double()
    x = torch.randn(3, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        optimizer.step()
    outside = layer.full_weight()[~nested_mask([2, 5, 12])]
    assert torch.count_nonzero(outside) == 0


@pytest.mark.usefixtures("merged_width")
def test_linear_counts_its_parameters_without_zeros():
    layer = MatryoshkaLinear([2, 5, 12])
    held = sum(parameter.numel() for parameter in layer.parameters())
    assert held - layer.zero_count() == 2 * 2 + 3 * 5 + 7 * 12 + 12


def test_linear_in_bfloat16_errs_no_more_than_the_ordinary_product():
    torch.manual_seed(0)
    sizes = [64, 128, 256]
    layer = MatryoshkaLinear(sizes)
    x = torch.randn(50, 256)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        ours = layer(x)
        plain = torch.nn.functional.linear(x, layer.full_weight(), layer.bias)
    assert ours.dtype == torch.bfloat16
    ours_error = (ours.float() - exact).abs().max()
    plain_error = (plain.float() - exact).abs().max()
    assert ours_error <= 1.5 * plain_error


@given(sizes=nested_sizes, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_layer_norm_normalises_each_chunk_by_itself(sizes, seed):
    torch.manual_seed(seed)
    norm = MatryoshkaLayerNorm(sizes)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(4, sizes[-1])
    out = norm(x)
    for start, end in chunk_bounds(sizes):
        part = x[:, start:end]
        spread = (part.var(1, unbiased=False, keepdim=True) + norm.eps).sqrt()
        unit = (part - part.mean(1, keepdim=True)) / spread
        expected = unit * norm.weight[start:end] + norm.bias[start:end]
        torch.testing.assert_close(out[:, start:end], expected, rtol=1e-4, atol=1e-5)


def test_feed_forward_is_gated_by_its_gate():
    feed = MatryoshkaFeedForward([2, 4], dropout=0.0)
    x = torch.randn(3, 4)
    gate = x @ feed.gate.full_weight().T + feed.gate.bias
    up = x @ feed.up.full_weight().T + feed.up.bias
    hidden = gate * torch.sigmoid(gate) * up
    expected = hidden @ feed.down.full_weight().T + feed.down.bias
    torch.testing.assert_close(feed(x), expected)
