"""What the database knows of the queue, the machines and the mirror, as Prometheus' metrics."""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from sqlalchemy.orm import Session, sessionmaker

from store import monitoring
from store.db import ATTEMPT_ENDS, DATABASE_AWAY
from store.monitoring import ANY, Figures

log = structlog.get_logger(__name__)

#: However many ask, the database is asked once in this time.
KEPT_SECONDS = 10.0

_DEVICE, _PERSON = ("host", "device"), ("person", "priority")


@dataclass(frozen=True, slots=True)
class _Group:
    """The labels of a group's figures, and of each value in turn the metric's name and what it says."""

    labels: tuple[str, ...]
    gauges: tuple[tuple[str, str], ...]


_GROUPS: Mapping[str, _Group] = {
    "queue": _Group(
        _PERSON,
        (
            ("normlab_queued_jobs", "Jobs in line for a device."),
            ("normlab_oldest_queued_job_age_seconds", "How long the oldest job has been in line."),
        ),
    ),
    "running": _Group(_PERSON, (("normlab_running_jobs", "Jobs that run."),)),
    "devices": _Group(
        _DEVICE,
        (
            ("normlab_slots", "Jobs that the device may run at once."),
            ("normlab_slots_used", "Slots of the device that jobs hold."),
            ("normlab_device_memory_bytes", "Memory of the GPU, where it is measured."),
            ("normlab_device_memory_booked_bytes", "Memory that is booked for running jobs."),
            ("normlab_device_memory_used_bytes", "Memory that running jobs use."),
            ("normlab_device_memory_foreign_bytes", "Memory that other processes use."),
        ),
    ),
    "workers": _Group(
        ("host",),
        (
            ("normlab_worker_last_seen_age_seconds", "Time since the worker last reported."),
            ("normlab_worker_draining", "1 while the worker takes no more jobs because it ends."),
        ),
    ),
    "steps": _Group(
        ("host",),
        (("normlab_step_seconds", "Seconds per training step of running jobs, on average."),),
    ),
    "leases": _Group(
        (), (("normlab_expired_leases", "Leases that ran out and were not released."),)
    ),
    "mirror": _Group(
        (), (("normlab_mirror_lag_seconds", "Age of the oldest change that MLflow lacks."),)
    ),
    "mirror_problems": _Group(
        ("kind",), (("normlab_mirror_problems", "What could not be written to MLflow."),)
    ),
}


class DatabaseFigures:
    """The figures, read when somebody asks and kept for a few seconds."""

    def __init__(self) -> None:
        # Of two who ask at once the second waits for what the first reads.
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._figures: Sequence[Figures] | None = None
        self._attempts = _Rises()

    def collect(self, readers: sessionmaker[Session]) -> Iterable[Metric]:
        """Where the database is away, only that it is."""
        with self._lock:
            figures = self._read(readers)
            counts = self._attempts.counts
        up = GaugeMetricFamily(
            "normlab_database_up", "Whether the database answered.", int(figures is not None)
        )
        return [up, *(build_metrics(figures, counts) if figures is not None else ())]

    def _read(self, readers: sessionmaker[Session]) -> Sequence[Figures] | None:
        if self._read_at is None or time.monotonic() - self._read_at >= KEPT_SECONDS:
            self._figures = figures = _ask(readers)
            self._read_at = time.monotonic()
            attempts = [one for one in figures or () if one.group == "attempts"]
            if figures is not None:
                self._attempts.note({one.labels[0]: one.values[0] or 0.0 for one in attempts})
        return self._figures


class _Rises:
    """By how much numbers have risen since they were first noted, which only grows: Prometheus takes a counter that
    falls, as attempts do with a deleted job, for one that began at zero again."""

    def __init__(self) -> None:
        self._last: Mapping[str, float] | None = None
        self.counts: Mapping[str, float] = {}

    def note(self, numbers: Mapping[str, float]) -> None:
        last = numbers if self._last is None else self._last
        names = self.counts.keys() | numbers.keys()
        self.counts = {
            name: self.counts.get(name, 0.0)
            + max(0.0, numbers.get(name, 0.0) - last.get(name, 0.0))
            for name in names
        }
        self._last = numbers


def build_metrics(figures: Iterable[Figures], attempts: Mapping[str, float]) -> list[Metric]:
    """Every metric is there, also one without a value. `attempts`: how many there were since, by their ends."""
    gauges = {
        group: [GaugeMetricFamily(name, text, labels=spec.labels) for name, text in spec.gauges]
        for group, spec in _GROUPS.items()
    }
    for one in figures:
        for gauge, value in zip(gauges.get(one.group, ()), one.values, strict=False):
            if value is not None:
                gauge.add_metric(one.labels, value)
    claims = CounterMetricFamily(
        "normlab_claims", "Jobs that workers claimed since the API started.", attempts.get(ANY, 0.0)
    )
    ends = CounterMetricFamily(
        "normlab_attempts_ended",
        "Attempts that ended since the API started, by how they did.",
        labels=["end"],
    )
    # Also those that there were none of: a series that begins above zero has no increase to its first value.
    for end in ATTEMPT_ENDS:
        ends.add_metric([end], attempts.get(end, 0.0))
    return [*(gauge for group in gauges.values() for gauge in group), claims, ends]


def _ask(readers: sessionmaker[Session]) -> Sequence[Figures] | None:
    try:
        with readers() as session:
            return monitoring.read_figures(session)
    except DATABASE_AWAY as error:
        log.warning("the database is away: /metrics lacks its figures", error=str(error)[:300])
        return None
