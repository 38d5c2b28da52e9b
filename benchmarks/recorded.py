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
from recbole_fmrlrec.nn.plain import Block as PlainBlock
from recbole_fmrlrec.nn.plain import PlainModel

Value = Callable[[Tensor], Tensor]

NORMS = ("norm_recurrence", "norm_feedforward")
EIGENVALUES = ("nu_log", "theta_log", "gamma_log")
FEEDFORWARD = ("gate", "up", "down")
PROJECTIONS = {"in_proj": "B", "out_proj": "C"}


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


def read_plain(model: PlainModel, value: Value = torch.Tensor.detach) -> dict[str, Tensor]:
    """`read` of the plain model."""
    found = {f"projector.{name}": value(own) for name, own in model.projector.named_parameters()}
    for index, block in enumerate(model.blocks):
        assert isinstance(block, PlainBlock)
        own = _read_plain_block(block, value)
        found |= {f"block{index}.{name}": tensor for name, tensor in own.items()}
    return found


def _read_plain_block(block: PlainBlock, value: Value) -> dict[str, Tensor]:
    found = {}
    for name in NORMS:
        norms = getattr(block, name).norms
        for part in ("weight", "bias"):
            found[f"{name}.{part}"] = torch.cat([value(getattr(norm, part)) for norm in norms])
    for name in EIGENVALUES:
        found[f"recurrence.{name}"] = value(getattr(block.recurrence, name))
    for name, symbol in PROJECTIONS.items():
        for part, parameter in getattr(block.recurrence, symbol).named_parameters():
            read = value(parameter)
            found[f"recurrence.{name}.{part}_real"] = read.real
            found[f"recurrence.{name}.{part}_imag"] = read.imag
    for name in FEEDFORWARD:
        for part, parameter in getattr(block, name).named_parameters():
            found[f"feedforward.{name}.{part}"] = value(parameter)
    return found


@torch.no_grad()
def load_plain(model: PlainModel, parameters: Mapping[str, Tensor]) -> None:
    """`load` of the plain model; the inverse of `read_plain`."""
    for name, parameter in model.projector.named_parameters():
        parameter.copy_(parameters[f"projector.{name}"])
    for index, block in enumerate(model.blocks):
        assert isinstance(block, PlainBlock)
        prefix = f"block{index}."
        own = {k.removeprefix(prefix): v for k, v in parameters.items() if k.startswith(prefix)}
        _load_plain_block(block, own)


def _load_plain_block(block: PlainBlock, own: Mapping[str, Tensor]) -> None:
    for name in NORMS:
        layer = getattr(block, name)
        for (start, end), norm in zip(layer.bounds, layer.norms, strict=True):
            norm.weight.copy_(own[f"{name}.weight"][start:end])
            norm.bias.copy_(own[f"{name}.bias"][start:end])
    for name in EIGENVALUES:
        getattr(block.recurrence, name).copy_(own[f"recurrence.{name}"])
    for name, symbol in PROJECTIONS.items():
        for part, parameter in getattr(block.recurrence, symbol).named_parameters():
            path = f"recurrence.{name}.{part}"
            parameter.copy_(torch.complex(own[f"{path}_real"], own[f"{path}_imag"]))
    for name in FEEDFORWARD:
        for part, parameter in getattr(block, name).named_parameters():
            parameter.copy_(own[f"feedforward.{name}.{part}"])
