"""Traces: what stands in them, where they go, and that the SDK is loaded only where they are exported."""

import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from flask.testing import FlaskClient
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanContext

from llm.backends.backend import FakeBackend
from llm.backends.transport import HTTPTransport
from llm.language_model import LanguageModel
from llm.request_context import CURRENT_REQUEST, RequestContext
from llm.strategies.json_list import JSONList
from llm.wrappers.admission import MicroBatched, traced_pass
from marquee.settings import read_settings
from prompts.errors import InvalidSetting
from service.app import create_app
from service.services import Services, build
from service.telemetry import configure_tracing, requested_exporter
from similarity.micro_batching import Admission
from tests.support.misbehaving import body, endpoint, hangs, says
from tests.support.process import ROOT, service

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = int(CALLER.split("-")[1], 16)


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    """The provider of a process can be set once."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=ParentBased(ALWAYS_ON))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def exported(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


def of(span: ReadableSpan) -> SpanContext:
    """The trace and the span's own id."""
    found = span.get_span_context()
    assert found
    return found


def in_trace(exported: InMemorySpanExporter) -> list[ReadableSpan]:
    """The spans of ``CALLER``'s trace; capability checks are outside of any request and have traces of their own."""
    return [span for span in exported.get_finished_spans() if of(span).trace_id == TRACE]


def status(span: ReadableSpan) -> tuple[bool, str | None]:
    return span.status.is_ok, span.status.description


def embedded() -> FlaskClient:
    model = MicroBatched(LanguageModel(FakeBackend(lambda conversation: '["War"]'), JSONList()), Admission(8))
    return create_app(Services(lambda choice: model, lambda: None, lambda: None, "tmdb")).test_client()


def over(url: str) -> FlaskClient:
    parts = build(read_settings(openai_base_url=url, strategy="json_list", cache=False, retries=0))
    return create_app(Services(parts.classifier_for, parts.check, parts.load, "tmdb")).test_client()


def test_a_request_has_a_span_under_its_callers_and_the_forward_pass_one_under_it(
    exported: InMemorySpanExporter,
) -> None:
    embedded().post("/classify", json={"texts": ["a", "b"]}, headers={"traceparent": CALLER})
    forward, request = exported.get_finished_spans()
    assert (request.name, forward.name) == ("POST /classify", "forward pass")
    assert {of(span).trace_id for span in (forward, request)} == {TRACE}
    assert request.parent
    assert f"{request.parent.span_id:016x}" == CALLER.split("-")[2]
    assert forward.parent
    assert forward.parent.span_id == of(request).span_id
    assert forward.attributes
    assert forward.attributes["marquee.texts"] == 2
    assert request.attributes
    assert request.attributes["http.response.status_code"] == 200


def test_a_shared_forward_pass_has_a_span_in_every_trace_and_these_link_to_the_first(
    exported: InMemorySpanExporter,
) -> None:
    tracer = trace.get_tracer("test")
    spans = [tracer.start_span("request", context=Context()) for _ in range(3)]
    unsampled = trace.NonRecordingSpan(SpanContext(7, 7, is_remote=True))
    with traced_pass([RequestContext(span=span) for span in (*spans, unsampled)], "matcher.v2", 4):
        assert of_current() == spans[0].get_span_context().trace_id
    passes = exported.get_finished_spans()
    assert [of(one).trace_id for one in passes] == [span.get_span_context().trace_id for span in spans]
    assert [[link.context for link in one.links] for one in passes] == [[], [of(passes[0])], [of(passes[0])]]
    assert {(one.attributes or {})["marquee.requests"] for one in passes} == {4}


def of_current() -> int:
    return trace.get_current_span().get_span_context().trace_id


def test_a_forward_pass_that_fails_names_the_error_without_its_words(exported: InMemorySpanExporter) -> None:
    parent = trace.get_tracer("test").start_span("request", context=Context())
    with pytest.raises(ValueError, match="secret"), traced_pass([RequestContext(span=parent)], "matcher.v2", 1):
        raise ValueError("a secret plot")
    (forward,) = exported.get_finished_spans()
    assert (status(forward), forward.events) == ((False, "ValueError"), ())


def test_the_trace_goes_on_to_the_endpoint_and_baggage_does_not(exported: InMemorySpanExporter, away: Path) -> None:
    with endpoint(says('["War"]')) as server:
        headers = {"traceparent": CALLER, "baggage": "customer=secret"}
        over(server.url).post("/classify", json={"text": "x"}, headers=headers)
        sent = server.headers[-1]
    (call,) = (span for span in in_trace(exported) if span.name == "POST /chat/completions")
    assert sent["traceparent"].split("-")[1:3] == [CALLER.split("-")[1], f"{of(call).span_id:016x}"]
    assert "baggage" not in sent
    assert call.attributes
    assert call.attributes["gen_ai.request.model"] == "Qwen/Qwen2-7B-Instruct"


def test_what_fails_is_an_error_in_the_trace(exported: InMemorySpanExporter, away: Path) -> None:
    with endpoint(body(503, {})) as server:
        over(server.url).post("/classify", json={"text": "x"}, headers={"traceparent": CALLER})
    found = {span.name: status(span) for span in in_trace(exported)}
    assert found == {"POST /chat/completions": (False, "busy"), "POST /classify": (False, "status 503")}


