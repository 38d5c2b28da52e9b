"""MMSSL's adversary: it tells users' interactions from scores that a modality gives.

Source: Wei et al., WWW 2023 (arXiv 2302.10632), in the form of the authors' code: a Wasserstein
critic with a gradient penalty (Gulrajani et al., NeurIPS 2017) of rows over all items. Rows of
zeros and ones are not of the kind that scores are; they are softened by Gumbel noise and a softmax,
and the scores of the recommender itself are added.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

#: What the critic's sigmoid is multiplied with.
CRITIC_SCALE = 100.0
#: The weight of the gradient penalty.
PENALTY = 0.3
#: What keeps logarithms finite.
TINY = 1e-8


class Critic(nn.Module):
    """Rows ``(n, N)`` to numbers in 0..100 ``(n,)``, high for what looks like interactions.

    Args:
        num_items: N.
        first_dropout: rate after the first layer, N / 4 wide.
        second_dropout: rate after the second, N / 8 wide.
    """

    def __init__(self, num_items: int, first_dropout: float, second_dropout: float) -> None:
        super().__init__()
        first, second = max(1, num_items // 4), max(1, num_items // 8)
        self.layers = nn.Sequential(
            *(nn.Linear(num_items, first), nn.LeakyReLU(), nn.BatchNorm1d(first)),
            nn.Dropout(first_dropout),
            *(nn.Linear(first, second), nn.LeakyReLU(), nn.BatchNorm1d(second)),
            nn.Dropout(second_dropout),
            *(nn.Linear(second, 1), nn.Sigmoid()),
        )
        for module in self.layers:
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, rows: Tensor) -> Tensor:
        """How real each row looks."""
        scored: Tensor = self.layers(rows)
        return CRITIC_SCALE * scored.squeeze(1)


def new_item_scores(users: Tensor, items: Tensor, known: Tensor) -> Tensor:
    """Scores of the items that a user does not know, of unit length in each row.

    Args:
        users: ``(n, d)``.
        items: ``(N, d)``.
        known: ``(n, N)`` ones where a user knows an item.
    """
    return functional.normalize(users @ items.t() * (1 - known), dim=1)


def real_rows(
    known: Tensor, scores: Tensor, noise_scale: float, temperature: float, score_weight: float
) -> Tensor:
    """Interactions as the critic is to take for real.

    Args:
        known: ``(n, N)`` ones where a user knows an item.
        scores: ``(n, N)`` `new_item_scores` of the recommender.
        noise_scale: of the Gumbel noise.
        temperature: that divides the noise.
        score_weight: of the scores.
    """
    gumbel = -torch.log(-torch.log(torch.rand_like(known) + TINY) + TINY)
    softened = torch.softmax(known + noise_scale * gumbel / temperature, dim=1)
    return functional.normalize(softened + score_weight * scores, dim=1)


def critic_loss(critic: Critic, real: Tensor, fake: Tensor, penalty_weight: float) -> Tensor:
    """What the critic lowers: fake minus real, and how far its slope between them is from 1.

    Args:
        critic: the critic.
        real: ``(n, N)``.
        fake: ``(n, N)``.
        penalty_weight: multiplies `PENALTY`.
    """
    return (
        critic(fake).mean()
        - critic(real).mean()
        + penalty_weight * gradient_penalty(critic, real, fake)
    )


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """`PENALTY` times the mean of ``(|slope| - 1)^2`` at random places between two rows."""
    at = torch.rand(len(real), 1, device=real.device)
    between = (at * real + (1 - at) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return PENALTY * ((slope.norm(dim=1) - 1) ** 2).mean()
