"""One side of the comparison of the core alone in a process, so that its peak memory is its own.

    python -m benchmarks.core_memory SIDE USERS

SIDE is ``ours``, ``published`` or ``none`` (imports, features and batch only).
"""

from __future__ import annotations

import sys

from benchmarks.core_setup import (
    Shapes,
    build_ours,
    build_published,
    draw_batch,
    draw_features,
    our_step,
    published_step,
)


def main(words: list[str]) -> int:
    """Take two training steps of one side; returns 0."""
    side, users = words[0], int(words[1])
    shapes = Shapes()
    features, batch = draw_features(shapes), draw_batch(users, shapes)
    if side == "none":
        return 0
    network = build_ours(shapes)
    if side == "ours":
        step = our_step(network, features, batch)
    else:
        step = published_step(build_published(shapes, features, network), batch)
    for _ in range(2):
        step()
    return 0


if __name__ == "__main__":
    main(sys.argv[1:])
