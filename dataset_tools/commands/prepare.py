"""``prepare NAME``: a public dataset downloaded, converted and encoded in one go."""

from __future__ import annotations

import argparse

from dataset_tools.commands import arguments
from dataset_tools.errors import DatasetError, UsageError


def add_parser(commands: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "prepare",
        help="download, convert and encode in one go",
        description="Every step for a public dataset; finished ones are skipped.",
        parents=[shared],
    )
    arguments.add_public_dataset(parser)
    parser.add_argument("--text-model", metavar="MODEL", help="as for encode-text, or none")
    parser.add_argument("--image-model", metavar="MODEL", help="as for encode-images, or none")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:0 (default: auto)")
    parser.add_argument("--batch-size", type=arguments.positive, default=32, help="default: 32")
    parser.add_argument("--overwrite", action="store_true", help="repeat every step")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run all steps; an error comes with the ways out."""
    from dataset_tools.fetch.public_dataset import Choices, explain, prepare

    description = arguments.described(options)
    if description is None:
        return
    choices = Choices(
        root=options.root,
        raw=options.raw,
        urls=arguments.parse_urls(options.url),
        text_model=options.text_model,
        image_model=options.image_model,
        device=options.device,
        batch_size=options.batch_size,
        overwrite=options.overwrite,
    )
    try:
        prepare(description, choices)
    except UsageError:
        raise
    except DatasetError as error:
        explained = DatasetError(explain(error, description, choices))
        explained.exit_code = error.exit_code
        raise explained from error
