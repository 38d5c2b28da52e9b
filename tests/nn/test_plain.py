"""The model on one page: by hand, and as the twin of the fast form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import recorded
from benchmarks.published import left_padded
from recbole_fmrlrec.nn.loss import nested_cross_entropy
from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.nn.plain import LinearRecurrence, NestedLinear, NestedNorm, PlainModel, scan
from tests.nn.test_network import WIDTH, random_batch, random_network

nested_sizes = st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True).map(sorted)


def plain_twin(network, features):
    """The plain model in double precision with the parameters of a network."""
    model = PlainModel(network.sizes, features, len(network.blocks))
    for parameter in model.parameters():
        kind = torch.complex128 if parameter.is_complex() else torch.float64
        parameter.data = parameter.data.to(kind)
    recorded.load_plain(model, recorded.read(network))
    return model


def drawn(sizes, lengths, blocks, seed):
    """A network, its plain twin, sequences and next items."""
    network = random_network(sizes, seed, blocks)
    features, seq, lengths = random_batch(seed, lengths)
    targets = seq.flip(1) if len(lengths) == 1 else seq.roll(1, 0)
    valid = torch.arange(seq.shape[1]) < lengths[:, None]
    targets = torch.where(targets > 0, targets, 1) * valid
    return network, plain_twin(network, features), features, seq, lengths, targets


@given(
    sizes=nested_sizes,
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    blocks=st.integers(1, 2),
    left=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_the_fast_form_has_its_loss_and_every_gradient(sizes, lengths, blocks, left, seed):
    network, plain, features, seq, lengths, targets = drawn(sizes, lengths, blocks, seed)
    packing = Packing.from_lengths(lengths, seq.shape[1])
    ids, wanted = packing.pack(seq), packing.pack(targets)
    read, items = network.step_items(features, ids, len(wanted))  # with the trick for small batches
    fast = nested_cross_entropy(network.encode(read, packing), items, wanted - 1, sizes)
    rows = [left_padded(part, lengths) if left else part for part in (seq, targets)]
    slow = plain.loss(*rows)
    torch.testing.assert_close(fast, slow)
    fast.backward()
    slow.backward()
    found = recorded.read_plain(plain, recorded.gradient)
    for name, value in recorded.read(network, recorded.gradient).items():
        torch.testing.assert_close(value, found[name], rtol=1e-7, atol=1e-12, msg=name)


@given(sizes=nested_sizes, lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_the_fast_form_has_its_logits(sizes, lengths):
    network, plain, features, seq, lengths, _ = drawn(sizes, lengths, 2, 0)
    table = network.item_table(features)
    hidden = network.encode_last(table, seq, lengths)
    rows = torch.arange(len(lengths))
    for size, logits in zip(sizes, plain(seq), strict=True):
        expected = logits[rows, lengths - 1]
        torch.testing.assert_close(hidden[:, :size] @ table[:, :size].t(), expected)


def test_what_is_read_of_the_plain_model_can_be_loaded():
    features = torch.randn(5, WIDTH)
    first, second = (PlainModel([1, 3], features, num_blocks=2) for _ in range(2))
    recorded.load_plain(second, recorded.read_plain(first))
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_scan_by_hand():
    v = torch.tensor([[1, 2, 3]], dtype=torch.complex64)[..., None]
    # h = 1, then 2 + 0.5i, then 3 + 0.5i (2 + 0.5i).
    assert scan(v, torch.tensor([0.5j])).flatten().tolist() == [1, 2 + 0.5j, 2.75 + 1j]


def test_nested_layers_by_hand():
    layer = NestedLinear([1, 3])
    layer.weight.data.fill_(1)
    assert layer(torch.tensor([1.0, 10, 100])).tolist() == [1, 111, 111]
    out = NestedNorm([1, 3])(torch.tensor([7.0, -2, 2]))
    torch.testing.assert_close(out, torch.tensor([0.0, -1, 1]), rtol=1e-5, atol=1e-5)


def test_the_recurrence_starts_on_the_ring_with_real_matrices():
    torch.manual_seed(0)
    layer = LinearRecurrence([8, 2048], r_min=0.3, r_max=0.8)
    radius = layer.Lambda().abs().detach()
    assert radius.min() >= 0.3 and radius.max() <= 0.8
    # Uniform in area: the squared radius is uniform between the squared bounds.
    share = ((radius**2 - 0.3**2) / (0.8**2 - 0.3**2)).mean()
    assert share.item() == pytest.approx(0.5, abs=0.03)
    assert torch.exp(layer.theta_log).mean().item() == pytest.approx(math.pi, rel=0.05)
    torch.testing.assert_close(torch.exp(layer.gamma_log).detach(), torch.sqrt(1 - radius**2))
    for matrix in (layer.B.weight, layer.C.weight):
        assert torch.count_nonzero(matrix.imag) == 0 and matrix.real.std() > 0.01


def test_without_information_every_item_is_as_likely():
    features = torch.zeros(6, WIDTH)
    model = PlainModel([2, 4], features)
    torch.nn.init.zeros_(model.projector.bias)
    loss = model.loss(torch.tensor([[1, 2, 0]]), torch.tensor([[2, 5, 0]]))
    assert loss.item() == pytest.approx(math.log(5))  # items 1..5
