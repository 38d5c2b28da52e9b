"""``inspect DATASET``: what is in a data set, as text, JSON or a page."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_tools.commands import arguments

if TYPE_CHECKING:
    from dataset_tools.inspection.cards import Thumbnail
    from dataset_tools.page import Page, Part


def add_parser(commands: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "inspect",
        help="counts, coverage, feature statistics, items to look at",
        description="What is in a dataset: counts, lengths, coverage of each modality, feature "
        "statistics, cold items, the most popular items and some at random.",
        parents=[shared],
    )
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of the dataset")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="pictures for the page (default: as encoded)"
    )
    parser.add_argument("--shown", type=arguments.positive, default=12, help="default: 12 items")
    parser.add_argument("--seed", type=int, default=0, help="of the items at random")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Inspect and print, and write the page."""
    import json

    from dataset_tools.inspection.facts import inspect_dataset
    from dataset_tools.inspection.facts_text import text_lines

    facts = inspect_dataset(options.dataset, options.shown, options.seed)
    if options.json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print("\n".join(text_lines(facts)))
    if options.html is not None:
        from dataset_tools.inspection.cards import thumbnails, write_page

        thumbnail = thumbnails(options.dataset, options.images)
        write_page(options.html, inspection_page(facts, thumbnail))
        if not options.json:
            print(f"\npage: {options.html}")


def inspection_page(facts: Mapping[str, Any], thumbnail: Thumbnail) -> Page:
    """The facts as a page."""
    from dataset_tools.inspection.cards import cards
    from dataset_tools.page import Heading, Page, Table

    counts = [
        ("users", f"{facts['users']:,}"),
        ("items with interactions", f"{facts['items']:,}"),
        ("interactions", f"{facts['interactions']:,}"),
        ("share of all pairs", f"{facts['density']:.4%}"),
        ("items in the catalogue", f"{facts['catalogue_items']:,}"),
        ("of them without interactions", f"{facts['cold_items']:,}"),
        ("items not in the catalogue", f"{facts['items_without_metadata']:,}"),
        *((f"{end} time", str(value)) for end, value in _times(facts)),
    ]
    columns = [
        (name, f"{one['share']:.1%}", f"{one['mean_length']:.0f}")
        for name, one in facts["columns"].items()
    ]
    note = "{interactions:,} interactions"
    parts: list[Part] = [
        Table("counts", ["", ""], counts),
        _plots(facts),
        Heading("Catalogue"),
        Table("catalogue", ["column", "filled", "mean characters"], columns),
        Heading("Features"),
        _feature_table(facts),
        *(Heading("Most popular"), cards(facts["most_popular"], thumbnail, note)),
        *(Heading("At random"), cards(facts["sample"], thumbnail, note)),
    ]
    if facts["cold_sample"]:
        parts += [Heading("Without interactions"), cards(facts["cold_sample"], thumbnail, note)]
    return Page(facts["name"], parts, [f"Dataset in {facts['folder']}"])


def _plots(facts: Mapping[str, Any]) -> Part:
    from dataset_tools.inspection.cards import bars
    from dataset_tools.page import Figures, Text
    from dataset_tools.page.figures import NO_PLOTS, can_draw

    if not can_draw():
        return Text(NO_PLOTS)
    kinds = [("users", "user_histogram"), ("items", "item_histogram")]
    return Figures([bars(f"{kind} by number of interactions", facts[key]) for kind, key in kinds])


def _times(facts: Mapping[str, Any]) -> list[tuple[str, object]]:
    span = facts["time"] or {}
    ends = [end for end in ("first", "last") if end in span]
    return [(end, span.get(f"{end}_date", f"{span[end]:.15g}")) for end in ends]


def _feature_table(facts: Mapping[str, Any]) -> Part:
    from dataset_tools.page import Table, Text

    head = ["modality", "encoder", "width", "coverage", "empty", "row length", "random cosine"]
    rows = []
    for name, one in facts["features"].items():
        length = f"{one['norm_min']:.3f}–{one['norm_max']:.3f}" if "norm_min" in one else ""
        cosine = f"{one['mean_cosine']:.3f}" if "mean_cosine" in one else ""
        shown = (str(one["encoder"]), str(one["width"]), f"{one['coverage']:.1%}")
        rows.append((name, *shown, f"{one['empty_items']:,}", length, cosine))
    return Table("features", head, rows, texts=2) if rows else Text("none")
