"""Prometheus metrics. With several workers they are aggregated over all worker processes, through
files in the folder PROMETHEUS_MULTIPROC_DIR."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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

from twotower.serving.answer.recommendation import Ignored, Recommendation
from twotower.serving.live.large_batches import STORE_AWAY

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
        self._children: dict[tuple[int, tuple[str, ...]], Any] = {}
        self._looked_up: dict[str, tuple[int, int]] = {}
        made: dict[str, Any] = {"registry": self.registry, "namespace": "twotower"}
        self.requests = Counter("requests", "HTTP requests.", ("route", "method", "status"), **made)
        self.latency = Histogram(
            "request_seconds", "Duration of a request.", ("route",), buckets=BUCKETS, **made
        )
        self.stages = Histogram(
            "stage_seconds",
            "Duration of a stage for a batch of requests.",
            ("stage",),
            buckets=BUCKETS,
            **made,
        )
        self.batch = Histogram(
            "batch_requests",
            "Requests answered as one batch.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            **made,
        )
        self.paths = Counter("answers", "Answers by fallback path.", ("path", "variant"), **made)
        self.unknown_ids = Counter(
            "unknown_ids", "Requests with an id unknown to the model.", ("kind",), **made
        )
        self.known_ids = Counter(
            "known_ids", "Requests with an id known to the model.", ("kind",), **made
        )
        self.scores = Histogram(
            "top_score",
            "Score of the top item, to detect drift; without answers on the popular path.",
            ("version",),
            buckets=SCORES,
            **made,
        )
        self.events = Counter("events", "Events posted.", ("outcome",), **made)
        self.impressions = Counter("impressions", "Impressions logged.", ("outcome",), **made)
        self.cache = Counter("cache", "Cache lookups.", ("cache", "result"), **made)
        self._add_oddities(made)
        self.unread_items = Gauge(
            "unread_items",
            "Items put at run time with a value that the active version cannot read.",
            multiprocess_mode="mostrecent",
            **made,
        )
        self.swaps = Counter("swaps", "Version activations.", ("outcome",), **made)
        self.index_items = Gauge(
            "index_items",
            "Items that can be recommended.",
            multiprocess_mode="mostrecent",
            **made,
        )
        self.model = Gauge(
            "model_info", "1 for the active version.", ("version",), multiprocess_mode="max", **made
        )

    def _add_oddities(self, made: dict[str, Any]) -> None:
        """Metrics of what clients send and the version does not know, and of stale answers."""
        self.odd_events = Counter(
            "odd_events",
            "Events stored with an unknown item, an unknown event type or an odd time.",
            ("problem",),
            **made,
        )
        self.ignored = Counter(
            "ignored_columns",
            "Columns of requests that the version does not know, by the part of the request.",
            ("part",),
            **made,
        )

        self.stale = Counter(
            "stale_answers", "Answers from memory, while the event store was away.", **made
        )

    def activated(self, version: str, items: int, unread: int) -> None:
        """Record which version is active, how many items it has, and of how many it cannot read a
        value."""
        for labels in list(self.model._metrics):
            self.model.labels(*labels).set(0)
        self.model.labels(version).set(1)
        self.index_items.set(items)
        self.unread_items.set(unread)

    def answered(self, answers: Sequence[Recommendation | Exception]) -> None:
        """Count a batch of answers and the duration of its stages."""
        self.batch.observe(len(answers))
        stages: dict[int, Mapping[str, float]] = {}
        for answer in answers:
            if isinstance(answer, Exception):
                continue
            stages[id(answer.seconds)] = answer.seconds
            self._child(self.paths, answer.path, answer.variant or "").inc()
            if answer.items and answer.path != "popular":
                self._child(self.scores, answer.model_version).observe(answer.items[0].score)
            if answer.user_id is not None:
                known = self.known_ids if answer.path == "known" else self.unknown_ids
                self._child(known, "user").inc()
            if answer.ignored:
                self.passed_over(answer.ignored)
        for seconds in stages.values():
            for stage, duration in seconds.items():
                self._child(self.stages, stage).observe(duration)

    def passed_over(self, ignored: Sequence[Ignored]) -> None:
        """Count what of a request was ignored, or that its answer came from memory."""
        for one in ignored:
            if one.code == STORE_AWAY:
                self.stale.inc()
                continue
            self._child(self.ignored, one.field.partition(".")[0]).inc()

    def looked_up(self, counts: Mapping[str, tuple[int, int]]) -> None:
        """Add the cache lookups since the last call.

        Args:
            counts: cache -> hits and misses since its creation.
        """
        for cache, now in counts.items():
            before = self._looked_up.get(cache, (0, 0))
            for result, new, old in zip(("hit", "miss"), now, before, strict=True):
                # The caches of a newly activated version start at 0.
                more = new - old if new >= old else new
                if more:
                    self._child(self.cache, cache, result).inc(more)
            self._looked_up[cache] = now

    def _child(self, metric: Any, *labels: str) -> Any:
        """The metric for some labels; cached, since the lookup costs more than counting."""
        key = (id(metric), labels)
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = metric.labels(*labels)
        return found

    def requested(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._child(self.requests, route, method, str(status)).inc()
        self._child(self.latency, route).observe(seconds)

    def text(self) -> bytes:
        """The metrics in the Prometheus text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
