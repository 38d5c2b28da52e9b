"""MMSSL's network against plain sums, and cases worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from recbole_fmrlrec.nn.modality_graph import (
    Graph,
    ModalityAttention,
    ModalityGraphNetwork,
    contrast,
)

# User 0 knows items 0 and 1, user 1 item 1, user 2 nothing; nobody knows item 2.
EDGES = torch.tensor([0, 0, 1]), torch.tensor([1, 0, 1])


def test_a_row_of_a_graph_divides_by_the_root_of_its_neighbours() -> None:
    graph = Graph.of_edges(*EDGES, (3, 3))
    root = math.sqrt(0.5)
    assert graph.of_users.to_dense().flatten().tolist() == pytest.approx(
        [root, root, 0, 0, 1, 0, 0, 0, 0]
    )
    assert graph.of_items.to_dense().flatten().tolist() == pytest.approx(
        [1, 0, 0, root, root, 0, 0, 0, 0]
    )


def test_attention_between_modalities_by_its_definition() -> None:
    torch.manual_seed(0)
    layer, x = ModalityAttention(6, heads=2, modalities=3), torch.randn(3, 4, 6)
    assert layer.query is not None and layer.key is not None
    expected = []
    for one in x.unbind(1):  # a user or an item, (M, d)
        heads = []
        for half in (slice(0, 3), slice(3, 6)):
            q, k = (one @ layer.query)[:, half], (one @ layer.key)[:, half]
            heads.append(torch.softmax(q @ k.t() / math.sqrt(3), dim=1) @ one)
        expected.append((torch.cat(heads, dim=1) @ layer.mix).mean(0))
    torch.testing.assert_close(layer(x), torch.stack(expected))


def test_one_modality_is_not_weighed() -> None:
    torch.manual_seed(0)
    layer, x = ModalityAttention(4, heads=2, modalities=1), torch.randn(1, 5, 4)
    assert [name for name, _ in layer.named_parameters()] == ["mix"]
    torch.testing.assert_close(layer(x), torch.cat([x[0], x[0]], dim=1) @ layer.mix)


def test_the_network_by_dense_sums() -> None:
    torch.manual_seed(0)
    network = ModalityGraphNetwork(3, 3, [5, 2], width=4, heads=2).eval()
    features = [torch.randn(3, 5), torch.randn(3, 2)]
    graph = Graph.of_edges(*EDGES, (3, 3))
    learned = [graph, Graph.of_edges(torch.tensor([2]), torch.tensor([2]), (3, 3))]
    views = network(features, graph, learned)
    a, b = graph.of_users.to_dense(), graph.of_items.to_dense()
    by_features = [a @ p(x) for p, x in zip(network.projectors, features, strict=True)]
    torch.testing.assert_close(views.feature_users, torch.stack(by_features))
    torch.testing.assert_close(views.feature_items, torch.stack([b @ x for x in by_features]))
    users, items = network.user_ids.weight, network.item_ids.weight
    attended = [
        network.attention(torch.stack([getattr(one, side).to_dense() @ ids for one in learned]))
        for side, ids in (("of_users", items), ("of_items", users))
    ]
    u0, i0 = (
        ids + 0.36 * x / x.norm(dim=1, keepdim=True).clamp(min=1e-12)
        for ids, x in zip((users, items), attended, strict=True)
    )
    u1 = a @ i0
    i1 = b @ u1
    u2 = torch.softmax(a @ i1, dim=1)
    expected = (u0 + u1 + u2) / 3
    for x in by_features:
        expected = expected + 0.55 * functional.normalize(x, dim=1)
    torch.testing.assert_close(views.users, expected)
    expected = (i0 + i1 + torch.softmax(b @ u2, dim=1)) / 3
    for x in by_features:
        expected = expected + 0.55 * functional.normalize(b @ x, dim=1)
    torch.testing.assert_close(views.items, expected)


def test_contrast_worked_by_hand() -> None:
    # Cosines 1 on the diagonal and 0 elsewhere; at 0.5 that is e^2 against two rivals of e^0.
    same = 3.0 * torch.eye(2)
    assert contrast(same, same, 0.5).item() == pytest.approx(math.log(1 + 2 / math.e**2))
    # Crosswise: one rival has the cosine 1, e^0 is the pair's own.
    crossed = contrast(same, same.flip(0), 0.5).item()
    assert crossed == pytest.approx(math.log(2 + math.e**2))


def test_what_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="at least one modality"):
        ModalityGraphNetwork(3, 3, [])
    with pytest.raises(ValueError, match="3 heads do not divide a width of 4"):
        ModalityGraphNetwork(3, 3, [5], width=4, heads=3)
