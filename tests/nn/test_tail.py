"""Items as a table and a product that is never formed: the same as the whole table."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_fmrlrec.nn.loss import nested_cross_entropy, nested_cross_entropy_reference
from recbole_fmrlrec.nn.tail import TailedItems, table_width
from tests.nn.test_network import ITEMS, WIDTH, random_batch, random_network

nested_sizes = st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True).map(sorted)


@given(
    sizes=nested_sizes,
    in_table=st.integers(0, 3),
    positions=st.integers(1, 9),
    items=st.integers(1, 40),
    soft=st.sampled_from([0.0, 0.3, 1.0]),
    block=st.integers(1, 12),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_items_as_a_table_and_a_product_give_the_same(
    sizes, in_table, positions, items, soft, block, seed
):
    torch.manual_seed(seed)
    width = [0, *sizes[:-1]][min(in_table, len(sizes) - 1)]
    features = torch.randn(items, 5, dtype=torch.float64)
    values = [
        torch.randn(positions, sizes[-1], dtype=torch.float64),
        torch.randn(items, width, dtype=torch.float64),
        torch.randn(sizes[-1] - width, 5, dtype=torch.float64),
    ]
    targets = torch.randint(items, (positions,))
    results = []
    for plain in (False, True):
        h, e, w = (value.clone().requires_grad_() for value in values)
        ranked = TailedItems(e, w, features)
        if plain:
            value = nested_cross_entropy_reference(h, ranked.full(), targets, sizes, soft)
        else:
            value = nested_cross_entropy(h, ranked, targets, sizes, soft, block)
        (3 * value).backward()
        results.append((value, h.grad, e.grad, w.grad))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize(("table", "tail"), [(3, 1), (2, 1), (4, 1)])
def test_a_table_that_ends_between_sizes_or_misses_the_last_is_refused(table, tail):
    items = TailedItems(torch.randn(5, table), torch.randn(tail, 3), torch.randn(5, 3))
    with pytest.raises(ValueError, match="must end"):
        nested_cross_entropy(torch.randn(1, 4), items, torch.tensor([0]), [2, 4])


def test_the_table_is_as_wide_as_pays():
    sizes = [8, 256, 512, 1024]
    # A chunk of c dimensions pays without the table above c = 2 T F / (2 F + 3 T).
    assert table_width(189, sizes, 2048) == 8  # 166
    assert table_width(310, sizes, 2048) == 256  # 253
    assert table_width(320, sizes, 2048) == 512  # 259
    assert table_width(2000, sizes, 2048) == 1024  # 812
    assert table_width(100, [1], 10) == 1
    assert table_width(1, [2], 10) == 0


@given(sizes=nested_sizes, positions=st.integers(1, 20), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_items_split_for_training_are_the_item_table(sizes, positions, seed):
    network = random_network(sizes, seed)
    features, seq, _ = random_batch(seed)
    whole = network.item_table(features)
    ids = seq.flatten()
    read, ranked = network.step_items(features, ids, positions)
    torch.testing.assert_close(read, whole[ids])
    width = table_width(positions, sizes, WIDTH)
    if width == sizes[-1]:
        torch.testing.assert_close(ranked, whole[1:])
        return
    assert isinstance(ranked, TailedItems) and ranked.table.shape == (ITEMS, width)
    expected = whole[1:].clone()
    expected[:, width:] -= network.projector.bias[width:]
    torch.testing.assert_close(ranked.full(), expected)
