"""Frozen features to item vectors by parametric whitening, mixed over experts (UniSRec).

Source: Hou et al., "Towards Universal Sequence Representation Learning for Recommender Systems",
KDD 2022 (arXiv 2206.05941), its parametric whitening and its adaptor: one whitening is ``(x - b)
W`` with a learned shift b and a learned W, and the item vector is the sum of those of all experts,
weighted by a softmax of the item's own features, to whose logits training adds noise of a learned
deviation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.nn.dropout import Dropout

#: The least deviation of the noise in the gates' logits (the authors' code).
LEAST_NOISE = 1e-2


class WhiteningExperts(nn.Module):
    """``sum over experts e of gate_e(x) * W_e (x - b_e)``, ``(n, F)`` to ``(n, d)``.

    Args:
        feature_width: F.
        width: d.
        num_experts: how many whitenings are mixed.
        dropout: rate at which an expert loses numbers of its input, each expert others.

    Raises:
        ValueError: there are no features, or no expert.
    """

    def __init__(
        self, feature_width: int, width: int, num_experts: int = 8, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if feature_width < 1 or num_experts < 1:
            raise ValueError("parametric whitening needs features and at least one expert")
        self.weight = nn.Parameter(torch.empty(num_experts, width, feature_width))
        self.shift = nn.Parameter(torch.zeros(num_experts, feature_width))
        self.gate = nn.Parameter(torch.zeros(feature_width, num_experts))
        self.noise = nn.Parameter(torch.zeros(feature_width, num_experts))
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.weight, std=0.02)

    def gates(self, x: Tensor) -> Tensor:
        """The weights ``(n, E)`` of the experts; in training their logits are noisy."""
        logits = x @ self.gate
        if self.training:
            deviation = functional.softplus(x @ self.noise) + LEAST_NOISE
            logits = logits + torch.randn_like(logits) * deviation
        return logits.softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``(n, F)`` to vectors ``(n, d)``."""
        gates = self.gates(x)
        # (x - b) W = x W - b W: features are not copied once more for each expert.
        shifts = -(self.weight @ self.shift[:, :, None]).squeeze(2)
        mixed = torch.zeros((), dtype=x.dtype, device=x.device)
        for gate, weight, shift in zip(gates.unbind(1), self.weight, shifts, strict=True):
            whitened = functional.linear(self.dropout(x), weight, shift)
            mixed = torch.addcmul(mixed, gate[:, None], whitened)
        return mixed


def whitening_reference(x: Tensor, experts: WhiteningExperts) -> Tensor:
    """`WhiteningExperts` in evaluation by its formula, an item and an expert at a time."""
    rows = []
    for features in x:
        gates = torch.softmax(features @ experts.gate, dim=0)
        whitened = [
            weight @ (features - shift)
            for weight, shift in zip(experts.weight, experts.shift, strict=True)
        ]
        rows.append(sum(gate * one for gate, one in zip(gates, whitened, strict=True)))
    return torch.stack(rows)
