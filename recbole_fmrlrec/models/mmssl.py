"""MMSSL: a graph of users and items seen through modalities, trained against an adversary."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor
from torch.nn import functional

from recbole_fmrlrec.console import say
from recbole_fmrlrec.data.mapped_features import MappedFeatures
from recbole_fmrlrec.models.feature_input import FeatureInput
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.adversary import Critic, critic_loss, new_item_scores, real_rows
from recbole_fmrlrec.nn.modality_graph import Graph, ModalityGraphNetwork, Views, contrast

#: The modalities of the paper's Amazon data.
PUBLISHED = ("image", "text")


class MMSSL(FeatureInput, GeneralRecommender):
    """Users and items by graph convolution, seen through modalities as well.

    Source: Wei et al., "Multi-Modal Self-Supervised Learning for Recommendation", WWW 2023 (arXiv
    2302.10632), in the form of the authors' code, with its weights, rates and sizes. Four losses:
    BPR; a penalty of the vectors' lengths; a contrast of each user by the learned graph of a
    modality with the same user as ranked, the others of the batch being the rivals; and what a
    Wasserstein critic thinks of each modality's scores of all items, which should look like
    interactions. The best new items by a modality's scores are its learned graph. The last hop over
    the interactions ends in a softmax, the learning rate is constant, as in the code.

    A general model: the order of a history is of no account. It works with the modalities that
    there are, one or more, and says which the paper has besides.

    Where the authors' code does not do what it is there for, this does:

    - The learned graphs. Their code rebuilds a modality's graph from the users of the previous
      batch only; at the default settings there are none from the third batch on, and on Baby no
      item is left: the graph is empty and its contrast has no gradient. Here each user keeps the
      items of the last batch that the user was in, at least one, and begins with the own
      interactions.
    - Keys of the attention between modalities are made by their own weights; their code takes
      shuffled queries.
    - The critic's activation is a leaky ReLU; ``LeakyReLU(True)`` in their code has the slope 1 and
      is none.

    What differs besides: batches are RecBole's, pairs drawn from the interactions with one negative
    each, where theirs draw 1,024 users and one item of each; critic and contrast take each user of
    a batch once; features are of unit length (``feature_scale``), theirs are as they come; early
    stopping goes by ``valid_metric``, theirs by Recall@20 without known items.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its interactions and feature files.

    Raises:
        UsageError: ``use_features`` is off.
        ValueError: ``n_heads`` does not divide ``embedding_size``.
    """

    input_type = InputType.PAIRWISE
    n_users: int
    n_items: int
    graph_users: Tensor
    graph_items: Tensor
    neighbours: Tensor

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        self.check_features()
        self._say_modalities()
        self.network = ModalityGraphNetwork(
            *(self.n_users, self.n_items, list(self.feature_info["widths"].values())),
            width=settings["embedding_size"],
            num_layers=settings["n_layers"],
            heads=settings["n_heads"],
            dropout=settings["dropout_prob"],
            feature_weight=settings["feature_weight"],
            attention_weight=settings["attention_weight"],
        )
        self._read_weights(settings)
        self._read_interactions(dataset)
        best = max(1, int((self.n_items - 1) * float(settings["graph_share"])))
        modalities = len(self.feature_info["widths"])
        # Learned neighbours of each user; 0 where there are none yet.
        kept = torch.zeros(modalities, self.n_users, best, dtype=torch.int64)
        self.register_buffer("neighbours", kept)
        self._make_critic(settings)
        self._kept: Views | None = None

    def _say_modalities(self) -> None:
        there = list(self.feature_info["widths"])
        absent = [name for name in PUBLISHED if name not in there]
        if absent:
            say(f"MMSSL reads {', '.join(there)}; the paper's also reads {', '.join(absent)}")

    def _read_weights(self, settings: ModelSettings) -> None:
        self.length_weight = float(settings["length_weight"])
        self.contrast_weight = float(settings["contrast_weight"])
        self.temperature = float(settings["temperature"])
        self.adversarial_weight = float(settings["adversarial_weight"])
        self.penalty_weight = float(settings["penalty_weight"])
        names = ("gumbel_scale", "gumbel_temperature", "real_score_weight")
        self.real_options = tuple(float(settings[name]) for name in names)

    def _read_interactions(self, dataset: Any) -> None:
        """The edges of the graph, each once, in the order of users."""
        pairs = torch.stack([dataset.inter_feat[self.USER_ID], dataset.inter_feat[self.ITEM_ID]])
        users, items = pairs.cpu().unique(dim=1)
        graph = Graph.of_edges(users, items, (self.n_users, self.n_items))
        self.register_buffer("graph_users", graph.of_users, persistent=False)
        self.register_buffer("graph_items", graph.of_items, persistent=False)

    def _make_critic(self, settings: ModelSettings) -> None:
        rates = settings["critic_dropout_prob"]
        self.critic = Critic(self.n_items - 1, *map(float, rates)).requires_grad_(False)
        self.critic_optimizer = torch.optim.Adam(
            self.critic.parameters(), lr=float(settings["critic_learning_rate"]), betas=(0.5, 0.9)
        )

    def by_modality(self) -> list[Tensor | MappedFeatures]:
        """The features of each modality, ``(N+1, F_m)``."""
        features = self.features
        if isinstance(features, MappedFeatures):
            options = features.scale, features.block_size
            return [MappedFeatures([part], *options) for part in features.parts]
        assert features is not None
        return list(features.split(list(self.feature_info["widths"].values()), dim=1))

    def views(self) -> Views:
        """All users and items by the present weights."""
        graph = Graph(self.graph_users, self.graph_items)
        learned = [self._learned_graph(items) for items in self.neighbours]
        views: Views = self.network(self.by_modality(), graph, learned)
        return views

    def _learned_graph(self, neighbours: Tensor) -> Graph:
        """The graph of learned neighbours ``(U, k)``; of interactions for users without."""
        users, items = self.graph_users.indices()
        missing = (neighbours[:, 0] == 0)[users]
        chosen, place = torch.nonzero(neighbours, as_tuple=True)
        users = torch.cat([users[missing], chosen])
        items = torch.cat([items[missing], neighbours[chosen, place]])
        return Graph.of_edges(users, items, (self.n_users, self.n_items))

    # Training

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """The sum of the four losses; the critic has learned from the batch before."""
        self._kept = None
        triple = (interaction[name] for name in (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID))
        users, positives, negatives = triple
        batch_users = users.unique()
        known = self._known(batch_users)
        # A batch norm needs two rows.
        adversarial = len(batch_users) * len(self.neighbours) > 1
        if adversarial:
            self._train_critic(batch_users, known)
        views = self.views()
        loss = self._ranking_loss(views, users, positives, negatives)
        rivals = [
            contrast(by_ids[batch_users], views.users[batch_users], self.temperature)
            for by_ids in views.id_users
        ]
        loss = loss + self.contrast_weight * torch.stack(rivals).sum()
        scores = self._modality_scores(views, batch_users, known)
        self._learn_neighbours(batch_users, scores)
        if adversarial:
            loss = loss - self.adversarial_weight * self.critic(scores.flatten(0, 1)).mean()
        return loss

    def _ranking_loss(
        self, views: Views, users: Tensor, positives: Tensor, negatives: Tensor
    ) -> Tensor:
        """BPR, and the lengths of the batch's vectors and of all views by features."""
        user = views.users[users]
        better, worse = views.items[positives], views.items[negatives]
        bpr = -functional.logsigmoid((user * (better - worse)).sum(1)).mean()
        lengths = sum((x**2).sum() for x in (user, better, worse)) / len(users)
        of_features = (views.feature_users**2).sum() + (views.feature_items**2).sum()
        return bpr + self.length_weight * (lengths + of_features / (self.n_items - 1)) / 2

    def _known(self, users: Tensor) -> Tensor:
        """``(n, N)`` ones where a user has interacted with an item."""
        rows = torch.index_select(self.graph_users, 0, users).to_dense()[:, 1:]
        return (rows > 0).to(rows.dtype)

    def _modality_scores(self, views: Views, users: Tensor, known: Tensor) -> Tensor:
        """``(M, n, N)`` scores of new items by each modality."""
        pairs = zip(views.feature_users, views.feature_items, strict=True)
        return torch.stack([new_item_scores(u[users], i[1:], known) for u, i in pairs])

    def _train_critic(self, users: Tensor, known: Tensor) -> None:
        """One step of the critic, whose parameters no other optimiser sees."""
        with torch.no_grad():
            views = self.views()
            fake = self._modality_scores(views, users, known)
            scores = new_item_scores(views.users[users], views.items[1:], known)
            real = real_rows(known, scores, *self.real_options)
        self.critic.requires_grad_(True)
        copies = real.repeat(len(fake), 1)
        loss = critic_loss(self.critic, copies, fake.flatten(0, 1), self.penalty_weight)
        loss.backward()
        self.critic_optimizer.step()
        self.critic_optimizer.zero_grad()
        self.critic.requires_grad_(False)

    @torch.no_grad()
    def _learn_neighbours(self, users: Tensor, scores: Tensor) -> None:
        """The best items of each user by each modality are what its learned graph holds."""
        best = scores.topk(self.neighbours.shape[2], dim=2).indices + 1
        self.neighbours[:, users] = best

    # Scores

    def train(self, mode: bool = True) -> MMSSL:
        """Switch mode; what is kept for an evaluation is dropped."""
        self._kept = None
        super().train(mode)
        return self

    def ranked(self) -> Views:
        """Users and items; in evaluation made once and kept."""
        if self.training or torch.is_grad_enabled():
            return self.views()
        if self._kept is None:
            self._kept = self.views()
        return self._kept

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores ``(B,)`` of one item per row."""
        views = self.ranked()
        users, items = (
            views.users[interaction[self.USER_ID]],
            views.items[interaction[self.ITEM_ID]],
        )
        return (users * items).sum(1)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of all items, a row of N+1 after the other."""
        views = self.ranked()
        return (views.users[interaction[self.USER_ID]] @ views.items.t()).flatten()
