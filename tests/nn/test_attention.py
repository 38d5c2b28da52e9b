"""Attention in groups of like length against plain attention, sequence by sequence."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_fmrlrec.nn.attention import (
    SHORT,
    LengthGroups,
    SASRecEncoder,
    causal_attention,
    causal_attention_reference,
)
from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.nn.packing import Packing

lengths_of = st.lists(st.integers(1, 20), min_size=1, max_size=9)


def in_turn(packing: Packing, lengths: list[int], width: int) -> torch.Tensor:
    """Packed positions ``(T,)`` of one sequence after another."""
    places = torch.full((len(lengths) * width,), -1)
    places[packing.index] = torch.arange(len(packing.index))
    return places[places >= 0]


@given(lengths=lengths_of, seed=st.integers(0, 99))
def test_attention_equals_the_definition_in_value_and_gradient(
    lengths: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    packing = Packing.from_lengths(torch.tensor(lengths), max(lengths))
    order, groups = in_turn(packing, lengths, max(lengths)), LengthGroups.of(packing)
    qkv, probe = torch.randn(sum(lengths), 12).double(), torch.randn(sum(lengths), 4).double()
    never = Dropout(1e-9)  # the way that a CPU takes with dropout
    results = []
    for way in ("sdpa", "own", "plain"):
        x = qkv.clone().requires_grad_()
        if way == "plain":
            out = torch.zeros(len(x), 4).double()
            out = out.index_copy(0, order, causal_attention_reference(x[order], 2, lengths))
        else:
            out = causal_attention(x, 2, groups, never if way == "own" else None)
        (out * probe).sum().backward()
        results.append((out.detach(), x.grad))
    torch.testing.assert_close(results[0], results[2])
    torch.testing.assert_close(results[1], results[2])


@given(lengths=lengths_of)
def test_groups_of_longer_sequences_pad_to_at_most_twice_the_positions(lengths: list[int]) -> None:
    packing = Packing.from_lengths(torch.tensor(lengths), max(lengths))
    groups = LengthGroups.of(packing)
    padded = groups.pad(torch.arange(sum(lengths)))
    assert groups.pack(padded).tolist() == list(range(sum(lengths)))
    assert sum(number for number, _ in groups.shapes) == len(lengths)
    assert len(padded) == sum(number * length for number, length in groups.shapes)
    assert len(padded) < 2 * sum(lengths) + SHORT * sum(length <= SHORT for length in lengths)


def test_groups_by_hand() -> None:
    # Packed: step 0 of sequences of 20, 9, 2 and 1 items, step 1 of three, steps 2 to 8 of two ...
    packing = Packing.from_lengths(torch.tensor([2, 20, 1, 9]), 20)
    groups = LengthGroups.of(packing)
    assert groups.shapes == [(1, 20), (1, 9), (2, 2)]
    second = [1, 5, *range(8, 21, 2)]
    assert groups.sources[20:29].tolist() == second
    assert groups.sources[29:].tolist() == [2, 6, 3, 6]  # the last one has no second position
    assert groups.places[[2, 6, 3]].tolist() == [29, 30, 31]


def test_attention_by_hand() -> None:
    # One sequence of two positions; the second one's scores are 1 and ln 3 + 1: weights 1/4, 3/4.
    q, k, v = [[5.0], [1.0]], [[1.0], [math.log(3) + 1]], [[8.0], [4.0]]
    qkv = torch.cat([torch.tensor(part) for part in (q, k, v)], dim=1)
    groups = LengthGroups.of(Packing.from_lengths(torch.tensor([2]), 2))
    assert causal_attention(qkv, 1, groups).flatten().tolist() == pytest.approx([8.0, 5.0])


def test_attention_weights_are_dropped_at_the_rate() -> None:
    torch.manual_seed(0)
    qkv = torch.zeros(4000, 3)
    qkv[:, 2] = 1
    groups = LengthGroups.of(Packing.from_lengths(torch.tensor([2000] * 2), 2000))
    out = causal_attention(qkv, 1, groups, Dropout(0.25))
    # Kept or not, weights 1 / n of values 1: a mean of 1 and, at the ends, a spread of
    # sqrt(p / (1 - p) / n).
    assert out[-400:].mean().item() == pytest.approx(1, abs=0.01)
    assert out[-400:].std().item() == pytest.approx(math.sqrt(0.25 / 0.75 / 1900), rel=0.1)
    assert out[:2].flatten().tolist() == pytest.approx([4 / 3] * 2, rel=1e-3)  # both kept


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="3 heads do not divide a width of 4"):
        SASRecEncoder(4, 5, heads=3)
