"""Processes that do not outlive the command that started them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Thread

#: Seconds between two looks at the parent.
LOOK = 0.5


def end_with(parent_lives: Callable[[], bool]) -> None:
    """End this process at once when its parent has ended, however that came about.

    Nothing is put in order: what the process was at is left as a kill of itself would leave it.
    """

    def watch() -> None:
        while parent_lives():
            time.sleep(LOOK)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
