"""What ``/metrics`` tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_TOGETHER = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MODEL = ("model", "size", "version")


class Metrics:
    """Counters of one server, in a registry of their own.

    Args:
        session_counts: events of the sessions by kind.
        sessions: how many are in memory.
    """

    def __init__(self, session_counts: Mapping[str, int], sessions: Callable[[], int]) -> None:
        self.registry = to = CollectorRegistry()
        self.requests = Counter(
            "fmrlrec_requests", "Requests answered", ["method", "route", "status"], registry=to
        )
        self.seconds = Histogram(
            "fmrlrec_request_seconds",
            "Seconds of a request",
            ["route"],
            buckets=_SECONDS,
            registry=to,
        )
        self.running = Gauge("fmrlrec_requests_running", "Requests being answered", registry=to)
        self.batch = Histogram(
            "fmrlrec_batch_size",
            "Requests computed together",
            ["kind"],
            buckets=_TOGETHER,
            registry=to,
        )
        self.reloads = Counter(
            "fmrlrec_reloads", "Folders looked at again", ["outcome"], registry=to
        )
        self.model = Gauge(
            "fmrlrec_model_bytes", "Bytes of a model's files", [*_MODEL], registry=to
        )
        held = Gauge("fmrlrec_sessions_in_memory", "Sessions in memory", registry=to)
        held.set_function(sessions)
        self.registry.register(_Counts(session_counts))

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)


class _Counts(Collector):
    """The session table's own counts, read when they are asked for."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    def collect(self) -> list[Metric]:
        """The counts, by what happened."""
        family = CounterMetricFamily(
            "fmrlrec_sessions", "What happened to sessions", labels=["what"]
        )
        for what in ("opened", "events", "replayed", "evicted", "expired"):
            family.add_metric([what], self._counts.get(what, 0))
        return [family]
