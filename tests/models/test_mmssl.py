"""MMSSL: one modality and two, its critic, its learned graph, features on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataset_tools.features import write_features
from recbole_fmrlrec.errors import DataError, UsageError
from tests import toy
from tests.models.small import parts_of

SMALL: dict[str, Any] = {"embedding_size": 8, "n_heads": 2, "train_batch_size": 64}
Make = Callable[..., tuple[Any, Any, Any]]


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Config, loaders and model of a small run; keys may be given."""
    monkeypatch.chdir(tmp_path)
    foreign = ("sizes", "input_dropout_prob", "MAX_ITEM_LIST_LENGTH")
    return parts_of("MMSSL", SMALL, foreign, tmp_path)


def add_images(root: Path) -> None:
    """Random image features beside the text features, which are made first."""
    folder = root / "toy" / "features"
    tokens = (folder / "items.txt").read_text().split()
    matrix = np.random.default_rng(0).standard_normal((len(tokens), 6)).astype(np.float16)
    write_features(folder, "image", matrix, tokens, {"encoder": "random", "revision": "1"})


@pytest.fixture
def pair(parts: Make, tmp_path: Path) -> Make:
    """As `parts`, with images."""
    parts()
    add_images(tmp_path)
    return parts


def test_it_reads_what_there_is_and_says_what_is_missing(
    parts: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        _, _, text = parts()
    assert "MMSSL reads text; the paper's also reads image" in caplog.text
    assert len(text.network.projectors) == len(text.by_modality()) == 1
    caplog.clear()
    add_images(tmp_path)
    with caplog.at_level("INFO"):
        _, _, both = parts()
    assert "the paper's also reads" not in caplog.text
    widths = [matrix.shape[1] for matrix in both.by_modality()]
    assert widths == [text.feature_width, 6] == [p.in_features for p in both.network.projectors]
    torch.testing.assert_close(both.by_modality()[0], text.features)


def test_every_parameter_learns_from_two_modalities(pair: Make) -> None:
    _, loaders, model = pair()
    critic = [p.clone() for p in model.critic.parameters()]
    for batch in loaders[0]:  # in the first one the learned graphs of both are the interactions
        model.train().calculate_loss(batch).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.any(), name
    # The critic has taken its own step, and the recommender's optimiser sees nothing of it.
    for before, after in zip(critic, model.critic.parameters(), strict=True):
        assert after.grad is None and not torch.equal(before, after)


def test_the_adversary_moves_the_recommender(pair: Make) -> None:
    gradients = []
    for weight in (0.0, 1.0):
        _, loaders, model = pair(adversarial_weight=weight)
        batch = next(iter(loaders[0]))
        torch.manual_seed(1)
        model.train().calculate_loss(batch).backward()
        gradients.append(model.network.projectors[1].weight.grad)
    assert not torch.allclose(*gradients)


@torch.no_grad()
def test_a_users_learned_graph_is_the_best_new_items_of_each_modality(pair: Make) -> None:
    config, loaders, model = pair(graph_share=0.09, contrast_weight=0.0)
    batch = next(iter(loaders[0]))
    model.eval()  # without dropout, views are the same before and after the step of the critic
    views = model.views()
    with torch.enable_grad():
        model.critic.train()
        model.calculate_loss(batch)
    matrix = loaders[0]._dataset.inter_matrix("csr").toarray()
    users = set(batch[config["USER_ID_FIELD"]].tolist())
    assert model.neighbours.shape == (2, toy.USERS + 1, 2)  # 0.09 * 25 items, rounded down
    for user in range(1, toy.USERS + 1):
        for m in range(2):
            found = model.neighbours[m, user].tolist()
            if user not in users:
                assert found == [0, 0]
                continue
            scores = views.feature_items[m] @ views.feature_users[m, user]
            scores[torch.from_numpy(matrix[user] > 0)] = 0
            scores[0] = -torch.inf
            assert found == scores.argsort(descending=True, stable=True)[:2].tolist()


def test_users_without_learned_items_keep_their_own(parts: Make) -> None:
    _, loaders, model = parts()
    dense = torch.from_numpy(loaders[0]._dataset.inter_matrix("csr").toarray())
    model.neighbours[0, 3, 0] = 17
    graph = model._learned_graph(model.neighbours[0]).of_users.to_dense() > 0
    assert graph[3].nonzero().flatten().tolist() == [17]
    assert torch.equal(graph[4:], dense[4:] > 0) and torch.equal(graph[:3], dense[:3] > 0)


def test_bpr_and_lengths_by_their_formula(parts: Make) -> None:
    keys = {"contrast_weight": 0.0, "adversarial_weight": 0.0, "length_weight": 0.01}
    _, loaders, model = parts(**keys)
    batch = next(iter(loaders[0]))
    model.eval()
    views = model.views()
    users, better, worse = batch["user_id"], batch["item_id"], batch["neg_item_id"]
    u, p, n = views.users[users], views.items[better], views.items[worse]
    bpr = torch.log(1 + torch.exp(-((u * p).sum(1) - (u * n).sum(1)))).mean()
    lengths = ((u**2).sum() + (p**2).sum() + (n**2).sum()) / len(users)
    features = ((views.feature_users**2).sum() + (views.feature_items**2).sum()) / toy.ITEMS
    model.critic.train()
    expected = bpr + 0.01 * 0.5 * (lengths + features)
    torch.testing.assert_close(model.calculate_loss(batch), expected)


def test_features_on_disk_give_the_same_loss(pair: Make) -> None:
    results = []
    _, loaders, _ = pair()
    batch = next(iter(loaders[0]))  # its negatives are drawn anew each time
    for memory in (2048, 0):
        _, _, model = pair(feature_memory_mb=memory, feature_block_size=4)
        torch.manual_seed(1)
        loss = model.train().calculate_loss(batch)
        loss.backward()
        results.append((loss, [p.weight.grad for p in model.network.projectors]))
    torch.testing.assert_close(*results)


def test_a_batch_of_one_user_has_nothing_to_norm(parts: Make) -> None:
    _, loaders, model = parts()
    batch = next(iter(loaders[0]))[:1]
    assert torch.isfinite(model.train().calculate_loss(batch))


def test_without_negatives_there_is_no_mmssl(parts: Make) -> None:
    with pytest.raises(DataError, match="MMSSL compares each item with a negative"):
        parts(train_neg_sample_args=None)


def test_without_features_there_is_no_mmssl(parts: Make) -> None:
    with pytest.raises(UsageError, match="use_features: False: MMSSL makes item vectors from"):
        parts(use_features=False)
