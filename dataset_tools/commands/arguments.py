"""What several commands have in common: types of arguments, groups of options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_tools.errors import UsageError

if TYPE_CHECKING:
    from dataset_tools.encoders.share import Share
    from dataset_tools.fetch.descriptions import Description


def positive(text: str) -> int:
    """A whole number from 1 on."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return number


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def add_resources(parser: argparse.ArgumentParser) -> None:
    """Options for what a conversion may use of the machine."""
    group = parser.add_argument_group("memory and threads")
    group.add_argument(
        "--memory-limit",
        metavar="SIZE",
        help="of reading and choosing interactions, such as 4GB; what exceeds it goes to disk, "
        "beside OUTPUT (default: 80%% of the machine's)",
    )
    group.add_argument("--threads", type=positive, metavar="N", help="default: one for each core")


def add_encoding(parser: argparse.ArgumentParser) -> None:
    """Options that both encoders have."""
    parser.add_argument("--revision", help="branch, tag or commit of the model on the hub")
    parser.add_argument("--output", type=Path, help="feature folder (default: DATASET/features)")
    parser.add_argument("--batch-size", type=positive, default=32, help="default: 32")
    parser.add_argument("--limit", type=positive, metavar="N", help="encode only the first N items")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:0 (default: auto)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="of the model",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="encode again and replace what is there"
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="encode part I of N, from 1/N to N/N, of processes that see the same folder; auto: by "
        "torchrun's or SLURM's numbers. Who ends last merges all parts",
    )


def chosen_share(options: argparse.Namespace) -> Share | None:
    """What ``--shard`` asks for."""
    from dataset_tools.encoders.share import Share

    return None if options.shard is None else Share.parse(options.shard)


def add_public_dataset(parser: argparse.ArgumentParser) -> None:
    """Options of the commands that take the name of a public dataset."""
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


def described(options: argparse.Namespace) -> Description | None:
    """The description of the dataset that is asked for; without a name, its names are printed."""
    from dataset_tools.fetch.descriptions import known_names, read_description

    if options.name is None:
        print("\n".join(known_names(options.properties)))
        return None
    return read_description(options.name, options.properties)
