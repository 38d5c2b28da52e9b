"""One event of a session against recomputing the history, and batches of sessions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from recbole_fmrlrec import compat
from recbole_fmrlrec.deploy import Recommender


def median_ms(work: Callable[[], Any], repeats: int) -> float:
    """Median milliseconds of a call, after two that do not count."""
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return 1000 * sorted(times[2:])[repeats // 2]


def event_times(model: Recommender, length: int, repeats: int) -> tuple[float, float]:
    """Median milliseconds of `Session.update` and of `Session.top` after ``length`` events."""
    session, ids = model.session(), model.items.ids
    for event in range(length):
        session.update(ids[event * 7 % len(ids)])
    update = median_ms(lambda: session.update(ids[11 % len(ids)]), repeats)
    top = median_ms(lambda: session.top(10, exclude_seen=False), repeats)
    return update, top


class _Items:
    """What SASRec asks of a dataset: how many items there are."""

    def __init__(self, count: int) -> None:
        self.count = count

    def num(self, field: str) -> int:
        return self.count + 1


@torch.no_grad()
def sasrec_times(hidden_size: int, items: int, length: int, repeats: int) -> tuple[float, str]:
    """Median milliseconds in which RecBole's SASRec scores all items after ``length`` events.

    Returns:
        The time, and a note on the model: its layers and heads.
    """
    compat.apply()
    from recbole.data.interaction import Interaction

    from recbole_fmrlrec.config.config import Config

    keys = {"hidden_size": hidden_size, "MAX_ITEM_LIST_LENGTH": length, "use_gpu": False}
    config = Config("SASRec", "ml-100k", config_dict=keys)
    model = config.model_class(config, _Items(items)).eval()
    history = torch.randint(1, items + 1, (1, length))
    batch = Interaction({model.ITEM_SEQ: history, model.ITEM_SEQ_LEN: torch.tensor([length])})
    spent = median_ms(lambda: model.full_sort_predict(batch).topk(10), repeats)
    return spent, f"{config['n_layers']} layers, {config['n_heads']} heads"


def session_rate(model: Recommender, count: int, rounds: int) -> float:
    """Events a second when ``count`` sessions take one event each, ``rounds`` times."""
    sessions, ids = model.sessions(count), model.items.ids
    items = [
        [ids[(at * 13 + turn) % len(ids)] for at in range(count)] for turn in range(rounds + 1)
    ]
    sessions.update(items[0])
    started = time.perf_counter()
    for batch in items[1:]:
        sessions.update(batch)
    return count * rounds / (time.perf_counter() - started)
