"""eSASRec's encoder: LiGR layers on packed sequences.

Sources: Borisyuk et al., "From Features to Transformers: Redefining Ranking for Scalable Impact"
(arXiv 2502.03417): LiGR; Tikhonovich et al., "eSASRec: Enhancing Transformer-based Recommendations
in a Modular Fashion", RecSys 2025 (arXiv 2508.06450), as in the authors' code and in RecTools.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.nn.attention import LengthGroups, causal_attention
from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.nn.positions import from_end


class LiGRLayer(nn.Module):
    """Pre-norm block whose additions pass gates that are learned from what they are added to.

    ``x = x + sigmoid(gate(x)) * dropout(attention(norm(x)))``, then the same with a SwiGLU
    feed-forward layer without biases.

    Args:
        width: d.
        heads: h, a divisor of d.
        inner: width of the feed-forward layer.
        dropout: rate of attention weights, of both additions and inside the feed-forward layer.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm_attention, self.norm_feedforward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.swish, self.up = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.down = nn.Linear(inner, width, bias=False)
        self.gate_attention, self.gate_feedforward = (nn.Linear(width, width) for _ in range(2))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, groups: LengthGroups) -> Tensor:
        """Map packed ``(T, d)`` to ``(T, d)``."""
        qkv = self.qkv(self.norm_attention(x))
        mixed = self.mix(causal_attention(qkv, self.heads, groups, self.dropout))
        x = x + torch.sigmoid(self.gate_attention(x)) * self.dropout(mixed)
        y = self.norm_feedforward(x)
        y = self.down(self.dropout(functional.silu(self.swish(y)) * self.up(y)))
        return x + torch.sigmoid(self.gate_feedforward(x)) * self.dropout(y)


class ESASRecEncoder(nn.Module):
    """Positions counted from the end of a row are added, then LiGR layers; there is no last norm.

    Args:
        width: d.
        length: the longest sequence L.
        num_blocks: number of layers.
        heads: h, a divisor of d.
        inner: width of the feed-forward layers.
        dropout: rate of the input and in the layers.

    Raises:
        ValueError: the heads do not divide the width.
    """

    def __init__(
        self, width: int, length: int, num_blocks: int, heads: int, inner: int, dropout: float
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.positions = nn.Embedding(length, width)
        self.dropout = Dropout(dropout)
        layers = (LiGRLayer(width, heads, inner, dropout) for _ in range(num_blocks))
        self.blocks = nn.ModuleList(layers)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """Map packed item vectors ``(T, d)`` to packed outputs ``(T, d)``."""
        x = self.dropout(x + self.positions(from_end(packing)))
        groups = LengthGroups.of(packing)
        for block in self.blocks:
            x = block(x, groups)
        return x


@torch.no_grad()
def init_weights(module: nn.Module) -> None:
    """RecTools' first values: matrices and embeddings Xavier-normal.

    The attention's biases are zero, those of the gates as torch makes them.
    """
    for part in module.modules():
        if isinstance(part, nn.Embedding | nn.Linear):
            nn.init.xavier_normal_(part.weight)
        if isinstance(part, LiGRLayer):
            nn.init.zeros_(part.qkv.bias)
            nn.init.zeros_(part.mix.bias)
