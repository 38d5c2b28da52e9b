"""The network of MMSSL: users and items of a graph, seen through each modality of the items.

Source: Wei et al., "Multi-Modal Self-Supervised Learning for Recommendation", WWW 2023 (arXiv
2302.10632), in the form of the authors' code; `recbole_fmrlrec.models.mmssl` says where it differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.nn.dropout import Dropout
from recbole_fmrlrec.nn.projection import FeatureRows, project


@dataclass(frozen=True)
class Graph:
    """A bipartite graph in both directions, sparse matrices ``(U, N)`` and ``(N, U)``.

    A row sums up its neighbours and divides by the square root of their number.
    """

    of_users: Tensor
    of_items: Tensor

    @classmethod
    def of_edges(cls, users: Tensor, items: Tensor, shape: tuple[int, int]) -> Graph:
        """The graph of edges ``(E,)``, none of them twice."""
        return cls(_rows(users, items, shape), _rows(items, users, (shape[1], shape[0])))


def _rows(rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> Tensor:
    degree = torch.bincount(rows, minlength=shape[0]).float()
    order = torch.argsort(rows * shape[1] + columns)
    indices, values = torch.stack([rows, columns])[:, order], degree[rows[order]].rsqrt()
    return torch.sparse_coo_tensor(
        indices, values, shape, is_coalesced=True, check_invariants=False
    )


@dataclass(frozen=True)
class Views:
    """Users and items ``(U, d)`` and ``(N, d)``: as they are ranked, and by modality ``(M, ...)``.

    Attributes:
        users: what is ranked with.
        items: what is ranked.
        feature_users: users by the features of their items.
        feature_items: items by the features of the items of their users.
        id_users: users by the ids of their learned neighbours in each modality.
    """

    users: Tensor
    items: Tensor
    feature_users: Tensor
    feature_items: Tensor
    id_users: Tensor


class ModalityAttention(nn.Module):
    """Attention between the modalities of one user or item, its mean over them.

    Each head weighs the modalities by its own queries and keys, and all mix the same values, the
    vectors themselves. With one modality there is nothing to weigh.

    Args:
        width: d.
        heads: H, a divisor of d.
        modalities: M.
    """

    def __init__(self, width: int, heads: int, modalities: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.heads = heads
        self.query = self.key = None
        if modalities > 1:
            self.query, self.key = (nn.Parameter(torch.empty(width, width)) for _ in range(2))
        self.mix = nn.Parameter(torch.empty(heads * width, width))
        for parameter in self.parameters():
            nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(M, n, d)`` to ``(n, d)``."""
        if self.query is None or self.key is None:
            mixed = x.expand(self.heads, *x.shape)
        else:
            q, k = ((x @ w).unflatten(2, (self.heads, -1)) for w in (self.query, self.key))
            scores = torch.einsum("anhc,bnhc->hnab", q, k) * q.shape[3] ** -0.5
            mixed = torch.einsum("hnab,bnd->hand", scores.softmax(3), x)
        return (mixed.permute(1, 2, 0, 3).flatten(2) @ self.mix).mean(0)


class ModalityGraphNetwork(nn.Module):
    """MMSSL's encoder: hops over the interactions, views by features and by learned graphs.

    Args:
        num_users: U.
        num_items: N.
        feature_widths: the width of each modality's features, M of them.
        width: d.
        num_layers: hops over the graph of interactions; the last one ends in a softmax.
        heads: of the attention between modalities.
        dropout: rate of the projected features.
        feature_weight: of the normed views by features in the result.
        attention_weight: of the normed attention over views by ids in the first layer.

    Raises:
        ValueError: there are no features, or ``heads`` does not divide ``width``.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        feature_widths: Sequence[int],
        width: int = 64,
        num_layers: int = 2,
        heads: int = 4,
        dropout: float = 0.2,
        feature_weight: float = 0.55,
        attention_weight: float = 0.36,
    ) -> None:
        super().__init__()
        if not feature_widths:
            raise ValueError("MMSSL needs the features of at least one modality")
        self.num_layers = num_layers
        self.feature_weight, self.attention_weight = feature_weight, attention_weight
        self.projectors = nn.ModuleList(nn.Linear(one, width) for one in feature_widths)
        self.dropout = Dropout(dropout)
        self.user_ids, self.item_ids = (
            nn.Embedding(num_users, width),
            nn.Embedding(num_items, width),
        )
        self.attention = ModalityAttention(width, heads, len(feature_widths))
        for module in (*self.projectors, self.user_ids, self.item_ids):
            nn.init.xavier_uniform_(module.weight)

    def forward(
        self,
        features: Sequence[Tensor | FeatureRows],
        graph: Graph,
        learned: Sequence[Graph],
    ) -> Views:
        """All users and items.

        Args:
            features: ``(N, F_m)`` of each modality.
            graph: of the interactions.
            learned: of each modality.
        """
        projected = [self.dropout(x) for x in map(_project, features, self.projectors)]
        feature_users = torch.stack([torch.sparse.mm(graph.of_users, x) for x in projected])
        feature_items = torch.stack([torch.sparse.mm(graph.of_items, x) for x in feature_users])
        users, items = self.user_ids.weight, self.item_ids.weight
        id_users = torch.stack([torch.sparse.mm(one.of_users, items) for one in learned])
        id_items = torch.stack([torch.sparse.mm(one.of_items, users) for one in learned])
        users = users + self.attention_weight * functional.normalize(self.attention(id_users))
        items = items + self.attention_weight * functional.normalize(self.attention(id_items))
        users, items = self._hops(users, items, graph)
        return Views(
            users + self.feature_weight * functional.normalize(feature_users, dim=2).sum(0),
            items + self.feature_weight * functional.normalize(feature_items, dim=2).sum(0),
            *(feature_users, feature_items, id_users),
        )

    def _hops(self, users: Tensor, items: Tensor, graph: Graph) -> tuple[Tensor, Tensor]:
        """The mean over the layers; a layer's items are made of its own users."""
        all_users, all_items = [users], [items]
        for layer in range(self.num_layers):
            users = torch.sparse.mm(graph.of_users, items)
            users = users.softmax(1) if layer == self.num_layers - 1 else users
            items = torch.sparse.mm(graph.of_items, users)
            items = items.softmax(1) if layer == self.num_layers - 1 else items
            all_users.append(users)
            all_items.append(items)
        return torch.stack(all_users).mean(0), torch.stack(all_items).mean(0)


def _project(features: Tensor | FeatureRows, projector: nn.Module) -> Tensor:
    assert isinstance(projector, nn.Linear)
    if isinstance(features, Tensor):
        projected: Tensor = projector(features)
        return projected
    return project(features, projector.weight, projector.bias)


def contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The mean over rows i of ``-log`` of the share of ``first_i`` with ``second_i``.

    Its rivals are ``first_i`` with all other rows of both, by the exponential of the cosine over
    the temperature.

    Args:
        first: ``(n, d)``.
        second: ``(n, d)``.
        temperature: tau.
    """
    first, second = functional.normalize(first, dim=1), functional.normalize(second, dim=1)
    within = first @ first.t() / temperature
    within = within.masked_fill(
        torch.eye(len(first), dtype=torch.bool, device=first.device), -torch.inf
    )
    between = first @ second.t() / temperature
    total = torch.logsumexp(torch.cat([within, between], dim=1), dim=1)
    return (total - between.diagonal()).mean()
