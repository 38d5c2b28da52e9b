"""``encode-images DATASET``: item pictures to the modality ``image``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dataset_tools.commands import arguments


def add_parser(commands: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "encode-images",
        help="item pictures to feature vectors",
        description="Encode one picture per item. A picture is found by the dataset's images.tsv, "
        "or by its name, which is the item's id.",
        parents=[shared],
    )
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of the dataset")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of pictures (default: DATASET/images)"
    )
    parser.add_argument(
        "--model",
        default="google/siglip-large-patch16-256",
        help="name on the Hugging Face hub (SigLIP, SigLIP 2, CLIP, DINOv2), a folder, or "
        "colour-layout, which needs no download (default: %(default)s)",
    )
    parser.add_argument(
        "--max-failures",
        type=arguments.share,
        default=0.2,
        metavar="SHARE",
        help="share of items without a usable picture above which the run fails (default: 0.2)",
    )
    parser.add_argument(
        "--workers", type=arguments.positive, help="threads that read pictures (default: cores)"
    )
    arguments.add_encoding(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Encode and say what was done."""
    from dataset_tools.encoders.encode_dataset import encode_images

    lines = encode_images(
        options.dataset,
        options.model,
        images=options.images,
        output=options.output,
        batch_size=options.batch_size,
        limit=options.limit,
        overwrite=options.overwrite,
        share=arguments.chosen_share(options),
        max_failures=options.max_failures,
        workers=options.workers,
        revision=options.revision,
        dtype=options.dtype,
        device=options.device,
    )
    print("\n".join(lines))
