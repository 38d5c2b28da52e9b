"""The packed scan against plain steps; the recurrence against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.nn.recurrence import (
    LinearRecurrence,
    packed_scan,
    packed_scan_reference,
)

lengths_of = st.lists(st.integers(1, 9), min_size=1, max_size=7)


@given(lengths=lengths_of, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_scan_equals_plain_steps_in_value_and_gradient(lengths, seed):
    torch.manual_seed(seed)
    sizes = Packing.from_lengths(torch.tensor(lengths), max(lengths)).batch_sizes
    values = torch.randn(sum(lengths), 3, dtype=torch.complex128)
    decay = torch.polar(torch.rand(3, dtype=torch.float64), torch.rand(3, dtype=torch.float64))
    probe = torch.randn(sum(lengths), 3, dtype=torch.complex128)
    results = []
    for scan in (packed_scan, packed_scan_reference):
        v, lam = values.clone().requires_grad_(), decay.clone().requires_grad_()
        out = scan(v, lam, sizes)
        (out * probe).real.sum().backward()
        results.append((out, v.grad, torch.zeros_like(lam) if lam.grad is None else lam.grad))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)


def test_scan_passes_gradcheck():
    torch.manual_seed(0)
    v = torch.randn(6, 2, dtype=torch.complex128, requires_grad=True)
    lam = (0.9 * torch.randn(2, dtype=torch.complex128)).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: packed_scan(a, b, [3, 2, 1]), (v, lam))


def test_scan_by_hand():
    v = torch.tensor([[1.0], [10.0], [2.0], [3.0]], dtype=torch.complex64)
    lam = torch.tensor([0.5j], dtype=torch.complex64)
    # Two sequences: (1, 2, 3) and (10). h = 1, then 2 + 0.5i, then 3 + 0.5i (2 + 0.5i).
    out = packed_scan(v, lam, [2, 1, 1])
    assert out.flatten().tolist() == [1, 10, 2 + 0.5j, 2.75 + 1j]


def test_recurrence_starts_on_the_ring_with_real_matrices():
    torch.manual_seed(0)
    layer = LinearRecurrence([8, 4096], r_min=0.3, r_max=0.8)
    radius = layer.decay().abs().detach()
    assert radius.min() >= 0.3 and radius.max() <= 0.8
    # Uniform in area: the squared radius is uniform between the squared bounds.
    share = ((radius**2 - 0.3**2) / (0.8**2 - 0.3**2)).mean()
    assert share.item() == pytest.approx(0.5, abs=0.03)
    angle = torch.exp(layer.theta_log).detach()
    assert angle.mean().item() == pytest.approx(math.pi, rel=0.05)
    expected = torch.sqrt(1 - radius**2)
    torch.testing.assert_close(torch.exp(layer.gamma_log).detach(), expected)
    assert torch.count_nonzero(layer.in_proj.full_weight()[1::2]) == 0
    assert torch.count_nonzero(layer.out_proj.full_weight()[:, 1::2]) == 0


def test_recurrence_equals_its_definition_with_complex_matrices():
    torch.manual_seed(0)
    layer = LinearRecurrence([2, 5], r_min=0.2, r_max=0.9).double()
    for linear in (layer.in_proj, layer.out_proj):
        linear.load_full(torch.randn_like(linear.full_weight()), torch.randn_like(linear.bias))
    rows = layer.in_proj.full_weight().reshape(5, 2, 5)
    b = torch.complex(rows[:, 0], rows[:, 1])
    b_bias = torch.view_as_complex(layer.in_proj.bias.detach().reshape(5, 2))
    columns = layer.out_proj.full_weight().reshape(5, 5, 2)
    c = torch.complex(columns[..., 0], -columns[..., 1])
    x = torch.randn(4, 5, dtype=torch.float64)
    h, expected = torch.zeros(5, dtype=torch.complex128), []
    for row in x:
        h = layer.decay() * h + torch.exp(layer.gamma_log) * (b @ row.to(b.dtype) + b_bias)
        expected.append((c @ h).real + layer.out_proj.bias)
    torch.testing.assert_close(layer(x, [1, 1, 1, 1]), torch.stack(expected))
