"""State outside ``state_dict``: every kind that a checkpoint can hold comes back as it was."""

from __future__ import annotations

import collections
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.utils import KGDataLoaderState
from scipy import sparse
from torch import Tensor, nn

from recbole_fmrlrec.files.checkpoint import load_checkpoint, save_checkpoint
from recbole_fmrlrec.train.training_state import TrainingState


class Pair(NamedTuple):
    """Two entries with names."""

    left: Any
    right: Any


class Counter:
    """An object of no library."""

    def __init__(self) -> None:
        self.steps = 0
        self.seen: set[int] = set()


class Model(nn.Module):
    """Keeps state in every way that RecBole's models do, and in some more."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.beside = [nn.Linear(1, 1)]  # in a list: no part of state_dict
        self.register_buffer("graph", torch.zeros(2), persistent=False)
        self.update, self.rate, self.stage, self.nothing = 0, 1.0, "first", None
        self.table = np.zeros(3, dtype=np.float32)
        self.order = np.array([{1}, {2}], dtype=object)
        self.number = np.float32(1.5)
        self.history = torch.zeros(2, 2)
        self.shared = self.history
        self.look = self.linear.weight.data
        self.matrix = sparse.csr_matrix((2, 2))
        self.queue: collections.deque[int] = collections.deque(maxlen=2)
        self.counts: collections.Counter[str] = collections.Counter()
        self.pair = Pair(1, torch.zeros(1))
        self.counter = Counter()
        self.mode = KGDataLoaderState.RS
        self.sources = {"python": random.Random(1), "numpy": np.random.RandomState(1)}
        self.sources |= {"new": np.random.default_rng(1), "torch": torch.Generator()}  # type: ignore[dict-item]
        self.own = torch.optim.Adam(self.linear.parameters())

    def step(self) -> None:
        """Change all of it."""
        with torch.no_grad():
            self.beside[0].weight.add_(1)
            self.linear.weight.add_(1)
        self.graph += 2
        self.update, self.rate, self.stage, self.nothing = 1, 1e-300, "second", (1, [True])
        self.table[1] = 0.1
        self.order[0].add(7)
        self.number = np.float32(0.1)
        self.history[0, 1] = 3
        self.matrix = sparse.csr_matrix(np.eye(2))
        self.queue.extend([1, 2, 3])
        self.counts["a"] += 2
        self.pair = Pair(2, torch.ones(1))
        self.counter.steps += 5
        self.counter.seen |= {3, 4}
        self.mode = KGDataLoaderState.KG
        self.look_again = self.linear.weight.data[:1]
        self.linear(torch.ones(1, 2)).sum().backward()
        self.own.step()
        self.draw()

    def draw(self) -> list[float]:
        """A number of each source."""
        python, numpy, new, torchs = self.sources.values()
        return [
            python.random(),
            float(numpy.random()),
            float(new.random()),
            float(torch.rand(1, generator=torchs)),  # type: ignore[call-overload]
        ]


def values(model: Model) -> list[Any]:
    """What `step` changes, in plain values."""
    moments = [v for state in model.own.state_dict()["state"].values() for v in state.values()]
    return [
        *(model.beside[0].weight.tolist(), model.graph.tolist(), model.history.tolist()),
        *(model.update, model.rate, model.stage, model.nothing, model.mode, model.pair.left),
        *(model.table.tolist(), model.table.dtype, model.order.tolist(), model.number),
        *(type(model.number), model.matrix.toarray().tolist(), model.matrix.format),
        *(list(model.queue), model.queue.maxlen, model.counts, type(model.counts)),
        *(type(model.pair), model.pair.right.tolist(), vars(model.counter)),
        *(model.look.tolist(), model.look_again.tolist(), [v.tolist() for v in moments]),
    ]


def taken_up(path: Path, model: Model) -> Model:
    """A new model with the state of another, by way of a file."""
    other = Model()
    state = TrainingState({"model": other})
    saved = load_checkpoint(path)
    other.load_state_dict(saved["weights"])
    assert state.put_back(saved["beside"]) == []
    return other


def test_every_kind_of_state_comes_back(tmp_path: Path) -> None:
    model = Model()
    state = TrainingState({"model": model})
    assert state.changed() == {} and state.opaque == {}
    model.step()
    content = {"weights": dict(model.state_dict()), "beside": state.changed()}
    save_checkpoint(tmp_path / "c.pth", content)
    other = taken_up(tmp_path / "c.pth", model)
    assert values(other) == values(model)
    assert other.draw() == model.draw()
    # What looked at the same memory does so still.
    assert other.shared is other.history
    with torch.no_grad():
        other.linear.weight.fill_(9)
    assert other.look.tolist() == [[9, 9], [9, 9]] and other.look_again.tolist() == [[9, 9]]
    # And it can be interrupted once more.
    again = TrainingState({"model": Model()})
    other.step()
    assert set(state.changed()) == set(content["beside"])
    assert again.changed() == {}


def test_only_what_changed_is_recorded() -> None:
    model = Model()
    state = TrainingState({"model": model}, skip=["rate"])
    model.update, model.rate = 3, 2.0
    (path,) = state.changed()
    assert path == "model.update"
    model.update = 0
    assert state.changed() == {}


class Opaque(Model):
    """Holds what no file can: a position in a stream, and an object of a library."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = iter([1, 2, 3])
        self.lock = {"lock": memoryview(b"x")}


def test_what_cannot_be_recorded_is_named() -> None:
    state = TrainingState({"model": Opaque()})
    assert state.opaque == {
        "model.stream": "builtins.list_iterator",
        "model.lock": "builtins.memoryview",
    }


def test_weights_are_not_recorded_twice() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)
            self.kept: Tensor | None = None

    model = Shared()
    state = TrainingState({"model": model})
    model.kept = model.linear.weight.detach()
    record = state.changed()["model.kept"]["value"]
    assert record == {"kind": "weight", "of": "model.linear.weight", "place": [[3, 3], [3, 1], 0]}
