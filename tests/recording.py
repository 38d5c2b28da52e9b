"""The recording `recorded_small.npz`, of our own making: how it was made, and how it is read.

    python -m tests.recording            # writes it anew

The plain model in `recbole_fmrlrec/nn/plain.py` (padded rows, full complex matrices, a step of the
recurrence after the other, every size's logits) is given parameters, features and histories that
are drawn with a fixed seed, and run in double precision on the CPU. For each size alone the mean
cross-entropy over all items and the gradient of every parameter are written down. The file holds
values only:

    sizes (K,), blocks, features (N+1, F), sequences and targets (B, L) with zeros for padding,
    lengths (B,), names (their order), parameters (P,), losses (K,), gradients (K, P)

Parameters and gradients are flattened one after the other in the order of ``names``, in the layouts
of `benchmarks/recorded.py`; ``shapes`` has their shapes as text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import recorded
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.nn.plain import PlainModel

FILE = Path(__file__).with_name("recorded_small.npz")
SIZES, BLOCKS, ITEMS, WIDTH, SEED = [1, 2, 4], 1, 9, 5, 20240916
LENGTHS = [4, 1, 6, 3]


def inputs() -> dict[str, Tensor]:
    """Features, histories and the next items, drawn with the seed."""
    draw = torch.Generator().manual_seed(SEED)
    features = torch.randn(ITEMS + 1, WIDTH, generator=draw, dtype=torch.float64)
    features = functional.normalize(features, dim=1)
    features[0] = 0
    lengths = torch.tensor(LENGTHS)
    shape = (len(LENGTHS), max(LENGTHS))
    valid = torch.arange(max(LENGTHS)) < lengths[:, None]
    rows = [torch.randint(1, ITEMS + 1, shape, generator=draw) * valid for _ in range(2)]
    return {"features": features, "lengths": lengths, "sequences": rows[0], "targets": rows[1]}


def parameters() -> dict[str, Tensor]:
    """Parameters of every layer, all of them away from zero, under their recorded names."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = FMRLRecNetwork(SIZES, WIDTH, num_blocks=BLOCKS, r_max=0.9).double()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    # Zeros of nested layers are read as zeros, whatever was added to what holds them.
    return recorded.read(network)


def plain_model(features: Tensor, values: dict[str, Tensor]) -> PlainModel:
    """The plain model in double precision with the given parameters."""
    model = PlainModel(SIZES, features, BLOCKS)
    for parameter in model.parameters():
        kind = torch.complex128 if parameter.is_complex() else torch.float64
        parameter.data = parameter.data.to(kind)
    recorded.load_plain(model, values)
    return model


def make() -> dict[str, Any]:
    """All arrays of the file."""
    given, values = inputs(), parameters()
    model = plain_model(given["features"], values)
    rows, labels = given["sequences"], given["targets"].flatten() - 1
    losses, gradients = [], []
    for k in range(len(SIZES)):
        model.zero_grad()
        logits = model(rows)[k][..., 1:].flatten(0, 1)
        loss = functional.cross_entropy(logits, labels, ignore_index=-1)
        loss.backward()
        losses.append(loss.item())
        gradients.append(flat(recorded.read_plain(model, recorded.gradient), list(values)))
    return {
        "sizes": np.array(SIZES),
        "blocks": np.array(BLOCKS),
        **{name: tensor.numpy() for name, tensor in given.items()},
        "names": np.array(list(values)),
        "shapes": np.array([" ".join(map(str, value.shape)) for value in values.values()]),
        "parameters": flat(values, list(values)),
        "losses": np.array(losses),
        "gradients": np.stack(gradients),
    }


def flat(values: dict[str, Tensor], names: list[str]) -> np.ndarray:
    """Tensors one after the other, ``(P,)``."""
    return torch.cat([values[name].detach().flatten() for name in names]).numpy()


def read(file: Path = FILE) -> dict[str, Any]:
    """The file's arrays; ``parameters`` and each row of ``gradients`` as tensors by name."""
    with np.load(file) as archive:
        found: dict[str, Any] = dict(archive)
    names, shapes = found["names"].tolist(), found["shapes"].tolist()
    shaped = [tuple(map(int, shape.split())) for shape in shapes]
    counts = [int(np.prod(shape)) for shape in shaped]

    def by_name(row: np.ndarray) -> dict[str, Tensor]:
        parts = torch.from_numpy(row).split(counts)
        return {n: p.reshape(s) for n, p, s in zip(names, parts, shaped, strict=True)}

    found["parameters"] = by_name(found["parameters"])
    found["gradients"] = [by_name(row) for row in found["gradients"]]
    return found


if __name__ == "__main__":
    np.savez_compressed(FILE, **make())
    print(f"{FILE}: {FILE.stat().st_size:,} bytes")
