"""How many threads torch takes on the CPU."""

from __future__ import annotations


def use_threads(wanted: int | None) -> int:
    """Set torch's threads in this process.

    torch takes a thread for each physical core that the process may use, or OMP_NUM_THREADS. It
    does not know the limit of a container that has a share of a large machine's time: 64 threads
    on two cores' worth of it wait for each other. Data workers (RecBole's key ``worker``) need no
    count of their own: torch gives each one thread, and they idle most of the time.

    Args:
        wanted: the key ``num_threads``; None takes torch's choice, or the container's limit where
            that is less.

    Returns:
        The number of threads.
    """
    import torch
    from joblib import cpu_count

    threads = wanted or min(torch.get_num_threads(), cpu_count())
    torch.set_num_threads(threads)
    return threads
