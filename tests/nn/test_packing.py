"""The packing against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence

from recbole_fmrlrec.nn.packing import Packing

lengths_of = st.lists(st.integers(1, 9), min_size=1, max_size=7)


@given(lengths=lengths_of, spare=st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_packing_is_that_of_pack_padded_sequence(lengths, spare):
    width = max(lengths) + spare
    padded = torch.arange(1, 1 + len(lengths) * width).reshape(len(lengths), width)
    packing = Packing.from_lengths(torch.tensor(lengths), width)
    theirs = pack_padded_sequence(
        padded, torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    assert packing.batch_sizes == theirs.batch_sizes.tolist()
    packed = packing.pack(padded)
    assert sorted(packed.tolist()) == sorted(theirs.data.tolist())
    expected_last = [padded[row, length - 1].item() for row, length in enumerate(lengths)]
    assert packed[packing.last].tolist() == expected_last
    valid = torch.arange(width) < torch.tensor(lengths)[:, None]
    assert torch.equal(packing.unpack(packed, (len(lengths), width)), padded * valid)


@pytest.mark.parametrize("lengths", [[0, 3], [5]])
def test_packing_refuses_impossible_lengths(lengths):
    with pytest.raises(ValueError, match=r"must lie in 1\.\.4"):
        Packing.from_lengths(torch.tensor(lengths), 4)
