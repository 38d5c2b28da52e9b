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

from recbole_fmrlrec.layers import MatryoshkaLinear
from recbole_fmrlrec.loss import nested_cross_entropy
from recbole_fmrlrec.network import Block, FMRLRecNetwork
from recbole_fmrlrec.recurrence import Packing

TOLERANCE = {"logits": 1e-5, "losses": 1e-5, "gradients": 1e-4}

Arrays = dict[str, np.ndarray]


def build_network(golden: Arrays) -> FMRLRecNetwork:
    """The network with the recorded parameters."""
    sizes = [int(size) for size in golden["sizes"]]
    width = golden["feature_text"].shape[1] + golden["feature_image"].shape[1]
    count = sum(name.endswith("nu_log") for name in golden if name.startswith("param/"))
    network = FMRLRecNetwork(sizes, width, num_blocks=count)
    assert network.projector is not None
    _copy(network.projector.weight, golden["param/projector.weight"])
    _copy(network.projector.bias, golden["param/projector.bias"])
    for index, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        _load_block(block, golden, f"param/block{index}.")
    return network


def _copy(parameter: Tensor, value: np.ndarray) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(value))


def _load_block(block: Block, golden: Arrays, prefix: str) -> None:
    for norm in ("norm_recurrence", "norm_feedforward"):
        for name in ("weight", "bias"):
            _copy(getattr(getattr(block, norm), name), golden[f"{prefix}{norm}.{name}"])
    for name in ("nu_log", "theta_log", "gamma_log"):
        _copy(getattr(block.recurrence, name), golden[f"{prefix}recurrence.{name}"])
    part = f"{prefix}recurrence.in_proj."
    block.recurrence.in_proj.load_full(
        _interleave_rows(golden[part + "weight_real"], golden[part + "weight_imag"]),
        _interleave_rows(golden[part + "bias_real"], golden[part + "bias_imag"]),
    )
    part = f"{prefix}recurrence.out_proj."
    block.recurrence.out_proj.load_full(
        _interleave_rows(golden[part + "weight_real"].T, -golden[part + "weight_imag"].T).T,
        torch.from_numpy(golden[part + "bias_real"]),
    )
    for name in ("gate", "up", "down"):
        part = f"{prefix}feedforward.{name}."
        layer = getattr(block.feedforward, name)
        layer.load_full(
            torch.from_numpy(golden[part + "weight"]), torch.from_numpy(golden[part + "bias"])
        )


def _interleave_rows(real: np.ndarray, imag: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack([real, imag], axis=1).reshape(-1, *real.shape[1:]))


def recorded_gradients(golden: Arrays, network: FMRLRecNetwork) -> list[tuple[str, Tensor, Tensor]]:
    """(name, ours, recorded) for every recorded gradient, in the recording's layout."""
    assert network.projector is not None
    pairs = [
        ("projector.weight", _grad(network.projector.weight)),
        ("projector.bias", _grad(network.projector.bias)),
    ]
    for index, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        pairs += [(f"block{index}.{name}", value) for name, value in _block_gradients(block)]
    return [(name, ours, torch.from_numpy(golden["grad/" + name])) for name, ours in pairs]


def _block_gradients(block: Block) -> list[tuple[str, Tensor]]:
    pairs = []
    for norm in ("norm_recurrence", "norm_feedforward"):
        layer = getattr(block, norm)
        pairs += [(f"{norm}.weight", _grad(layer.weight)), (f"{norm}.bias", _grad(layer.bias))]
    for name in ("nu_log", "theta_log", "gamma_log"):
        pairs.append((f"recurrence.{name}", _grad(getattr(block.recurrence, name))))
    weight, bias = _full_gradient(block.recurrence.in_proj)
    part = "recurrence.in_proj."
    pairs += [(part + "weight_real", weight[0::2]), (part + "weight_imag", weight[1::2])]
    pairs += [(part + "bias_real", bias[0::2]), (part + "bias_imag", bias[1::2])]
    weight, bias = _full_gradient(block.recurrence.out_proj)
    part = "recurrence.out_proj."
    pairs += [(part + "weight_real", weight[:, 0::2]), (part + "weight_imag", -weight[:, 1::2])]
    # The real part of a complex bias is all that reaches the output.
    pairs += [(part + "bias_real", bias), (part + "bias_imag", torch.zeros_like(bias))]
    for name in ("gate", "up", "down"):
        weight, bias = _full_gradient(getattr(block.feedforward, name))
        pairs += [(f"feedforward.{name}.weight", weight), (f"feedforward.{name}.bias", bias)]
    return pairs


def _grad(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _full_gradient(layer: MatryoshkaLinear) -> tuple[Tensor, Tensor]:
    width = layer.weights[-1].shape[1]
    blocks = [_grad(weight) for weight in layer.weights]
    padded = [torch.nn.functional.pad(b, (0, width - b.shape[1])) for b in blocks]
    return torch.cat(padded), _grad(layer.bias)


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
        "gradients": max(
            relative_error(ours, theirs) for _, ours, theirs in recorded_gradients(golden, network)
        ),
    }


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
