"""What Prometheus reads. With several workers the numbers of all are added up, through files in the
folder that PROMETHEUS_MULTIPROC_DIR names."""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

BUCKETS = (
    0.0005,
    0.001,
    0.002,
    0.004,
    0.008,
    0.016,
    0.032,
    0.064,
    0.128,
    0.256,
    0.512,
    1,
    2,
    5,
    10,
)
SCORES = tuple(round(-1 + 0.1 * step, 1) for step in range(21))


class Metrics:
    """All metrics of a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry, "namespace": "twotower"}
        self.requests = Counter("requests", "Requests.", ("route", "method", "status"), **made)
        self.latency = Histogram(
            "request_seconds", "Time of a request.", ("route",), buckets=BUCKETS, **made
        )
        self.stages = Histogram(
            "stage_seconds",
            "Time of a stage, of the batch that it ran for.",
            ("stage",),
            buckets=BUCKETS,
            **made,
        )
        self.batch = Histogram(
            "batch_requests",
            "Requests that were answered together.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            **made,
        )
        self.paths = Counter(
            "answers", "Answers by path of the fallback chain.", ("path", "variant"), **made
        )
        self.empty = Counter("answers_short", "Answers with fewer than k items.", **made)
        self.unknown_ids = Counter(
            "unknown_ids", "Ids that the active model does not know.", ("kind",), **made
        )
        self.known_ids = Counter("known_ids", "Ids that it knows.", ("kind",), **made)
        self.scores = Histogram(
            "top_score",
            "Score of the best item, for drift; not on the path popular.",
            ("version",),
            buckets=SCORES,
            **made,
        )
        self.events = Counter("events", "Events posted.", ("outcome",), **made)
        self.impressions = Counter("impressions", "Answers logged.", ("outcome",), **made)
        self.cache = Counter("cache", "Looks into a cache.", ("cache", "result"), **made)
        self.swaps = Counter("swaps", "Activations.", ("outcome",), **made)
        self.index_items = Gauge(
            "index_items",
            "Items that can be answered.",
            multiprocess_mode="mostrecent",
            **made,
        )
        self.model = Gauge(
            "model_info", "1 for the active version.", ("version",), multiprocess_mode="max", **made
        )
        self.waiting = Gauge(
            "waiting_requests", "Requests that wait.", multiprocess_mode="livesum", **made
        )

    def activated(self, version: str, items: int) -> None:
        """Note which version answers."""
        for labels in list(self.model._metrics):
            self.model.labels(*labels).set(0)
        self.model.labels(version).set(1)
        self.index_items.set(items)

    def text(self) -> bytes:
        """The page that Prometheus reads."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
