"""The learning rate at every step, by hand."""

from __future__ import annotations

import math

import pytest

from recbole_fmrlrec.train.optimization import learning_rate_factor


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
