"""Traces by OpenTelemetry: a span for each request, and spans for the stages of its answer.

Off unless the standard variables ask for it: `OTEL_TRACES_EXPORTER` (`otlp` or `console`) or the
address of a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`). While
it is off, nothing is imported. The packages of the extra `otel` read all other `OTEL_...` variables
themselves: service name, headers, sampler, sizes of batches.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from twotower._version import __version__
from twotower.errors import ConfigError, explain, unknown

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
EXPORTERS = ("otlp", "console", "none")
SPAN = "span"
"""Name of the request's span in the ASGI scope's state."""
NOT_TRACED = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that monitoring asks for every few seconds."""


def exporter_name(environment: Mapping[str, str]) -> str:
    """The exporter that the environment asks for: one of `EXPORTERS`.

    Raises:
        ConfigError: it is another one.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "none"
    default = "otlp" if any(environment.get(name) for name in ENDPOINTS) else "none"
    name = environment.get("OTEL_TRACES_EXPORTER", "").strip() or default
    if name not in EXPORTERS:
        problem = unknown("OTEL_TRACES_EXPORTER: no such exporter", name, EXPORTERS)
        raise ConfigError(explain(problem, value=name))
    return name


def make_exporter() -> SpanExporter | None:
    """The exporter that the `OTEL_...` variables ask for; None if they ask for none.

    Raises:
        ConfigError: a variable is not right, or the packages are not installed.
    """
    name = exporter_name(os.environ)
    if name == "none":
        return None
    try:
        if name == "console":
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415

            return ConsoleSpanExporter()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        return OTLPSpanExporter()
    except ModuleNotFoundError as error:
        raise ConfigError(
            explain(
                f"traces need the package {error.name}, which is not installed",
                fix="pip install 'twotower[otel]', or unset OTEL_TRACES_EXPORTER and "
                "OTEL_EXPORTER_OTLP_ENDPOINT",
            )
        ) from None


class Tracing:
    """Makes and exports the spans of one process."""

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace import SpanKind, set_span_in_context  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        )
        resource = Resource.create({} if named else {"service.name": "twotower"})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("twotower", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._with_parent = set_span_in_context
        self._server = SpanKind.SERVER

    def begin(self, scope: Scope) -> bytes:
        """Start the span of a request, as a child of its `traceparent` if it has one.

        Returns:
            the `traceparent` that names the new span; empty if the path is not traced.
        """
        if scope["path"] in NOT_TRACED:
            return b""
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        span = self._tracer.start_span(
            scope["method"],
            context=self._propagator.extract(headers),
            kind=self._server,
            attributes={"http.request.method": scope["method"], "url.scheme": scope["scheme"]},
        )
        scope["state"][SPAN] = span
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, context=self._with_parent(span))
        return carrier.get("traceparent", "").encode()

    def end(self, scope: Scope, route: str, status: int) -> None:
        """End the span of a request, after those of its stages.

        Args:
            scope: of the request.
            route: its route, such as `/v1/items/{item_id}`.
            status: of the response.
        """
        from opentelemetry.trace import StatusCode  # noqa: PLC0415

        span: Span | None = scope["state"].get(SPAN)
        if span is None:
            return
        if span.is_recording():
            span.update_name(f"{scope['method']} {route}")
            span.set_attributes({"http.route": route, "http.response.status_code": status})
            span.set_attribute("twotower.request_id", scope["state"]["request_id"])
            if status >= 500:
                span.set_status(StatusCode.ERROR)
            for name, begin, end in scope["state"].get("stages", ()):
                context = self._with_parent(span)
                self._tracer.start_span(name, context=context, start_time=begin).end(end)
        span.end()

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()


def note_stages(state: dict[str, Any], seconds: Mapping[str, float]) -> None:
    """Keep the stages of an answer for the spans of its request; they end now, one after another.

    Args:
        state: of the request; nothing happens if it is not traced.
        seconds: stage -> duration, those of the batch that the request was part of.
    """
    if SPAN not in state:
        return
    begin = time.time_ns() - int(1e9 * sum(seconds.values()))
    stages = []
    # The time in the queue is known last, and passed first.
    for name in sorted(seconds, key=lambda stage: stage != "queue"):
        duration = seconds[name]
        end = begin + int(1e9 * duration)
        stages.append((name, begin, end))
        begin = end
    state.setdefault("stages", []).extend(stages)
