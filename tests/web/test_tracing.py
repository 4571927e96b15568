"""Traces: a service that exports to a collector of our own."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.web.conftest import Serve
from tests.web.server import Server
from twotower.errors import ConfigError
from twotower.web.tracing import exporter_name

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        messages = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
        spans: list[Any] = []
        resources: list[Any] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                found = messages.ExportTraceServiceRequest.FromString(body)
                for resource in found.resource_spans:
                    resources.append(resource.resource)
                    for scope in resource.scope_spans:
                        spans.extend(scope.spans)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.spans, self.resources = spans, resources
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def wait(self, name: str) -> Any:
        """The newest span of a name, and its children in the order of time."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for span in reversed(self.spans):
                if span.name == name:
                    children = [one for one in self.spans if one.parent_span_id == span.span_id]
                    return span, sorted(children, key=lambda one: one.start_time_unix_nano)
            time.sleep(0.05)
        raise AssertionError(f"no span {name!r} among {[span.name for span in self.spans]}")


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.http.shutdown()
    collector.http.server_close()


@pytest.fixture(scope="module")
def traced(serve: Serve, collector: Collector) -> Server:
    with pytest.MonkeyPatch.context() as patch:
        address = f"http://127.0.0.1:{collector.http.server_port}"
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        return serve(only=("one",))


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_a_request_and_its_stages(traced: Server, collector: Collector) -> None:
    parent = f"00-{TRACE}-{PARENT}-01"
    answer = traced.client.post(
        "/v1/recommendations", json={"user_id": "u1"}, headers={"traceparent": parent}
    )
    span, stages = collector.wait("POST /v1/recommendations")
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT
    assert answer.headers["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
    found = attributes(span)
    assert found["http.request.method"] == "POST"
    assert found["http.route"] == "/v1/recommendations"
    assert found["http.response.status_code"] == 200
    assert found["twotower.request_id"] == TRACE
    timings = answer.json()["timings_ms"]
    assert {stage.name for stage in stages} == timings.keys() - {"total"}
    assert stages[0].name == "queue"
    for stage in stages:
        assert stage.trace_id == span.trace_id
        seconds = (stage.end_time_unix_nano - stage.start_time_unix_nano) / 1e9
        assert seconds == pytest.approx(timings[stage.name] / 1e3, abs=1e-5)
    named = {one.key: one.value.string_value for one in collector.resources[0].attributes}
    assert named["service.name"] == "twotower"


def test_a_request_without_a_trace_begins_one(traced: Server, collector: Collector) -> None:
    answer = traced.client.get("/v1/items/nothing")
    span, stages = collector.wait("GET /v1/items/{item_id}")
    assert (span.parent_span_id, stages) == (b"", [])
    assert answer.headers["traceparent"].split("-")[1:3] == [
        span.trace_id.hex(),
        span.span_id.hex(),
    ]
    assert attributes(span)["http.response.status_code"] == 404


def test_a_trace_that_is_not_sampled_is_not_exported(traced: Server, collector: Collector) -> None:
    answer = traced.client.get("/v1/model", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert answer.headers["traceparent"].endswith("-00")
    traced.get("/v1/models")
    collector.wait("GET /v1/models")
    assert "GET /v1/model" not in [span.name for span in collector.spans]


def test_probes_are_not_traced(traced: Server, collector: Collector) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        traced.client.get(path)
    traced.get("/v1/experiment")
    collector.wait("GET /v1/experiment")
    names = {span.name for span in collector.spans}
    assert not [name for name in names if "z" in name.split("/")[-1] or "metrics" in name]


def test_nothing_is_imported_while_it_is_off() -> None:
    code = (
        "import sys; from twotower.web.app import create_app\n"
        "from twotower.web.settings import ServeSettings\n"
        "create_app(ServeSettings(source='x', events='y'))\n"
        "parts = ('opentelemetry.sdk', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith(parts)])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout == "[]\n"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "none"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, "none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, "none"),
    ],
)
def test_the_variables(environment: dict[str, str], expected: str) -> None:
    assert exporter_name(environment) == expected


def test_an_exporter_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no such exporter, did you mean 'otlp'"):
        exporter_name({"OTEL_TRACES_EXPORTER": "otpl"})
