"""Rows padded on the left, out of rows padded on the right."""

from __future__ import annotations

import torch

from recbole_fmrlrec.nn.left_padding import left_padded

ROWS = torch.tensor([[7, 0, 0], [4, 5, 6], [8, 9, 0]])
LENGTHS = torch.tensor([1, 3, 2])


def test_items_move_to_the_right_end() -> None:
    items, valid = left_padded(ROWS, LENGTHS, 4)
    assert items.tolist() == [[0, 0, 0, 7], [0, 4, 5, 6], [0, 0, 8, 9]]
    assert torch.equal(valid, items > 0)


def test_of_rows_that_are_too_long_the_last_items_stay() -> None:
    items, valid = left_padded(ROWS, LENGTHS, 2)
    assert items.tolist() == [[0, 7], [5, 6], [8, 9]]
    assert valid.tolist() == [[False, True], [True, True], [True, True]]
