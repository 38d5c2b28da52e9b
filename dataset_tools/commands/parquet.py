"""``parquet DATASET``: the atomic files of a dataset in Parquet too, which load faster."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "parquet",
        help="a Parquet copy beside each atomic file, which loads faster",
        description="Write NAME.inter.parquet beside NAME.inter, and likewise for the other "
        "atomic files. Training takes a copy that matches its file, to the same result; a copy of "
        "a file that has changed since is passed over with a warning.",
        parents=[shared],
    )
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of the dataset")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write what is not there yet, and say it."""
    from dataset_tools.conversion.parquet import write_copies

    for line in write_copies(options.dataset):
        print(line)