def test_a_call_that_its_deadline_ends_is_cancelled_in_the_trace(exported: InMemorySpanExporter) -> None:
    with endpoint(hangs(0.3)) as server:
        token = CURRENT_REQUEST.set(RequestContext(deadline=time.monotonic() + 0.1))
        HTTPTransport(server.url, "", timeout=5, retries=0, concurrency=1).post([{"model": "m"}])
        CURRENT_REQUEST.reset(token)
    (call,) = exported.get_finished_spans()
    assert status(call) == (False, "cancelled")


def test_no_text_and_no_key_is_in_a_trace_and_health_checks_leave_none(exported: InMemorySpanExporter) -> None:
    client = embedded()
    client.get("/healthz")
    assert exported.get_finished_spans() == ()
    client.post("/classify", json={"text": "A secret plot."}, headers={"X-API-Key": "mq_secret"})
    assert "secret" not in "".join(span.to_json() for span in exported.get_finished_spans())


def test_the_log_names_the_trace_of_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "service.requests")
    embedded().post("/classify", json={"text": "x"}, headers={"traceparent": CALLER})
    found = [record.fields.get("trace_id") for record in caplog.records if hasattr(record, "fields")]
    assert found == [CALLER.split("-")[1]]


def test_a_request_without_a_trace_is_logged_without_one_and_leaves_no_context(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "service.requests")
    embedded().get("/healthz", headers={"traceparent": CALLER, "X-Request-Timeout": "soon"})
    found = [record.fields.get("trace_id") for record in caplog.records if hasattr(record, "fields")]
    assert (found, of_current()) == ([None], 0)


def test_no_attribute_is_computed_for_a_trace_that_is_not_recorded(
    exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, away: Path
) -> None:
    """As without the SDK, where no span is recorded."""
    for name in ("set_attribute", "set_attributes", "add_link"):
        monkeypatch.setattr(trace.NonRecordingSpan, name, None)
    unsampled = CALLER[:-2] + "00"
    embedded().post("/classify", json={"text": "x"}, headers={"traceparent": unsampled})
    with endpoint(says('["War"]')) as server:
        assert over(server.url).post("/classify", json={"text": "x"}, headers={"traceparent": unsampled}).json
        sent = server.headers[-1]["traceparent"]
    assert (sent[:35], sent[-2:]) == (unsampled[:35], "00")
    assert in_trace(exported) == []


# --- what the standard variables ask for ---


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    ],
)
def test_traces_are_exported_only_where_the_variables_say_so(environment: dict[str, str]) -> None:
    assert requested_exporter(environment) is None


@pytest.mark.parametrize(
    ("environment", "exporter_name"),
    [
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "otlp_proto_http"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "otlp_proto_grpc"),
    ],
)
def test_the_variables_choose_the_exporter(environment: dict[str, str], exporter_name: str) -> None:
    assert requested_exporter(environment) == exporter_name


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "no exporter 'zipkin' is installed; installed: console, otlp_proto_http"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpcs"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: 'grpcs' is unknown; use one of: http/protobuf, grpc",
        ),
    ],
)
def test_an_unknown_exporter_or_protocol_stops_the_start(environment: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidSetting, match=said):
        configure_tracing(environment)


def test_without_the_sdk_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(InvalidSetting, match=r"pip install -r requirements-otel\.txt"):
        configure_tracing({"OTEL_TRACES_EXPORTER": "console"})


def test_the_sdk_is_loaded_only_where_traces_are_exported() -> None:
    script = (
        "import sys, service.app, service.services; from service.telemetry import configure_tracing; "
        "configure_tracing({}); "
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    printed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """What collects traces over OTLP: its address, and the spans that it got, with the service's name."""
    found: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            zipped = self.headers.get("Content-Encoding") == "gzip"
            told = ExportTraceServiceRequest.FromString(gzip.decompress(raw) if zipped else raw)
            for resource in told.resource_spans:
                name = next(one.value.string_value for one in resource.resource.attributes if one.key == "service.name")
                found.extend((name, span) for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", found
    finally:
        server.shutdown()
        server.server_close()


def test_a_real_service_sends_its_traces_to_a_collector_and_the_last_ones_as_it_stops(tmp_path: Path) -> None:
    with collector() as (address, found), endpoint(says('{"labels": ["War"]}')) as model:
        paths = {"MARQUEE_CACHE_PATH": str(tmp_path / "c"), "MARQUEE_PROBE_PATH": str(tmp_path / "p")}
        asked = {"OPENAI_BASE_URL": model.url, "MARQUEE_STRATEGY": "json_list", "OTEL_EXPORTER_OTLP_ENDPOINT": address}
        with service(**asked | paths, OTEL_BSP_SCHEDULE_DELAY="60000") as running:
            reply = httpx2.post(f"{running.url}/classify", json={"text": "x"}, headers={"traceparent": CALLER})
            assert reply.status_code == 200
            assert running.stop() == 0
    named = {span.name: (service_name, span.trace_id.hex()) for service_name, span in found}
    assert named["POST /classify"] == named["POST /chat/completions"] == ("marquee", CALLER.split("-")[1])
