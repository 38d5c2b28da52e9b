"""The names and layouts of recorded runs of the published implementation, read and written.

A recording calls a parameter ``projector.weight`` or ``block0.recurrence.in_proj.weight_real`` and
holds nested weights as full matrices; gradients have the same names and layouts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from recbole_fmrlrec.nn.linear import MatryoshkaLinear
from recbole_fmrlrec.nn.network import Block, FMRLRecNetwork

Value = Callable[[Tensor], Tensor]

NORMS = ("norm_recurrence", "norm_feedforward")
EIGENVALUES = ("nu_log", "theta_log", "gamma_log")
FEEDFORWARD = ("gate", "up", "down")


def gradient(parameter: Tensor) -> Tensor:
    """The gradient of a parameter, zeros where it has none."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def read(network: FMRLRecNetwork, value: Value = torch.Tensor.detach) -> dict[str, Tensor]:
    """Every parameter of a network under its recorded name and in its recorded layout.

    Args:
        value: what to read of a parameter: itself, or its `gradient`.
    """
    assert network.projector is not None
    found = {
        "projector.weight": value(network.projector.weight),
        "projector.bias": value(network.projector.bias),
    }
    for index, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        found |= {f"block{index}.{name}": own for name, own in _read_block(block, value).items()}
    return found


def _read_block(block: Block, value: Value) -> dict[str, Tensor]:
    found = {}
    for norm in NORMS:
        layer = getattr(block, norm)
        found |= {f"{norm}.weight": value(layer.weight), f"{norm}.bias": value(layer.bias)}
    for name in EIGENVALUES:
        found[f"recurrence.{name}"] = value(getattr(block.recurrence, name))
    weight, bias = _full(block.recurrence.in_proj, value)
    part = "recurrence.in_proj."
    found |= {part + "weight_real": weight[0::2], part + "weight_imag": weight[1::2]}
    found |= {part + "bias_real": bias[0::2], part + "bias_imag": bias[1::2]}
    weight, bias = _full(block.recurrence.out_proj, value)
    part = "recurrence.out_proj."
    found |= {part + "weight_real": weight[:, 0::2], part + "weight_imag": -weight[:, 1::2]}
    # The real part of a complex bias is all that reaches the output.
    found |= {part + "bias_real": bias, part + "bias_imag": torch.zeros_like(bias)}
    for name in FEEDFORWARD:
        weight, bias = _full(getattr(block.feedforward, name), value)
        found |= {f"feedforward.{name}.weight": weight, f"feedforward.{name}.bias": bias}
    return found


def _full(layer: MatryoshkaLinear, value: Value) -> tuple[Tensor, Tensor]:
    width = layer.weights[-1].shape[1]
    blocks = [value(weight) for weight in layer.weights]
    padded = [functional.pad(block, (0, width - block.shape[1])) for block in blocks]
    return torch.cat(padded), value(layer.bias)


@torch.no_grad()
def load(network: FMRLRecNetwork, parameters: Mapping[str, Tensor]) -> None:
    """Put recorded parameters into a network of their sizes; the inverse of `read`."""
    assert network.projector is not None
    network.projector.weight.copy_(parameters["projector.weight"])
    network.projector.bias.copy_(parameters["projector.bias"])
    for index, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        prefix = f"block{index}."
        own = {k.removeprefix(prefix): v for k, v in parameters.items() if k.startswith(prefix)}
        _load_block(block, own)


def _load_block(block: Block, own: Mapping[str, Tensor]) -> None:
    for norm in NORMS:
        for name in ("weight", "bias"):
            getattr(getattr(block, norm), name).copy_(own[f"{norm}.{name}"])
    for name in EIGENVALUES:
        getattr(block.recurrence, name).copy_(own[f"recurrence.{name}"])
    part = "recurrence.in_proj."
    block.recurrence.in_proj.load_full(
        _interleave(own[part + "weight_real"], own[part + "weight_imag"]),
        _interleave(own[part + "bias_real"], own[part + "bias_imag"]),
    )
    part = "recurrence.out_proj."
    columns = _interleave(own[part + "weight_real"].t(), -own[part + "weight_imag"].t())
    block.recurrence.out_proj.load_full(columns.t(), own[part + "bias_real"])
    for name in FEEDFORWARD:
        layer, part = getattr(block.feedforward, name), f"feedforward.{name}."
        layer.load_full(own[part + "weight"], own[part + "bias"])


def _interleave(real: Tensor, imag: Tensor) -> Tensor:
    return torch.stack([real, imag], dim=1).flatten(0, 1)
