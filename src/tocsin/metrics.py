"""Every figure the service keeps about itself: one row here, one call where it changes.

The table makes the metrics, their page in the documentation and the test that each row is used.
Wiring creates one `Metrics` with a registry of its own and hands it to whoever counts; there is
no registry that code could reach by import.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

Kind = Literal["counter", "gauge", "histogram"]

PREFIX = "tocsin_"

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What `/metrics` answers with `render()`."""


class Metric(Struct, frozen=True):
    """One row: what is counted, by what, and what a rising or falling figure means."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str

    @property
    def exported(self) -> str:
        """The name that Prometheus shows: counters end in `_total` there."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


TABLE: tuple[Metric, ...] = (
    Metric("acks", "counter", (), "Deliveries acked by connected devices."),
    Metric(
        "alarms",
        "counter",
        ("credential",),
        "Batches whose outcome accuses our credential; its breaker opens and no token is dropped.",
    ),
    Metric(
        "books_kept_bytes",
        "gauge",
        (),
        "Memory for the books and frozen audiences of pushes; 128 MiB at most, and one push.",
    ),
    Metric(
        "breaker_state",
        "gauge",
        ("credential",),
        "0 closed (sending), 2 open (only pushes to nobody are sent).",
    ),
    Metric(
        "broad_pushes",
        "gauge",
        ("app",),
        "Pushes under way to more than 500 accounts: each connecting device is looked for in all.",
    ),
    Metric(
        "call_seconds",
        "histogram",
        ("command",),
        "Time from a call's last byte to its answer.",
    ),
    Metric("calls", "counter", ("command", "code"), "Calls answered, by ErrorCode; 0 is OK."),
    Metric("connections", "gauge", (), "Connections to the public address, devices and callers."),
    Metric(
        "connections_closed",
        "counter",
        ("reason",),
        "Connections that we ended or refused: no place (files, busy, address), too slow or too "
        "long (head_late, head_long, body_late), no HTTP (bad_request), no TLS (handshake).",
    ),
    Metric(
        "credential_expires_seconds",
        "gauge",
        ("credential",),
        "Seconds until a credential that ends does; from a month before it is warned of.",
    ),
    Metric(
        "credential_stopped",
        "gauge",
        ("credential", "state"),
        "1 while a credential does not send all that waits: refused, down, paused or doubtful.",
    ),
    Metric(
        "credential_tried_at_seconds",
        "gauge",
        ("credential",),
        "When a stopped credential is tried again at the latest, Unix seconds; 0: none is, or "
        "nobody has said.",
    ),
    Metric("data_free_bytes", "gauge", (), "Bytes that the data folder's disk has left for us."),
    Metric(
        "deliveries",
        "counter",
        ("channel", "outcome"),
        "Deliveries settled, each attempt once.",
    ),
    Metric(
        "device_reports",
        "counter",
        ("fate",),
        "Reports of devices: booked (reached, clicked), taken for a push too old to be kept (old), "
        "or refused (no_leg, unknown_task, unreadable).",
    ),
    Metric("faults", "counter", ("channel", "kind"), "Requests without an answer."),
    Metric(
        "held",
        "gauge",
        (),
        "1 while nothing is sent after a restore: tocsin restore --settle or --resume ends it.",
    ),
    Metric(
        "in_flight",
        "gauge",
        ("channel",),
        "Requests to the vendor that are under way.",
    ),
    Metric(
        "index_lag_positions",
        "gauge",
        ("app",),
        "Changes committed that the audience index has not applied; caught up before each push.",
    ),
    Metric("jobs_begun", "counter", ("channel",), "Jobs whose first request was allowed to go."),
    Metric("jobs_given_up", "counter", ("channel",), "Dead letters: jobs that broke every worker."),
    Metric("jobs_leased", "counter", ("channel",), "Jobs taken by a worker."),
    Metric(
        "jobs_open",
        "gauge",
        ("app", "queue"),
        "The backlog: jobs that wait or are under way, by app and queue.",
    ),
    Metric("jobs_settled", "counter", ("channel",), "Jobs taken into the books."),
    Metric(
        "jobs_stale",
        "counter",
        ("channel",),
        "Settlements refused because the lease had passed to another.",
    ),
    Metric(
        "loop_errors",
        "counter",
        ("loop",),
        "Unexpected exceptions caught by an outermost loop; each is in the log.",
    ),
    Metric(
        "loop_lag_seconds",
        "histogram",
        (),
        "How late the event loop comes to what is due, twice a second: how long work holds it.",
    ),
    Metric("online_sessions", "gauge", (), "Devices connected now."),
    Metric("recalls", "counter", (), "Tasks recalled."),
    Metric(
        "receipts",
        "counter",
        ("channel", "fate"),
        "Receipts that vendors posted: booked (reached, clicked, undelivered), or why not.",
    ),
    Metric(
        "registrations_refused",
        "counter",
        ("app",),
        "First registrations and failed hellos refused (800102): over devices.new_per_minute from "
        "one address.",
    ),
    Metric("slow_readers", "counter", (), "Sessions cut off because they did not read."),
    Metric(
        "store_commit_seconds",
        "histogram",
        (),
        "Time of one commit, until it would survive a power cut.",
    ),
    Metric(
        "store_failing",
        "gauge",
        (),
        "1 while nothing can be written to the data folder (`GET /readyz` says why), else 0.",
    ),
    Metric("store_queue_bytes", "gauge", (), "Bytes of steps waiting for the writer."),
    Metric("store_wal_bytes", "gauge", (), "Size of the write-ahead log."),
    Metric(
        "taken_back",
        "counter",
        ("channel", "outcome"),
        "Deliveries that a vendor was asked to withdraw, by what it answered.",
    ),
    Metric("tasks_accepted", "counter", ("command",), "Pushes accepted, and so durable."),
    Metric("tokens_dropped", "counter", ("channel",), "Dead tokens dropped on evidence."),
    Metric(
        "vendor_request_seconds",
        "histogram",
        ("channel",),
        "Time of one request to a vendor.",
    ),
)

