"""Which of the two rankings, with the user's history and without it, a run shows and stops by."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from recbole_fmrlrec.config.evaluation_checks import evaluation_modes
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation.protocol import KEEP, MASK, is_masked, masked_name, plain_name


def settle_history(values: dict[str, Any], given: Collection[str]) -> None:
    """Give ``mask_history`` and ``valid_metric`` the values that the settings come to.

    The ranking without the history is the main one, which stops training, with ``mask_history:
    True``, with ``history: mask``, and where ``valid_metric`` says so (``masked_NDCG@10``). Then
    all of them say so.

    Args:
        values: the configuration; it is changed.
        given: the keys that the user has set.

    Raises:
        UsageError: they contradict each other, or there is no such ranking.
    """
    says = {
        f"history = {MASK}": values.get("history") == MASK,
        "mask_history = True": bool(values.get("mask_history")),
        f"valid_metric = {values['valid_metric']}": is_masked(values["valid_metric"]),
    }
    wanted = [words for words, is_wanted in says.items() if is_wanted]
    if not wanted:
        return
    if values.get("history") == KEEP:
        raise UsageError(
            f"history = {KEEP} ranks all items, and {wanted[0]} wants the user's history left out: "
            "set history to both or mask, or change the other key"
        )
    if "mask_history" in given and not values.get("mask_history"):
        raise UsageError(
            f"mask_history = False keeps the user's history in the main ranking, and {wanted[0]} "
            "leaves it out: leave one of the keys out"
        )
    for phase, mode in evaluation_modes(values).items():
        if mode != "full":
            raise UsageError(
                f"{wanted[0]} leaves the user's history out of the ranking of all items, and "
                f"eval_args.mode = {mode} ({phase}) does not rank all items: set it to full, or "
                "choose by the ranking that keeps the history (valid_metric: "
                f"{plain_name(values['valid_metric'])}, history: both or keep)"
            )
    values["mask_history"] = True
    values["valid_metric"] = masked_name(values["valid_metric"])
