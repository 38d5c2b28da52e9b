"""The model against the small recording that comes with the repository (see `recording`)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import recorded
from recbole_fmrlrec.nn.loss import nested_cross_entropy
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.nn.packing import Packing
from tests import recording


@pytest.fixture(scope="module")
def stored():
    return recording.read()


def network_of(stored, k):
    """The network in double precision, cut to its k-th size."""
    sizes = stored["sizes"].tolist()
    width, blocks = stored["features"].shape[1], int(stored["blocks"])
    whole = FMRLRecNetwork(sizes, width, num_blocks=blocks).double()
    with torch.no_grad():
        recorded.load(whole, stored["parameters"])
    return whole if k == len(sizes) - 1 else whole.cut(sizes[k])


def loss_of(network, stored, sizes):
    lengths = torch.from_numpy(stored["lengths"])
    seq, targets = (torch.from_numpy(stored[name]) for name in ("sequences", "targets"))
    packing = Packing.from_lengths(lengths, seq.shape[1])
    table = network.item_table(torch.from_numpy(stored["features"]))
    hidden = network.encode(table[packing.pack(seq)], packing)
    return nested_cross_entropy(hidden, table[1:], packing.pack(targets) - 1, sizes)


def cut(gradient, shape):
    """What a gradient of the whole model holds for the parameters of a cut one."""
    return gradient[tuple(slice(0, length) for length in shape)]


@pytest.mark.parametrize("k", [0, 1, 2])
def test_loss_and_gradients_at_each_size(stored, k):
    size = int(stored["sizes"][k])
    network = network_of(stored, k)
    loss = loss_of(network, stored, [size])
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(stored["losses"][k]), rel=1e-12)
    ours, theirs = recorded.read(network, recorded.gradient), stored["gradients"][k]
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        expected = cut(theirs[name], value.shape)
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-13, msg=name)
        # Nothing beyond the size has any part in its loss.
        assert float(theirs[name].abs().sum()) == pytest.approx(float(expected.abs().sum()))


def test_loss_and_gradients_of_all_sizes_together(stored):
    network = network_of(stored, 2)
    loss = loss_of(network, stored, stored["sizes"].tolist())
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(np.mean(stored["losses"])), rel=1e-12)
    for name, value in recorded.read(network, recorded.gradient).items():
        expected = torch.stack([gradients[name] for gradients in stored["gradients"]]).mean(0)
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-13, msg=name)


def test_the_plain_formulation_still_gives_the_recorded_values(stored):
    made = recording.make()
    assert made["names"].tolist() == stored["names"].tolist()
    np.testing.assert_allclose(made["losses"], stored["losses"], rtol=1e-12)
    first = recording.flat(stored["gradients"][0], stored["names"].tolist())
    np.testing.assert_allclose(made["gradients"][0], first, rtol=1e-9, atol=1e-13)
