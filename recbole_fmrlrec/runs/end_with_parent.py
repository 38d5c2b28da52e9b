"""Processes that do not outlive the command that started them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Thread

#: Seconds between two looks at the parent.
LOOK = 0.5


def end_with(parent_lives: Callable[[], bool]) -> None:
    """End this process at once when its parent has ended, for whatever reason.

    Nothing is cleaned up: it is as if this process were killed itself.
    """

    def watch() -> None:
        while parent_lives():
            time.sleep(LOOK)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
