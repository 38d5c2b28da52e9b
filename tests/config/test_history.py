"""Which ranking a configuration shows and stops by, with the user's history or without it."""

from __future__ import annotations

from typing import Any

import pytest

from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.model_api.registry import OUR_MODELS


def settled(model: str = "SASRec", **keys: Any) -> tuple[Any, ...]:
    """What the three keys come to."""
    config = Config(model, "ml-100k", config_dict=keys)
    return config["history"], config["mask_history"], config["valid_metric"]


def test_both_are_shown_and_the_history_is_kept_where_training_stops() -> None:
    assert settled() == ("both", False, "NDCG@10")


@pytest.mark.parametrize("model", ["SASRec", "BPR", *OUR_MODELS])
@pytest.mark.parametrize(
    "keys",
    [{"mask_history": True}, {"history": "mask"}, {"valid_metric": "masked_NDCG@10"}],
    ids=lambda keys: next(iter(keys)),
)
def test_three_ways_to_say_the_same(model: str, keys: dict[str, Any]) -> None:
    shown = keys.get("history", "both")
    assert settled(model, **keys) == (shown, True, "masked_NDCG@10")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"history": "keep", "mask_history": True}, r"history = keep .* mask_history = True wants"),
        ({"history": "keep", "valid_metric": "masked_MRR@5"}, r"valid_metric = masked_MRR@5 wants"),
        (
            {"history": "mask", "mask_history": False},
            r"mask_history = False keeps .* history = mask",
        ),
        ({"history": "none"}, r"history = 'none'.* must be one of keep, mask, both"),
        ({"valid_metric": "masked_NDCG@7"}, r"add 7 to topk"),
        ({"valid_metric": "masked_AUC"}, r"must be a metric"),
        (
            {"mask_history": True, "eval_args": {"mode": {"valid": "uni100", "test": "full"}}},
            r"mask_history = True .* eval_args.mode = uni100 \(valid\) does not rank all items: "
            r"set it to full, or choose by the ranking that keeps the history \(valid_metric: NDCG",
        ),
    ],
)
def test_contradictions_are_refused(keys: dict[str, Any], says: str) -> None:
    if "eval_args" in keys:
        split = {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO"}
        keys = {**keys, "eval_args": {**split, **keys["eval_args"]}}
    with pytest.raises(UsageError, match=says):
        settled(**keys)


def test_sampled_negatives_go_with_the_default() -> None:
    assert settled(**{"eval_args.mode": "uni100"})[0] == "both"


def test_the_default_is_no_other_run_than_before_there_was_the_key() -> None:
    """Its fingerprint leaves the key out; what shows something else has another one."""

    def fingerprint(**keys: Any) -> str:
        return Config("Pop", "ml-100k", config_dict=keys).fingerprint()

    assert fingerprint() == fingerprint(history="both")
    assert len({fingerprint(), fingerprint(history="keep"), fingerprint(history="mask")}) == 3
