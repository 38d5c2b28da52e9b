"""``run_recbole.py recommend``: for one history, or for a file of users."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from recbole_fmrlrec.config.command_line import Parser
from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.deploy.histories import separator_hint, split_history
from recbole_fmrlrec.deploy.user_files import FORMATS, User, read_users, writer
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.writable import check_file
from recbole_fmrlrec.program import usage_name

if TYPE_CHECKING:
    from recbole_fmrlrec.deploy.recommender import Recommender

DESCRIPTION = """\
Recommend items with a deployed model: to one history, printed as a list, or to every user of a
file, written as a file. Or show which items are like an item.
"""
USERS_HELP = """\
users: CSV with the columns user_id,history (items with spaces between them, or a JSON list of ids)
or user_id,item_id (one event per line, a user's lines together, the oldest first or with a column
timestamp, numbers or ISO dates, that says the order), or JSON lines
{"user_id": "7", "history": ["a", "b"]}
"""
SPREADSHEET_HELP = """\
in CSV, put ' before ids and titles that begin with =, +, -, @, a tab or a line end: a spreadsheet
would compute them as a formula
"""
HISTORY_HELP = "item ids, or a JSON list of them, the oldest first; may be empty"
SEPARATOR_HELP = "between the ids of a history (a comma in --history, blanks in --users_file)"
SIMILAR_HELP = "show the items most like this one, by the cosine of the model's vectors"
FEATURES_HELP = """\
with --similar: a dataset folder with the features of the model's items; the items whose raw
features are most alike are shown as well
"""
EXPLAIN_HELP = "say for each item which event of the history added most to its score"
DIVERSIFY_HELP = "0 for the best items, up to 1 for the most varied (0)"
GROUP_HELP = "a column of the items, such as a brand: see --max_per_group"
ITEMS_FILE_HELP = "the .item file with that column, if the deployed folder has none"
#: Unknown items that a message names.
_SHOWN = 5
T = TypeVar("T")


def build_parser() -> Parser:
    """The parser; imports nothing heavy."""
    parser = Parser(prog=f"{usage_name()} recommend", description=DESCRIPTION)
    add = parser.add_argument
    add("--model_dir", type=Path, required=True, metavar="DIR", help="what `export` wrote")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--history", metavar="A,B,C", help=HISTORY_HELP)
    who.add_argument("--users_file", type=Path, metavar="FILE", help=USERS_HELP)
    who.add_argument("--similar", metavar="ITEM", help=SIMILAR_HELP)
    add("--output", type=Path, metavar="FILE", help=".csv or .jsonl; standard output if left out")
    add("--output_format", choices=FORMATS, help="if the name of the output does not say")
    add("--spreadsheet", action="store_true", help=SPREADSHEET_HELP)
    add("--k", type=int, default=10, help="items for each user (10)")
    add("--separator", metavar="TEXT", help=SEPARATOR_HELP)
    add("--include_seen", action="store_true", help="also recommend items of the history")
    add("--candidates_file", type=Path, metavar="FILE", help="choose from these ids, one per line")
    add("--unknown", choices=("skip", "error"), default="skip", help="unknown items (skip)")
    add("--batch_size", type=int, default=256, help="users per batch (256)")
    add("--explain", action="store_true", help=EXPLAIN_HELP)
    add("--diversify", type=float, default=0.0, metavar="SHARE", help=DIVERSIFY_HELP)
    add("--max_per_group", type=int, metavar="N", help="items with one value of --group_by at most")
    add("--group_by", metavar="COLUMN", help=GROUP_HELP)
    add("--items_file", type=Path, metavar="FILE", help=ITEMS_FILE_HELP)
    add("--size", type=int, metavar="S", help="with --similar: a nested size of the model")
    add("--features_dir", type=Path, metavar="DIR", help=FEATURES_HELP)
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(words: Sequence[str]) -> int:
    """Run the command; returns 0.

    Raises:
        UsageError: an option, a file or a model that cannot be used.
    """
    options = build_parser().parse_args(words)
    if options.k < 1 or options.batch_size < 1:
        raise UsageError("--k and --batch_size must be 1 or more")
    if options.separator == "":
        raise UsageError(
            "--separator= is empty; give the separator between ids, as in --separator=;"
        )
    _check_together(options)
    from recbole_fmrlrec.deploy.recommender import Recommender

    _check_output(options.output)
    try:
        recommender = Recommender.load(options.model_dir)
        if options.similar is not None:
            from recbole_fmrlrec.cli.similar import show_similar

            show_similar(recommender, options)
            return 0
        if options.group_by is not None:
            from recbole_fmrlrec.cli.item_columns import add_column

            add_column(recommender, options.group_by, options.items_file)
        if options.history is not None:
            _show(recommender, options)
        else:
            _answer_file(recommender, options)
    except DeployError as error:
        raise UsageError(str(error)) from error
    sys.stdout.flush()
    return 0


#: Options that mean nothing with --similar.
_NOT_SIMILAR: tuple[str, ...] = (
    "output",
    "output_format",
    "spreadsheet",
    "separator",
    "include_seen",
)
_NOT_SIMILAR += ("candidates_file", "explain", "diversify", "max_per_group", "group_by")
_NOT_SIMILAR += ("items_file",)


def _check_together(options: Any) -> None:
    """Refuse options of which one would be passed over.

    Raises:
        UsageError: two of them.
    """
    if options.similar is not None:
        parser = build_parser()
        for name in _NOT_SIMILAR:
            if getattr(options, name) != parser.get_default(name):
                raise UsageError(
                    f"--{name} is for recommendations and means nothing with --similar"
                )
    elif options.size is not None or options.features_dir is not None:
        name = "size" if options.size is not None else "features_dir"
        raise UsageError(f"--{name} needs --similar; a folder recommends at its own size")
    if options.items_file is not None and options.group_by is None:
        raise UsageError("--items_file needs --group_by: which of its columns?")


def _check_output(file: Path | None) -> None:
    """Refuse before the work what cannot be written to after it; a device or a pipe is not tried.

    Raises:
        UsageError: it cannot be.
    """
    if file is not None and (not file.exists() or file.is_file() or file.is_dir()):
        check_file(file, "--output")


def _settings(options: Any) -> dict[str, Any]:
    candidates = None
    if options.candidates_file is not None:
        try:
            text = options.candidates_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--candidates_file: {error}") from None
        candidates = [line.strip() for line in text.splitlines() if line.strip()]
    return {
        "k": options.k,
        "exclude_seen": not options.include_seen,
        "candidates": candidates,
        "unknown": options.unknown,
        "explain": options.explain,
        "diversify": options.diversify,
        "max_per_group": options.max_per_group,
        "group_by": options.group_by,
    }


def _show(recommender: Recommender, options: Any) -> None:
    """Print history and recommendations with titles."""
    if options.output is not None:
        raise UsageError("--output needs --users_file; a single history is printed")
    if options.spreadsheet:
        raise UsageError("--spreadsheet needs --users_file; a single history is printed")
    separator = options.separator or ","
    history = split_history(options.history, separator, "--history")
    table = recommender.items
    unknown = [item for item in history if item not in table.row_of]
    hint = separator_hint(unknown, table.row_of, separator) if unknown else ""
    try:
        result = recommender.recommend(history, **_settings(options))
    except DeployError as error:
        raise UsageError(f"{error}{hint}") from error
    if not history:
        learned = recommender.description.start_trained
        print(
            "empty history: the model's initial state"
            + ("" if learned else ", which this training did not learn (predict_first_item)")
        )
    else:
        print("history:")
    for item in history:
        row = table.row_of.get(item)
        print(
            f"      {item}  {'(unknown)' if row is None else table.titles[row - 1] or ''}".rstrip()
        )
    if unknown:
        print(f"{len(unknown)} unknown items were skipped{hint}", file=sys.stderr)
    print(f"\n{'rank':>4}  {'score':>9}  item\n{result}")


def _answer_file(recommender: Recommender, options: Any) -> None:
    from tqdm import tqdm

    settings = _settings(options)
    read = iter(read_users(options.users_file, options.separator))
    users = chain(list(islice(read, 1)), read)  # a wrong file is refused before the header is out
    skipped = answered = 0
    unknown: list[str] = []
    with (
        writer(
            options.output, options.output_format, options.spreadsheet, options.explain
        ) as write,
        tqdm(users, desc="Recommend", unit=" users", disable=not sys.stderr.isatty()) as shown,
    ):
        for batch in _batches(shown, options.batch_size):
            results = recommender.recommend([user.history for user in batch], **settings)
            for user, result in zip(batch, results, strict=True):
                write(user.id, result)
                skipped += len(result.unknown)
                unknown += result.unknown[: _SHOWN - len(unknown)]
            answered += len(batch)
    note = ""
    if skipped:
        shown = ", ".join(map(repr, dict.fromkeys(unknown)))
        note = f"; {skipped:,} unknown items were skipped ({shown}{', ...' * (skipped > _SHOWN)})"
        note += separator_hint(unknown, recommender.items.row_of, options.separator)
    print(f"{answered:,} users answered{note}", file=sys.stderr)


def _batches(users: Iterable[User], size: int) -> Iterator[list[User]]:
    stream = iter(users)
    while batch := list(islice(stream, size)):
        yield batch
