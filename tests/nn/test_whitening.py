"""Whitening by experts against its formula and cases worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from recbole_fmrlrec.nn.whitening import WhiteningExperts, whitening_reference


def filled(experts: WhiteningExperts, seed: int = 0) -> WhiteningExperts:
    """All parameters random: gates and shifts begin at zero."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.normal_()
    return experts


def test_one_expert_takes_the_shift_off_and_multiplies() -> None:
    layer = WhiteningExperts(2, 2, num_experts=1).eval()
    with torch.no_grad():
        layer.weight[0] = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
        layer.shift[0] = 1.0
    # (3, 2) - (1, 1) = (2, 1); 1 * 2 + 2 * 1 = 4 and 0 * 2 + 1 * 1 = 1.
    assert layer(torch.tensor([[3.0, 2.0]])).tolist() == [[4.0, 1.0]]


def test_gates_weigh_the_experts_by_the_items_own_features() -> None:
    layer = WhiteningExperts(1, 1, num_experts=2).eval()
    with torch.no_grad():
        layer.weight[:, 0, 0] = torch.tensor([1.0, 5.0])
        layer.gate[0] = torch.tensor([math.log(3), 0.0])
    # At 1 the gates are 3/4 and 1/4, at -1 they are 1/4 and 3/4.
    found = layer(torch.tensor([[1.0], [-1.0]])).flatten().tolist()
    assert found == pytest.approx([0.75 * 1 + 0.25 * 5, -(0.25 * 1 + 0.75 * 5)])


def test_it_equals_its_formula_with_every_gradient() -> None:
    layer, x = filled(WhiteningExperts(5, 3, num_experts=4)).eval(), torch.randn(7, 5)
    upstream = torch.randn(7, 3)
    names = [name for name, _ in layer.named_parameters() if name != "noise"]
    results = []
    for function in (layer, lambda rows: whitening_reference(rows, layer)):
        out = function(x)
        grads = torch.autograd.grad(
            (out * upstream).sum(), [layer.get_parameter(name) for name in names]
        )
        results.append((out, grads))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


def test_noise_of_the_gates_has_the_learned_deviation_and_is_of_training_alone() -> None:
    layer, x = filled(WhiteningExperts(3, 2, num_experts=4)), torch.randn(6, 3)
    torch.manual_seed(5)
    noisy = layer.gates(x)
    torch.manual_seed(5)
    deviation = torch.log1p(torch.exp(x @ layer.noise)) + 0.01
    expected = torch.softmax(x @ layer.gate + torch.randn(6, 4) * deviation, dim=1)
    torch.testing.assert_close(noisy, expected)
    layer.eval()
    torch.testing.assert_close(layer.gates(x), torch.softmax(x @ layer.gate, dim=1))


def test_each_expert_loses_other_numbers_of_its_input() -> None:
    layer = WhiteningExperts(1, 1, num_experts=2, dropout=0.5)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    torch.manual_seed(0)
    layer.gates = lambda x: torch.full((len(x), 2), 0.5)  # type: ignore[method-assign]
    found = layer(torch.ones(400, 1)).flatten()
    # Kept by both 2, by one 1, by none 0; 1 is half of them, and never with a common mask.
    assert set(found.unique().tolist()) == {0.0, 1.0, 2.0}
    assert 150 < int((found == 1).sum()) < 250


def test_it_begins_with_equal_gates_and_without_a_shift() -> None:
    layer = WhiteningExperts(6, 4).eval()
    x = torch.randn(3, 6)
    torch.testing.assert_close(layer(x), x @ layer.weight.mean(0).t())
    assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize(("width", "experts"), [(0, 8), (4, 0)])
def test_nothing_to_whiten(width: int, experts: int) -> None:
    with pytest.raises(ValueError, match="at least one expert"):
        WhiteningExperts(width, 4, experts)
