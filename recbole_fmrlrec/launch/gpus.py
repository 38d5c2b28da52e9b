"""The devices of one machine, dealt to the workers on it: ``--gpus=0,1,2,3``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from recbole_fmrlrec.config.command_line import whole_numbers
from recbole_fmrlrec.errors import UsageError

VISIBLE = "CUDA_VISIBLE_DEVICES"


def read_gpus(text: str | None) -> tuple[str, ...]:
    """The devices that ``--gpus`` names, as `VISIBLE` names them; empty where it is not given.

    Numbers are torch's: with ``CUDA_VISIBLE_DEVICES=2,3`` device 0 is the machine's 2. Only before
    a configuration is made: RecBole's sets that variable.

    Raises:
        UsageError: they are not numbers, one is named twice, or torch sees no such device.
    """
    if text is None:
        return ()
    wanted = whole_numbers("--gpus", text)
    if len(set(wanted)) < len(wanted):
        raise UsageError(f"--gpus={text}: a device is named twice")
    count = device_count()
    if count == 0:
        raise UsageError(f"--gpus={text}: torch sees no GPU here; leave --gpus out")
    if wrong := [number for number in wanted if not 0 <= number < count]:
        raise UsageError(f"--gpus={text}: torch sees {count} GPU(s) here, none numbered {wrong[0]}")
    shown = os.environ.get(VISIBLE, "").split(",") if os.environ.get(VISIBLE) else None
    return tuple(shown[number].strip() if shown else str(number) for number in wanted)


def device_count() -> int:
    """How many GPUs torch sees."""
    import torch

    return torch.cuda.device_count()


def refuse_gpu_id(settings: Iterable[Mapping[str, Any]]) -> None:
    """Refuse settings of runs that would choose a device against ``--gpus``.

    Raises:
        UsageError: one has ``gpu_id``, or is to leave GPUs alone.
    """
    for values in settings:
        if "gpu_id" in values:
            raise UsageError("--gpus assigns the devices: leave the key gpu_id out")
        if values.get("use_gpu") is False:
            raise UsageError("--gpus with use_gpu: False: leave one of them out")


def say_shared(gpus: tuple[str, ...], workers: int) -> None:
    """Say on standard error where several workers get one device."""
    if gpus and workers > len(gpus):
        most = -(-workers // len(gpus))
        print(
            f"{workers} workers on {len(gpus)} GPU{'s' * (len(gpus) > 1)}: up to {most} of them "
            "share one",
            file=sys.stderr,
        )


def of_worker(gpus: tuple[str, ...], worker: int) -> dict[str, str]:
    """The environment that shows a worker its device; nothing where none are dealt."""
    return {VISIBLE: gpus[worker % len(gpus)]} if gpus else {}
