"""Types of command-line arguments."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataset_tools.encoding import Outcome


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


def outcome_lines(outcome: Outcome) -> list[str]:
    """What an encoding did, for the user."""
    if outcome.skipped:
        return [f"{outcome.path}: already there, encoded with these settings"]
    rate = (outcome.encoded - outcome.kept) / max(outcome.seconds, 1e-9)
    lines = [
        f"{outcome.path}: {outcome.items:,} items, {outcome.encoded:,} different inputs, "
        f"{outcome.seconds:.1f} s, {rate:,.1f} a second"
    ]
    if outcome.kept:
        lines.append(f"  {outcome.kept:,} of them were encoded before an interruption")
    if outcome.failed:
        examples = [f"{item} ({reason})" for item, reason in list(outcome.failed.items())[:3]]
        lines.append(
            f"  {len(outcome.failed):,} items failed and get zero vectors, listed in "
            f"{outcome.path.with_name('failed.tsv')}: {'; '.join(examples)}"
        )
    return lines
