"""Each process of a training takes its share of every batch.

All processes draw the same batches, those of one process with ``train_batch_size`` times their
number, from loaders with the same seed; each makes the rows of its own share only. No row is taken
twice, none is left out, and none is added to even the shares out. A loader's length counts the
batches of all processes together, and so do the steps of the learning rate.

What is drawn while the rows are made (negatives, masks, crops) is drawn by each process for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from recbole.data.dataloader import KnowledgeBasedDataLoader
from recbole.utils import ModelType

from recbole_fmrlrec import torchrun
from recbole_fmrlrec.errors import UsageError

Collate = Callable[[Sequence[int]], Any]


@dataclass
class Share:
    """What this process has of the batch that its loader made last.

    Attributes:
        positions: that the mean of a loss is taken over: those with a target, in windows; rows of
            RecBole. 0 where a batch has fewer rows than there are processes.
    """

    positions: int = 0


@dataclass(frozen=True)
class _Dealt:
    """Makes this process's share of a batch.

    A process for which no row is left makes the first one, so that it goes the same way through
    model and exchange as the others; its `Share` is 0, and its gradients count for nothing.
    """

    collate: Collate
    share: Share
    rank: int
    size: int

    def __call__(self, index: Sequence[int]) -> Any:
        own = own_rows(index, self.rank, self.size)
        batch = self.collate(own or list(index[:1]))
        self.share.positions = positions_of(batch) if own else 0
        return batch


def own_rows(index: Sequence[int], rank: int, size: int) -> list[int]:
    """The rows of process ``rank`` of ``size`` in a batch: consecutive, as many as the others'
    or one fewer or more."""
    return list(index[len(index) * rank // size : len(index) * (rank + 1) // size])


def positions_of(batch: Any) -> int:
    """How many positions the mean of a loss is taken over, see `Share`."""
    layout = getattr(batch, "layout", None)
    return len(batch) if layout is None else len(layout.targets)


@contextmanager
def batches_of_all(config: Any) -> Iterator[None]:
    """A training loader that is made meanwhile has the batches of all processes together.

    Raises:
        UsageError: the key ``worker``: rows are made in the process that trains on them.
    """
    if not is_dealt(config):
        yield
        return
    if config["worker"]:
        raise UsageError(
            f"worker: {config['worker']}: processes of torchrun make their batches themselves; "
            "set worker to 0"
        )
    own = config["train_batch_size"]
    config["train_batch_size"] = own * torchrun.size()
    try:
        yield
    finally:
        config["train_batch_size"] = own


def is_dealt(config: Any) -> bool:
    """Whether there are several processes and a training by gradients to share."""
    return torchrun.size() > 1 and config["MODEL_TYPE"] != ModelType.TRADITIONAL


def deal(config: Any, loader: Any) -> Any:
    """Let a training loader make this process's share of its batches; it is changed.

    Models of counting and matrix algebra (RecBole's traditional ones) see all rows in every
    process: they learn in their constructors, or add up what they see.
    """
    if is_dealt(config):
        loader.share = Share()
        several = isinstance(loader, KnowledgeBasedDataLoader)
        parts = (loader.general_dataloader, loader.kg_dataloader) if several else (loader,)
        for part in parts:
            dealt = _Dealt(part.collate_fn, loader.share, torchrun.rank(), torchrun.size())
            part.collate_fn = dealt
    return loader
