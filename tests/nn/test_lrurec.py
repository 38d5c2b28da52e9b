"""LRURec's encoder against the recurrence written out, on rows that are padded on the left."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from recbole_fmrlrec.nn.lrurec import LRUBlock, LRURecEncoder, init_weights
from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.nn.recurrence import LinearRecurrence


def complex_weights(layer: LinearRecurrence) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """B ``(2d, d)``, its bias ``(2d,)``, C ``(d, 2d)`` and its bias ``(d,)``."""
    width = layer.in_proj.sizes[-1]
    pairs = layer.in_proj.full_weight().reshape(2 * width, 2, width)
    bias = torch.view_as_complex(layer.in_proj.bias.reshape(2 * width, 2))
    columns = layer.out_proj.full_weight().reshape(width, 2 * width, 2)
    c = torch.complex(columns[..., 0], -columns[..., 1])
    return torch.complex(pairs[:, 0], pairs[:, 1]), bias, c, layer.out_proj.bias


def plain_block(block: LRUBlock, x: Tensor, empty: Tensor) -> Tensor:
    """The block on ``(B, L, d)`` padded on the left, ``empty`` True at padding, step by step."""
    b, b_bias, c, c_bias = complex_weights(block.recurrence)
    radius = torch.exp(-torch.exp(block.recurrence.nu_log))
    angle = torch.exp(block.recurrence.theta_log)
    lam = radius * torch.exp(1j * angle)
    gamma = torch.exp(block.recurrence.gamma_log)
    state = torch.zeros(len(x), len(lam), dtype=lam.dtype)
    steps = []
    for t in range(x.shape[1]):
        state = lam * state + gamma * (x[:, t].to(b.dtype) @ b.t() + b_bias)
        state = state.masked_fill(empty[:, t, None], 0)  # padding hands no state on
        steps.append((state @ c.t()).real + c_bias)
    x = block.norm_recurrence(torch.stack(steps, dim=1) + x)
    inner = block.expand(x)
    inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    result: Tensor = block.norm_feedforward(block.reduce(inner) + x)
    return result


def test_packed_and_padded_on_the_left_it_is_the_same() -> None:
    torch.manual_seed(0)
    encoder = LRURecEncoder(4, num_blocks=2, r_min=0.3, r_max=0.9).double()
    for parameter in encoder.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter)
    lengths = torch.tensor([3, 6, 1, 4])
    rows = [torch.randn(int(length), 4).double() for length in lengths]
    left = torch.stack([functional.pad(row, (0, 0, 6 - len(row), 0)) for row in rows])
    empty = torch.arange(6) < 6 - lengths[:, None]
    plain = encoder.norm(left)
    for block in encoder.blocks:
        assert isinstance(block, LRUBlock)
        plain = plain_block(block, plain, empty)
    right = torch.stack([functional.pad(row, (0, 0, 0, 6 - len(row))) for row in rows])
    packing = Packing.from_lengths(lengths, 6)
    packed = packing.unpack(encoder(packing.pack(right), packing), (4, 6))
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(packed[row, :length], plain[row, 6 - length :])


def test_the_state_by_hand() -> None:
    layer = LinearRecurrence((1,), states=2).double()
    with torch.no_grad():
        # lam = i / 2 and -1 / 2; gamma = 1; B = (1, 2i), no biases; Re(C h) = Re h_1 + Im h_2.
        layer.nu_log.fill_(math.log(math.log(2)))
        layer.theta_log.copy_(torch.tensor([math.pi / 2, math.pi]).log())
        layer.gamma_log.zero_()
        layer.in_proj.load_full(torch.tensor([[1.0], [0], [0], [2]]), torch.zeros(4))
        layer.out_proj.load_full(torch.tensor([[1.0, 0, 0, 1]]), torch.zeros(1))
        out = layer(torch.tensor([[1.0], [0.0], [4.0]]).double(), [1, 1, 1])
    # h_1: 1, i/2, -1/4 + 4; h_2: 2i, -i, i/2 + 8i.
    assert out.flatten().tolist() == pytest.approx([3.0, -1.0, 3.75 + 8.5])
    assert layer.decay().tolist() == pytest.approx([0.5j, -0.5], abs=1e-6)


def test_it_starts_as_published() -> None:
    torch.manual_seed(0)
    block = LRUBlock(64, 0.2, 0.2, 0.8, 0.99)
    init_weights(block)
    radius = block.recurrence.decay().abs()
    assert radius.shape == (128,) and radius.min() >= 0.8 and radius.max() <= 0.99
    assert block.expand.weight.shape == (256, 64)
    for name, parameter in block.named_parameters():
        if name.endswith("_log"):
            continue
        if "norm" in name:
            assert parameter.unique().tolist() == [1.0 if "weight" in name else 0.0]
            continue
        assert parameter.abs().max() <= 0.04 and parameter.abs().max() > 0.03
    # A normal within two standard deviations spreads by 0.88 of its own.
    real, imaginary = block.recurrence.in_proj.full_weight().reshape(128, 2, 64).unbind(1)
    assert real.std().item() == pytest.approx(0.0176, rel=0.03)
    assert imaginary.std().item() == pytest.approx(0.0176, rel=0.03)
