"""The Matryoshka property, and every layout of a batch giving the same outputs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.nn.packing import Packing

nested_sizes = st.lists(st.integers(1, 16), min_size=1, max_size=4, unique=True).map(sorted)
ITEMS, WIDTH = 9, 6


def random_network(sizes, seed=0, blocks=1, ids=0, **settings_):
    """A network in double precision whose every parameter is random, biases and norms too."""
    torch.manual_seed(seed)
    network = FMRLRecNetwork(sizes, WIDTH, ids, blocks, r_max=0.9, **settings_).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "_log" not in name:
                parameter.copy_(0.4 * torch.randn_like(parameter))
    return network.eval()


def random_batch(seed=0, lengths=(3, 1, 5)):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(ITEMS + 1, WIDTH, dtype=torch.float64, generator=generator)
    features[0] = 0
    seq = torch.randint(1, ITEMS + 1, (len(lengths), max(lengths)), generator=generator)
    lengths = torch.tensor(lengths)
    return features, seq * (torch.arange(seq.shape[1]) < lengths[:, None]), lengths


@given(sizes=nested_sizes, blocks=st.integers(1, 2), ids=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_model_cut_to_a_size_is_the_full_model_at_that_size(sizes, blocks, ids, seed):
    network = random_network(sizes, seed, blocks, ITEMS + 1 if ids else 0)
    features, seq, lengths = random_batch(seed)
    table = network.item_table(features)
    full = network.encode_last(table, seq, lengths)
    for size in sizes:
        small = network.cut(size)
        small_table = small.item_table(features)
        torch.testing.assert_close(small_table, table[:, :size])
        out = small.encode_last(small_table, seq, lengths)
        torch.testing.assert_close(out, full[:, :size])
        torch.testing.assert_close(out @ small_table.T, full[:, :size] @ table[:, :size].T)


@given(sizes=nested_sizes, lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
@torch.no_grad()
def test_last_outputs_from_what_each_item_adds_to_the_state(sizes, lengths):
    network = random_network(sizes)
    features, seq, lengths = random_batch(0, lengths)
    table = network.item_table(features)
    packing = Packing.from_lengths(lengths, seq.shape[1])
    every = network.encode(table[packing.pack(seq)], packing)
    quick = network.encode_last(table, seq, lengths, network.item_input_projections(table))
    torch.testing.assert_close(quick, every[packing.last])
    torch.testing.assert_close(network.encode_last(table, seq, lengths), every[packing.last])


def test_with_several_blocks_a_state_hangs_on_more_than_the_item():
    network = random_network([2, 4], blocks=2)
    assert network.item_input_projections(network.item_table(random_batch()[0])) is None


def test_items_with_vectors_of_their_own_are_not_split():
    network = random_network([1, 16], ids=ITEMS + 1)
    features, seq, _ = random_batch()
    table = network.item_table(features)
    read, ranked = network.step_items(features, seq.flatten(), 1)
    assert torch.equal(read, table[seq.flatten()])
    assert torch.equal(ranked, table[1:])


def test_packed_left_padded_and_step_by_step_agree():
    network = random_network([2, 5, 8], blocks=2)
    features, seq, lengths = random_batch()
    table = network.item_table(features)
    packing = Packing.from_lengths(lengths, seq.shape[1])
    packed = packing.unpack(network.encode(table[packing.pack(seq)], packing), tuple(seq.shape))
    for row, length in enumerate(lengths.tolist()):
        state = network.initial_state(1)
        for position in range(length):
            out, state = network.step(table[seq[row, position]][None], state)
            torch.testing.assert_close(out[0], packed[row, position])
        left = torch.zeros_like(seq)
        left[row, -length:] = seq[row, :length]
        alone = left[row][left[row] > 0][None]
        torch.testing.assert_close(
            network.encode_last(table, alone, lengths[row : row + 1])[0], packed[row, length - 1]
        )


def test_what_stands_in_the_padding_does_not_matter():
    network = random_network([2, 8])
    features, seq, lengths = random_batch()
    table = network.item_table(features)
    dirty = seq.clone()
    dirty[torch.arange(seq.shape[1]) >= lengths[:, None]] = 7
    torch.testing.assert_close(
        network.encode_last(table, seq, lengths), network.encode_last(table, dirty, lengths)
    )


def test_item_vectors_are_projected_features_plus_ids():
    network = random_network([2, 4], ids=ITEMS + 1)
    features, _, _ = random_batch()
    table = network.item_table(features)
    expected = features @ network.projector.weight.T + network.projector.bias
    torch.testing.assert_close(table, expected + network.id_embedding.weight)
    ids = torch.tensor([3, 0, 3])
    torch.testing.assert_close(network.item_table(features, ids), table[ids])


def test_a_model_of_ids_only_needs_no_features():
    network = FMRLRecNetwork([2, 4], 0, ITEMS + 1)
    assert network.projector is None
    assert torch.equal(network.item_table(None), network.id_embedding.weight)
    with pytest.raises(ValueError, match="features, an id embedding, or both"):
        FMRLRecNetwork([2, 4], 0, 0)


def test_parameters_are_counted_without_the_zeros_of_nested_layers():
    network = FMRLRecNetwork([2, 6], WIDTH)
    nested = 2 * 2 + 4 * 6
    linear = 3 * (nested + 6)
    recurrence = (2 * nested + 2 * 6) + (2 * nested + 6) + 3 * 6
    expected = WIDTH * 6 + 6 + 2 * 2 * 6 + linear + recurrence
    assert network.parameter_count() == expected
    small = WIDTH * 2 + 2 + 2 * 2 * 2 + 3 * (4 + 2) + (2 * 4 + 2 * 2) + (2 * 4 + 2) + 3 * 2
    assert network.parameter_count(2) == small


def test_cutting_refuses_other_sizes_and_draws_no_random_numbers():
    network = random_network([2, 6])
    with pytest.raises(ValueError, match=r"one of \[2, 6\], got 3"):
        network.cut(3)
    before = torch.get_rng_state()
    network.cut(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_only_where_it_is_asked_for():
    network = random_network([2, 6], dropout=0.5, input_dropout=0.5).train()
    assert {m.p for m in network.modules() if isinstance(m, Dropout)} == {0.5}
    features, seq, lengths = random_batch()
    table = network.item_table(features)
    first = network.encode_last(table, seq, lengths)
    assert not torch.equal(first, network.encode_last(table, seq, lengths))
    network.eval()
    first = network.encode_last(table, seq, lengths)
    assert torch.equal(first, network.encode_last(table, seq, lengths))


def test_id_vectors_begin_truncated_normal_however_many_blocks_they_take(monkeypatch):
    monkeypatch.setattr("recbole_fmrlrec.nn.items.INIT_ROWS", 300)
    torch.manual_seed(0)
    weight = FMRLRecNetwork([8], 0, num_id_items=1000).id_embedding.weight.detach()
    assert weight.abs().max() <= 0.04 and weight.mean().abs() < 0.001
    for block in weight.split(300):
        assert block.std().item() == pytest.approx(0.0176, rel=0.1)
    assert not weight[:300].equal(weight[300:600])


def test_gradients_of_rows_are_the_same_each_time_with_two_threads() -> None:
    torch.manual_seed(0)
    network = FMRLRecNetwork((16, 64), 0, num_id_items=50)
    rows, lengths = torch.randint(1, 50, (512, 20)), torch.full((512,), 20)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = []
        for _ in range(5):
            network.zero_grad()
            network.encode_last(network.item_table(None), rows, lengths).square().sum().backward()
            assert network.id_embedding is not None
            found.append(network.id_embedding.weight.grad)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0], other) for other in found[1:])
