"""The parameters of a search: what each may be, when it counts, and every point of a grid."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.rules import is_number, is_whole

KINDS = ("choice", "uniform", "loguniform", "int")
MAX_GRID = 100_000


@dataclass(frozen=True)
class Parameter:
    """One key that is searched.

    Attributes:
        values: of a choice its values; else the lowest and the highest value and the step, if any.
        when: other parameters and the values of theirs with which this one counts.
        where: the place in the file, for messages.
    """

    name: str
    kind: str
    values: tuple[Any, ...]
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    where: str = ""

    def __post_init__(self) -> None:
        if self.kind == "choice":
            labels = [json.dumps(value, sort_keys=True) for value in self.values]
            if not labels or len(set(labels)) < len(labels):
                raise self._wrong("a choice needs values without duplicates")
            return
        numbers = is_whole if self.kind == "int" else is_number
        if not all(map(numbers, self.values)) or len(self.values) not in self._lengths():
            kind = "integers" if self.kind == "int" else "numbers"
            step = "" if self.kind == "loguniform" else ", or [low, high, step]"
            raise self._wrong(f"{self.kind} needs [low, high]{step} of {kind}")
        low, high = self.values[:2]
        if not low < high or (self.step is not None and self.step <= 0):
            raise self._wrong("low must be below high, and a step above 0")
        if self.kind == "loguniform" and low <= 0:
            raise self._wrong("loguniform needs a low above 0")

    def _lengths(self) -> tuple[int, ...]:
        return (2,) if self.kind == "loguniform" else (2, 3)

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"{self.name} = {list(self.values)!r} ({self.where}): {what}")

    @property
    def step(self) -> Any:
        """The step of a range; None where it has none."""
        return self.values[2] if self.kind != "choice" and len(self.values) == 3 else None

    def suggest(self, trial: Any) -> Any:
        """A value, from an Optuna trial."""
        if self.kind == "choice":
            labels = {label(value): value for value in self.values}
            return labels[trial.suggest_categorical(self.name, list(labels))]
        low, high = self.values[:2]
        if self.kind == "int":
            return trial.suggest_int(self.name, low, high, step=self.step or 1)
        log = self.kind == "loguniform"
        return self.tidy(trial.suggest_float(self.name, low, high, step=self.step, log=log))

    def tidy(self, value: Any) -> Any:
        """A stored value as it is meant: on a step it has no more places than low and step have.

        Low plus some steps is 0.30000000000000004 in binary numbers where 0.3 is meant.
        """
        if self.kind != "uniform" or self.step is None or not isinstance(value, float):
            return value
        return round(value, max(decimal_places(self.values[0]), decimal_places(self.step)))

    def grid(self) -> list[Any]:
        """Every value.

        Raises:
            UsageError: there are infinitely many.
        """
        if self.kind == "choice":
            return list(self.values)
        step = self.step or (1 if self.kind == "int" else None)
        if step is None:
            raise self._wrong("a grid needs a step, as in [low, high, step], or a choice")
        low, high = self.values[:2]
        count = int((high - low) / step + 1e-9) + 1
        return [self.tidy(low + index * step) for index in range(count)]

    def examples(self) -> list[Any]:
        """Values to check: all of a choice, the two ends of a range."""
        return list(self.values) if self.kind == "choice" else list(self.values[:2])

    def to_json(self) -> dict[str, Any]:
        """What the study remembers of it."""
        when = {name: list(values) for name, values in self.when.items()}
        return {self.kind: list(self.values), **({"when": when} if when else {})}


def decimal_places(number: float) -> int:
    """How many decimal places a number is written with: 2 of 0.25, 5 of 1e-05."""
    exponent = Decimal(str(number)).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def label(value: Any) -> Any:
    """A value of a choice as Optuna stores it: lists and mappings become JSON text."""
    return json.dumps(value) if isinstance(value, list | dict) else value


@dataclass(frozen=True)
class Space:
    """Parameters in an order in which each comes after those that it depends on."""

    parameters: tuple[Parameter, ...]

    @classmethod
    def of(cls, parameters: list[Parameter]) -> Space:
        """Order parameters by their conditions.

        Raises:
            UsageError: a condition on what is not a parameter or lacks the value, or a circle.
        """
        by_name = {parameter.name: parameter for parameter in parameters}
        for parameter in parameters:
            for name, values in parameter.when.items():
                _check_condition(parameter, by_name.get(name), name, values)
        ordered: dict[str, Parameter] = {}
        while len(ordered) < len(parameters):
            ready = [p for p in parameters if p.name not in ordered and set(p.when) <= set(ordered)]
            if not ready:
                left = [p.name for p in parameters if p.name not in ordered]
                raise UsageError(
                    f"the conditions of {', '.join(left)} depend on one another in a circle"
                )
            ordered |= {parameter.name: parameter for parameter in ready}
        return cls(tuple(ordered.values()))

    @property
    def conditional(self) -> bool:
        """Whether some parameter does not always count."""
        return any(parameter.when for parameter in self.parameters)

    @property
    def finite(self) -> bool:
        """Whether every parameter is a choice or has a step."""
        return all(p.kind in ("choice", "int") or p.step for p in self.parameters)

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Settings of one trial: the parameters that count, with their values."""
        chosen: dict[str, Any] = {}
        for parameter in self.parameters:
            if counts(parameter, chosen):
                chosen[parameter.name] = parameter.suggest(trial)
        return chosen

    def tidy(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The stored values of a trial without the last places of binary numbers."""
        by_name = {parameter.name: parameter for parameter in self.parameters}
        return {
            name: by_name[name].tidy(value) if name in by_name else value
            for name, value in stored.items()
        }

    def first(self) -> dict[str, Any]:
        """The first value of each parameter that counts with them."""
        chosen: dict[str, Any] = {}
        for parameter in self.parameters:
            if counts(parameter, chosen):
                chosen[parameter.name] = parameter.values[0]
        return chosen

    def points(self) -> list[dict[str, Any]]:
        """Every point of the grid, the last parameter changing fastest.

        Raises:
            UsageError: they are infinitely many, or more than `MAX_GRID`.
        """
        found = list(itertools.islice(self._points({}, 0), MAX_GRID + 1))
        if len(found) > MAX_GRID:
            raise UsageError(
                f"the grid has more than {MAX_GRID:,} points; use `sampler: random` or tpe"
            )
        return found

    def covered_by(self, trials: int | None) -> bool:
        """Whether so many trials (None for no limit) reach every point."""
        if not self.finite:
            return False
        most = MAX_GRID if trials is None else min(trials, MAX_GRID)
        return sum(1 for _ in itertools.islice(self._points({}, 0), most + 1)) <= most

    def _points(self, chosen: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
        if index == len(self.parameters):
            yield dict(chosen)
            return
        parameter = self.parameters[index]
        if not counts(parameter, chosen):
            yield from self._points(chosen, index + 1)
            return
        for value in parameter.grid():
            yield from self._points({**chosen, parameter.name: value}, index + 1)


def counts(parameter: Parameter, chosen: Mapping[str, Any]) -> bool:
    """Whether a parameter counts with the values chosen so far."""
    return all(name in chosen and chosen[name] in values for name, values in parameter.when.items())


def _check_condition(
    parameter: Parameter, other: Parameter | None, name: str, values: tuple[Any, ...]
) -> None:
    if other is None:
        raise UsageError(
            f"{parameter.name} ({parameter.where}): `when` names `{name}`, which is not a parameter"
        )
    if other.kind not in ("choice", "int"):
        raise UsageError(
            f"{parameter.name} ({parameter.where}): `when` needs a choice or an int, and `{name}` "
            f"is {other.kind}"
        )
    for value in values:
        if value not in other.grid():
            raise UsageError(
                f"{parameter.name} ({parameter.where}): `{name}` is never {value!r}; it is one "
                f"of {', '.join(map(str, other.grid()))}"
            )
