"""``encode-text DATASET``: item texts to the modality ``text``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dataset_tools.commands import arguments


def add_parser(commands: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "encode-text",
        help="item texts to feature vectors",
        description="Encode a template over the item's columns with a text encoder.",
        parents=[shared],
    )
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of the dataset")
    parser.add_argument(
        "--model",
        default="BAAI/bge-large-en-v1.5",
        help="name on the Hugging Face hub, a folder, or tfidf-svd, which needs no download "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--columns", metavar="NAME,...", help="columns to encode (default: all but description)"
    )
    parser.add_argument(
        "--template", help=r"such as 'Title: {title}\nBrand: {brand}' (default: by --columns)"
    )
    parser.add_argument("--prefix", help="put before every text (default: as the model asks)")
    parser.add_argument(
        "--prompt",
        metavar="NAME",
        help="one of the model's prompts by its name (default: that for documents)",
    )
    parser.add_argument(
        "--pooling",
        choices=("cls", "mean", "max", "last"),
        help="in place of the model's own, and of its dense layers (default: as the model asks)",
    )
    parser.add_argument("--max-length", type=arguments.positive, metavar="TOKENS")
    parser.add_argument(
        "--width", type=arguments.positive, default=256, help="of tfidf-svd (default: 256)"
    )
    arguments.add_encoding(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Encode and say what was done."""
    columns = options.columns.split(",") if options.columns else None
    template = options.template.replace("\\n", "\n") if options.template else None
    lines = encode_text(
        options.dataset,
        options.model,
        columns=columns,
        template=template,
        output=options.output,
        width=options.width,
        batch_size=options.batch_size,
        limit=options.limit,
        overwrite=options.overwrite,
        revision=options.revision,
        pooling=options.pooling,
        prefix=options.prefix,
        prompt=options.prompt,
        max_length=options.max_length,
        dtype=options.dtype,
        device=options.device,
    )
    print("\n".join(lines))


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
    **encoder_options: Any,
) -> list[str]:
    """Encode a data set's texts into its feature store; returns lines for the user.

    Raises:
        UsageError: no such data set, column or device, or other features are there already.
        DatasetError: the model cannot be loaded, or no item has text.
    """
    from dataset_tools.layout import FEATURES_NAME, dataset_file
    from dataset_tools.text import TFIDF_NAME

    item_path = dataset_file(dataset, "item")
    folder = output or dataset / FEATURES_NAME
    if model == TFIDF_NAME:
        return _encode_tfidf(item_path, folder, columns, template, width, overwrite)
    from dataset_tools.encoding import encode_features
    from dataset_tools.text import item_texts, resolve_template
    from dataset_tools.text_encoder import TextEncoder, text_inputs

    template = resolve_template(item_path, columns, template)
    inputs = text_inputs(*item_texts(item_path, template=template), limit)
    encoder = TextEncoder(model, **encoder_options)
    encoder.settings |= {"template": template, **({"limit": limit} if limit else {})}
    outcome = encode_features(folder, "text", inputs, encoder, batch_size, overwrite)
    return arguments.outcome_lines(outcome)


def _encode_tfidf(
    item_path: Path,
    folder: Path,
    columns: list[str] | None,
    template: str | None,
    width: int,
    overwrite: bool,
) -> list[str]:
    from dataset_tools.encoding import check_writable, is_finished
    from dataset_tools.text import item_texts, make_text_features, tfidf_settings

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
