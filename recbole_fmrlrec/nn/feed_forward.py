"""The feed-forward layer of a transformer block with its norm behind it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.nn.dropout import Dropout

#: Of the layer norms of BERT, and of the models that took its blocks over.
EPSILON = 1e-12


class FeedForward(nn.Module):
    """``norm(x + dropout(outer(gelu(inner(x)))))``.

    Args:
        width: d.
        inner_width: between the two products.
        dropout: rate.
    """

    def __init__(self, width: int, inner_width: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, inner_width), nn.Linear(inner_width, width)
        self.dropout, self.norm = Dropout(dropout), nn.LayerNorm(width, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., d)`` to the same shape."""
        out: Tensor = self.norm(x + self.dropout(self.outer(functional.gelu(self.inner(x)))))
        return out


def normal_start(module: nn.Module, std: float) -> None:
    """Give all products and tables below a module normal weights, and products biases of zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
