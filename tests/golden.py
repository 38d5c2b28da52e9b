"""Check the model against a recorded run of the published implementation.

    python -m tests.golden FILE.npz [FILE.npz ...]

Prints the largest relative error of logits, losses and gradients, and exits 1 above tolerance.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import recorded
from recbole_fmrlrec.nn.loss import nested_cross_entropy
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.nn.packing import Packing

TOLERANCE = {"logits": 1e-5, "losses": 1e-5, "gradients": 1e-4}

Arrays = dict[str, np.ndarray]


def build_network(golden: Arrays) -> FMRLRecNetwork:
    """The network with the recorded parameters."""
    sizes = [int(size) for size in golden["sizes"]]
    width = golden["feature_text"].shape[1] + golden["feature_image"].shape[1]
    count = sum(name.endswith("nu_log") for name in golden if name.startswith("param/"))
    network = FMRLRecNetwork(sizes, width, num_blocks=count)
    recorded.load(network, tensors(golden, "param/"))
    return network


def tensors(golden: Arrays, prefix: str) -> dict[str, Tensor]:
    """The recorded arrays whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): torch.from_numpy(value)
        for name, value in golden.items()
        if name.startswith(prefix)
    }


def relative_error(ours: Tensor, recorded: Tensor) -> float:
    """Largest difference over the largest recorded value."""
    scale = float(recorded.abs().max())
    return float((ours - recorded).abs().max()) / (scale if scale > 0 else 1.0)


def compare(golden: Arrays) -> dict[str, float]:
    """Largest relative error of logits, losses and gradients of one recording."""
    network = build_network(golden)
    features = torch.from_numpy(
        np.concatenate([golden["feature_text"], golden["feature_image"]], axis=1)
    )
    left, labels = golden["item_seq_left_padded"], golden["labels_left_padded"]
    lengths = torch.from_numpy(golden["seq_len"])
    valid = torch.from_numpy(left) > 0
    right = torch.zeros(left.shape, dtype=torch.int64)
    targets = torch.zeros_like(right)
    for row, length in enumerate(lengths.tolist()):
        right[row, :length] = torch.from_numpy(left[row, -length:])
        targets[row, :length] = torch.from_numpy(labels[row, -length:])
    packing = Packing.from_lengths(lengths, right.shape[1])
    table = network.item_table(features)
    hidden = network.encode(table[packing.pack(right)], packing)
    packed_targets = packing.pack(targets)
    loss = nested_cross_entropy(hidden, table[1:], packed_targets - 1, network.sizes)
    loss.backward()
    padded_loss = nested_cross_entropy(
        hidden.detach(), table.detach(), packed_targets, network.sizes
    )
    return {
        "logits": _logits_error(golden, hidden, table, packing, right.shape, valid),
        "losses": max(
            relative_error(loss.detach(), torch.from_numpy(golden["loss_items_only"])),
            relative_error(padded_loss, torch.from_numpy(golden["loss_with_padding_class"])),
        ),
        "gradients": gradients_error(golden, recorded.read(network, recorded.gradient)),
    }


def gradients_error(golden: Arrays, ours: dict[str, Tensor]) -> float:
    """Largest relative error of all recorded gradients."""
    pairs = tensors(golden, "grad/")
    assert pairs.keys() == ours.keys()
    return max(relative_error(ours[name], theirs) for name, theirs in pairs.items())


def _logits_error(
    golden: Arrays,
    hidden: Tensor,
    table: Tensor,
    packing: Packing,
    shape: torch.Size,
    valid: Tensor,
) -> float:
    errors = []
    with torch.no_grad():
        padded = packing.unpack(hidden, (shape[0], shape[1]))
        rows = torch.cat([padded[row, : int(count)] for row, count in enumerate(valid.sum(1))])
        for k, size in enumerate(golden["sizes"].tolist()):
            ours = rows[:, :size] @ table[:, :size].T
            errors.append(relative_error(ours, torch.from_numpy(golden["logits"][k])[valid]))
    return max(errors)


def main(argv: list[str] | None = None) -> int:
    """Check each named file; 0 when all are within tolerance, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.npz")
    passed = True
    for path in parser.parse_args(argv).files:
        with np.load(path) as archive:
            errors = compare(dict(archive))
        for name, error in errors.items():
            fine = error <= TOLERANCE[name]
            passed &= fine
            limit = f"{'within' if fine else 'ABOVE'} {TOLERANCE[name]:g}"
            print(f"{path.name}: {name}: largest relative error {error:.2e}, {limit}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
