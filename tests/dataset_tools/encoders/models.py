"""Tiny models with random weights, saved as the hub saves them."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = ["title", "brand", "price", "categories", "red", "blue", "green", "nail", "polish"]
WORDS += ["soap", "brush", "mug", "acme", ":", ".", ",", "##s"]


def save_tokenizer(folder: Path, max_length: int = 64) -> int:
    """A WordPiece tokenizer; returns the number of its words."""
    from transformers import BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
        *"abcdefghijklmnopqrstuvwxyz",
    ]
    vocabulary += [f"##{letter}" for letter in "abcdefghijklmnopqrtuvwxyz"] + list("0123456789")
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=max_length)
    tokenizer.save_pretrained(folder)
    return len(vocabulary)


def save_bert(folder: Path, pooling: str | None = "mean", normalise: bool = True) -> Path:
    """A BERT of one layer with a WordPiece vocabulary of its own; sentence-transformers files."""
    import torch
    from transformers import BertConfig, BertModel

    words = save_tokenizer(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=words,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    if pooling is not None:
        save_sentence_files(folder, pooling, normalise)
    return folder


def save_sentence_files(folder: Path, pooling: str, normalise: bool) -> None:
    """What sentence-transformers keeps beside a model."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    kinds += [("2_Normalize", "Normalize")] if normalise else []
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    names = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "last": "lasttoken"}
    modes = {f"pooling_mode_{name}": kind == pooling for kind, name in names.items()}
    modes |= {"word_embedding_dimension": 16}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')


VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "max_position_embeddings": 16,
}
SIZE = {"height": 16, "width": 16}


def save_siglip(folder: Path) -> Path:
    """A SigLIP of one layer a half."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(0)
    text = {**TEXT, "projection_size": 16}
    SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(folder)
    SiglipImageProcessor(size=SIZE).save_pretrained(folder)
    return folder


def save_clip(folder: Path) -> Path:
    """A CLIP of one layer a half, projected to 8."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(0)
    config = CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=SIZE).save_pretrained(folder)
    return folder


def save_dinov2(folder: Path) -> Path:
    """A DINOv2 of one layer, which has no text half."""
    import torch
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    Dinov2Model(Dinov2Config(**VISION, mlp_ratio=2)).save_pretrained(folder)
    BitImageProcessor(size={"shortest_edge": 16}, crop_size=SIZE).save_pretrained(folder)
    return folder
