"""``neighbours DATASET --item ID``: the nearest items by text and by picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from dataset_tools.commands import arguments


def add_parser(commands: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "neighbours",
        help="the nearest items by their features",
        description="The items nearest to one item by each modality, to judge an encoder by eye.",
        parents=[shared],
    )
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of the dataset")
    parser.add_argument("--item", required=True, metavar="ID")
    parser.add_argument("--modality", metavar="NAME", help="only this one (default: all)")
    parser.add_argument("--count", type=arguments.positive, default=10, help="default: 10")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures")
    parser.add_argument("--images", type=Path, metavar="DIR", help="default: as encoded")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Find and print, and write the page."""
    import json

    from dataset_tools.inspection.nearest_items import find_neighbours

    found = find_neighbours(options.dataset, options.item, options.count, options.modality)
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for modality, items in found.items():
            print(f"by {modality}:")
            for one in items:
                shown = f"{one['title'][:60]}  {one['other'][:60]}"
                print(f"  {one['cosine']:.3f}  {one['item']:<14} {shown}")
    if options.html is not None:
        from dataset_tools.inspection.cards import cards, thumbnails, write_page
        from dataset_tools.page import Heading, Page, Part

        thumbnail = thumbnails(options.dataset, options.images)
        parts: list[Part] = []
        for modality, items in found.items():
            parts += [Heading(f"by {modality}"), cards(items, thumbnail, "cosine {cosine:.3f}")]
        write_page(options.html, Page(f"nearest to {options.item}", parts))
