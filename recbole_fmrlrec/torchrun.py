"""The processes that ``torchrun`` starts for one training, and how they reach each other.

Each has a number, its rank; rank 0, the first one, alone writes, logs and decides. Tensors are
added up by ``torch.distributed`` (gloo on CPUs, nccl on GPUs). Texts, and waiting that may last,
go through the store that torchrun keeps: a process that waits there for the first one, while that
one downloads or encodes data, holds up no collective operation and its time limit.

When one process dies, torchrun ends the others; with gloo they notice by themselves, as the
connection closes. Without torchrun there is one process, and nothing here imports torch.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from recbole_fmrlrec.errors import RunError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

#: How long a collective operation waits for a process that is alive and does not come.
COLLECTIVE = timedelta(minutes=30)
#: How long a process waits for the first one to download, encode or evaluate.
PATIENCE = timedelta(days=2)
_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass
class _Group:
    """The connection of this process with the others.

    Attributes:
        store: torch's key-value store that all reach; None for a single process.
        said: how many texts the first one has given out.
        sent: bytes of the tensors that this process has given to the others.
    """

    store: Any = None
    said: int = 0
    sent: int = 0


_group = _Group()


def size() -> int:
    """How many processes train together."""
    return _number("WORLD_SIZE") if all(name in os.environ for name in _NEEDED) else 1


def rank() -> int:
    """The number of this process among all, from 0."""
    return _number("RANK") if size() > 1 else 0


def local_rank() -> int:
    """The number of this process among those of its machine, from 0."""
    return _number("LOCAL_RANK") if size() > 1 else 0


def local_size() -> int:
    """How many processes there are on this machine."""
    return _number("LOCAL_WORLD_SIZE") if size() > 1 and "LOCAL_WORLD_SIZE" in os.environ else 1


def is_first() -> bool:
    """Whether this process is the one that writes, logs and decides."""
    return rank() == 0


def _number(name: str) -> int:
    value = os.environ[name]
    if not value.isdecimal():
        raise UsageError(f"the environment variable {name} is {value!r}, not a number: torchrun")
    return int(value)


def start(device: Any) -> None:
    """Connect with the other processes; once in a process, and nothing for a single one.

    Args:
        device: that this process computes on.

    Raises:
        RunError: the others do not answer.
    """
    if size() == 1 or _group.store is not None:
        return
    import torch.distributed as dist

    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    try:
        store, number, count = next(dist.rendezvous("env://", timeout=COLLECTIVE))
        _group.store = dist.PrefixStore("recbole_fmrlrec", store)
        _group.store.set_timeout(PATIENCE)
        group_store = dist.PrefixStore("collectives", store)
        dist.init_process_group(
            backend, store=group_store, rank=number, world_size=count, timeout=COLLECTIVE
        )
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"the {size()} processes of torchrun do not reach each other: {error}"
        ) from error
    atexit.register(dist.destroy_process_group)


@contextmanager
def first_goes_first() -> Iterator[None]:
    """The first process does the work below while the others wait; then they do it.

    For files that are made where they are missing: one process makes them, the others find them.
    """
    if not is_first():
        from_first()
    yield
    if is_first():
        from_first()


def from_first(text: str = "") -> str:
    """What the first process says here; the others wait for it, and what they say is lost.

    All processes call it, in the same order.
    """
    if size() == 1:
        return text
    key = f"said/{_group.said}"
    _group.said += 1
    if is_first():
        _group.store.set(key, text.encode())
        return text
    return bytes(_waited(key)).decode()


def to_first(content: bytes) -> list[bytes]:
    """The contents of the processes after the first, for the first one; nothing for the others.

    All processes call it, at the same time.
    """
    if size() == 1:
        return []
    import torch
    import torch.distributed as dist

    lengths = torch.zeros(size(), dtype=torch.int64)
    lengths[rank()] = len(content)
    add_up(lengths)
    own = torch.zeros(int(lengths.max()), dtype=torch.uint8)
    own[: len(content)] = torch.frombuffer(bytearray(content or b"0"), dtype=torch.uint8)[
        : len(content)
    ]
    found = [torch.empty_like(own) for _ in range(size())] if is_first() else None
    try:
        dist.gather(own, found, dst=0)
    except RuntimeError as error:
        raise _lost(error) from error
    pairs = list(zip(found or [], lengths.tolist(), strict=False))
    return [part[:length].numpy().tobytes() for part, length in pairs[1:]]


def _waited(key: str) -> bytes:
    try:
        content: bytes = _group.store.get(key)
    except RuntimeError as error:
        raise _lost(error) from error
    return content


def add_up(*tensors: Tensor, largest: bool = False) -> None:
    """Replace tensors by their sum over all processes, the same bits in each; one call for all.

    Args:
        tensors: contiguous; as many, of the same shapes, in every process.
        largest: take the largest instead of the sum.

    Raises:
        RunError: another process has ended.
    """
    if size() == 1 or not tensors:
        return
    import torch.distributed as dist

    kind = dist.ReduceOp.MAX if largest else dist.ReduceOp.SUM
    try:
        for work in [dist.all_reduce(tensor, kind, async_op=True) for tensor in tensors]:
            work.wait()
    except RuntimeError as error:
        raise _lost(error) from error
    _group.sent += sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def gathered(tensor: Tensor, into: list[Tensor] | None = None) -> list[Tensor]:
    """The tensors of all processes, in their order.

    Args:
        tensor: contiguous, of the same shape in every process.
        into: where they are put; contiguous, of that shape. New tensors when None.

    Raises:
        RunError: another process has ended.
    """
    if size() == 1:
        return [tensor]
    import torch
    import torch.distributed as dist

    found = [torch.empty_like(tensor) for _ in range(size())] if into is None else into
    try:
        dist.all_gather(found, tensor)
    except RuntimeError as error:
        raise _lost(error) from error
    _group.sent += tensor.numel() * tensor.element_size()
    return found


def dealt_out(tensor: Tensor, lengths: list[int]) -> Tensor:
    """What all processes have for this one, in their order, each ``(lengths[rank], ...)``.

    Args:
        tensor: contiguous; consecutive rows for each process, of the same shape in all.
        lengths: how many of them are for which process.

    Raises:
        RunError: another process has ended.
    """
    if size() == 1:
        return tensor
    import torch.distributed as dist

    own = lengths[rank()]
    found = tensor.new_empty(size() * own, *tensor.shape[1:])
    try:
        dist.all_to_all_single(found, tensor, [own] * size(), lengths)
    except RuntimeError as error:
        raise _lost(error) from error
    _group.sent += tensor.numel() * tensor.element_size()
    return found


def added_bytes() -> int:
    """Bytes of all tensors that this process has given to the others."""
    return _group.sent


def any_of(value: bool, device: Any = "cpu") -> bool:
    """Whether it is so in any process; all call it."""
    if size() == 1:
        return value
    import torch

    flag = torch.tensor([float(value)], device=device)
    add_up(flag)
    return bool(flag.item())


def _lost(error: RuntimeError) -> RunError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return RunError(
        f"process {rank()} of {size()} has lost the others: one of them has ended or does not "
        f"answer ({reason}). The same torchrun command with --resume continues after the last "
        "epoch"
    )
