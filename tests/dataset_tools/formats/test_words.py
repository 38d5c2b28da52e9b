"""Texts that need no cleaning are those that cleaning does not change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_tools.formats.atomic_files import clean_sequence
from dataset_tools.formats.literals import clean_text
from dataset_tools.formats.words import is_clean


@pytest.mark.parametrize("text", ["", "a", "caf\xe9 \u201cx\u201d", "a b c", '"q"', "\U0001f600 x"])
def test_clean(text: str) -> None:
    assert is_clean(text) and clean_sequence(text) == text


@pytest.mark.parametrize(
    "text",
    [" a", "a ", "a  b", "a\tb", "a\xa0b", "a\u2028b", "a\x7fb", "\ud800", "a\x1cb", "\u3000"],
)
def test_not_clean(text: str) -> None:
    assert not is_clean(text)


PIECES = [
    "a",
    "B ",
    " ",
    "  ",
    "\t",
    "\n",
    "\xa0",
    "\x85",
    "\u2028",
    "\x00",
    "\x1f",
    "\ud800",
    "\xe9",
    "]",
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.characters()), max_size=8).map("".join))
def test_what_is_clean_is_what_cleaning_keeps(text: str) -> None:
    """A list of one text goes the long way of `clean_sequence`."""
    assert clean_sequence(text) == clean_sequence([text])
    if is_clean(text):
        assert text == " ".join(text.split()) == clean_sequence([text])
        if not set(text) & set("&<[{"):
            assert clean_text(text) == text
