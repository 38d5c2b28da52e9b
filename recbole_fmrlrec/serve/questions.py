"""Questions about histories, answered together where that gives the same answers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.deploy.results import Recommendations
from recbole_fmrlrec.serve.models import Served

#: What may be asked beside k and still be answered together: nothing that could be refused, and
#: nothing whose first k depend on k.
_PLAIN = {"exclude_seen"}


@dataclass(frozen=True)
class Question:
    """What one request asks: k items for each of some histories; options of `recommend`."""

    served: Served
    histories: Sequence[Sequence[str]]
    k: int
    options: dict[str, Any] = field(default_factory=dict)


def answer(questions: Sequence[Question]) -> list[list[Recommendations] | Exception]:
    """Recommendations for each question, or why there are none."""
    groups: dict[Hashable, list[int]] = {}
    for at, question in enumerate(questions):
        plain = set(question.options) <= _PLAIN
        alike = (id(question.served), *sorted(question.options.items())) if plain else at
        k = None if question.served.recommender.is_exact else question.k
        groups.setdefault((alike, k), []).append(at)
    answers: list[list[Recommendations] | Exception] = [[] for _ in questions]
    for places in groups.values():
        for at, result in zip(places, _together([questions[at] for at in places]), strict=True):
            answers[at] = result
    return answers


def _together(questions: Sequence[Question]) -> Sequence[list[Recommendations] | Exception]:
    first = questions[0]
    histories = [history for question in questions for history in question.histories]
    try:
        k = max(question.k for question in questions)
        found = first.served.recommender.recommend(histories, k=k, **first.options)
    except DeployError as error:
        return [error] * len(questions)
    rest = iter(found)
    return [[shortened(next(rest), q.k) for _ in q.histories] for q in questions]


def shortened(result: Recommendations, k: int) -> Recommendations:
    """The first k."""
    return replace(
        result,
        ids=result.ids[:k],
        titles=result.titles[:k],
        scores=result.scores[:k],
        reasons=result.reasons[:k],
    )
