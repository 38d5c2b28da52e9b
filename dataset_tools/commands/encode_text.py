"""``encode-text DATASET``: item texts to the modality ``text``."""

from __future__ import annotations

import argparse
from pathlib import Path

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
    from dataset_tools.encoders.encode_dataset import encode_text

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
        share=arguments.chosen_share(options),
        revision=options.revision,
        pooling=options.pooling,
        prefix=options.prefix,
        prompt=options.prompt,
        max_length=options.max_length,
        dtype=options.dtype,
        device=options.device,
    )
    print("\n".join(lines))
