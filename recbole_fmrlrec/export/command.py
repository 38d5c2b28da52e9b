"""The command line of ``run_recbole.py export``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_fmrlrec.config.command_line import Parser, whole_numbers
from recbole_fmrlrec.config.model_names import model_name
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.program import usage_name

if TYPE_CHECKING:
    from recbole_fmrlrec.export.export import Export
    from recbole_fmrlrec.export.sizes_page import SizesPage

DESCRIPTION = """\
Write a trained model at one of its nested sizes, or at all of them, as small files that serve
without RecBole: parameters, item table, ids, titles and a description. An export of several sizes
also has the pages family.md and family.html, with bytes, parameters, time and quality of each.
"""


def build_parser() -> Parser:
    """The parser; imports nothing heavy."""
    parser = Parser(prog=f"{usage_name()} export", description=DESCRIPTION)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="best.pth of a run"
    )
    parser.add_argument(
        "--model",
        metavar="SPEC",
        help="the class of a model from outside, as in training: file.py:Class or package:Class",
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--output", type=Path, metavar="DIR", help="folder to write to")
    place.add_argument(
        "--update",
        type=Path,
        metavar="DIR",
        help="a deployed folder, of one size or of several, that gets the next version of its "
        "model: sizes, dtype and format stay as they are",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--size", type=int, metavar="S", help="one size, written to DIR itself")
    size.add_argument("--sizes", metavar="S,S", help="sizes, each written to DIR/S; all (default)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "int8"),
        help="how item vectors are stored; int8 has a float32 scale per item (float32)",
    )
    parser.add_argument(
        "--format",
        choices=("safetensors", "onnx"),
        help="onnx adds the encoder and its one-step form as ONNX graphs (safetensors)",
    )
    _add_data_options(parser)
    return parser


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--catalogue",
        type=Path,
        metavar="DIR",
        help="a dataset folder whose items, scored from their features, are added",
    )
    parser.add_argument(
        "--same_encoder",
        action="store_true",
        help="the catalogue's features come from the training's encoder, whatever it is called",
    )
    parser.add_argument(
        "--data_path", metavar="DIR", help="folder of the datasets, if not where training had it"
    )
    parser.add_argument(
        "--no_evaluation", action="store_true", help="do not measure the quality of the files"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def main(words: Sequence[str]) -> int:
    """Run the command; returns 0.

    Raises:
        UsageError: an option, a checkpoint, a size, a dataset or a catalogue that cannot be used.
    """
    options = build_parser().parse_args(words)
    if options.model:
        model_name(options.model)
    if options.update:
        _check_unchanged(options)
    given = options.sizes or "all"
    sizes = None if given == "all" else whole_numbers("--sizes", given)
    from recbole_fmrlrec.deploy.errors import DeployError
    from recbole_fmrlrec.export.export import Export

    request = Export(
        checkpoint=options.checkpoint,
        output=options.update or options.output,
        sizes=sizes if options.size is None else [options.size],
        folder_per_size=options.size is None,
        table_dtype=options.dtype or "float32",
        onnx=options.format == "onnx",
        catalogue=options.catalogue,
        same_encoder=options.same_encoder,
        evaluate=not options.no_evaluation,
        data_path=options.data_path,
    )
    try:
        page = _update(request) if options.update else request.run()
    except DeployError as error:
        raise UsageError(str(error)) from error
    print(page.text())
    print(
        "parameters: the blocks and the projector of the features; learned vectors of items, which "
        "a\ntraining counts too, are in the item table"
    )
    pages = [request.output / name for name in ("family.html", "model.json")]
    print(next((file for file in pages if file.is_file()), request.output))
    sys.stdout.flush()
    return 0


def _check_unchanged(options: argparse.Namespace) -> None:
    """Refuse what an update takes from the deployed folder.

    Raises:
        UsageError: it names the option.
    """
    for name in ("size", "sizes", "dtype", "format"):
        if getattr(options, name) is not None:
            raise UsageError(
                f"--{name} is not for --update, which keeps what {options.update} has; --output "
                "writes another model"
            )


def _update(request: Export) -> SizesPage:
    from recbole_fmrlrec.export.update import Deployed, update

    before = Deployed.find(request.output)
    page = update(request)
    print("\n".join(before.lines(Deployed.find(request.output))))
    return page
