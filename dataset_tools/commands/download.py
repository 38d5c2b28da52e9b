"""``download NAME``: the files of a public dataset, and its pictures."""

from __future__ import annotations

import argparse

from dataset_tools.commands import arguments


def add_parser(commands: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "download",
        help="fetch the files of a public dataset, and its pictures",
        description="Fetch what properties/dataset/NAME.yaml names. Pictures are fetched once "
        "the dataset is converted: its metadata names them.",
        parents=[shared],
    )
    arguments.add_public_dataset(parser)
    parser.add_argument("--no-pictures", action="store_true", help="the raw files only")
    parser.add_argument("--workers", type=arguments.positive, default=8, help="default: 8")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Fetch raw files, then pictures where the data set is converted."""
    from dataset_tools.fetch.download import Policy
    from dataset_tools.fetch.public_dataset import RAW_NAME, fetch_files, is_converted, with_urls

    description = arguments.described(options)
    if description is None:
        return
    folder = options.root / description.name
    if description.terms:
        print(f"{description.name}: {description.terms}")
    description = with_urls(description, arguments.parse_urls(options.url))
    fetch_files(description, options.raw or folder / RAW_NAME, Policy(), print)
    if options.no_pictures or description.images is None:
        return
    if not is_converted(folder, description.name):
        print(f"pictures: first `dataset_tools prepare {description.name} --image-model none`")
        return
    from dataset_tools.fetch.picture_download import download_pictures
    from dataset_tools.files.dataset_folder import IMAGES_FOLDER

    found = download_pictures(folder, folder / IMAGES_FOLDER, options.workers)
    print(
        f"{folder / IMAGES_FOLDER}: {found.fetched:,} pictures fetched, {found.there:,} already "
        f"there, {len(found.failed):,} failed"
    )
