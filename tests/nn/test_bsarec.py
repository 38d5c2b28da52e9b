"""BSARec's filter against Fourier transforms, its rows against left-padded ones, and its leak."""

from __future__ import annotations

import math

import pytest
import torch

from recbole_fmrlrec.nn.bsarec import (
    BSARecNetwork,
    FrequencyRescaler,
    low_pass_matrix,
    rescaled_reference,
    visible_positions,
)


def rescaled(rescaler: FrequencyRescaler, x: torch.Tensor) -> torch.Tensor:
    """What the filter gives to its norm, less the input."""
    rescaler.norm = torch.nn.Identity()
    return rescaler(x) - x


def test_the_filter_by_hand() -> None:
    # One frequency is the mean, 3; beta^2 = 4: 3 + 4 (x - 3).
    rescaler = FrequencyRescaler(1, 4, frequencies=1, dropout=0.0)
    rescaler.beta.data.fill_(-2.0)
    out = rescaled(rescaler, torch.tensor([[[1.0], [2.0], [3.0], [6.0]]]))
    assert out.flatten().tolist() == pytest.approx([-5, -1, 3, 15], abs=1e-5)


def test_a_slow_wave_stays_and_a_fast_one_is_rescaled() -> None:
    t = torch.arange(10) * 2 * math.pi / 10
    slow, fast = torch.cos(2 * t + 0.3), torch.sin(3 * t)
    rescaler = FrequencyRescaler(1, 10, frequencies=3, dropout=0.0)
    rescaler.beta.data.fill_(0.5)
    out = rescaled(rescaler, (slow + fast)[None, :, None])
    torch.testing.assert_close(out[0, :, 0], slow + 0.25 * fast, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("length", "frequencies"), [(1, 1), (2, 1), (7, 3), (8, 5), (50, 3)])
def test_the_filter_is_that_of_fourier_transforms(length: int, frequencies: int) -> None:
    torch.manual_seed(0)
    rescaler = FrequencyRescaler(6, length, frequencies, dropout=0.0).double()
    rescaler.low_pass = low_pass_matrix(length, frequencies).double()
    x = torch.randn(3, length, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, length, 6, dtype=torch.float64)
    found = []
    for way in (rescaled(rescaler, x), rescaled_reference(x, rescaler.beta, frequencies)):
        rescaler.beta.grad, x.grad = None, None
        (way * weights).sum().backward()
        found.append((way.detach(), x.grad, rescaler.beta.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-6)


def test_the_filter_is_a_circular_convolution() -> None:
    # Of L = 5 with two frequencies: the kernel (1 + 2 cos(2 pi k / 5)) / 5.
    kernel = [(1 + 2 * math.cos(2 * math.pi * k / 5)) / 5 for k in range(5)]
    rows = [[kernel[(row - column) % 5] for column in range(5)] for row in range(5)]
    torch.testing.assert_close(low_pass_matrix(5, 2), torch.tensor(rows))


def test_all_frequencies_are_the_row_itself() -> None:
    for length in (1, 5, 6):
        torch.testing.assert_close(low_pass_matrix(length, length // 2 + 1), torch.eye(length))


def test_what_each_position_sees() -> None:
    visible = visible_positions(torch.tensor([[False, True, True]]))
    assert visible.int().tolist() == [[[1, 1, 1], [0, 1, 0], [0, 1, 1]]]


def network(**options: float) -> BSARecNetwork:
    """A small network whose weights are large enough to matter."""
    torch.manual_seed(1)
    shape = {"width": 8, "length": 6, "heads": 2, "init_std": 0.5, **options}
    return BSARecNetwork(**shape).eval()  # type: ignore[arg-type]


def plain_outputs(net: BSARecNetwork, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """All outputs of one left-padded row ``(L, d)``, as the authors write the model."""
    later = torch.ones(len(x), len(x)).triu(1).bool()
    mask = -10_000.0 * (later | ~valid).double()
    x = net.norm(x + net.positions.weight)
    for block in net.blocks:
        spectrum = torch.fft.rfft(x, dim=0)
        spectrum[3:] = 0  # c = 5
        low = torch.fft.irfft(spectrum, n=len(x), dim=0)
        filtered = block.filter.norm(low + block.filter.beta**2 * (x - low) + x)
        heads = []
        layer = block.attention
        q, k, v = (part(x).chunk(2, dim=1) for part in (layer.query, layer.key, layer.value))
        for head in range(2):
            scores = q[head] @ k[head].T / 2 + mask  # heads of 4 numbers
            heads.append(torch.softmax(scores, dim=1) @ v[head])
        attended = layer.norm(layer.dense(torch.cat(heads, dim=1)) + x)
        x = 0.7 * filtered + 0.3 * attended
        inner = block.inner(x)
        gelu = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
        x = block.norm(block.outer(gelu) + x)
    return x


@torch.no_grad()
def test_right_padded_rows_give_what_left_padded_ones_do() -> None:
    net = network().double()
    for block in net.blocks:
        block.filter.low_pass = low_pass_matrix(6, 3).double()
    table, padding = torch.randn(9, 8).double(), torch.randn(8).double()
    rows, lengths = torch.tensor([[3, 8, 0, 0], [5, 1, 2, 4]]), torch.tensor([2, 4])
    found = net.encode_last(table, padding, rows, lengths)
    left = [torch.stack([padding] * 4 + [table[3], table[8]])]
    left.append(torch.stack([padding] * 2 + [table[i] for i in (5, 1, 2, 4)]))
    for row, items, length in zip(found, left, lengths, strict=True):
        wanted = plain_outputs(net, items, torch.arange(6) >= 6 - length)
        torch.testing.assert_close(row, wanted[-1], rtol=1e-6, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_the_last_position_alone_is_that_of_all(blocks: int) -> None:
    net = network(blocks=blocks)
    x, valid = torch.randn(3, 6, 8), torch.arange(6) >= torch.tensor([[0], [2], [5]])
    torch.testing.assert_close(net(x, valid, first=5), net(x, valid)[:, 5:])


@torch.no_grad()
@pytest.mark.parametrize(("alpha", "leaks"), [(0.7, True), (0.0, False)])
def test_through_the_filter_a_position_sees_what_comes_after_it(alpha: float, leaks: bool) -> None:
    net = network(alpha=alpha)
    x, valid = torch.randn(1, 6, 8), torch.ones(1, 6, dtype=torch.bool)
    changed = x.clone()
    changed[0, 4] = torch.randn(8)
    moved = (net(x, valid) - net(changed, valid)).abs().amax((0, 2))
    assert bool((moved[:4] > 1e-3).all()) == leaks
    assert bool((moved[:4] < 1e-6).all()) != leaks
    assert bool((moved[4:] > 1e-3).all())


def test_what_leaks_to_a_loss_at_every_position_is_the_target_itself() -> None:
    """With beta = 0 the filter of a row of two is the mean at both: the second item can be read."""
    rescaler = FrequencyRescaler(8, 2, frequencies=1, dropout=0.0)
    rescaler.beta.data.zero_()
    items = torch.randn(50, 8)
    rows = torch.randint(50, (100, 2))
    read = 2 * rescaled(rescaler, items[rows])[:, 0] - items[rows[:, 0]]
    assert torch.cdist(read, items).argmin(1).tolist() == rows[:, 1].tolist()


@pytest.mark.parametrize("wrong", [{"alpha": 1.1}, {"alpha": -0.1}, {"c": 0}])
def test_settings_that_the_model_cannot_have(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\] and c be 1 or more"):
        network(**wrong)
    with pytest.raises(ValueError, match="the width 8 must be a multiple of the 3 heads"):
        network(heads=3)
