"""Tiny text encoders with random weights, saved as transformers saves them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
FIRST = SPECIAL.index("[CLS]")


def save_words(folder: Path, words: Iterable[str]) -> list[str]:
    """A tokenizer that knows these words and no parts of words; the numbers of tokens in order."""
    from transformers import BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*SPECIAL, *dict.fromkeys(words)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return vocabulary


def save_encoder(
    folder: Path, words: Iterable[str], width: int = 32, positions: int = 64, dropout: float = 0.0
) -> Path:
    """A BERT of one layer with a vocabulary of whole words.

    Its weights are ten times those of BERT, so that it tells texts apart as a pretrained one does.
    """
    import torch
    from transformers import BertConfig, BertModel

    vocabulary = save_words(folder, words)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=positions,
        initializer_range=0.2,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    BertModel(config).save_pretrained(folder)
    return folder
