"""Right-padded rows moved to the right end."""

from __future__ import annotations

import torch

from recbole_fmrlrec.nn.left_padding import left_padded


def test_rows_end_at_the_right() -> None:
    item_seq = torch.tensor([[3, 4, 0, 0], [5, 6, 7, 8]])
    rows, valid = left_padded(item_seq, torch.tensor([2, 4]), 4)
    assert rows.tolist() == [[0, 0, 3, 4], [5, 6, 7, 8]]
    assert valid.tolist() == [[False, False, True, True], [True] * 4]


def test_of_a_longer_row_the_last_items_are_kept_and_a_shorter_one_is_filled() -> None:
    item_seq = torch.tensor([[3, 4, 5], [6, 0, 0]])
    lengths = torch.tensor([3, 1])
    assert left_padded(item_seq, lengths, 2)[0].tolist() == [[4, 5], [0, 6]]
    rows, valid = left_padded(item_seq, lengths, 5)
    assert rows.tolist() == [[0, 0, 3, 4, 5], [0, 0, 0, 0, 6]]
    assert valid.sum(1).tolist() == [3, 1]
