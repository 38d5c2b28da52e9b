"""The learning rate at every step, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.train.optimization import learning_rate_factor, set_beta2
from tests.data.test_prefix_rows import small
from tests.every_model import build, trainer_on


def test_warm_up_rises_linearly_and_ends_at_the_full_rate():
    factor = learning_rate_factor("cosine", 4, 12, 0.0)
    assert [factor(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_cosine_falls_from_the_full_rate_over_half_to_the_lowest():
    factor = learning_rate_factor("cosine", 4, 12, 0.1)
    assert factor(4) == pytest.approx(1.0)
    assert factor(8) == pytest.approx(0.1 + 0.9 * 0.5)
    assert factor(6) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert factor(12) == pytest.approx(0.1) == factor(500)


def test_linear_and_constant():
    linear = learning_rate_factor("linear", 0, 10, 0.0)
    assert [linear(0), linear(5), linear(10)] == pytest.approx([1.0, 0.5, 0.0])
    constant = learning_rate_factor("constant", 2, 10, 0.0)
    assert [constant(0), constant(2), constant(99)] == [0.5, 1.0, 1.0]


def test_another_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="constant, linear, cosine, got step"):
        learning_rate_factor("step", 0, 10, 0.0)


@pytest.mark.parametrize("learner", ["adam", "AdamW", "sparse_adam"])
@pytest.mark.parametrize("model", ["LRURec", "SASRec"])
def test_the_second_beta(rich: Path, model: str, learner: str) -> None:
    for given, wanted in [(None, 0.999), (0.9, 0.9)]:
        made = build(rich.parent, model, learner=learner, adam_beta2=given, weight_decay=0.0)
        optimizer = trainer_on(made, torch.device("cpu")).optimizer
        assert {group["betas"] for group in optimizer.param_groups} == {(0.9, wanted)}


def test_adams_step_by_hand_with_another_second_beta() -> None:
    # Gradients 1 and 2: the means are (0.9 * 0.1 + 0.2) / 0.19 and (0.5 * 0.5 + 0.5 * 4) / 0.75.
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=1.0)
    set_beta2(optimizer, 0.5)
    for gradient in (1.0, 2.0):
        weight.grad = torch.full((1,), gradient)
        optimizer.step()
    assert weight.item() == pytest.approx(-1 - (0.29 / 0.19) / math.sqrt(2.25 / 0.75))


def test_optimisers_without_a_second_beta_refuse_one(rich: Path) -> None:
    with pytest.raises(UsageError, match=r"adam_beta2 = 0\.98: sgd has no second beta"):
        small(rich.parent, "SASRec", learner="sgd", adam_beta2=0.98)
