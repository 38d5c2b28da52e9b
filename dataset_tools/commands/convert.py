"""``convert SOURCE INPUT OUTPUT``: a raw data set to RecBole's atomic files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_tools.commands import arguments
from dataset_tools.errors import UsageError

if TYPE_CHECKING:
    from dataset_tools.filters import Filters
    from dataset_tools.sources.base import Source

SOURCES = {
    "p5": "the P5 layout: datamaps.json, sequential_data.txt, and meta.json.gz where there is one",
    "amazon2014": "Amazon reviews of 2014: reviews_*.json.gz or ratings_*.csv, meta_*.json.gz",
    "amazon2018": "Amazon reviews of 2018: *.json.gz or *.csv, meta_*.json.gz",
    "amazon2023": "Amazon reviews of 2023: *.jsonl.gz or *.csv, meta_*.jsonl.gz",
    "movielens": "a MovieLens folder: ml-100k, ml-1m, ml-10m, ml-latest",
    "mmrec": "a data folder of the MMRec toolbox, with its split and its *_feat.npy",
    "sequences": "a text file of sequences: 'user item item ...' a line, or 'user item' pairs",
    "csv": "any table: CSV, TSV, JSON lines or Parquet, columns given by name",
}


def add_parser(commands: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    """Add the command and one sub-command a source."""
    parser = commands.add_parser("convert", help="raw files to a RecBole dataset", parents=[shared])
    sources = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)
    for name, text in SOURCES.items():
        source = sources.add_parser(name, help=text, description=text, parents=[shared])
        _add_common(source)
        if name.startswith("amazon"):
            source.add_argument("--reviews", type=Path, help="the review file, if several fit")
            source.add_argument("--meta", type=Path, help="the metadata file, if elsewhere")
        if name == "csv":
            _add_csv(source)
        if name == "sequences":
            _add_sequences(source)
        source.set_defaults(run=run)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, metavar="INPUT")
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
        help="write items without interactions too (default: yes for p5, mmrec, sequences and "
        "csv, no for the others)",
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
        "time, not in the encoding) instead of stopping at the first (default: no for sequences "
        "and csv; yes for the others, except for encoding errors)",
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


def _add_csv(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("columns of the log")
    group.add_argument("--user", default="user_id", metavar="COLUMN", help="default: user_id")
    group.add_argument("--item", default="item_id", metavar="COLUMN", help="default: item_id")
    group.add_argument("--time", metavar="COLUMN", help="number or date (default: file order)")
    group.add_argument("--rating", metavar="COLUMN")
    group.add_argument(
        "--time-format", default="auto", metavar="PATTERN", help="such as %%d.%%m.%%Y %%H:%%M"
    )
    group.add_argument(
        "--decimal",
        choices=(".", ",", "auto"),
        default="auto",
        metavar="SIGN",
        help="before the decimals of a rating: . or , or auto (default: auto, either where only "
        "one can be meant)",
    )
    group.add_argument(
        "--delimiter",
        help="one character, \\t for a tab (default: by the name, or guessed from the header)",
    )
    _add_encoding(group)
    _add_catalogue(parser, "its id (default: as --item)")


def _add_sequences(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the file")
    group.add_argument(
        "--layout",
        choices=("auto", "users", "pairs", "items"),
        default="auto",
        help="what a line is: a user and all items in order (users), a user and one item (pairs), "
        "items alone, the user being the line's number (items); auto: pairs where all lines have "
        "two fields and users occur more than once, else users",
    )
    _add_encoding(group)
    _add_catalogue(parser, "its id (default: item_id)")


def _add_encoding(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--encoding", default="utf-8", help="default: utf-8; a byte order mark decides"
    )


def _add_catalogue(parser: argparse.ArgumentParser, id_help: str) -> None:
    group = parser.add_argument_group("the catalogue")
    group.add_argument("--items", type=Path, metavar="FILE", help="table with one row per item")
    group.add_argument("--item-id", metavar="COLUMN", help=id_help)
    group.add_argument("--image", metavar="COLUMN", help="its picture: a file name or a url")
    group.add_argument(
        "--columns",
        metavar="OURS=COLUMN,...",
        help="texts to take, such as title=name,brand=vendor (default: all, by their own names)",
    )


def run(options: argparse.Namespace) -> None:
    """Convert and print what was written and what was left out."""
    from dataset_tools.sources.base import convert

    features = parse_features(options.features)
    source = open_source(options.source, options.input, source_options(options))
    summary = convert(
        source,
        options.output,
        options.name,
        filters=build_filters(vars(options)),
        features=features,
        all_items=options.all_items,
        overwrite=options.overwrite,
        skip_bad_rows=options.skip_bad_rows,
    )
    print("\n".join(summary.lines()))


def source_options(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of the chosen source, as its constructor names them."""
    if options.source.startswith("amazon"):
        return {"reviews": options.reviews, "meta": options.meta}
    names = {
        "csv": ("user", "item", "time", "rating", "time_format", "decimal", "delimiter"),
        "sequences": ("layout",),
    }.get(options.source)
    if names is None:
        return {}
    chosen = {name: getattr(options, name) for name in (*names, "encoding", "item_id", "image")}
    return {**chosen, "catalogue": options.items, "columns": parse_columns(options.columns)}


def open_source(name: str, path: Path, options: dict[str, Any]) -> Source:
    """The source called ``name`` on ``path``.

    Raises:
        UsageError: no such source or path, or the files do not fit the source.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder")
    if name not in SOURCES:
        raise UsageError(f"unknown source {name!r}; known: {', '.join(SOURCES)}")
    if path.is_dir() and name in ("csv", "sequences"):
        raise UsageError(f"{path}: source {name} needs a file, but this is a folder")
    if not path.is_dir() and name in ("p5", "movielens", "mmrec"):
        raise UsageError(f"{path}: source {name} needs a folder")
    return _source_class(name)(path, **options)


def _source_class(name: str) -> Callable[..., Source]:
    from importlib import import_module

    module = import_module(f"dataset_tools.sources.{name}")
    classes = {"p5": "P5", "movielens": "MovieLens", "mmrec": "MMRec", "csv": "CSVSource"}
    found: Callable[..., Source] = getattr(module, classes.get(name, name.capitalize()))
    return found


def build_filters(options: dict[str, Any]) -> Filters:
    """``Filters`` from option names; raises ``UsageError`` for an unreadable date."""
    from dataset_tools.dates import check_bound
    from dataset_tools.filters import Filters

    core = options.get("k_core") or 1
    bounds = {key: str(options[key]) for key in ("since", "until") if options.get(key) is not None}
    for text in bounds.values():
        check_bound(text)
    return Filters(
        user_core=options.get("user_core") or core,
        item_core=options.get("item_core") or core,
        min_rating=options.get("min_rating"),
        since=bounds.get("since"),
        until=bounds.get("until"),
        duplicates=options.get("duplicates") or "exact",
        max_users=options.get("max_users"),
        seed=options.get("seed") or 0,
    )


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


def parse_columns(text: str | None) -> dict[str, str] | None:
    """``"title=name,brand"`` -> ``{"title": "name", "brand": "brand"}``."""
    if text is None:
        return None
    columns: dict[str, str] = {}
    for pair in text.split(","):
        ours, _, theirs = pair.strip().partition("=")
        if not ours or ours in columns:
            raise UsageError(f"--columns {text}: a name is empty or given twice")
        columns[ours] = theirs or ours
    return columns
