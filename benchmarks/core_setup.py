"""What both sides of a comparison of the core work on: a batch, features, equal parameters.

Shapes are those of Amazon Beauty: 12,101 items, features of 2 x 1024 numbers, sizes 8 to 1024, and
2 + geometric training positions a user with Beauty's mean of 5.9. Items and features are drawn, so
that no data is needed: times depend on shapes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import recorded
from benchmarks.published import PublishedModel, left_padded
from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.loss import nested_cross_entropy
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.train.optimization import adamw

Step = Callable[[], Tensor]

MAX_LENGTH, PADDED_LENGTH = 50, 64
MEAN_POSITIONS, FEWEST_POSITIONS = 5.9, 2


@dataclass(frozen=True)
class Shapes:
    """Items, feature width and nested sizes of a comparison."""

    items: int = 12_101
    feature_width: int = 2048
    sizes: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024)
    dropout: float = 0.6


@dataclass(frozen=True)
class Batch:
    """Right-padded items and next items ``(B, L)``, lengths ``(B,)``."""

    items: Tensor
    targets: Tensor
    lengths: Tensor

    @property
    def positions(self) -> int:
        """T."""
        return int(self.lengths.sum())

    def packed(self) -> tuple[Packing, Tensor, Tensor]:
        """The layout, items ``(T,)`` and next items ``(T,)``."""
        packing = Packing.from_lengths(self.lengths, self.items.shape[1])
        return packing, packing.pack(self.items), packing.pack(self.targets)

    def left_padded(self) -> tuple[Tensor, Tensor]:
        """Items and next items as the published code pads them, ``(B, 64)``."""
        pair = left_padded(self.items, self.lengths), left_padded(self.targets, self.lengths)
        missing = PADDED_LENGTH - pair[0].shape[1]
        items, targets = (torch.nn.functional.pad(rows, (missing, 0)) for rows in pair)
        return items, targets


def draw_batch(users: int, shapes: Shapes, seed: int = 0) -> Batch:
    """A batch of users whose histories are as long as Beauty's."""
    torch.manual_seed(seed)
    extra = torch.distributions.Geometric(1 / (MEAN_POSITIONS - FEWEST_POSITIONS + 1))
    lengths = (FEWEST_POSITIONS + extra.sample((users,)).long()).clamp(max=MAX_LENGTH)
    valid = torch.arange(int(lengths.max())) < lengths[:, None]
    items, targets = (torch.randint(1, shapes.items + 1, valid.shape) * valid for _ in range(2))
    return Batch(items, targets, lengths)


def draw_features(shapes: Shapes) -> Tensor:
    """Features ``(N+1, F)`` of two modalities with rows of length 1 each, row 0 zeros."""
    torch.manual_seed(1)
    halves = torch.randn(shapes.items + 1, 2, shapes.feature_width // 2)
    features = torch.nn.functional.normalize(halves, dim=2).flatten(1)
    features[0] = 0
    return features


def build_ours(shapes: Shapes, dropout: float | None = None) -> FMRLRecNetwork:
    """The package's network."""
    torch.manual_seed(2)
    rate = shapes.dropout if dropout is None else dropout
    return FMRLRecNetwork(shapes.sizes, shapes.feature_width, dropout=rate)


def build_published(
    shapes: Shapes, features: Tensor, network: FMRLRecNetwork, dropout: float | None = None
) -> PublishedModel:
    """The published formulation with the parameters of ``network``."""
    rate = shapes.dropout if dropout is None else dropout
    model = PublishedModel(shapes.sizes, features, dropout=rate)
    recorded.load_plain(model, recorded.read(network))
    return model


def our_loss(network: FMRLRecNetwork, features: Tensor, batch: Batch) -> Tensor:
    """The loss as the model's ``calculate_loss`` computes it, where the features are."""
    device, (packing, items, targets) = features.device, batch.packed()
    inputs, ranked = network.step_items(features, send(items, device), len(targets))
    hidden = network.encode(inputs, packing.to(device))
    return nested_cross_entropy(hidden, ranked, send(targets - 1, device), network.sizes)


class Decaying:
    """What `adamw` asks of a model: its parameters, and those that do not decay."""

    def __init__(self, network: FMRLRecNetwork) -> None:
        self.parameters = network.parameters

    def no_decay_parameters(self) -> list[Tensor]:
        return [parameter for parameter in self.parameters() if parameter.ndim < 2]


def our_step(network: FMRLRecNetwork, features: Tensor, batch: Batch, low: bool = False) -> Step:
    """A whole training step: loss, gradients, clipping, AdamW; ``low``: in bfloat16."""
    optimizer = adamw(Decaying(network), 1e-4, 0.01)

    def step() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast(features.device.type, torch.bfloat16, enabled=low):
            loss = our_loss(network, features, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        return loss.detach()

    return step


def published_step(model: PublishedModel, batch: Batch) -> Step:
    """The same of the published formulation, with torch's ordinary AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    rows, labels = (part.to(model.features.device) for part in batch.left_padded())

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = model.loss(rows, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        return loss.detach()

    return step


def useful_multiplications(shapes: Shapes, positions: int) -> int:
    """Multiply-adds of the products that a training step needs, by the plainest exact way.

    The item table projected once and its weight's gradient; logits and their two gradients; seven
    nested layers (two of them with complex numbers on one side) and their two gradients.
    """
    width, sizes = shapes.sizes[-1], shapes.sizes
    starts = (0, *sizes[:-1])
    nested = sum((end - start) * end for start, end in zip(starts, sizes, strict=True))
    projection = 2 * shapes.items * shapes.feature_width * width
    logits = 3 * positions * shapes.items * width
    return projection + logits + 3 * 7 * nested * positions
