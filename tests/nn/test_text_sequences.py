"""RecFormer's texts against the rule written out, and its encoder against the sum of its parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_fmrlrec.nn.text_sequences import (
    FIRST,
    NAME,
    VALUE,
    ItemTokens,
    TextSequenceEncoder,
    lay_out_texts,
)

CLS = 2


def tokens_of(items: list[list[tuple[int, int]]]) -> ItemTokens:
    """Tokens and their kinds of items 1, 2, ..."""
    rows = [[], *items]
    width = max(1, *map(len, rows))
    ids, kinds = torch.full((2, len(rows), width), -9)
    for item, row in enumerate(rows):
        for place, (number, kind) in enumerate(row):
            ids[item, place], kinds[item, place] = number, kind
    return ItemTokens(ids, kinds, torch.tensor([len(row) for row in rows]))


def written_out(
    items: list[list[tuple[int, int]]], history: list[int], longest: int
) -> list[tuple[int, int, int]]:
    """Number, kind and place of each token, by the rule in words: newest item first, then cut."""
    found = [(CLS, FIRST, 0)]
    for place, item in enumerate(reversed(history), start=1):
        found += [(number, kind, place) for number, kind in items[item - 1]]
    return found[:longest]


def test_a_text_by_hand() -> None:
    items = [[(10, NAME), (11, VALUE)], [(20, NAME)], []]
    rows = lay_out_texts(
        tokens_of(items), torch.tensor([[1, 2, 0], [3, 0, 0]]), torch.tensor([2, 1]), CLS, 99
    )
    assert rows.ids.tolist() == [[CLS, 20, 10, 11], [CLS, CLS, CLS, CLS]]
    assert rows.kinds.tolist() == [[FIRST, NAME, NAME, VALUE], [FIRST] * 4]
    assert rows.places.tolist() == [[0, 1, 2, 2], [0] * 4]
    assert rows.there.tolist() == [[True] * 4, [True, False, False, False]]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_texts_are_the_rule_written_out(data: st.DataObject) -> None:
    token = st.tuples(st.integers(5, 50), st.sampled_from([NAME, VALUE]))
    items = data.draw(st.lists(st.lists(token, max_size=4), min_size=1, max_size=5))
    history = st.lists(st.integers(1, len(items)), min_size=1, max_size=6)
    histories = data.draw(st.lists(history, min_size=1, max_size=4))
    longest = data.draw(st.integers(1, 12))
    lengths = torch.tensor([len(one) for one in histories])
    item_seq = torch.zeros(len(histories), int(lengths.max()) + 1, dtype=torch.long)
    for row, one in enumerate(histories):
        item_seq[row, : len(one)] = torch.tensor(one)
    rows = lay_out_texts(tokens_of(items), item_seq, lengths, CLS, longest)
    expected = [written_out(items, one, longest) for one in histories]
    assert rows.ids.shape[1] == max(map(len, expected))
    for row, text in enumerate(expected):
        parts = zip(*(part[row, : len(text)].tolist() for part in rows[:3]), strict=True)
        assert list(parts) == text
        assert rows.there[row].sum() == len(text)
        assert bool(rows.there[row, : len(text)].all())


@pytest.mark.parametrize("kind", ["Bert", "Longformer"])
def test_the_encoder_reads_the_sum_of_word_kind_and_place(tmp_path: Path, kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    options = {"attention_window": [4]} if kind == "Longformer" else {}
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=60,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
        pad_token_id=1,
        **options,
    )
    body = getattr(transformers, f"{kind}Model")(config, add_pooling_layer=False)
    encoder = TextSequenceEncoder(body, max_items=3, init_std=0.5).eval()
    items = [[(10, NAME), (11, VALUE)], [(20, NAME), (21, VALUE), (22, VALUE)]]
    two = torch.tensor([[1, 2, 0], [2, 0, 0]])
    rows = lay_out_texts(tokens_of(items), two, torch.tensor([2, 1]), CLS, 99)
    text = torch.tensor([[CLS, 20, 21, 22, 10, 11]])
    kinds = torch.tensor([[FIRST, NAME, VALUE, VALUE, NAME, VALUE]])
    places = torch.tensor([[0, 1, 1, 1, 2, 2]])
    with torch.no_grad():
        found = encoder(rows)
        x = body.get_input_embeddings()(text)
        x = x + encoder.kind_embedding(kinds) + encoder.place_embedding(places)
        more = {}
        if kind == "Longformer":
            more["global_attention_mask"] = torch.tensor([[1, 0, 0, 0, 0, 0]])
        alone = body(inputs_embeds=x, attention_mask=torch.ones(1, 6), **more).last_hidden_state
        # Without the padding that the longer text beside it makes.
        shorter = encoder(lay_out_texts(tokens_of(items), two[1:, :1], torch.tensor([1]), CLS, 99))
    torch.testing.assert_close(found[0], alone[0, 0])
    torch.testing.assert_close(found[1], shorter[0])
