"""Parts of a configuration as dataclasses with types."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from recbole_fmrlrec.config.typed import typed


@dataclass(frozen=True)
class _View:
    epochs: int
    max_minutes: float | None
    warmup_steps: int = 0
    shuffle: bool = True


def test_fields_are_keys_and_null_takes_the_default() -> None:
    config = defaultdict(lambda: None, epochs=3, shuffle=False, other="x")  # as RecBole's Config
    assert typed(_View, config) == _View(3, None, 0, False)


def test_a_value_that_is_false_is_not_null() -> None:
    config = {"epochs": 0, "max_minutes": 0.5, "warmup_steps": 7, "shuffle": True}
    assert typed(_View, config) == _View(0, 0.5, 7, True)
