"""The texts and the pictures of a dataset to its feature store, by any encoder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dataset_tools.encoders.colour_layout import NAME, ColourLayout
from dataset_tools.encoders.encode_features import (
    Outcome,
    check_writable,
    encode_features,
    is_finished,
)
from dataset_tools.encoders.image_encoder import ImageEncoder
from dataset_tools.encoders.item_texts import item_texts, resolve_template
from dataset_tools.encoders.pictures import find_pictures, picture_inputs
from dataset_tools.encoders.share import Share
from dataset_tools.encoders.text_encoder import TextEncoder, text_inputs
from dataset_tools.encoders.tfidf import TFIDF_NAME, make_text_features, tfidf_settings
from dataset_tools.errors import UsageError
from dataset_tools.files.dataset_folder import FEATURES_NAME, IMAGES_FOLDER, dataset_file


def encode_text(
    dataset: Path,
    model: str,
    *,
    columns: list[str] | None = None,
    template: str | None = None,
    output: Path | None = None,
    width: int = 256,
    batch_size: int = 32,
    limit: int | None = None,
    overwrite: bool = False,
    share: Share | None = None,
    **encoder_options: Any,
) -> list[str]:
    """Encode a data set's texts into its feature store; returns lines for the user.

    Raises:
        UsageError: no such data set, column or device, or other features are there already.
        DatasetError: the model cannot be loaded, or no item has text.
    """
    item_path = dataset_file(dataset, "item")
    folder = output or dataset / FEATURES_NAME
    if model == TFIDF_NAME:
        if share is not None:
            raise UsageError(f"--shard: {model} is fitted to all texts together; leave --shard out")
        return _encode_tfidf(item_path, folder, columns, template, width, overwrite)
    template = resolve_template(item_path, columns, template)
    inputs = text_inputs(*item_texts(item_path, template=template), limit)
    encoder = TextEncoder(model, **encoder_options)
    encoder.settings |= {"template": template, **({"limit": limit} if limit else {})}
    outcome = encode_features(folder, "text", inputs, encoder, batch_size, overwrite, share=share)
    return _outcome_lines(outcome)


def _encode_tfidf(
    item_path: Path,
    folder: Path,
    columns: list[str] | None,
    template: str | None,
    width: int,
    overwrite: bool,
) -> list[str]:
    settings = tfidf_settings(item_path, width, 0, columns, template)
    if is_finished(folder, "text", settings, overwrite):
        return [f"{folder / 'text.npy'}: already there, encoded with these settings"]
    check_writable(folder)
    features = make_text_features(item_path, folder, width, 0, columns, template)
    rows, wide = features.matrix.shape
    texts = dict(zip(*item_texts(item_path, template=features.manifest["template"]), strict=True))
    empty = features.manifest["empty_items"]
    unknown = [item for item in empty if texts[item]]
    without = len(empty) - len(unknown)
    lines = [f"{features.path}: {rows:,} items, {wide} wide; {without:,} had nothing to encode"]
    if unknown:
        lines.append(
            f"  {len(unknown):,} have a text without a usable word (none at all, or only words "
            f"that are too rare in this catalogue) and get zero vectors: {', '.join(unknown[:3])}"
        )
    return lines


def encode_images(
    dataset: Path,
    model: str,
    *,
    images: Path | None = None,
    output: Path | None = None,
    batch_size: int = 32,
    limit: int | None = None,
    overwrite: bool = False,
    max_failures: float = 0.2,
    workers: int | None = None,
    share: Share | None = None,
    **encoder_options: Any,
) -> list[str]:
    """Encode a data set's pictures into its feature store; returns lines for the user.

    Raises:
        UsageError: no such data set, folder or device, or other features are there already.
        DatasetError: the model cannot be loaded, or too many pictures failed.
    """
    folder = images or dataset / IMAGES_FOLDER
    inputs = picture_inputs(*find_pictures(dataset, folder), folder, limit)
    encoder: ColourLayout | ImageEncoder
    if model == NAME:
        encoder = ColourLayout(workers)
    else:
        encoder = ImageEncoder(model, workers=workers, **encoder_options)
    if limit:
        encoder.settings["limit"] = limit
    outcome = encode_features(
        output or dataset / FEATURES_NAME,
        "image",
        inputs,
        encoder,
        batch_size,
        overwrite,
        max_failures,
        notes={"images": os.path.abspath(folder)},
        share=share,
    )
    return _outcome_lines(outcome)


def _outcome_lines(outcome: Outcome) -> list[str]:
    """What an encoding did, for the user."""
    if outcome.skipped:
        return [f"{outcome.path}: already there, encoded with these settings"]
    if outcome.waiting is not None:
        return [
            f"{outcome.path}: this part is done, {outcome.encoded:,} inputs; {outcome.waiting}. "
            "Who ends last merges; a part that died is started again by the same command"
        ]
    rate = (outcome.encoded - outcome.kept) / max(outcome.seconds, 1e-9)
    lines = [
        f"{outcome.path}: {outcome.items:,} items, {outcome.encoded:,} different inputs, "
        f"{outcome.seconds:.1f} s, {rate:,.1f} a second"
    ]
    if outcome.kept:
        lines.append(f"  {outcome.kept:,} of them were encoded before an interruption")
    if outcome.failed:
        examples = [f"{item} ({reason})" for item, reason in list(outcome.failed.items())[:3]]
        lines.append(
            f"  {len(outcome.failed):,} items failed and get zero vectors, listed in "
            f"{outcome.path.with_name('failed.tsv')}: {'; '.join(examples)}"
        )
    return lines
