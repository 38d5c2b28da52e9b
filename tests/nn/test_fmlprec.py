"""FMLP-Rec's filters against circular convolution, its rows against rows padded on the left."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from recbole_fmrlrec.nn.fmlprec import FMLPRecNetwork, LearnedFilter, circular_convolution


def with_kernel(kernel: Tensor) -> LearnedFilter:
    """The filter that convolves with a kernel ``(L, d)``."""
    made = LearnedFilter(kernel.shape[1], len(kernel))
    with torch.no_grad():
        made.weight.copy_(torch.view_as_real(torch.fft.rfft(kernel, dim=0)))
    return made


def test_a_filter_is_a_circular_convolution_worked_by_hand() -> None:
    # out[t] = 2 x[t] + x[t-1] - x[t-3], and x[-1] is the row's last number.
    made = with_kernel(torch.tensor([2.0, 1.0, 0.0, -1.0])[:, None])
    x = torch.tensor([1.0, 2.0, 4.0, 8.0])[None, :, None]
    # t = 0: 2 + 8 - 2;  t = 1: 4 + 1 - 4;  t = 2: 8 + 2 - 8;  t = 3: 16 + 4 - 1
    by_hand = torch.tensor([8.0, 1.0, 2.0, 19.0])[None, :, None]
    torch.testing.assert_close(made(x), by_hand)
    torch.testing.assert_close(made.at_last(x), by_hand[:, -1])


@pytest.mark.parametrize("length", [1, 2, 5, 6, 50])
def test_a_filter_is_a_circular_convolution_with_its_gradients(length: int) -> None:
    torch.manual_seed(length)
    made = LearnedFilter(3, length).double()
    x = torch.randn(2, length, 3, dtype=torch.float64, requires_grad=True)
    ours, reference = made(x), circular_convolution(x, made.kernel())
    torch.testing.assert_close(ours, reference)
    torch.testing.assert_close(made.at_last(x), reference[:, -1])
    weights, learned = torch.randn_like(reference), [x, made.weight]
    mine = torch.autograd.grad((ours * weights).sum(), learned)
    theirs = torch.autograd.grad((reference * weights).sum(), learned)
    for left, right in zip(mine, theirs, strict=True):
        torch.testing.assert_close(left, right)


def left_padded_form(network: FMLPRecNetwork, rows: list[list[int]], table: Tensor) -> Tensor:
    """The authors' formulation, a row at a time: rows padded on the left, unitary transforms."""
    outputs = []
    for row in rows:
        padded = [0] * (network.length - len(row)) + row
        x = functional.layer_norm(
            table[torch.tensor(padded)] + network.positions.weight, table.shape[1:], eps=1e-12
        )
        for block in network.blocks:
            spectrum = torch.fft.rfft(x, dim=0, norm="ortho")
            spectrum = spectrum * torch.view_as_complex(block.filter.weight)
            x = block.norm(x + torch.fft.irfft(spectrum, n=network.length, dim=0, norm="ortho"))
            layer = block.feed_forward
            x = layer.norm(x + layer.outer(functional.gelu(layer.inner(x))))
        outputs.append(x[-1])
    return torch.stack(outputs)


@pytest.mark.parametrize("length", [6, 7])
@pytest.mark.parametrize("blocks", [1, 3])
def test_right_padded_rows_give_what_rows_padded_on_the_left_do(length: int, blocks: int) -> None:
    torch.manual_seed(0)
    network, table = FMLPRecNetwork(4, length, blocks).eval(), torch.randn(9, 4)
    for block in network.blocks:
        block.filter.weight.data.normal_()
    rows = [[3], [1, 2, 8], [4, 5, 6, 7, 1, 2]]
    lengths = torch.tensor([len(row) for row in rows])
    item_seq = torch.nn.utils.rnn.pad_sequence([*map(torch.tensor, rows)], batch_first=True)
    ours = network.encode_last(table, table[0], item_seq, lengths)
    torch.testing.assert_close(ours, left_padded_form(network, rows, table))


def test_the_last_position_alone_is_that_of_the_whole() -> None:
    torch.manual_seed(0)
    network, x = FMLPRecNetwork(4, 5, 2).eval(), torch.randn(3, 5, 4)
    everywhere = torch.ones(3, 5, dtype=torch.bool)
    torch.testing.assert_close(network.at_last(x, everywhere), network(x)[:, -1])


def test_a_loss_at_every_position_leaks_the_future() -> None:
    # Items are drawn at random, so nothing can be known of the next one: the loss of a model that
    # sees the past alone is at best log 8 = 2.08. Trained at every position this one gets far
    # below on rows it has never seen, since its filters read the item that they are to predict.
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network, items = FMLPRecNetwork(16, 6, 1, dropout=0.0), torch.nn.Embedding(8, 16)
    optimizer = torch.optim.Adam([*network.parameters(), *items.parameters()], lr=0.02)

    def losses() -> Tensor:
        row = torch.randint(8, (128, 7), generator=generator)
        logits = network(items(row[:, :-1])) @ items.weight.t()
        every = functional.cross_entropy(logits.transpose(1, 2), row[:, 1:], reduction="none")
        return every.mean(0)

    for _ in range(150):
        optimizer.zero_grad()
        losses().mean().backward()
        optimizer.step()
    with torch.no_grad():
        by_position = torch.stack([losses() for _ in range(8)]).mean(0)
    assert by_position[:-1].max() < 0.5 * math.log(8)
    # At the last position of a row there is no future, and nothing to know.
    assert by_position[-1] > 0.95 * math.log(8)
