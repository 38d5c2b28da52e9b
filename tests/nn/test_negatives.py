"""Losses over negatives of each position's own: against their formulas and against plain BCE."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from recbole_fmrlrec.nn.negatives import (
    candidate_scores,
    candidate_scores_reference,
    draw_negatives,
    gbce,
    gbce_beta,
    own_softmax,
)


def formula(scores: torch.Tensor, beta: float) -> torch.Tensor:
    """gBCE as the paper writes it: a power of the positive's probability."""
    probability = torch.sigmoid(scores)
    positive = torch.log(probability[:, 0] ** beta)
    negative = torch.log(1 - probability[:, 1:]).sum(1)
    return (-(positive + negative) / scores.shape[1]).mean()


def test_beta_by_hand() -> None:
    # alpha = 10 / (101 - 1) = 0.1; beta = 0.1 (0.75 (1 - 10) + 10) = 0.325.
    assert gbce_beta(101, 10, 0.0) == 1
    assert gbce_beta(101, 10, 1.0) == pytest.approx(0.1)
    assert gbce_beta(101, 10, 0.75) == pytest.approx(0.325)
    assert gbce_beta(101, 100, 0.75) == 1  # every other item is a negative: nothing to calibrate


def test_gbce_by_hand() -> None:
    # sigmoid(0) = 1/2, sigmoid(ln 3) = 3/4: (beta ln 2 + ln 4 + ln 2) / 3.
    scores = torch.tensor([[0.0, math.log(3), 0.0]])
    assert gbce(scores, 0.4).item() == pytest.approx(3.4 * math.log(2) / 3)


@pytest.mark.parametrize("t", [0.0, 0.75, 1.0])
def test_gbce_is_its_formula_in_value_and_gradient(t: float) -> None:
    torch.manual_seed(0)
    scores = torch.randn(5, 9, dtype=torch.float64, requires_grad=True)
    beta = gbce_beta(30, 8, t)
    results = []
    for way in (gbce, formula):
        scores.grad = None
        loss = way(scores, beta)
        loss.backward()
        results.append((loss.detach(), scores.grad))
    torch.testing.assert_close(results[0], results[1])


def test_at_t_0_gbce_is_the_plain_binary_cross_entropy() -> None:
    scores = torch.randn(5, 9)
    labels = torch.zeros(5, 9)
    labels[:, 0] = 1
    plain = functional.binary_cross_entropy_with_logits(scores, labels)
    torch.testing.assert_close(gbce(scores, gbce_beta(30, 8, 0.0)), plain)


def test_at_t_1_the_best_probability_is_the_true_one() -> None:
    """An item is next with probability p: at t = 1 its score tells p, at t = 0 it is overconfident.

    Of N items one is next with p = 0.3, and a draw of k negatives holds it k / N times on average.
    The expected loss -(p beta log s + (1 - p) k / (N - 1) log(1 - s)), the draws being of the items
    that are not next, has its least value where s = p at beta = alpha = k / (N - 1).
    """
    items, number, p = 101, 10, 0.3
    score = torch.linspace(-6, 6, 120_001, dtype=torch.float64)
    for t, wanted in ((1.0, p), (0.0, p / (p + 0.7 * 0.1))):
        beta = gbce_beta(items, number, t)
        hit = functional.softplus(-score) * beta * p
        miss = functional.softplus(score) * (1 - p) * number / (items - 1)
        best = score[(hit + miss).argmin()]
        assert torch.sigmoid(best).item() == pytest.approx(wanted, abs=1e-4)


def test_extreme_scores_stay_finite() -> None:
    scores = torch.tensor([[-200.0, 200.0], [200.0, -200.0]], requires_grad=True)
    loss = gbce(scores, 0.1)
    loss.backward()
    assert loss.item() == pytest.approx((0.1 * 200 + 200) / 4)
    assert scores.grad is not None and bool(scores.grad.isfinite().all())


def test_own_softmax_by_hand() -> None:
    scores = torch.tensor([[math.log(3), 0.0, 0.0], [0.0, 0.0, math.log(2)]])
    assert own_softmax(scores).item() == pytest.approx((math.log(5 / 3) + math.log(4)) / 2)


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 3, 4), (300, 65, 64)])
def test_scores_and_gradients_are_those_of_the_definition(shape: tuple[int, int, int]) -> None:
    positions, candidates, width = shape
    torch.manual_seed(0)
    hidden = torch.randn(positions, width, dtype=torch.float64, requires_grad=True)
    items = torch.randn(12, width, dtype=torch.float64, requires_grad=True)
    rows = torch.randint(
        10, (positions, candidates)
    )  # items 10 and 11 are nobody's, others are often
    probe = torch.randn(positions, candidates, dtype=torch.float64)
    results = []
    for way in (candidate_scores, candidate_scores_reference):
        hidden.grad, items.grad = None, None
        scores = way(hidden, items, rows)
        (scores * probe).sum().backward()
        results.append((scores.detach(), hidden.grad, items.grad))
    torch.testing.assert_close(results[0], results[1])


def test_negatives_are_uniform_and_of_each_position() -> None:
    torch.manual_seed(0)
    targets = torch.arange(4).repeat(500)
    rows = draw_negatives(4, 20, targets)
    assert torch.equal(rows[:, 0], targets)
    counts = torch.bincount(rows[:, 1:].flatten(), minlength=4)
    # 40,000 draws: 10,000 of each with a spread of 87; the target may be drawn as any other.
    assert counts.sum() == 40_000 and (counts - 10_000).abs().max() < 500
    assert len(rows[:, 1:].unique(dim=0)) == 2000
