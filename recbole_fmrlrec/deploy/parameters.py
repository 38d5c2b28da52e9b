"""The parameters of a network as named tensors that do not depend on how layers hold them.

A nested layer's weight is stored as its parameters alone, row by row: its zeros are left out, so
the file is as long as the parameter count says, whatever blocks the layers compute with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from recbole_fmrlrec.deploy.description import Description
from recbole_fmrlrec.deploy.tensor_files import Shapes
from recbole_fmrlrec.nn.linear import (
    MatryoshkaLayerNorm,
    MatryoshkaLinear,
    chunk_bounds,
    nested_mask,
)
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.nn.recurrence import LinearRecurrence

# Copies per output and per input position of each nested layer of a block.
_NESTED = {
    "recurrence.in_proj": (2, 1),
    "recurrence.out_proj": (1, 2),
    "feedforward.gate": (1, 1),
    "feedforward.up": (1, 1),
    "feedforward.down": (1, 1),
}
_VECTORS = (
    "norm_recurrence.weight",
    "norm_recurrence.bias",
    "norm_feedforward.weight",
    "norm_feedforward.bias",
    "recurrence.nu_log",
    "recurrence.theta_log",
    "recurrence.gamma_log",
)


def parameter_shapes(description: Description) -> Shapes:
    """What ``model.safetensors`` must hold."""
    width, features = description.size, description.feature_width
    count = sum((end - start) * end for start, end in chunk_bounds(description.sizes))
    shapes: dict[str, tuple[int, ...]] = {}
    if features:
        shapes |= {"projector.weight": (width, features), "projector.bias": (width,)}
    for block in range(description.num_blocks):
        shapes |= {f"blocks.{block}.{name}": (width,) for name in _VECTORS}
        for name, (outs, ins) in _NESTED.items():
            shapes[f"blocks.{block}.{name}.weight"] = (count * outs * ins,)
            shapes[f"blocks.{block}.{name}.bias"] = (width * outs,)
    return {name: (torch.float32, shape) for name, shape in shapes.items()}


def parameter_total(description: Description) -> int:
    """Count of the numbers in ``model.safetensors``, by arithmetic: quick for any description."""
    width, features = description.size, description.feature_width
    count = sum((end - start) * end for start, end in chunk_bounds(description.sizes))
    block = len(_VECTORS) * width
    block += sum(count * outs * ins + width * outs for outs, ins in _NESTED.values())
    return description.num_blocks * block + (width * (features + 1) if features else 0)


@torch.no_grad()
def pack_parameters(network: FMRLRecNetwork) -> dict[str, Tensor]:
    """Parameters by name, copied; id vectors are left out, the item table holds them."""
    packed: dict[str, Tensor] = {}
    for name, layer in _nested_layers(network):
        packed[f"{name}.weight"] = layer.full_weight()[_mask(layer)]
        packed[f"{name}.bias"] = layer.bias.clone()
    for name, parameter in _plain_parameters(network):
        packed[name] = parameter.detach().clone()
    return {name: tensor.float().cpu() for name, tensor in packed.items()}


@torch.no_grad()
def build_network(
    description: Description, tensors: Mapping[str, Tensor], start: Tensor
) -> FMRLRecNetwork:
    """The network of packed parameters, in evaluation mode.

    Args:
        description: what it is.
        tensors: what `pack_parameters` gave.
        start: ``(s,)`` vector of the empty input; used as the id vector in a model of ids only.
    """
    ids = 0 if description.feature_width else 1
    with torch.random.fork_rng(devices=[]):  # building draws numbers; the caller must not see it
        network = FMRLRecNetwork(
            description.sizes,
            description.feature_width,
            num_id_items=ids,
            num_blocks=description.num_blocks,
        )
    for name, layer in _nested_layers(network):
        mask = _mask(layer)
        weight = torch.zeros(mask.shape)
        weight[mask] = tensors[f"{name}.weight"]
        layer.load_full(weight, tensors[f"{name}.bias"])
    for name, parameter in _plain_parameters(network):
        parameter.copy_(tensors[name])
    if network.id_embedding is not None:
        network.id_embedding.weight.copy_(start)
    return network.eval().requires_grad_(False)


def _mask(layer: MatryoshkaLinear) -> Tensor:
    return nested_mask(layer.sizes, layer.out_copies, layer.in_copies)


def _nested_layers(network: FMRLRecNetwork) -> Iterator[tuple[str, MatryoshkaLinear]]:
    for name, module in network.named_modules():
        if isinstance(module, MatryoshkaLinear):
            yield name, module


def _plain_parameters(network: FMRLRecNetwork) -> Iterator[tuple[str, Tensor]]:
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | MatryoshkaLayerNorm | LinearRecurrence):
            for own, parameter in module.named_parameters(recurse=False):
                yield f"{name}.{own}", parameter
