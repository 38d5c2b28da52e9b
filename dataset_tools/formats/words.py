"""Texts that need no cleaning, told apart in one look: most of them."""

from __future__ import annotations


def is_clean(text: str) -> bool:
    """Whether a text is words with single spaces between them, all of it printable.

    It is then what ``" ".join(text.split())`` makes of it, and has no control characters: of the
    characters that Python takes for blank or for none of a text, the space alone is printable.
    """
    return text.isprintable() and "  " not in text and text[:1] != " " and text[-1:] != " "
