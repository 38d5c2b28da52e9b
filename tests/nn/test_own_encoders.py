"""gSASRec's and eSASRec's encoders, packed, against left-padded rows one at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from recbole_fmrlrec.nn import esasrec, gsasrec
from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.nn.positions import from_end

LENGTH, WIDTH = 5, 8
LENGTHS = [2, 5, 1, 4, 2]


def test_positions_count_from_the_end() -> None:
    packing = Packing.from_lengths(torch.tensor([2, 3, 1]), 4)
    padded = packing.unpack(from_end(packing) + 1, (3, 4))
    assert padded.tolist() == [[2, 1, 0, 0], [3, 2, 1, 0], [1, 0, 0, 0]]


def plain_gsasrec(encoder: gsasrec.GSASRecEncoder, x: Tensor) -> Tensor:
    """Outputs of one row ``(L, d)``, the padding of zeros at its left, as the authors write it."""
    valid = x.abs().sum(1) > 0
    x = (x + encoder.positions.weight.flip(0)) * valid[:, None]
    for block in encoder.blocks:
        assert isinstance(block, gsasrec.Block)
        queries = block.norm_attention(x)
        keys = x.abs().sum(1) > 0
        q = block.query(queries).chunk(2, dim=1)
        k, v = (part.chunk(2, dim=1) for part in block.key_value(x).chunk(2, dim=1))
        heads = []
        for head in range(2):
            scores = (q[head] @ k[head].T / 2).masked_fill(~keys, -torch.inf)  # heads of 4
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
            heads.append(torch.softmax(scores, dim=1).nan_to_num() @ v[head])
        y = block.norm_feedforward(torch.cat(heads, dim=1) + queries)
        x = (y + block.outer(torch.relu(block.inner(y)))) * valid[:, None]
    return encoder.norm(x)


def plain_esasrec(encoder: esasrec.ESASRecEncoder, x: Tensor) -> Tensor:
    """Outputs of one row ``(L, d)`` with padding at its left, by torch's own attention."""
    padded = x.abs().sum(1) == 0
    hidden = ~torch.ones(len(x), len(x)).tril().bool() | padded
    hidden.fill_diagonal_(False)
    x = x + encoder.positions.weight.flip(0)
    for layer in encoder.blocks:
        assert isinstance(layer, esasrec.LiGRLayer)
        attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True).double()
        attention.in_proj_weight, attention.in_proj_bias = layer.qkv.weight, layer.qkv.bias
        attention.out_proj = layer.mix  # type: ignore[assignment]
        y = layer.norm_attention(x)[None]
        mixed, _ = attention(y, y, y, attn_mask=hidden)
        x = x + torch.sigmoid(layer.gate_attention(x)) * mixed[0]
        y = layer.norm_feedforward(x)
        swish = layer.swish(y) * torch.sigmoid(layer.swish(y))
        x = x + torch.sigmoid(layer.gate_feedforward(x)) * layer.down(swish * layer.up(y))
    return x


def encoders() -> list[tuple[nn.Module, object]]:
    """Both, with weights and biases large enough to matter."""
    torch.manual_seed(0)
    made = [
        (gsasrec.GSASRecEncoder(WIDTH, LENGTH, 2, 2, 0.0), plain_gsasrec),
        (esasrec.ESASRecEncoder(WIDTH, LENGTH, 2, 2, 12, 0.0), plain_esasrec),
    ]
    for encoder, _ in made:
        for parameter in encoder.parameters():
            nn.init.normal_(parameter, std=0.5)
        encoder.double()
    return made


@pytest.mark.parametrize("which", [0, 1])
def test_packed_rows_give_what_left_padded_ones_do(which: int) -> None:
    encoder, plain = encoders()[which]
    rows = [torch.randn(length, WIDTH).double() for length in LENGTHS]
    packing = Packing.from_lengths(torch.tensor(LENGTHS), LENGTH)
    probe = torch.randn(len(LENGTHS), LENGTH, WIDTH).double()
    padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    found, gradients = [], []
    for packed in (True, False):
        encoder.zero_grad()
        if packed:
            out = packing.unpack(encoder(packing.pack(padded), packing), (len(rows), LENGTH))
        else:
            left = [nn.functional.pad(row, (0, 0, LENGTH - len(row), 0)) for row in rows]
            outs = [plain(encoder, row)[-n:] for row, n in zip(left, LENGTHS, strict=True)]  # type: ignore[operator]
            out = nn.utils.rnn.pad_sequence(outs, batch_first=True)
        (out * probe).sum().backward()
        found.append(out.detach())
        gradients.append({k: p.grad.clone() for k, p in encoder.named_parameters()})  # type: ignore[union-attr]
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("which", [0, 1])
def test_heads_must_divide_the_width(which: int) -> None:
    with pytest.raises(ValueError, match="3 heads do not divide a width of 8"):
        if which:
            esasrec.ESASRecEncoder(WIDTH, LENGTH, 1, 3, 12, 0.0)
        else:
            gsasrec.GSASRecEncoder(WIDTH, LENGTH, 1, 3, 0.0)


def test_first_values() -> None:
    torch.manual_seed(0)
    keras = gsasrec.GSASRecEncoder(64, 50, 1, 1, 0.0)
    gsasrec.init_weights(keras)
    assert keras.positions.weight.abs().max().item() == pytest.approx(0.05, rel=0.01)
    bound = (6 / 128) ** 0.5
    for part in keras.blocks[0].key_value.weight.chunk(2):  # type: ignore[operator, union-attr]
        assert part.abs().max().item() == pytest.approx(bound, rel=0.01)
    rectools = esasrec.ESASRecEncoder(64, 50, 1, 1, 256, 0.0)
    esasrec.init_weights(rectools)
    layer = rectools.blocks[0]
    assert isinstance(layer, esasrec.LiGRLayer)
    assert layer.qkv.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.05)
    assert not layer.qkv.bias.any() and not layer.mix.bias.any()
