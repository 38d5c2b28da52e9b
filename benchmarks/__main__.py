"""The command line: ``python -m benchmarks COMMAND [OPTIONS]``.

A benchmark is a module with ``main(words)``, which parses its own options, prints its figures and
returns an exit code; it is entered in `COMMANDS`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

#: Command: its module and what it measures.
COMMANDS: dict[str, tuple[str, str]] = {
    "core": ("benchmarks.core", "training steps, memory and evaluation against the published code"),
    "deploy": ("benchmarks.deploy", "streaming sessions and retrieval of deployed models"),
    "sasrec-epoch": ("benchmarks.sasrec_epoch", "an epoch of RecBole's SASRec and of fMRLRec"),
    "recbole-epoch": ("benchmarks.recbole_epoch", "an epoch of RecBole's own models"),
    "baselines": ("benchmarks.baselines", "an epoch of SASRecM, LRURec and fMRLRec"),
    "start": ("benchmarks.start", "what imports and data take before training begins"),
    "catalogue": ("benchmarks.catalogue", "training and ranking over a million items"),
    "serve": ("benchmarks.serve", "the HTTP service: requests a second, latency, memory"),
    "interactions": ("benchmarks.interactions", "loading from text and Parquet, windows on disk"),
    "convert": ("benchmarks.convert", "raw files to a dataset: JSON lines, CSV and Parquet"),
    "distributed": ("benchmarks.distributed", "a training step in one and in two processes"),
    "gpu": ("benchmarks.gpu", "steps, epochs, the scan and a million items on a GPU"),
    "continue": ("benchmarks.learning_on", "a training that goes on with newer data"),
    "fits": ("benchmarks.fits", "memory and CPU time by the number of items, and by formula"),
    "sizes": ("benchmarks.sizes", "a table and a plot of quality by size, from finished runs"),
    "cold-items": ("benchmarks.cold_items", "quality of items held out of training altogether"),
}


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:12} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: python -m benchmarks COMMAND [OPTIONS]",
            "",
            *lines,
            "",
            "`python -m benchmarks COMMAND --help` lists its options; --quick is a short trial.",
        ]
    )


def main(words: Sequence[str] | None = None) -> int:
    """Run one benchmark; 0 done, 2 wrong use, 130 interrupted."""
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    if words[0] not in COMMANDS:
        print(f"error: there is no benchmark `{words[0]}`\n\n{usage()}", file=sys.stderr)
        return 2
    try:
        code: int = import_module(COMMANDS[words[0]][0]).main(words[1:])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
