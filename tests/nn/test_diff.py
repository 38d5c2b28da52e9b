"""DIFF's filters, fusions, attention and alignment against plain forms and numbers by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_fmrlrec.nn.bsarec import FrequencyRescaler
from recbole_fmrlrec.nn.diff import (
    Block,
    DIFFNetwork,
    FusedAttention,
    Fusion,
    alignment_loss,
)


def test_the_low_frequencies_of_four_numbers_by_hand() -> None:
    # Of 1, 2, 4, 9 the mean is 4; cosine (1, 0, -1, 0) and sine (0, 1, 0, -1) take (1 - 4) / 2 and
    # (2 - 9) / 2; what is left, (1 - 2 + 4 - 9) / 4 = -1.5 times (1, -1, 1, -1), is high.
    x = torch.tensor([[1.0, 2.0], [2.0, 4.0], [4.0, 8.0], [9.0, 18.0]])[None]
    for frequencies, low in [
        (1, [4.0, 4.0, 4.0, 4.0]),
        (2, [2.5, 0.5, 5.5, 7.5]),
        (3, [1.0, 2.0, 4.0, 9.0]),
        (9, [1.0, 2.0, 4.0, 9.0]),
    ]:
        made = FrequencyRescaler(2, 4, frequencies, 0.0, one_beta=True)
        made.beta.data.fill_(0.5)  # high frequencies count a quarter
        by_hand = torch.tensor(low)[:, None] * torch.tensor([1.0, 2.0])
        by_hand = by_hand + 0.25 * (x - by_hand)
        torch.testing.assert_close(made(x), made.norm(x + by_hand))


def test_a_shifted_row_is_filtered_to_a_shifted_row() -> None:
    # So it is the same whether rows are padded on the left or on the right.
    made, x = FrequencyRescaler(3, 6, 2, 0.0, one_beta=True), torch.randn(2, 6, 3)
    torch.testing.assert_close(made(x.roll(2, dims=1)), made(x).roll(2, dims=1))


def test_fusions_by_hand() -> None:
    parts = [torch.tensor([[1.0, 2.0]]), torch.tensor([3.0, 5.0])]
    assert Fusion("sum", 2, 2)(parts).tolist() == [[4.0, 7.0]]
    concat = Fusion("concat", 2, 2)
    assert concat.product is not None
    concat.product.weight.data = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 2.0, 1.0, 0.0]])
    concat.product.bias.data = torch.tensor([0.5, -1.0])
    assert concat(parts).tolist() == [[6.5, 6.0]]  # 1 + 5 + 0.5;  2 * 2 + 3 - 1
    gate = Fusion("gate", 2, 2)
    assert gate.gate is not None
    gate.gate[0].weight.data = torch.eye(2)
    gate.gate[0].bias.data = torch.zeros(2)
    gate.gate[2].weight.data = torch.tensor([[math.log(3) / 2, 0.0]])  # energies a log 3 / 2
    # Shares of 1 and 3 in log 3 / 2 are 1 to 3: a quarter and three quarters.
    torch.testing.assert_close(gate(parts), torch.tensor([[2.5, 4.25]]))
    with pytest.raises(ValueError, match="fusion_type must be one of sum, concat, gate, got 'max'"):
        Fusion("max", 2, 2)


def plain_attention(
    made: FusedAttention, x: Tensor, sequences: list[Tensor], lengths: list[int]
) -> Tensor:
    """The authors' formulation with stacked scores, a row and a head at a time."""
    (_, length, width), heads = x.shape, made.heads
    context = torch.zeros_like(x)
    for row, count in enumerate(lengths):
        for head in range(heads):
            cut = slice(head * width // heads, (head + 1) * width // heads)
            scores = []
            for y, query, key in zip(sequences, made.queries, made.keys, strict=True):
                own = y[row] if y.dim() == 3 else y
                scores.append(query(own)[:, cut] @ key(own)[:, cut].t())
            fused = scores[0] if made.fusion is None else made.fusion(scores)
            fused = fused / math.sqrt(width / heads)
            hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
            hidden[:, count:] = True
            shares = torch.softmax(fused - 10000.0 * hidden, dim=-1)
            context[row, :, cut] = shares @ made.value(x[row])[:, cut]
    return made.norm(x + made.dense(context))


@pytest.mark.parametrize("fusion", ["sum", "concat", "gate", None])
def test_attention_with_fused_scores(fusion: str | None) -> None:
    torch.manual_seed(0)
    x, attribute, positions = torch.randn(3, 5, 4), torch.randn(3, 5, 4), torch.randn(5, 4)
    sequences = [attribute, x, positions] if fusion else [x]
    fused = Fusion(fusion, 3, 5) if fusion else None
    made = FusedAttention(4, 2, len(sequences), fused, 0.0, 0.0)
    lengths, place = torch.tensor([1, 3, 5]), torch.arange(5)
    visible = (place < lengths[:, None])[:, None] & (place <= place[:, None])
    reference = plain_attention(made, x, sequences, lengths.tolist())
    torch.testing.assert_close(made(x, sequences, visible, None), reference)
    rows, at = torch.arange(3), lengths - 1
    last = made(x, sequences, visible[rows, at][:, None], at)
    torch.testing.assert_close(last[:, 0], reference[rows, at])
    made.attention_dropout = nn.Threshold(0.3, 0.0)  # weights need not add up to 1
    whole = made(x, sequences, visible, None)
    assert not torch.allclose(whole, reference)
    last = made(x, sequences, visible[rows, at][:, None], at)
    torch.testing.assert_close(last[:, 0], whole[rows, at])


@pytest.mark.parametrize("fusion", ["sum", "concat", "gate"])
@pytest.mark.parametrize("attributes", [0, 2])
def test_the_last_position_alone_is_that_of_the_whole(fusion: str, attributes: int) -> None:
    torch.manual_seed(0)
    network = DIFFNetwork(4, 5, attributes, heads=2, inner_width=6, c=2, fusion=fusion).eval()
    ids, *others = torch.randn(1 + attributes, 3, 5, 4)
    lengths = torch.tensor([1, 5, 2])
    whole = network(ids, others, lengths)
    last = network(ids, others, lengths, only_last=True)
    torch.testing.assert_close(last[:, 0], whole[torch.arange(3), lengths - 1])


def test_attributes_are_filtered_anew_in_each_block_and_the_streams_share_a_layer() -> None:
    torch.manual_seed(0)
    network = DIFFNetwork(4, 5, 1, heads=1, inner_width=6, fusion="sum", alpha=0.25).eval()
    (ids, attribute), lengths = torch.randn(2, 2, 5, 4), torch.tensor([5, 5])
    visible = torch.ones(2, 5, 5, dtype=torch.bool).tril()
    positions = network.positions.weight
    items = network.norm(ids)
    early = items + attribute + positions
    for block in network.blocks:
        assert isinstance(block, Block)
        of_ids, of_early, of_attribute = block.filters
        items, early, filtered = of_ids(items), of_early(early), of_attribute(attribute)
        items = block.attention(items, [filtered, items, positions], visible, None)
        early = block.early_attention(early, [early], visible, None)
        items, early = block.feed_forward(items), block.feed_forward(early)
    expected = 0.25 * items + 0.75 * early
    torch.testing.assert_close(network(ids, [attribute], lengths), expected)


def test_a_later_item_changes_an_earlier_output() -> None:
    # Why the model is trained at the last position of a row alone.
    torch.manual_seed(0)
    network = DIFFNetwork(4, 5, 0, c=2).eval()
    ids, lengths = torch.randn(1, 5, 4), torch.tensor([5])
    changed = ids.clone()
    changed[:, -1, 0] += 1  # in one dimension: a norm does not see the same added to all
    moved = (network(ids, [], lengths) - network(changed, [], lengths)).abs().amax(2)
    assert (moved > 1e-4).all()


def test_alignment_by_hand() -> None:
    # Two items and a place of padding. Cosines of items (rows) with attributes at temperature 1:
    # (1, 0, 0), (0, 1, 0), and of the padding's vector (1, 0, 0).
    ids = torch.tensor([[2.0, 0.0], [0.0, 3.0], [5.0, 0.0]])[None]
    attributes = torch.tensor([[4.0, 0.0], [0.0, 0.5], [0.0, 0.0]])[None]
    same = torch.eye(3, dtype=torch.bool)[None].clone()
    same[:, 2, 2] = False  # padding has no attributes
    # Of each item: e / (e + 2). Of the first attribute: e / (2 e + 1), as the padding's vector is
    # like it; of the second e / (e + 2). Sums over the items, by 2 items, by 3 positions.
    e = math.e
    total = 3 * math.log(e / (e + 2)) + math.log(e / (2 * e + 1))
    units = [functional.normalize(x, dim=2) for x in (ids, attributes)]
    found = alignment_loss(*units, same, torch.tensor([2]), 1.0)
    assert found.item() == pytest.approx(-total / 2 / 3)


def test_alignment_as_the_authors_write_it() -> None:
    torch.manual_seed(0)
    ids, kinds = torch.randn(2, 4, 3), torch.tensor([[1, 2, 1, 0], [3, 3, 0, 0]])
    attributes = torch.randn(4, 3)[kinds] * (kinds > 0)[..., None]
    lengths = torch.tensor([3, 2])
    a, b = functional.normalize(ids, dim=-1), functional.normalize(attributes, dim=-1)
    alike = ((b @ b.transpose(1, 2) - 1).abs() < 1e-6).float()
    both = torch.softmax(a @ b.transpose(1, 2) / 0.1, -1).log()
    both = both + torch.softmax(b @ a.transpose(1, 2) / 0.1, -1).log()
    reference = (-(alike * both).sum(-1) / lengths[:, None]).mean()
    same = (kinds[:, :, None] == kinds[:, None]) & (kinds[:, None] > 0)
    torch.testing.assert_close(alignment_loss(a, b, same, lengths, 0.1), reference)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"alpha": 1.5}, "alpha must lie in"),
        ({"c": 0}, "c be 1 or more, got 0.3 and 0"),
        ({"heads": 3}, "hidden_size 4 must be a multiple of the 3 heads"),
        ({"fusion": "mean"}, "fusion_type must be one of"),
    ],
)
def test_what_it_cannot_be(keys: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DIFFNetwork(4, 5, 1, **keys)
