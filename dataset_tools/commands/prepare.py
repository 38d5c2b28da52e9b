"""``download NAME`` and ``prepare NAME``: public data sets by their description."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_tools.commands import arguments
from dataset_tools.errors import DatasetError, UsageError

if TYPE_CHECKING:
    from dataset_tools.descriptions import Description


def add_parser(commands: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    """Add both commands."""
    parser = commands.add_parser(
        "download",
        help="fetch the files of a public dataset, and its pictures",
        description="Fetch what properties/dataset/NAME.yaml names. Pictures are fetched once "
        "the dataset is converted: its metadata names them.",
        parents=[shared],
    )
    _add_common(parser)
    parser.add_argument("--no-pictures", action="store_true", help="the raw files only")
    parser.add_argument("--workers", type=arguments.positive, default=8, help="default: 8")
    parser.set_defaults(run=run_download)
    parser = commands.add_parser(
        "prepare",
        help="download, convert and encode in one go",
        description="Every step for a public dataset; finished ones are skipped.",
        parents=[shared],
    )
    _add_common(parser)
    parser.add_argument("--text-model", metavar="MODEL", help="as for encode-text, or none")
    parser.add_argument("--image-model", metavar="MODEL", help="as for encode-images, or none")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:0 (default: auto)")
    parser.add_argument("--batch-size", type=arguments.positive, default=32, help="default: 32")
    parser.add_argument("--overwrite", action="store_true", help="repeat every step")
    parser.set_defaults(run=run_prepare)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="without a name: list the names")
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("dataset"),
        help="folder of the datasets (default: dataset)",
    )
    parser.add_argument("--raw", type=Path, help="folder of raw files (default: ROOT/NAME/raw)")
    parser.add_argument("--properties", type=Path, help="folder with NAME.yaml")
    parser.add_argument(
        "--url",
        action="append",
        default=[],
        metavar="FILE=URL",
        help="fetch a file from another URL; may be given several times",
    )


def parse_urls(pairs: list[str]) -> dict[str, str]:
    """``["a.gz=https://..."]`` -> mapping; raises ``UsageError`` when malformed."""
    urls = {}
    for pair in pairs:
        name, separator, url = pair.partition("=")
        if not separator or not url:
            raise UsageError(f"--url {pair}: write FILE=URL")
        urls[name] = url
    return urls


def _described(options: argparse.Namespace) -> Description | None:
    from dataset_tools.descriptions import known_names, read_description

    if options.name is None:
        print("\n".join(known_names(options.properties)))
        return None
    return read_description(options.name, options.properties)


def run_download(options: argparse.Namespace) -> None:
    """Fetch raw files, then pictures where the data set is converted."""
    from dataset_tools.download import Policy
    from dataset_tools.prepare import RAW_NAME, fetch_files, is_converted, with_urls

    description = _described(options)
    if description is None:
        return
    folder = options.root / description.name
    if description.terms:
        print(f"{description.name}: {description.terms}")
    description = with_urls(description, parse_urls(options.url))
    fetch_files(description, options.raw or folder / RAW_NAME, Policy(), print)
    if options.no_pictures or description.images is None:
        return
    if not is_converted(folder, description.name):
        print(f"pictures: first `dataset_tools prepare {description.name} --image-model none`")
        return
    from dataset_tools.image_download import download_pictures
    from dataset_tools.layout import IMAGES_FOLDER

    found = download_pictures(folder, folder / IMAGES_FOLDER, options.workers)
    print(
        f"{folder / IMAGES_FOLDER}: {found.fetched:,} pictures fetched, {found.there:,} already "
        f"there, {len(found.failed):,} failed"
    )


def run_prepare(options: argparse.Namespace) -> None:
    """Run all steps; an error comes with the ways out."""
    from dataset_tools.prepare import Choices, explain, prepare

    description = _described(options)
    if description is None:
        return
    choices = Choices(
        root=options.root,
        raw=options.raw,
        urls=parse_urls(options.url),
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
