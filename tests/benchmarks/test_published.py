"""The yardstick computes what it stands for: the recordings, and the network of the package."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks import recorded
from benchmarks.published import PublishedModel, left_padded
from recbole_fmrlrec.nn.loss import nested_cross_entropy
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.nn.packing import Packing
from tests import golden


def test_left_padding_to_a_power_of_two():
    rows = left_padded(torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([3, 1]))
    assert rows.tolist() == [[0, 1, 2, 3], [0, 0, 0, 4]]
    assert left_padded(torch.ones(1, 4, dtype=torch.int64), torch.tensor([4])).shape == (1, 4)


def test_every_recording_is_reproduced(shared):
    files = sorted((shared / "golden").glob("*.npz"))
    assert files
    for file in files:
        with np.load(file) as archive:
            recording = dict(archive)
        features = np.concatenate([recording["feature_text"], recording["feature_image"]], axis=1)
        blocks = sum(name.endswith("nu_log") for name in recording if name.startswith("param/"))
        model = PublishedModel(recording["sizes"].tolist(), torch.from_numpy(features), blocks)
        recorded.load_plain(model, golden.tensors(recording, "param/"))
        rows = torch.from_numpy(recording["item_seq_left_padded"])
        labels = torch.from_numpy(recording["labels_left_padded"])
        missing = (1 << (rows.shape[1] - 1).bit_length()) - rows.shape[1]
        rows, labels = (torch.nn.functional.pad(part, (missing, 0)) for part in (rows, labels))
        for k, logits in enumerate(model(rows)):
            ours = logits.detach()[:, missing:][rows[:, missing:] > 0]
            theirs = torch.from_numpy(recording["logits"][k])[rows[:, missing:] > 0]
            assert golden.relative_error(ours, theirs) < golden.TOLERANCE["logits"]
        loss = model.loss(rows, labels)
        loss.backward()
        theirs = torch.from_numpy(recording["loss_items_only"])
        assert golden.relative_error(loss.detach(), theirs) < golden.TOLERANCE["losses"]
        error = golden.gradients_error(recording, recorded.read_plain(model, recorded.gradient))
        assert error < golden.TOLERANCE["gradients"]


def test_it_equals_the_network_in_loss_and_gradients():
    torch.manual_seed(0)
    sizes, items = [2, 4, 8], 30
    features = torch.nn.functional.normalize(torch.randn(items + 1, 12), dim=1)
    features[0] = 0
    network = FMRLRecNetwork(sizes, 12, num_blocks=2, r_max=0.9)
    model = PublishedModel(sizes, features, num_blocks=2)
    recorded.load_plain(model, recorded.read(network))
    lengths = torch.tensor([3, 1, 5])
    valid = torch.arange(5) < lengths[:, None]
    seq, targets = (torch.randint(1, items + 1, (3, 5)) * valid for _ in range(2))
    theirs = model.loss(left_padded(seq, lengths), left_padded(targets, lengths))
    theirs.backward()
    packing = Packing.from_lengths(lengths, 5)
    table = network.item_table(features)
    hidden = network.encode(table[packing.pack(seq)], packing)
    ours = nested_cross_entropy(hidden, table[1:], packing.pack(targets) - 1, sizes)
    ours.backward()
    torch.testing.assert_close(ours, theirs)
    found = recorded.read_plain(model, recorded.gradient)
    for name, value in recorded.read(network, recorded.gradient).items():
        torch.testing.assert_close(value, found[name], rtol=1e-4, atol=1e-7)


def test_what_is_read_can_be_loaded():
    first, second = (FMRLRecNetwork([1, 3, 4], 6, num_blocks=2) for _ in range(2))
    recorded.load(second, recorded.read(first))
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
