"""A GPU that is none: tensors computed on the CPU that say they are elsewhere.

Inside `PretendGPU` a tensor on the device "meta" has its numbers in the host's memory, and every
operation on it is that of the CPU. What a real GPU would refuse is refused: operands in different
places. What would make the host wait for it is noted: numbers that are read back, copies that are
not made out of pinned memory on the side, results whose shape depends on numbers. So the paths that
code takes on a GPU run, and come to numbers, where there is none. Autocast and torch's own kernels
for GPUs are not part of it: tests/gpu has those.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
PACKAGE = Path(__file__).resolve().parents[1]

_aten = torch.ops.aten
#: The shape of the result is known only when the numbers are.
_SHAPE_BY_VALUE = {"nonzero", "masked_select", "_unique2", "_unique", "unique_dim", "unique"}
_SHAPE_BY_VALUE |= {"unique_consecutive", "bincount", "unique_dim_consecutive", "equal", "argwhere"}
_SHAPE_BY_VALUE |= {"_coalesce", "coalesce", "histc"}
#: A conjugate is a mark on a tensor, which the tensors here do not show.
_WRITTEN_OUT = {"_conj": _aten.conj_physical.default, "_neg_view": _aten.neg.default}
_READ_BACK = {"_local_scalar_dense", "item", "is_nonzero"}


class OtherDevice(RuntimeError):
    """Operands that a GPU would refuse: some are on it, and some are not."""


class Pretended(torch.Tensor):
    """A tensor on the pretended GPU; ``held`` has its numbers."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Pretended:
        made: Pretended = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=DEVICE,
            storage_offset=held.storage_offset(),
        )  # fmt: skip
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Pretended({self.held})"

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on a pretended GPU outside of PretendGPU")


class PretendGPU(TorchDispatchMode):
    """While it is entered, the device `DEVICE` computes.

    Attributes:
        waits: what made the host wait, each with the line of the package that asked for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        flat, _ = tree_flatten((args, kwargs))
        here = [one for one in flat if isinstance(one, Pretended)]
        wanted = kwargs.get("device")
        to = None if wanted is None else torch.device(wanted)
        if not here and (to is None or to.type != DEVICE.type):
            return func(*args, **kwargs)
        if to is not None:
            kwargs["device"] = torch.device("cpu")
        self._look(func, args, kwargs, flat, bool(here), to)
        func = _WRITTEN_OUT.get(_name(func), func)
        found = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        if _name(func) in _READ_BACK or (to is not None and to.type == "cpu"):
            return found
        known = {id(one.held): one for one in here}  # what an operation in place returns
        return tree_map(
            lambda made: known[id(made)] if id(made) in known else _wrapped(made), found
        )

    def _look(
        self, func: Any, args: Any, kwargs: Any, flat: list[Any], here: bool, to: Any
    ) -> None:
        """Refuse operands in different places, and note what waits."""
        name = _name(func)
        others = [
            one for one in flat if isinstance(one, torch.Tensor) and not isinstance(one, Pretended)
        ]
        if name in ("_to_copy", "copy_"):
            crosses = bool(others) or (to is not None and to.type == "cpu")
            on_the_side = (args[2] if len(args) > 2 else False) or kwargs.get("non_blocking", False)
            if crosses and not (on_the_side and (to is None or to.type != "cpu")):
                self._note(f"{name} between host and GPU")
            return
        if here and any(one.dim() for one in others):
            if name not in ("index", "index_put_", "index_put", "_index_put_impl_"):
                raise OtherDevice(f"{func}: operands on the GPU and in the host's memory")
            self._note(f"{name} with an index in the host's memory")
        if name in _READ_BACK | _SHAPE_BY_VALUE:
            self._note(name)
        if name == "repeat_interleave" and kwargs.get("output_size") is None:
            self._note("repeat_interleave without its length")
        if name.startswith("index") and any(
            isinstance(one, torch.Tensor) and one.dtype in (torch.bool, torch.uint8)
            for one in tree_flatten(args[1:2])[0]
        ):
            self._note(f"{name} by a mask")

    def _note(self, what: str) -> None:
        ours = [
            frame
            for frame in traceback.extract_stack()
            if str(PACKAGE) in frame.filename and not frame.filename.endswith("pretend_gpu.py")
        ]
        at = f"{Path(ours[-1].filename).name}:{ours[-1].name}" if ours else "?"
        self.waits.append(f"{what} in {at}")


def _name(func: Any) -> str:
    return str(func.overloadpacket.__name__) if hasattr(func, "overloadpacket") else str(func)


def _held(one: Any) -> Any:
    return one.held if isinstance(one, Pretended) else one


def _wrapped(one: Any) -> Any:
    return Pretended(one) if isinstance(one, torch.Tensor) else one


@contextmanager
def pretend_gpu() -> Iterator[PretendGPU]:
    """A `PretendGPU` that is entered."""
    mode, made = PretendGPU(), torch.tensor

    def tensor(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
        """On "meta" torch itself takes no look at the numbers."""
        if device is None or torch.device(device).type != DEVICE.type:
            return made(data, device=device, **options)
        return made(data, **options).to(DEVICE)

    with mode, mock.patch.object(torch, "tensor", tensor):
        yield mode
