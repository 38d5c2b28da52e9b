"""What a run says of time before it trains: where it is split, and what training cannot know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from recbole.utils import ModelType

from dataset_tools.formats.dates import show_stamp
from recbole_fmrlrec.data.target_times import TargetTimes
from recbole_fmrlrec.data.time_loaders import knows_ids_only
from recbole_fmrlrec.data.time_split import Past
from recbole_fmrlrec.keys.time_split import protocol

_PARTS = ("validation", "test")


def split_lines(config: Any, dataset: Any, loaders: Sequence[Any]) -> list[str]:
    """Lines about the split in time, none where times say nothing.

    Args:
        dataset: the whole one.
        loaders: of training, validation and test.
    """
    spread = getattr(dataset, "target_times", None)
    if spread is not None:
        return [_leave_one_out(spread)]
    known = [loader._dataset.past for loader in loaders[1:] if _is_by_time(loader)]
    if len(known) < len(_PARTS):
        return []
    cold = _cold(config, dataset, known)
    return [*_split(config, known), *cold, *_new_users(config, known)]


def split_facts(config: Any, loaders: Sequence[Any]) -> dict[str, Any] | None:
    """What ``result.json`` says of a split by time; None of another.

    Args:
        loaders: of training, validation and test.
    """
    parts = zip(("valid", "test"), loaders[1:], strict=True)
    pasts = {name: loader._dataset.past for name, loader in parts if _is_by_time(loader)}
    if len(pasts) < len(_PARTS):
        return None

    def counted(count: Callable[[Past], Any]) -> dict[str, int]:
        return {name: int(count(past)) for name, past in pasts.items()}

    valid, test = (show_stamp(at) for at in pasts["test"].moments)
    return {
        "valid_from": valid,
        "test_from": test,
        **protocol(config["eval_args"]),
        "rows": counted(lambda past: len(past.target)),
        "without_past": counted(lambda past: past.without_past),
        "dropped": counted(lambda past: past.dropped),
        "cold_items": len(pasts["test"].cold),
        "cold_targets": counted(lambda past: past.of_cold_items.sum()),
        "new_users": counted(lambda past: past.of_new_users.sum()),
        "ids_only": knows_ids_only(config, loaders[2]._dataset),
    }


def _is_by_time(loader: Any) -> bool:
    return bool(loader) and getattr(loader._dataset, "past", None) is not None


def _leave_one_out(spread: TargetTimes) -> str:
    first, last = (show_stamp(at)[:10] for at in (spread.first, spread.last))
    return (
        f"leave-one-out: the test targets lie between {first} and {last}; "
        f"{spread.later_than_first:.0%} of the training interactions are later than the first of "
        f"them, {spread.later_than_half:.0%} later than half of them; "
        "--eval_args.split.time=[0.8,0.9] splits by date"
    )


def _split(config: Any, pasts: Sequence[Past]) -> list[str]:
    valid, test = (show_stamp(at) for at in pasts[0].moments)
    how = protocol(config["eval_args"])
    lines = [
        f"split:   training before {valid}, validation before {test}, test from then on; "
        f"targets: {how['targets']}, context: {how['context']}"
    ]
    if any(past.without_past for past in pasts):
        lines.append(
            f"         left out: {_both([past.without_past for past in pasts])} interactions "
            "that their users have nothing before"
        )
    return lines


def _cold(config: Any, dataset: Any, pasts: Sequence[Past]) -> list[str]:
    if not len(pasts[0].cold):
        return []
    items = len(pasts[0].item_counts) - 1
    line = f"cold:    {len(pasts[0].cold):,} of {items:,} items are in no training interaction"
    if pasts[0].dropping:
        dropped = _both([past.dropped for past in pasts])
        return [f"{line}; they are not candidates, and {dropped} interactions with them left out"]
    line += f", and the targets of {_both([int(p.of_cold_items.sum()) for p in pasts])} rows"
    if knows_ids_only(config, dataset):
        line += (
            f"; {config['model']} knows ids only and ranks them last (eval_args.cold: drop leaves "
            "them out, for every model)"
        )
    return [line]


def _new_users(config: Any, pasts: Sequence[Past]) -> list[str]:
    counts = [int(past.of_new_users.sum()) for past in pasts]
    if not any(counts):
        return []
    line = f"new:     {_both(counts)} rows are of users that training never saw"
    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        line += f"; {config['model']} makes no use of what they did since"
    return [line]


def _both(counts: Sequence[int]) -> str:
    """``3 validation and 4 test``."""
    return " and ".join(f"{n:,} {part}" for n, part in zip(counts, _PARTS, strict=True))
