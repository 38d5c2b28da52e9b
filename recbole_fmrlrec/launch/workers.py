"""How many workers there are and where they run, as a command line says it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.launch.gpus import VISIBLE, read_gpus, say_shared
from recbole_fmrlrec.launch.jobs import Launcher
from recbole_fmrlrec.launch.options import LAUNCHERS, checked_options, parse_options

#: The options, by their names without dashes.
OPTIONS = ("workers", "gpus", "launcher", "launcher_options")


@dataclass(frozen=True)
class Workers:
    """Workers of a command.

    Attributes:
        count: processes at a time; None where nothing is said.
        gpus: devices that are dealt to them.
        launcher: ``local`` or ``slurm``; None for processes of the command itself.
        options: of the launcher, checked.
        visible: what the user's environment shows of the GPUs.
    """

    count: int | None = None
    gpus: tuple[str, ...] = ()
    launcher: str | None = None
    options: Mapping[str, Any] | None = None
    visible: str | None = None

    @property
    def here(self) -> int:
        """Processes at a time on this machine."""
        return self.count or 1

    def jobs_in(self, folder: Path) -> Launcher | None:
        """What submits jobs, with its files in a folder; None where nothing is submitted."""
        if self.launcher is None:
            return None
        options = self.options or {}
        return Launcher(self.launcher, options, folder.absolute(), self.gpus, self.visible)

    def with_options(self, more: Mapping[str, Any]) -> Workers:
        """With options that a file has, below those of the command line.

        Raises:
            UsageError: one of them cannot be.
        """
        if self.launcher is None:
            return self
        options = checked_options({**more, **(self.options or {})}, self.launcher)
        return replace(self, options=options)


def add_options(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the options; ``what`` is what a job does."""
    add = parser.add_argument
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes at a time on this machine (1); with --launcher=slurm, jobs",
    )
    add("--gpus", metavar="N,N", help="assign these devices to the workers on this machine")
    add(
        "--launcher",
        choices=LAUNCHERS,
        help=f"submit a job for {what}, to SLURM, or on this machine in the same way",
    )
    add(
        "--launcher_options",
        metavar="NAME=VALUE,..",
        help="of the jobs, such as partition=gpu,gpus_per_node=1,timeout_min=600",
    )


def read_workers(options: argparse.Namespace) -> Workers:
    """What the options say; before any configuration is made.

    Raises:
        UsageError: a value cannot be, or two contradict each other.
    """
    if options.launcher_options is not None and options.launcher is None:
        raise UsageError("--launcher_options without --launcher: add --launcher=slurm")
    if options.launcher == "slurm" and options.gpus is not None:
        raise UsageError(
            "--gpus assigns the devices of this machine; SLURM jobs get theirs by "
            "--launcher_options=gpus_per_node=1"
        )
    given = parse_options(options.launcher_options)
    if options.gpus is not None and "gpus_per_node" in given:
        raise UsageError("--gpus and gpus_per_node: give one of them")
    visible = os.environ.get(VISIBLE)
    gpus = read_gpus(options.gpus)
    say_shared(gpus, options.workers or 1)
    return Workers(options.workers, gpus, options.launcher, given, visible)
