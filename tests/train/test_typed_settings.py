"""The types of typed settings are those that the rules of the keys allow."""

from __future__ import annotations

import types
from dataclasses import MISSING, Field, fields
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import torch

from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.config.typed import typed
from recbole_fmrlrec.data.feature_settings import FeatureSettings
from recbole_fmrlrec.keys.schema import RULES
from recbole_fmrlrec.train.typed_settings import RunSettings, TrainerSettings

VIEWS = (RunSettings, TrainerSettings, FeatureSettings)
#: Keys that no rule is for: names are checked as names, the others RecBole sets or has itself.
WITHOUT_RULE = {"model", "dataset", "local_rank", "device", "pretrain_epochs", "dataset_root"}
#: Values of which a rule accepts only such as its key's type holds.
NUMBERS: list[Any] = [None, True, 1, 3, 0.5]
TEXTS: list[Any] = ["linear", "float16", "some/path", "NDCG@10", "auto"]
VALUES = [*NUMBERS, *TEXTS, [1], ["text"], {"a": 1}]


def kinds(view: type, field: Field) -> tuple[type, ...]:
    hint = get_type_hints(view)[field.name]
    hints = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return tuple(get_origin(one) or one for one in hints)


def holds(allowed: tuple[type, ...], value: Any) -> bool:
    """Whether a value has one of some types; True is not a number here, and 1 is a float."""
    kind = type(value)
    return kind in allowed or (kind is int and float in allowed)


@pytest.mark.parametrize(
    ("view", "field"),
    [(view, field) for view in VIEWS for field in fields(view)],
    ids=lambda value: value.name if isinstance(value, Field) else value.__name__,
)
def test_a_rule_accepts_only_what_its_type_holds(view: type, field: Field) -> None:
    rule = RULES.get(field.name)
    assert (rule is None) == (field.name in WITHOUT_RULE)
    if rule is None:
        return
    accepted = [value for value in VALUES if rule.accepts(value)]
    assert accepted
    defaulted = field.default is not MISSING
    assert all(
        holds(kinds(view, field), value) or (value is None and defaulted) for value in accepted
    )


def test_what_a_configuration_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    keys = {"seed": 7, "max_minutes": 2, "amp_dtype": "float16", "warmup_steps": 5}
    config = Config("SASRec", "ml-100k", config_dict={**keys, "use_gpu": False})
    run, trainer = typed(RunSettings, config), typed(TrainerSettings, config)
    assert (run.model, run.dataset, run.seed, run.device) == (
        "SASRec",
        "ml-100k",
        7,
        torch.device("cpu"),
    )
    assert (run.num_threads, run.init_from) == (None, None)
    assert trainer == TrainerSettings("saved", 2, "constant", 5, 0.0, None, "float16", False, None)
    assert trainer.low_dtype is torch.float16
