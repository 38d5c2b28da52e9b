"""Dropout against what it promises: rate, scale, gradient, reproducible draws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_fmrlrec.nn.dropout import Dropout


@given(p=st.sampled_from([0.01, 0.3, 0.5, 0.6, 0.99]), seed=st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_rate_and_mean(p, seed):
    torch.manual_seed(seed)
    out = Dropout(p)(torch.ones(400, 501))
    kept = out != 0
    # Five standard deviations of a share of 200,400 draws.
    assert abs(kept.float().mean() - (1 - p)) < 5 * (p * (1 - p) / out.numel()) ** 0.5 + 2**-17
    assert out[kept].unique().tolist() == [pytest.approx(1 / (1 - p), rel=2**-9)]
    assert out.double().mean() == pytest.approx(1, abs=5 * (p / (1 - p) / out.numel()) ** 0.5)


def test_neighbours_are_drawn_apart():
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(1000, 400)) != 0).double() - 0.5
    for step in (1, 2, 3, 4):
        assert abs(float((kept[:, step:] * kept[:, :-step]).mean())) < 0.002
    assert abs(float((kept[1:] * kept[:-1]).mean())) < 0.002


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (2, 3, 5)])
def test_any_shape_and_its_gradient(shape):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    out = Dropout(0.4)(x)
    out.sum().backward()
    assert out.shape == shape
    torch.testing.assert_close(out, x * x.grad)


def test_the_same_seed_draws_the_same():
    x, layer = torch.randn(9, 5), Dropout(0.5)
    torch.manual_seed(3)
    first = layer(x)
    second = layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


def test_nothing_is_dropped_in_evaluation_or_at_rate_0():
    x = torch.randn(4)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5])
def test_an_impossible_rate_is_refused(p):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        Dropout(p)


def test_a_rate_too_small_to_be_kept_drops_nothing() -> None:
    x = torch.randn(100)
    assert torch.equal(Dropout(1e-6)(x), x)
