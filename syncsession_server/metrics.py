"""The numbers of one application, as Prometheus reads them. No label is an id, a tenant or a user.

Several worker processes share a directory, in which each keeps its numbers: whichever of them is
asked answers with the sums.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@contextmanager
def shared_directory() -> Iterator[Path]:
    """A directory for the numbers of the workers that are started inside.

    The variable is what prometheus_client looks at while it is imported, in each of them.
    """
    with tempfile.TemporaryDirectory(prefix="syncsession-metrics-") as made:
        os.environ[_VARIABLE] = made
        try:
            yield Path(made)
        finally:
            del os.environ[_VARIABLE]


class Metrics:
    """Counts what happens in this process; `directory` is the one that workers share."""

    def __init__(self, directory: Path | None = None) -> None:
        own = self._shown = CollectorRegistry()
        if directory is not None:
            self._shown = CollectorRegistry()
            MultiProcessCollector(self._shown, str(directory))  # type: ignore[no-untyped-call]
        self._rows_pushed = Counter(
            "syncsession_rows_pushed", "Rows of the pushes that were committed.", registry=own
        )
        self._rows_pulled = Counter(
            "syncsession_rows_pulled", "Rows of the pulls that were begun.", registry=own
        )
        self._commits = Histogram(
            "syncsession_commit_seconds",
            "How long sessions took to commit, or to fail.",
            ["outcome"],
            buckets=_BUCKETS,
            registry=own,
        )
        self._requests = Histogram(
            "syncsession_request_seconds",
            "How long requests took.",
            ["method", "route", "status"],
            buckets=_BUCKETS,
            registry=own,
        )

    def rows_pushed(self, rows: int) -> None:
        """A push of so many rows is committed."""
        self._rows_pushed.inc(rows)

    def rows_pulled(self, rows: int) -> None:
        """A pull of so many rows begins."""
        self._rows_pulled.inc(rows)

    def session_ended(self, outcome: str, seconds: float) -> None:
        """A session that was queued is committed, or failed."""
        self._commits.labels(outcome).observe(seconds)

    def request_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request has its answer; `route` is the template of its path."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def text(self, sessions: Mapping[str, int] | None) -> bytes:
        """All numbers. `sessions` are those of the database, by state; None: it did not answer.

        They are the same in every process, so they are added here, after the sums.
        """
        shared = CollectorRegistry()
        shared.register(_Sessions(sessions))
        return generate_latest(self._shown) + generate_latest(shared)


class _Sessions(Collector):
    """What the database tells."""

    def __init__(self, sessions: Mapping[str, int] | None) -> None:
        self._sessions = sessions

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily(
            "syncsession_database_up",
            "1 where the database answered when the numbers were read.",
            value=float(self._sessions is not None),
        )
        if self._sessions is None:
            return
        by_status = GaugeMetricFamily(
            "syncsession_sessions", "Push sessions, by the state they are in.", labels=["status"]
        )
        for status, count in self._sessions.items():
            by_status.add_metric([status], count)
        yield by_status
        yield GaugeMetricFamily(
            "syncsession_queue_depth",
            "Push sessions that wait to be committed.",
            value=self._sessions["queued"],
        )
