"""The command line: ``python -m dataset_tools COMMAND``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dataset_tools.commands import (
    convert,
    download,
    encode_images,
    encode_text,
    inspect,
    neighbours,
    parquet,
    prepare,
)
from dataset_tools.errors import DatasetError, system_fault
from dataset_tools.packages import is_ours, missing_package

COMMANDS = (
    *(convert, encode_text, encode_images, download, prepare, parquet, inspect, neighbours),
)


def build_parser() -> argparse.ArgumentParser:
    """The parser with every command; imports nothing heavy."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show the traceback of an error",
    )
    parser = argparse.ArgumentParser(
        prog=_called(),
        description="From a raw catalogue with text and pictures to a RecBole dataset.",
        parents=[shared],
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands, shared)
    return parser


def _called() -> str:
    """The words before a command, as the user types them."""
    script = "dataset-tools"
    return script if Path(sys.argv[0]).stem == script else "python -m dataset_tools"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 done, 1 failed, 2 wrong use or input, 130 interrupted."""
    options = argparse.Namespace()
    try:
        try:
            options = _parse(arguments)
            _tidy(options)
            options.run(options)
        finally:  # help ends the process before the end: its text must out here
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who reads the output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ModuleNotFoundError as error:
        if getattr(options, "debug", False) or is_ours(error):
            raise
        print(f"error: {missing_package(error)}", file=sys.stderr)
        return 1
    except (DatasetError, OSError) as error:
        if getattr(options, "debug", False):
            raise
        known = error if isinstance(error, DatasetError) else system_fault(error)
        print(f"error: {known}", file=sys.stderr)
        return known.exit_code if isinstance(known, DatasetError) else 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; where there are more names than fit, the shell may have made them."""
    parser = build_parser()
    options, left = parser.parse_known_args(arguments)
    if left:
        words = f"unrecognized arguments: {' '.join(left)}"
        names = [*map(Path, left), getattr(options, "output", Path())]
        if options.command == "convert" and any(name.is_file() for name in names):
            words += "; many files are given as a folder, or as a pattern in quotes: 'parts/*.csv'"
        parser.error(words)
    return options


def _tidy(options: argparse.Namespace) -> None:
    """Finish or remove what killed commands left in the dataset's folder, and say so."""
    folder = getattr(options, "dataset", None) if options.command != "convert" else options.output
    if getattr(options, "root", None) is not None and options.name:
        folder = options.root / options.name
    if folder is None or not folder.parent.is_dir():
        return
    from dataset_tools.conversion.publish import tidy

    for line in tidy(folder):
        print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
