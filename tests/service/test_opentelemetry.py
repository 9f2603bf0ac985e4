"""Traces: what stands in them, where they go, and that nothing of it is loaded unasked."""

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from flask.testing import FlaskClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext

from llm.backends.fake import FakeBackend
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from llm.wrappers.admission import Gate
from llm.wrappers.micro_batched import MicroBatched
from marquee.settings import read_settings
from prompts.errors import InvalidSetting
from service.app import create_app
from service.factory import build
from service.services import Services
from service.tracing import Spans, spans
from tests.support.misbehaving import body, endpoint, says
from tests.support.process import ROOT, service

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = int(CALLER.split("-")[1], 16)


@pytest.fixture
def kept() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def making(kept: InMemorySpanExporter) -> Spans:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return Spans(provider)


def of(span: ReadableSpan) -> SpanContext:
    """Which span of which trace this is."""
    found = span.get_span_context()
    assert found
    return found


def embedded(making: Spans | None) -> FlaskClient:
    model = MicroBatched(LanguageModel(FakeBackend(lambda conversation: '["War"]'), JSONList()), Gate(8))
    return create_app(Services(lambda choice: model, lambda: None, lambda: None, "tmdb", spans=making)).test_client()


def over(url: str, making: Spans) -> FlaskClient:
    parts = build(read_settings(openai_base_url=url, strategy="json_list", cache=False, retries=0))
    return create_app(Services(parts.classifier_for, parts.check, parts.load, "tmdb", spans=making)).test_client()


def test_a_request_has_a_span_under_its_callers_and_the_forward_pass_one_under_it(
    kept: InMemorySpanExporter, making: Spans
) -> None:
    embedded(making).post("/classify", json={"texts": ["a", "b"]}, headers={"traceparent": CALLER})
    forward, request = kept.get_finished_spans()
    assert (request.name, forward.name) == ("POST /classify", "forward pass")
    assert {of(span).trace_id for span in (forward, request)} == {TRACE}
    assert request.parent and f"{request.parent.span_id:016x}" == CALLER.split("-")[2]
    assert forward.parent and forward.parent.span_id == of(request).span_id
    assert forward.attributes and forward.attributes["marquee.texts"] == 2
    assert request.attributes and request.attributes["http.response.status_code"] == 200


def test_the_trace_goes_on_to_the_endpoint(kept: InMemorySpanExporter, making: Spans, away: Path) -> None:
    with endpoint(says('["War"]')) as server:
        over(server.url, making).post("/classify", json={"text": "x"}, headers={"traceparent": CALLER})
        sent = server.headers[-1]["traceparent"]
    call = next(span for span in kept.get_finished_spans() if span.name == "POST /chat/completions")
    assert sent.split("-")[1] == CALLER.split("-")[1]
    assert sent.split("-")[2] == f"{of(call).span_id:016x}"
    assert call.attributes and call.attributes["gen_ai.request.model"] == "Qwen/Qwen2-7B-Instruct"


def test_what_fails_is_an_error_in_the_trace(kept: InMemorySpanExporter, making: Spans, away: Path) -> None:
    with endpoint(body(503, {})) as server:
        over(server.url, making).post("/classify", json={"text": "x"})
    told = {span.name: span.status for span in kept.get_finished_spans()}
    assert [told[name].is_ok for name in ("POST /chat/completions", "POST /classify")] == [False, False]
    assert told["POST /chat/completions"].description == "busy"


def test_no_text_and_no_key_stands_in_a_trace_and_health_leaves_none(kept: InMemorySpanExporter, making: Spans) -> None:
    client = embedded(making)
    client.get("/healthz")
    assert kept.get_finished_spans() == ()
    client.post("/classify", json={"text": "A secret plot."}, headers={"X-API-Key": "mq_secret"})
    assert "secret" not in "".join(span.to_json() for span in kept.get_finished_spans())


def test_the_log_names_the_trace(making: Spans, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "service.requests")
    embedded(making).post("/classify", json={"text": "x"}, headers={"traceparent": CALLER})
    embedded(None).post("/classify", json={"text": "x"}, headers={"traceparent": CALLER})
    found = [record.told.get("trace_id") for record in caplog.records if hasattr(record, "told")]
    assert found == [CALLER.split("-")[1], None]


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
def test_unasked_there_are_no_traces(environment: dict[str, str]) -> None:
    assert spans(environment) is None


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_what_is_not_spoken_stops_the_start(environment: dict[str, str]) -> None:
    with pytest.raises(InvalidSetting, match="is not spoken here"):
        spans(environment)


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(InvalidSetting, match=r"pip install -r requirements-otel\.txt"):
        spans({"OTEL_TRACES_EXPORTER": "console"})


def test_nothing_of_opentelemetry_is_loaded_unasked() -> None:
    script = (
        "import sys, service.app, service.factory; from service.tracing import spans; assert spans({}) is None; "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
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
    threading.Thread(target=server.serve_forever, daemon=True).start()
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
