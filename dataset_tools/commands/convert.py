"""``convert SOURCE INPUT OUTPUT``: a raw data set to RecBole's atomic files."""

from __future__ import annotations

import argparse
from pathlib import Path

from dataset_tools.errors import UsageError


def add_parser(commands: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    """Add the command and one sub-command a source."""
    parser = commands.add_parser("convert", help="raw files to a RecBole dataset", parents=[shared])
    sources = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)
    add_source(sources, shared, "p5", "the P5 layout: datamaps.json, sequential_data.txt, ...")


def add_source(
    sources: argparse._SubParsersAction, shared: argparse.ArgumentParser, name: str, text: str
) -> argparse.ArgumentParser:
    """Add one source with the options that all of them share."""
    parser = sources.add_parser(name, help=text, description=text, parents=[shared])
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
    parser.set_defaults(run=run)
    return parser


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


def run(options: argparse.Namespace) -> None:
    """Convert and print what was written and what was left out."""
    from dataset_tools.sources.base import convert
    from dataset_tools.sources.p5 import P5

    features = parse_features(options.features)
    summary = convert(P5(options.input), options.output, options.name, features=features)
    print("\n".join(summary.lines()))
