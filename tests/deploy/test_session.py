"""Streaming sessions against the full recomputation."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from recbole_fmrlrec.deploy import DeployError, Recommender
from recbole_fmrlrec.deploy.items import ItemTable
from tests.deploy.conftest import DESCRIPTION, ITEMS, TEXT, lively_network

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def events(count: int, seed: int = 0) -> list[str]:
    rows = np.random.default_rng(seed).integers(1, ITEMS + 1, count)
    return [f"i{row}" for row in rows]


def test_every_prefix_equals_the_full_recomputation(random_model: Recommender) -> None:
    random_model.max_history = None
    history = events(120)
    session = random_model.session()
    rows = [random_model.items.row_of[item] for item in history]
    full = random_model.encode_rows([rows[:n] for n in range(len(rows) + 1)])
    torch.testing.assert_close(session.hidden, full[0], **TOLERANCE)
    for n, item in enumerate(history, start=1):
        session.update(item)
        torch.testing.assert_close(session.hidden, full[n], **TOLERANCE)
        assert session.events == n
    top = session.top(5)
    expected = random_model.recommend(history, k=5)
    assert top.ids == expected.ids
    np.testing.assert_allclose(top.scores, expected.scores, rtol=1e-5)


def test_thousands_of_events_do_not_drift(random_model: Recommender) -> None:
    random_model.max_history = None
    history = events(2000, seed=1)
    session = random_model.session()
    for item in history:
        session.update(item)
    full = random_model.encode_rows([[random_model.items.row_of[item] for item in history]])
    torch.testing.assert_close(session.hidden, full[0], **TOLERANCE)


def test_sessions_of_a_batch_are_independent(random_model: Recommender) -> None:
    sessions = random_model.sessions(3)
    single = [random_model.session() for _ in range(3)]
    plan = [(["i1", "i2", "i3"], None), (["i4"], [2]), (["i5", "i6"], [1, 0])]
    plan += [(["i7", "i8", "i9"], [2, 0, 1])]
    for items, where in plan:
        assert sessions.update(items, where) == []
        for item, at in zip(items, where or range(3), strict=True):
            single[at].update(item)
    for at, one in enumerate(single):
        torch.testing.assert_close(sessions.hidden[at], one.hidden)
        assert sessions.top(4)[at].ids == sessions.top(4, sessions=[at])[0].ids == one.top(4).ids
    assert sessions.events.tolist() == [3, 3, 3]


def test_seen_items_are_left_out(random_model: Recommender) -> None:
    session = random_model.session()
    for item in ("i1", "i2"):
        session.update(item)
    assert not {"i1", "i2"} & set(session.top(ITEMS).ids)
    assert len(session.top(ITEMS)) == ITEMS - 2
    assert len(session.top(ITEMS, exclude_seen=False)) == ITEMS
    assert session.top(3, candidates=["i1", "i9"]).ids == ["i9"]


def test_a_stored_session_goes_on_elsewhere(random_model: Recommender) -> None:
    session = random_model.session()
    for item in events(25):
        session.update(item)
    store = io.BytesIO()  # what is stored needs no pickle
    state = session.state_dict()
    np.savez(store, state=state["state"], hidden=state["hidden"])
    store.seek(0)
    with np.load(store, allow_pickle=False) as arrays:
        state |= dict(arrays)
    other = random_model.session()
    other.load_state_dict(state)
    assert other.top(9) == session.top(9)
    for one in (session, other):
        one.update("i7")
    assert torch.equal(session.hidden, other.hidden) and other.events == 26


def test_a_stored_session_does_not_grow(random_model: Recommender) -> None:
    session = random_model.session()
    lengths = set()
    for item in events(50):
        session.update(item)
        state = session.state_dict(seen=False)
        lengths.add(state["state"].nbytes + state["hidden"].nbytes)
    # Two blocks of 16 complex numbers and 16 outputs, 4 bytes each.
    assert lengths == {2 * 16 * 2 * 4 + 16 * 4}


def test_a_state_at_size_64_is_a_few_hundred_bytes() -> None:
    network = lively_network(blocks=1, sizes=(8, 64))
    changed = {"size": 64, "sizes": (8, 64), "trained_sizes": (8, 64), "num_blocks": 1}
    model = Recommender(
        replace(DESCRIPTION, **changed), network, ItemTable(["a"], [None], torch.ones(2, 64))
    )
    state = model.session().state_dict(seen=False)
    assert state["state"].nbytes + state["hidden"].nbytes == 64 * 8 + 64 * 4


def test_without_its_seen_items_a_session_says_so(random_model: Recommender) -> None:
    session = random_model.session()
    session.update("i1")
    session.load_state_dict(session.state_dict(seen=False))
    with pytest.raises(DeployError, match="stored without the items it has seen"):
        session.top()
    assert len(session.top(3, exclude_seen=False)) == 3


def test_unknown_items(random_model: Recommender) -> None:
    session = random_model.session()
    with pytest.raises(DeployError, match=r"unknown item.*x"):
        session.update("x")
    before = session.hidden.clone()
    session.update("x", unknown="skip")
    assert torch.equal(session.hidden, before) and session.events == 0
    both = random_model.sessions(2)
    assert both.update(["x", "i3"]) == ["x"]
    assert both.events.tolist() == [0, 1]


def test_new_items_are_known_to_sessions(random_model: Recommender) -> None:
    session = random_model.session()
    random_model.add_items(["new"], {"text": np.ones((1, TEXT))})
    session.update("new")
    random_model.max_history = None
    torch.testing.assert_close(session.hidden, random_model.encode_rows([[ITEMS + 1]])[0])


def test_wrong_use_is_refused(random_model: Recommender) -> None:
    sessions = random_model.sessions(2)
    for items, where in ((["i1"], None), (["i1", "i2"], [0, 0]), (["i1"], [2]), (["i1"], [-1])):
        with pytest.raises(DeployError, match="session"):
            sessions.update(items, where)
    assert sessions.events.tolist() == [0, 0]
    state = sessions.state_dict(0)
    for wrong in (
        {**state, "model": "other"},
        {**state, "state": state["state"][:1]},
        {**state, "hidden": state["hidden"] * np.nan},
        {"state": state["state"]},
    ):
        with pytest.raises(DeployError, match="session"):
            sessions.load_state_dict(0, wrong)
    with pytest.raises(DeployError, match="at least 1 session"):
        random_model.sessions(0)
