"""The facts of ``inspect`` for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def text_lines(facts: Mapping[str, Any]) -> list[str]:
    """The facts for a terminal."""
    lines = [
        f"{facts['name']}: {facts['users']:,} users, {facts['items']:,} items, "
        f"{facts['interactions']:,} interactions, {facts['density']:.4%} of all pairs",
        "",
        "                    mean    min    25% median    75%    95%    max",
    ]
    for label, key in (("items a user", "user_lengths"), ("users an item", "item_counts")):
        numbers = "".join(f"{value:>7.5g}" for value in list(facts[key].values())[1:])
        lines.append(f"{label:<16}{facts[key]['mean']:>8.1f}{numbers}")
    lines += ["", *_time_lines(facts), *_catalogue_lines(facts), *_feature_lines(facts)]
    for label, key in (("most popular", "most_popular"), ("at random", "sample")):
        lines += ["", f"{label}:", *_card_lines(facts[key])]
    return lines


def _time_lines(facts: Mapping[str, Any]) -> list[str]:
    span = facts["time"]
    if span is None:
        return ["time: none"]
    first, last = (span.get(f"{end}_date", f"{span[end]:g}") for end in ("first", "last"))
    unit = f", in {span['unit']} since 1970" if span["unit"] else ", numbers that are not dates"
    lines = [f"time: {first} to {last}{unit}"]
    if span["others"]:
        lines.append("  not all timestamps are in one unit: their order is wrong; convert again")
    return lines


def _catalogue_lines(facts: Mapping[str, Any]) -> list[str]:
    lines = [
        f"catalogue: {facts['catalogue_items']:,} items, {facts['cold_items']:,} without "
        f"interactions; {facts['items_without_metadata']:,} items with interactions are not in it"
    ]
    for name, column in facts["columns"].items():
        lines.append(f"  {name:<16}{column['share']:>7.1%}  {column['mean_length']:.0f} characters")
    return lines


def _feature_lines(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, one in facts["features"].items():
        lines.append(
            f"features {name}: {one['encoder']}, {one['width']} wide, {one['coverage']:.1%} of the "
            f"items with interactions, {one['empty_items']:,} empty"
        )
        if "mean_cosine" in one:
            lines.append(
                f"  row length {one['norm_min']:.3f} to {one['norm_max']:.3f}, cosine of random "
                f"pairs {one['mean_cosine']:.3f}, equal pairs {one['share_of_equal_pairs']:.2%}"
            )
    return lines or ["features: none; `dataset_tools encode-text` makes some"]


def _card_lines(cards: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"  {one['interactions']:>7,}  {one['item']:<14} {one['title'][:60]}  {one['other'][:60]}"
        for one in cards
    ]
