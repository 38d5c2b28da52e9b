"""MMSSL's critic and what it is shown, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from recbole_fmrlrec.nn.adversary import (
    Critic,
    critic_loss,
    gradient_penalty,
    new_item_scores,
    real_rows,
)


def test_scores_leave_out_what_a_user_knows() -> None:
    users, items = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 2.0], [9.0, 9.0]])
    known = torch.tensor([[0.0, 0.0, 1.0]])
    # 3, 4 and nothing; the length is 5.
    assert new_item_scores(users, items, known)[0].tolist() == pytest.approx([0.6, 0.8, 0.0])


def test_real_rows_are_softened_interactions_and_scores() -> None:
    known, scores = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    likely = math.e / (math.e + 1)
    row = [likely, 1 - likely + 2.0]
    length = math.hypot(*row)
    found = real_rows(known, scores, noise_scale=0.0, temperature=1.0, score_weight=2.0)
    assert found[0].tolist() == pytest.approx([x / length for x in row])
    torch.manual_seed(3)
    noisy = real_rows(known, scores, noise_scale=0.5, temperature=0.25, score_weight=0.0)
    torch.manual_seed(3)
    gumbel = -torch.log(-torch.log(torch.rand(1, 2)))
    expected = torch.softmax(known + 2 * gumbel, dim=1)
    torch.testing.assert_close(noisy, expected / expected.norm(), rtol=1e-4, atol=1e-6)


class Slope(nn.Module):
    """A critic with the slope 3 everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([3.0, 0.0]))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows @ self.weight


def test_the_penalty_is_of_the_slope_between_real_and_fake() -> None:
    critic, real, fake = Slope(), torch.ones(4, 2), torch.zeros(4, 2)
    assert gradient_penalty(critic, real, fake).item() == pytest.approx(0.3 * (3 - 1) ** 2)
    # Fake 0 minus real 3, and half of the penalty.
    loss = critic_loss(critic, real, fake, penalty_weight=0.5)  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(-3 + 0.5 * 1.2)
    loss.backward()
    assert critic.weight.grad is not None
    # d/dw of -w plus 0.5 * 0.3 * 2 * (w - 1), at w = 3.
    assert critic.weight.grad[0].item() == pytest.approx(-1 + 0.5 * 0.3 * 2 * 2)


def test_an_undecided_critic_says_50() -> None:
    critic = Critic(16, 0.31, 0.5)
    assert [layer.weight.shape for layer in critic.layers if isinstance(layer, nn.Linear)] == [
        (4, 16),
        (2, 4),
        (1, 2),
    ]
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.zero_()
    assert critic(torch.randn(3, 16)).tolist() == [50.0] * 3


def test_a_critic_learns_to_tell_rows_apart() -> None:
    torch.manual_seed(0)
    critic = Critic(16, 0.0, 0.0)
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.01, betas=(0.5, 0.9))
    # A batch is normed by itself, so that it is the shape of rows that tells them apart.
    real, fake = torch.eye(16).repeat(2, 1), torch.rand(32, 16)
    for _ in range(80):
        optimizer.zero_grad()
        critic_loss(critic, real, fake, 0.0).backward()
        optimizer.step()
    with torch.no_grad():
        assert critic(real).mean() > critic(fake).mean() + 20
