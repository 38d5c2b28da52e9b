"""The part of an encoding that one of several processes does, on one machine or on many.

All of them see the same folder. Process i of n encodes every n-th shard, from the i-th on, and
keeps it in the work folder as one process does; whoever finds all shards there at its end merges
them. Shards are the same whoever makes them, so that the result has the bytes of one process, and
a process that died is started again, anywhere: it does what is missing of its part.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dataset_tools.errors import UsageError

#: Variables that number a process and count them all, from 0, by what starts the processes.
_RANKS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))
_LOCAL_RANKS = ("LOCAL_RANK", "SLURM_LOCALID")


@dataclass(frozen=True)
class Share:
    """Part ``number`` of ``count``, from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> Share:
        """Read ``i/n``, or ``auto``: as torchrun or SLURM number their processes.

        Raises:
            UsageError: it is neither, or nothing numbers this process.
        """
        if text == "auto":
            return cls._of_process(environment)
        found = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        number, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= count:
            raise UsageError(
                f"--shard {text}: write i/n, part i of n from 1/n to n/n, or auto under torchrun "
                "or SLURM"
            )
        return cls(number, count)

    @classmethod
    def _of_process(cls, environment: Mapping[str, str]) -> Share:
        for rank, size in _RANKS:
            if rank in environment and size in environment:
                return cls.parse(f"{int(environment[rank]) + 1}/{environment[size]}")
        raise UsageError(
            "--shard auto: torchrun sets RANK and WORLD_SIZE, SLURM (srun) SLURM_PROCID and "
            "SLURM_NTASKS, and none of them is set here; write --shard i/n"
        )

    def has(self, shard: int) -> bool:
        """Whether a shard, numbered from 0, is of this part."""
        return shard % self.count == self.number - 1

    def size(self, count: int, shard_size: int) -> int:
        """How many of ``count`` inputs are of this part."""
        starts = enumerate(range(0, count, shard_size))
        return sum(min(shard_size, count - start) for number, start in starts if self.has(number))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def local_device(environment: Mapping[str, str] = os.environ) -> int:
    """The number of this process among those of its machine, by torchrun or SLURM; else 0."""
    return next((int(environment[name]) for name in _LOCAL_RANKS if name in environment), 0)
