"""gSASRec's encoder: SASRec's own transformer, on packed sequences.

Source: Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, as the code of
Petrov and Macdonald, "gSASRec", RecSys 2023 (arXiv 2308.07192), writes it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_fmrlrec.nn.attention import LengthGroups, causal_attention
from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.nn.positions import from_end


class Block(nn.Module):
    """``q = norm(x)``; ``y = norm(q + attention(q, x, x))``; ``y + feedforward(y)``.

    Only the queries are normed, what is added to the attention is the normed input, there is no
    product after the attention, and the feed-forward layer is d wide with ReLU.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.norm_attention, self.norm_feedforward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, groups: LengthGroups) -> Tensor:
        """Map packed ``(T, d)`` to ``(T, d)``."""
        q = self.norm_attention(x)
        qkv = torch.cat([self.query(q), self.key_value(x)], dim=1)
        y = self.norm_feedforward(q + causal_attention(qkv, self.heads, groups, self.dropout))
        inner = self.dropout(torch.relu(self.inner(y)))
        added: Tensor = y + self.dropout(self.outer(inner))
        return added


class GSASRecEncoder(nn.Module):
    """Positions counted from the end of a row are added, then blocks and a last norm.

    Args:
        width: d.
        length: the longest sequence L.
        num_blocks: number of blocks.
        heads: h, a divisor of d.
        dropout: rate of the input, of attention weights and in the feed-forward layers.

    Raises:
        ValueError: the heads do not divide the width.
    """

    def __init__(self, width: int, length: int, num_blocks: int, heads: int, dropout: float):
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.positions = nn.Embedding(length, width)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """Map packed item vectors ``(T, d)`` to packed outputs ``(T, d)``."""
        x = self.dropout(x + self.positions(from_end(packing)))
        groups = LengthGroups.of(packing)
        for block in self.blocks:
            x = block(x, groups)
        out: Tensor = self.norm(x)
        return out


@torch.no_grad()
def init_weights(module: nn.Module) -> None:
    """The first values of the paper's code, which are Keras's own.

    Embeddings uniform within 0.05, matrices by Glorot and Bengio, biases of zero.
    """
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            nn.init.uniform_(part.weight, -0.05, 0.05)
        elif isinstance(part, nn.Linear):
            for rows in part.weight.split(part.in_features):  # keys and values: two matrices
                nn.init.xavier_uniform_(rows)
            nn.init.zeros_(part.bias)
