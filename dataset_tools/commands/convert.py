"""``convert SOURCE INPUT OUTPUT``: a raw data set to RecBole's atomic files."""

from __future__ import annotations

import argparse
from pathlib import Path

from dataset_tools.commands import arguments
from dataset_tools.errors import UsageError
from dataset_tools.sources.base import Source
from dataset_tools.sources.registry import known_sources, open_source

#: What INPUT may be, by what a source reads.
_INPUTS = {
    "file": "a file",
    "folder": "a folder",
    "either": "a file or a folder",
    "files": "a file, a folder of parts or a pattern in quotes, such as 'parts/*.csv'",
}


def add_parser(commands: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    """Add the command and one sub-command a source."""
    parser = commands.add_parser("convert", help="raw files to a RecBole dataset", parents=[shared])
    sources = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)
    for name, source in known_sources().items():
        text = source.summary
        one = sources.add_parser(name, help=text, description=text, parents=[shared])
        _add_common(one, source)
        source.add_options(one)
        one.set_defaults(run=run)


def _add_common(parser: argparse.ArgumentParser, source: type[Source]) -> None:
    parser.add_argument("input", type=Path, metavar="INPUT", help=_INPUTS[source.reads])
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="folder of the new dataset")
    parser.add_argument("--name", help="name of the files (default: OUTPUT's folder name)")
    parser.add_argument(
        "--features",
        action="append",
        default=[],
        metavar="MODALITY=FILE.npy",
        help="attach a ready feature matrix; may be given several times",
    )
    parser.add_argument(
        "--all-items",
        action=argparse.BooleanOptionalAction,
        help="write items without interactions too "
        f"(default: {'yes' if source.keeps_cold_items else 'no'})",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an existing dataset; features that are not attached again are kept",
    )
    parser.add_argument(
        "--skip-bad-rows",
        action=argparse.BooleanOptionalAction,
        help="leave out and count rows that cannot be used (too few fields, no user, item or "
        "time, not in the encoding) instead of stopping at the first "
        f"(default: {'yes, except for encoding errors' if source.skips_bad_rows else 'no'})",
    )
    group = parser.add_argument_group("which interactions to keep")
    count = arguments.positive
    group.add_argument("--k-core", type=count, metavar="K", help="sets both of the next two")
    group.add_argument(
        "--user-core", type=count, metavar="K", help="at least K interactions per user, iterated"
    )
    group.add_argument(
        "--item-core", type=count, metavar="K", help="at least K interactions per item, iterated"
    )
    group.add_argument("--min-rating", type=float, metavar="R", help="rated R or better")
    group.add_argument(
        "--since",
        metavar="WHEN",
        help="from this date (2014-07-31) or stamp on; a "
        "number counts seconds, milliseconds, micro- or nanoseconds by its size",
    )
    group.add_argument("--until", metavar="WHEN", help="up to this date or stamp, included")
    group.add_argument(
        "--duplicates",
        choices=("none", "exact", "first", "last"),
        default="exact",
        help="exact: drop repeats of user, item and time (default); first, last: keep a user's "
        "first or last event on an item; none: keep all",
    )
    group.add_argument("--max-users", type=count, metavar="N", help="a random sample of users")
    group.add_argument("--seed", type=int, default=0, help="seed of the sample (default: 0)")
    arguments.add_resources(parser)


def run(options: argparse.Namespace) -> None:
    """Convert and print what was written and what was left out."""
    from joblib import cpu_count

    from dataset_tools.conversion.convert import convert
    from dataset_tools.interactions.database import MAX_READERS, Resources
    from dataset_tools.interactions.filters import build_filters

    processes = min(options.threads or cpu_count(), MAX_READERS)
    resources = Resources(options.memory_limit, options.threads, processes)
    features = parse_features(options.features)
    source = open_source(options.source, options.input, vars(options))
    summary = convert(
        source,
        options.output,
        options.name,
        filters=build_filters(vars(options)),
        features=features,
        all_items=options.all_items,
        overwrite=options.overwrite,
        skip_bad_rows=options.skip_bad_rows,
        resources=resources,
    )
    print("\n".join(summary.lines()))


def parse_features(pairs: list[str]) -> dict[str, Path]:
    """``["text=a.npy"]`` -> ``{"text": Path("a.npy")}``; raises ``UsageError`` when malformed."""
    features: dict[str, Path] = {}
    for pair in pairs:
        modality, separator, file = pair.partition("=")
        if not separator or not modality.isidentifier() or not file:
            raise UsageError(f"--features {pair}: write MODALITY=FILE.npy, such as text=text.npy")
        if not Path(file).is_file():
            raise UsageError(f"--features {pair}: no such file")
        features[modality] = Path(file)
    return features