BUCKETS_S = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
"""Upper bounds of the histograms, in seconds: from a cached call to a vendor that hangs."""


class Metrics:
    """The table, alive. A name or label that is not in it is a fault of ours and raises."""

    def __init__(self, table: tuple[Metric, ...] = TABLE) -> None:
        self._registry = CollectorRegistry()
        self._rows = {row.name: row for row in table}
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        # The library takes several microseconds to find the child of a set of labels: as much as
        # a tenth of a cached call. So each child is found once.
        self._counter_of: dict[tuple[object, ...], Counter] = {}
        self._gauge_of: dict[tuple[object, ...], Gauge] = {}
        self._histogram_of: dict[tuple[object, ...], Histogram] = {}
        for row in table:
            self._create(row)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def _create(self, row: Metric) -> None:
        name = PREFIX + row.name
        match row.kind:
            case "counter":
                self._counters[row.name] = Counter(
                    name, row.help, row.labels, registry=self._registry
                )
            case "gauge":
                self._gauges[row.name] = Gauge(name, row.help, row.labels, registry=self._registry)
            case "histogram":
                self._histograms[row.name] = Histogram(
                    name, row.help, row.labels, registry=self._registry, buckets=BUCKETS_S
                )

    def count(self, name: str, amount: float = 1, /, **labels: str | int) -> None:
        """Raise a counter."""
        key = (name, *labels.items())
        counter = self._counter_of.get(key)
        if counter is None:
            counter = self._counters[name]
            counter = self._counter_of[key] = counter.labels(**labels) if labels else counter
        counter.inc(amount)

    def set(self, name: str, value: float, /, **labels: str | int) -> None:
        """Set a gauge to what it is now."""
        self._gauge(name, labels).set(value)

    def add(self, name: str, amount: float, /, **labels: str | int) -> None:
        """Move a gauge up, or down by a negative amount."""
        self._gauge(name, labels).inc(amount)

    def observe(self, name: str, value_s: float, /, **labels: str | int) -> None:
        """Put one span into a histogram."""
        key = (name, *labels.items())
        histogram = self._histogram_of.get(key)
        if histogram is None:
            histogram = self._histograms[name]
            histogram = self._histogram_of[key] = (
                histogram.labels(**labels) if labels else histogram
            )
        histogram.observe(value_s)

    def _gauge(self, name: str, labels: dict[str, str | int]) -> Gauge:
        key = (name, *labels.items())
        gauge = self._gauge_of.get(key)
        if gauge is None:
            gauge = self._gauges[name]
            gauge = self._gauge_of[key] = gauge.labels(**labels) if labels else gauge
        return gauge

    def value(self, name: str, /, **labels: str | int) -> float:
        """What a counter or gauge stands at; of a histogram, how many spans it holds."""
        row = self._rows[name]
        exported = row.exported + ("_count" if row.kind == "histogram" else "")
        texts = {key: str(text) for key, text in labels.items()}
        return self._registry.get_sample_value(exported, texts) or 0.0

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)
