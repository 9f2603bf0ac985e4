"""How real endpoints behave, one row each: what they send, and the labels or the problem that come of it.

A public bug report about an endpoint becomes one row here. Error bodies are those of the servers named beside them.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bulk.batch_api import OfflineTransport
from llm.backends.backend import Constraint
from llm.backends.capabilities import UNPROBED, Capabilities, CapabilityReport, ModelName
from llm.backends.endpoint import Address, BadAddress, correct_base_url
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.refusals import redact, retry_after_seconds
from llm.backends.replies import ReplyReader, decoded, usage_of
from llm.backends.request_adapter import FindingsFile, RequestAdapter
from llm.backends.transport import HTTPTransport
from llm.classifier import Prediction, Problem
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from llm.wrappers.cache import AnswerStore, Cached
from marquee.settings import read_settings
from prompts.errors import InvalidSetting
from prompts.network import no_connection
from prompts.taxonomy import Label, Taxonomy
from tests.support.misbehaving import (
    Behaviour,
    Endpoint,
    babbles,
    body,
    chats,
    cuts,
    endpoint,
    follows,
    like_gpt_5,
    refuses,
    says,
    serves,
)

KEY = "sk-very-secret-0123456789"
MESSAGES = ({"role": "user", "content": "u"},)
TAXONOMY = Taxonomy("films", tuple(map(Label, ("Drama", "Comedy", "War"))), multi=True, max_labels=3, allow_none=True)
LABELS = '{"labels": ["Drama", "War"]}'


def adapter(server: Endpoint, path: Path | None = None, **extra: Any) -> RequestAdapter:
    return RequestAdapter(Address.parse(server.url), FindingsFile(path), extra=extra)


def model(server: Endpoint, path: Path | None = None, retries: int = 0, **extra: Any) -> LanguageModel:
    transport = HTTPTransport(server.url, KEY, 5, retries, 8, adapter(server, path, **extra))
    return LanguageModel(OpenAICompatible(transport, "m", UNPROBED), STRATEGIES["json_list"])


def classified(behaviour: Behaviour, taxonomy: Taxonomy = TAXONOMY, retries: int = 0) -> Prediction:
    with endpoint(behaviour) as server:
        (prediction,) = model(server, retries=retries).classify(["A soldier comes home."], taxonomy)
    return prediction


def problem_of(behaviour: Behaviour, retries: int = 0) -> Problem:
    problem = classified(behaviour, retries=retries).problem
    assert problem is not None
    assert KEY not in problem.detail
    assert len(problem.detail) < 700
    return problem


def choice(message: Any, finish: Any = "stop", **fields: Any) -> Behaviour:
    return body(200, {"choices": [{"message": message, "finish_reason": finish, **fields}]})


# --- replies that hold an answer in an unusual shape ---


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(says([{"type": "text", "text": LABELS}]), id="Mistral: chunks of text"),
        pytest.param(
            says(
                [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Comedy?"}]},
                    {"type": "text", "text": LABELS},
                ]
            ),
            id="Magistral: a thinking chunk before the text",
        ),
        pytest.param(says([LABELS[:10], LABELS[10:]]), id="chunks that are strings"),
        pytest.param(says({"labels": ["Drama", "War"]}), id="content that is parsed already"),
        pytest.param(says({"type": "text", "text": {"value": LABELS}}), id="Assistants: a value inside the text"),
        pytest.param(says(LABELS, reasoning_content="Comedy, no."), id="DeepSeek: reasoning beside the answer"),
        pytest.param(choice({"content": LABELS}, None), id="no finish reason"),
        pytest.param(choice({"content": LABELS}, logprobs={"content": None}), id="logprobs without content"),
        pytest.param(choice({"content": LABELS}, logprobs={"content": [None, 5, {}]}), id="logprobs of no shape"),
        pytest.param(choice({"content": LABELS}, logprobs="none"), id="logprobs that are a string"),
        pytest.param(
            choice({"content": LABELS}, logprobs={"content": [{"token": "x", "logprob": None}]}), id="logprob null"
        ),
        pytest.param(body(200, {"choices": [{"text": LABELS}]}), id="a plain completion's text"),
        pytest.param(body(200, {"choices": [{"delta": {"content": LABELS}}]}), id="a delta in place of a message"),
        pytest.param(
            body(200, {"choices": [{"message": {"content": LABELS}}], "usage": {"prompt_tokens": "12"}}),
            id="counts as strings",
        ),
        pytest.param(body(200, {"choices": [{"message": {"content": LABELS}}], "usage": [1]}), id="usage is a list"),
        pytest.param(
            body(200, json.dumps({"choices": [{"message": {"content": LABELS}}]}), "text/plain"),
            id="JSON as text/plain",
        ),
        pytest.param(
            body(200, "\ufeff" + json.dumps({"choices": [{"message": {"content": LABELS}}]})), id="a byte order mark"
        ),
        pytest.param(
            body(200, '{"choices": [{"message": {"content": "[\\"Drama\\", \\"War\\"]"}, "score": NaN}]}'),
            id="NaN in JSON",
        ),
    ],
)
def test_an_answer_in_an_unusual_shape_is_read(behaviour: Behaviour) -> None:
    found = classified(behaviour)
    assert found.problem is None
    assert found.labels == ("Drama", "War")


HALF = '["Drama", "Comedy", "Wa'


@pytest.mark.parametrize(
    "finish",
    ["stop", "STOP", "stop_sequence", "end_turn", "eos_token", "eos", "COMPLETE", "tool_calls", "", None, 5, {"a": 1}],
)
def test_text_with_a_complete_finish_reason_is_an_answer(finish: Any) -> None:
    read = ReplyReader("", str).completion(
        {"choices": [{"message": {"content": "Drama, War"}, "finish_reason": finish}]}
    )
    assert (read.text, read.truncated) == ("Drama, War", False)


@pytest.mark.parametrize(
    "finish",
    ["length", "MAX_TOKENS", "max_output_tokens", "model_length", "error", "abort", "cancelled", "network_error",
     "insufficient_system_resource", "repetition", "never heard of"],
)  # fmt: skip
def test_truncated_text_is_no_answer_but_a_complete_list_is(finish: str) -> None:
    contents = (HALF, '["Drama"', "Drama, War", LABELS)
    with endpoint(*(choice({"content": content}, finish) for content in contents)) as server:
        asked = model(server)
        *halves, whole = [asked.classify(["A soldier."], TAXONOMY)[0] for _ in contents]
    assert [one.problem and ("cut off" in one.problem.detail) for one in halves] == [True] * 3
    assert whole.labels == ("Drama", "War")


# --- replies of status 200 without an answer ---


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (body(200, {"choices": None}), "not a chat completion"),
        (body(200, {"choices": [None]}), "not a chat completion"),
        (body(200, {"choices": {"0": {}}}), "not a chat completion"),
        (body(200, "[]"), "not a chat completion"),
        (body(200, ""), "not a chat completion"),
        (body(200, "\x00\x01"), "not a chat completion"),
        (body(200, "[" * 100_000), "not a chat completion"),
        (body(200, '{"a": ' + "9" * 5_000 + "}"), "not a chat completion"),
        (body(200, "x" * 3_000_000), "not a chat completion"),
        (body(200, "<!DOCTYPE html><title>Sign in</title>", "text/html"), "a web page: Sign in"),
        (body(200, "data: {}\n\n", "text/event-stream"), "It sent no JSON"),
        (body(200, {"error": {"message": "The model is warming up"}}), "The model is warming up"),
        (body(200, {"error": "no capacity"}), "no capacity"),
        (body(200, {"detail": [{"loc": ["body", "x"], "msg": "extra"}]}), "body.x: extra"),
        (choice(None), "the model wrote nothing (finish_reason stop)"),
        (choice({"content": 5}), "the model wrote nothing"),
        (choice({"content": "", "tool_calls": [{"function": {"name": "f"}}]}, "tool_calls"), "called a tool"),
        (choice({"content": None}, "content_filter"), "content filter stopped the answer (finish_reason "
            "content_filter)"),
        (choice({"content": ""}, "SAFETY"), "content filter stopped the answer (finish_reason safety)"),
        (choice({"content": "[\"Dra"}, "content_filter"), "content filter"),
        (choice({"content": ""}, "length"), "MARQUEE_REASONING_TOKENS"),
        (choice({"content": None, "reasoning_content": "Let me"}, "length"), "enable_thinking"),
        (choice({"content": "<think>\nOkay, so Drama"}, "length"), "still reasoning when its tokens ran out"),
        (choice({"content": None, "reasoning": "Drama it is"}), "only reasoning and no answer"),
        (choice({"content": " \n" * 40}, "length"), "wrote blanks until its tokens ran out"),
        (choice({"content": ""}, "sensitive"), "content filter"),
        (choice({"content": LABELS}, "guardrail_intervened"), "content filter"),
        (choice({"content": None}, "IMAGE_SAFETY"), "content filter"),
        (choice({"content": "", "reasoning_details": [{"text": "Drama it is"}]}), "only reasoning and no answer"),
        (choice({"content": [{"type": "reasoning", "reasoning": "x"}]}), "only reasoning and no answer"),
        (choice({"content": [{"type": "refusal", "refusal": "Not this one"}]}), "the model refused: Not this one"),
        (body(200, {"base_resp": {"status_code": 1004, "status_msg": "login fail"}}), "login fail"),
        (body(200, {"success": False, "errors": [{"code": 7003, "message": "No route"}]}), "No route"),
        (says(None, refusal="I cannot help with that"), "the model refused: I cannot help with that"),
    ],
)  # fmt: skip
def test_a_reply_without_an_answer_is_unreadable_and_says_why(behaviour: Behaviour, words: str) -> None:
    problem = problem_of(behaviour)
    assert problem.kind == "unreadable"
    assert words in problem.detail


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"error": {"code": 429, "message": "Provider is rate limited"}}, "busy"),
        ({"error": {"code": 502, "message": "Provider returned error"}}, "busy"),
        ({"choices": [{"error": {"code": 503, "message": "overloaded"}, "finish_reason": "error"}]}, "busy"),
        ({"error": {"code": 401, "message": "No auth credentials found"}}, "misconfigured"),
        ({"code": 429, "message": "slow down"}, "busy"),
        ({"status": 401, "message": "no key"}, "misconfigured"),
        ({"status_code": "503", "detail": "starting"}, "busy"),
        ({"error": {"message": "This model's maximum context length is 8192 tokens"}}, "too_long"),
    ],
)  # fmt: skip
def test_an_error_under_status_200_means_what_it_says(document: Any, kind: str) -> None:
    assert problem_of(body(200, document)).kind == kind


# --- errors: the endpoint's own words ---


@pytest.mark.parametrize(
    ("status", "document", "kind", "words"),
    [
        (400, {"error": {"message": "bad image"}}, "rejected", "bad image"),
        (400, {"error": "a string"}, "rejected", "a string"),
        (400, {"errors": [{"message": "first"}, {"message": "second"}]}, "rejected", "first; second"),
        (400, [{"error": {"code": 400, "message": "Gemini sends a list"}}], "rejected", "Gemini sends a list"),
        (422, {"detail": "Unprocessable"}, "rejected", "Unprocessable"),
        (422, {"detail": [{"loc": ["body", "foo"], "msg": "Field required"}]}, "rejected", "body.foo: Field required"),
        (400, {"object": "error", "message": "Mistral's words", "type": "x"}, "rejected", "Mistral's words"),
        (400, {"fault": {"faultstring": "Apigee's words"}}, "rejected", "Apigee's words"),
        (400, '"just a string"', "rejected", "just a string"),
        (400, "plain text", "rejected", "plain text"),
        (400, {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error": "inner words"}'}}},
         "rejected", "Provider returned error: inner words"),
        (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, "misconfigured", "check OPENAI_API_KEY"),
        (401, {"error": {"message": "token expired yesterday"}}, "misconfigured", "token expired yesterday"),
        (402, {"error": {"message": "Insufficient Balance"}}, "misconfigured", "Insufficient Balance"),
        (403, {"error": {"message": "Country, region, or territory not supported"}}, "misconfigured", "region"),
        (403, {"error": {"message": "Project does not have access to model x"}}, "misconfigured", "access to model x"),
        (403, "<html><head><title>Just a moment...</title></head></html>", "misconfigured", "a web page: Just a "
            "moment"),
        (403, {"error": {"message": "You exceeded your current quota"}}, "misconfigured", "grants no more requests"),
        (404, {"error": {"message": "The model `m` does not exist"}}, "misconfigured", "check MARQUEE_MODEL"),
        (400, {"error": {"message": "Model Not Exist"}}, "misconfigured", "check MARQUEE_MODEL"),
        (400, {"object": "error", "message": "Invalid model: m"}, "misconfigured", "Invalid model: m"),
        (400, {"error": {"message": "org/m is not a valid model ID"}}, "misconfigured", "check MARQUEE_MODEL"),
        (400, {"error": "No models loaded. Please load a model first."}, "misconfigured", "No models loaded"),
        (400, {"error": {"message": "model 'org/m:8b' not found"}}, "misconfigured", "org/m:8b"),
        (400, {"error": {"message": "Invalid model parameter: stop"}}, "rejected", "parameter: stop"),
        (400, {"Message": "Amazon's words"}, "rejected", "Amazon's words"),
        (400, {"title": "RFC 9457's words", "status": 400}, "rejected", "RFC 9457's words"),
        (400, {"status": {"code": 5, "details": "gRPC's words"}}, "rejected", "gRPC's words"),
        (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, "busy", "Loading"),
        (404, {"detail": "Not Found"}, "misconfigured", "Not Found"),
        (429, {"error": {"code": "insufficient_quota", "message": "check your plan"}}, "misconfigured", "no "
            "more requests"),
        (429, {"error": {"message": "Rate limit reached for tokens per min"}}, "busy", "Rate limit reached"),
        (500, "<html><body><h1>502 Bad Gateway</h1></body></html>", "busy", "502 Bad Gateway"),
        (503, "", "busy", "(503)"),
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "busy", "Overloaded"),
    ],
)  # fmt: skip
def test_an_error_quotes_the_endpoints_message(status: int, document: Any, kind: str, words: str) -> None:
    problem = problem_of(body(status, document))
    assert problem.kind == kind
    assert words in problem.detail


@pytest.mark.parametrize(
    "words",
    [
        f"you sent {KEY}",
        "Incorrect API key provided: sk-proj-abc123***************xyz9",
        "Authorization: Bearer abcdef.ghijkl",
        "bad header api-key=0123456789abcdef",
        "Set-Cookie: __cf_bm=abcdefghijk; path=/",
        "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc is expired",
        "gsk_abcdefghijklmnop is revoked",
        "key AIzaSyA-abcdefghijklmnopqrstuvwx is invalid",
    ],
)
def test_no_secret_is_repeated(words: str) -> None:
    shown = redact(words, (KEY,))
    assert "***" in shown
    for part in (KEY, "abc123", "abcdef.ghijkl", "0123456789abcdef", "abcdefghijk", "eyJhbG", "AIzaSyA"):
        assert part not in shown


PASSWORD = "Tr0ub4dor pass"
LOGIN = "bWU6VHIwdWI0ZG9yIHBhc3M="  # me:Tr0ub4dor pass, as Basic authentication sends it


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(lambda words: body(401, {"error": {"message": words}}), id="401"),
        pytest.param(lambda words: body(400, {"error": {"message": "no", "code": words}}), id="a code"),
        pytest.param(lambda words: body(500, f"<html><h1>{words}</h1></html>", "text/html"), id="a web page"),
        pytest.param(lambda words: body(200, {"error": {"message": words}}), id="an error under 200"),
        pytest.param(lambda words: body(200, {"error": {"message": words, "code": 502}}), id="502 under 200"),
        pytest.param(lambda words: says(None, refusal=words), id="a refusal"),
    ],
)
@pytest.mark.parametrize(
    ("login", "words"),
    [
        ("me:Tr0ub4dor%20pass", f"wrong password {PASSWORD} of me"),
        ("me:Tr0ub4dor%20pass", "no user me:Tr0ub4dor%20pass"),
        ("me:Tr0ub4dor%20pass", f"bad header Basic {LOGIN}"),
        ("me:Tr0ub4dor%20pass", f"{LOGIN} is no login"),
        ("Tr0ub4dor", "no account for Tr0ub4dor"),
        (":Tr0ub4dor", "no account for Tr0ub4dor"),
        ("Tr0ub4dor-token:x", "no account for Tr0ub4dor-token"),
    ],
)
def test_no_login_of_the_base_url_is_repeated(behaviour: Callable[[str], Behaviour], login: str, words: str) -> None:
    with endpoint(behaviour(words)) as server:
        transport = HTTPTransport(server.url.replace("://", f"://{login}@"), "", 5, 0, 4)
        (found,) = OpenAICompatible(transport, "m", UNPROBED).generate([MESSAGES], Constraint({"type": "array"}, 48))
    assert found.problem is not None
    assert not [secret for secret in ("Tr0ub4dor", LOGIN) if secret in found.problem.detail], found.problem
    assert not [secret for secret in ("Tr0ub4dor", LOGIN) if secret in repr(transport)]


@pytest.mark.parametrize("query", ["api-key=k3y-of-mine", "subscription_token=k3y-of-mine&api-version=2024-10-21"])
def test_no_key_in_the_query_of_the_base_url_is_repeated(query: str) -> None:
    with endpoint(body(403, {"error": "k3y-of-mine may not use 2024-10-21"})) as server:
        (found,) = HTTPTransport(f"{server.url}?{query}", "", 5, 0, 4).post([{}])
    assert "*** may not use 2024-10-21" in found.detail


def test_a_batch_repeats_no_login_of_the_base_url_and_no_key() -> None:
    adapter = RequestAdapter(Address.parse("http://me:Tr0ub4dor@localhost:8000/v1"))
    transport = OfflineTransport(adapting=adapter, secrets=("k3y-of-mine",))
    transport.post([{"model": "m"}])
    (key,) = transport.take_requests()
    transport.add_results([(key, {"response": None, "error": {"message": "Tr0ub4dor and k3y-of-mine are refused"}})])
    (found,) = transport.post([{"model": "m"}])
    assert found.detail == "the batch did not answer: *** and *** are refused"


def test_control_characters_of_an_error_do_not_reach_a_terminal() -> None:
    assert problem_of(body(400, {"error": "red \x1b[31m\r\nalert \ud800"})).detail.endswith("red [31m alert \ufffd")


@pytest.mark.parametrize("value", ["inf", "nan", "-1", "soon", "", "1e99", "Fri, 31 Dec 99999 23:59:59 GMT", "9" * 400])
def test_a_retry_after_without_sense_is_ignored(value: str) -> None:
    assert retry_after_seconds(value) is None
    assert problem_of(body(429, {}, Retry_After=value)).retry_after is None


def test_a_retry_after_may_be_seconds_or_a_date() -> None:
    assert retry_after_seconds("2.5") == 2.5
    later = retry_after_seconds("Wed, 01 Jan 2200 00:00:00 GMT")
    assert later is None  # no endpoint is out of order for a century


# --- texts that are too long ---

TOO_LONG: Mapping[str, tuple[int, Any]] = {
    "OpenAI": (400, {"error": {"message": "This model's maximum context length is 128000 tokens. However, your "
        "messages "
                               "resulted in 130001 tokens.", "code": "context_length_exceeded"}}),
    "OpenAI gpt-5": (400, {"error": {"message": "Your input exceeds the context window of this model."}}),
    "OpenAI limit": (400, {"error": {"message": "Input tokens exceed the configured limit of 272000 tokens."}}),
    "OpenAI per minute": (429, {"error": {"message": "Request too large for gpt-4o on tokens per min (TPM): "
        "Limit 30000, "
                                          "Requested 40000."}}),
    "vLLM": (400, {"object": "error", "message": "This model's maximum context length is 8192 tokens. However, you "
                   "requested 9000 tokens in the messages"}),
    "vLLM v1": (400, {"error": {"message": "The decoder prompt (length 9000) is longer than the maximum model "
        "length of 8192."}}),
    "SGLang": (400, {"message": "The input (9000 tokens) is longer than the model's context length (8192 tokens)."}),
    "llama.cpp": (400, {"error": {"code": 400, "message": "the request exceeds the available context size, try "
        "increasing it",
                                  "type": "exceed_context_size_error", "n_prompt_tokens": 9000, "n_ctx": 4096}}),
    "llama.cpp, older": (500, {"error": {"code": 500, "message": "context size exceeded"}}),
    "Ollama": (400, {"error": {"message": "the input length exceeds the context length"}}),
    "Ollama 500": (500, {"error": "prompt too long; exceeded max context length by 10 tokens"}),
    "TGI": (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: "
        "5000 `inputs` "
                  "tokens and 20 `max_new_tokens`", "error_type": "validation"}),
    "TGI inputs": (422, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1300"}),
    "DashScope": (400, {"error": {"code": "invalid_parameter_error", "param": None, "message": "<400> "
                        "InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]"}}),
    "Groq": (400, {"error": {"message": "Please reduce the length of the messages or completion.", "param": "messages",
                             "code": "context_length_exceeded"}}),
    "Groq 413": (413, {"error": {"message": "Request too large for model on tokens per minute (TPM)"}}),
    "Gemini": (400, [{"error": {"code": 400, "message": "The input token count (1048600) exceeds the maximum "
        "number of tokens "
                                "allowed (1048575).", "status": "INVALID_ARGUMENT"}}]),
    "Mistral": (400, {"object": "error", "message": "Prompt contains 40000 tokens and 0 draft tokens, too large "
        "for model "
                      "with 32768 maximum context length"}),
    "Anthropic": (400, {"type": "error", "error": {"type": "invalid_request_error",
                                                   "message": "prompt is too long: 208310 tokens > 200000 maximum"}}),
    "Anthropic sum": (400, {"error": {"message": "input length and `max_tokens` exceed context limit: 195000 + "
        "8192 > 200000"}}),
    "Bedrock": (400, {"message": "Input is too long for requested model."}),
    "Cohere": (400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"}),
    "xAI": (400, {"error": "This model's maximum prompt length is 131072 but the request contains 140000 tokens."}),
    "Moonshot": (400, {"error": {"message": "Invalid request: Your request exceeded model token limit: 8192"}}),
    "Cloudflare": (413, {"errors": [{"message": "The estimated number of input and maximum output tokens "
        "exceeded this model "
                                     "context window limit"}]}),
    "TensorRT-LLM": (400, {"message": "Prompt length (9000) exceeds maximum input length (8192)."}),
    "LM Studio": (400, {"error": "The number of tokens to keep from the initial prompt is greater than the "
        "context length."}),
    "Azure": (400, {"error": {"message": "Invalid 'messages[0].content': string too long. Expected a string "
        "with maximum "
                              "length 1048576"}}),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_LONG)
def test_a_text_beyond_the_context_is_too_long_and_sent_once(name: str) -> None:
    status, document = TOO_LONG[name]
    with endpoint(body(status, document)) as server:
        (prediction,) = model(server, retries=2).classify(["x"], TAXONOMY)
    assert prediction.problem is not None
    assert prediction.problem.kind == "too_long"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "max_tokens is too large: 5000. This model supports at most 4096 completion tokens, whereas you "
            "provided 5000."),
        (400, "Invalid schema for response_format 'answer': the enum is too large: maximum is 500 values"),
        (400, "Invalid 'top_logprobs': must be less than or equal to 5"),
        (400, "`max_tokens` must be less than or equal to `32`, the maximum value for this model's `context_window`"),
        (400, "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
        (429, "Rate limit reached for tokens per min (TPM): Limit 30000, Used 29000, Requested 2000."),
        (400, "The requested image size exceeds the limit"),
    ],
)  # fmt: skip
def test_another_limit_does_not_make_the_text_too_long(status: int, message: str) -> None:
    assert problem_of(body(status, {"error": {"message": message}})).kind != "too_long"


# --- requests are rewritten as the endpoint takes them ---

SYSTEM_ROLE = [
    (400, {"error": {"message": "System role not supported"}}),
    (400, {"message": "Conversation roles must alternate user/assistant/user/assistant/..."}),
    (400, {"error": {"message": "Only user and assistant roles are supported!"}}),
    (400, [{"error": {"message": "Developer instruction is not enabled for models/gemma-3-27b-it"}}]),
    (400, {"error": {"message": "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
                     "param": "messages[0].role"}}),
    (500, {"error": {"message": "Value is not callable: System role not supported at row 1"}}),
]  # fmt: skip
ARRAY = CapabilityReport({})


def system(path: str, status: int, document: Any) -> Any:
    def rule(path: str, asked: Any) -> Behaviour | None:
        has = asked is not None and any(one["role"] == "system" for one in asked["messages"])
        return body(status, document) if has else None

    return rule


@pytest.mark.parametrize(("status", "document"), SYSTEM_ROLE)
def test_a_refused_system_message_goes_into_the_first_user_message(status: int, document: Any) -> None:
    with endpoint(follows(system("", status, document), chats(says(LABELS)))) as server:
        asked = model(server)
        assert asked.classify(["A soldier."], TAXONOMY)[0].labels == ("Drama", "War")
        before = len(server.requests)
        assert asked.classify(["Another."], TAXONOMY)[0].labels == ("Drama", "War")
    assert len(server.requests) == before + 1, "later requests are sent once"
    roles = [one["role"] for one in server.requests[-1]["messages"]]
    assert roles == ["user"]
    assert "Drama" in server.requests[-1]["messages"][0]["content"]


def error(message: str, **fields: Any) -> Any:
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize(
    ("field", "status", "document", "then"),
    [
        ("max_tokens", 400, error("Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                                  "'max_completion_tokens' instead.", param="max_tokens"), "max_completion_tokens"),
        ("temperature", 400, error("Unsupported value: 'temperature' does not support 0 with this model. Only "
            "the default "
                                   "(1) value is supported.", param="temperature"), None),
        ("temperature", 422, {"detail": [{"loc": ["body", "temperature"], "msg": "Extra inputs are not "
            "permitted"}]}, None),
        ("temperature", 400, error("`temperature` is deprecated for this model."), None),
        ("response_format", 400, error("response_format is not supported"), None),
        ("response_format", 400, error("This model does not support structured outputs", code="invalid"), None),
        ("response_format", 501, error("json_schema is not implemented"), None),
        ("response_format.json_schema", 400, error("'response_format.type' must be 'json_object' or 'text'",
                                                   param="response_format.type"), "response_format"),
        ("response_format.json_schema.schema.properties.labels.minItems", 400,
         error("Invalid schema for response_format 'answer': In context=('properties', 'labels'), 'minItems' is "
             "not permitted.",
               param="response_format"), "response_format"),
        ("response_format.json_schema.schema.properties.labels.maxItems", 400,
         error("Unsupported JSON schema fields: {'maxItems', 'minItems'}"), "response_format.json_schema"),
        ("response_format.json_schema.schema.properties.labels.minItems", 400,
         error("output_config.format.schema: For 'array' type, 'minItems' values other than 0 or 1 are not supported"),
         "response_format.json_schema"),
        ("temperature", 400, error("Bad Request"), None),
        ("max_tokens", 400, "", None),
        ("response_format", 422, {"message": "Unprocessable Entity"}, None),
    ],
)  # fmt: skip
def test_a_refused_field_is_replaced_or_omitted_at_once_and_later(
    field: str, status: int, document: Any, then: str | None, tmp_path: Path
) -> None:
    with endpoint(follows(refuses(field, document, status), chats(says(LABELS)))) as server:
        assert model(server, tmp_path / "f.json").classify(["A soldier."], TAXONOMY)[0].labels == ("Drama", "War")
        before = len(server.requests)
        again = model(server, tmp_path / "f.json")  # as another process finds it
        assert again.classify(["Another.", "A third."], TAXONOMY)[1].labels == ("Drama", "War")
    assert len(server.requests) == before + 2
    assert field.partition(".")[0] not in server.requests[-1] or str(then).startswith("response_format")
    sent = server.requests[-1]
    for step in then.split(".") if then else ():
        assert step in sent
        sent = sent[step]
    kept = {"max_tokens", "temperature", "response_format"} - {field.partition(".")[0]}
    assert kept <= server.requests[-1].keys(), "only what was refused is left out"


def test_openais_reasoning_models_need_one_request_per_text_after_the_first() -> None:
    with endpoint(like_gpt_5(LABELS)) as server:
        asked = model(server)
        (first,) = asked.classify(["A soldier."], TAXONOMY)
        before = len(server.requests)
        (second,) = asked.classify(["Another."], TAXONOMY)
    assert first.labels == second.labels == ("Drama", "War")
    assert len(server.requests) == before + 1
    assert server.requests[-1]["max_completion_tokens"] > 2_000
    assert {"max_tokens", "temperature"}.isdisjoint(server.requests[-1])
    assert second.source.model == "gpt-5-mini-2026-08-07"


def test_two_fields_that_are_refused_without_a_name_are_found() -> None:
    rules = (refuses("temperature", "no"), refuses("response_format", "no"))
    with endpoint(follows(*rules, chats(says(LABELS)))) as server:
        assert model(server).classify(["A soldier."], TAXONOMY)[0].labels == ("Drama", "War")
    assert "max_tokens" in server.requests[-1]


def test_a_refused_text_changes_no_form() -> None:
    def bad(path: str, asked: Any) -> Behaviour | None:
        return body(400, error("no")) if "bad" in str(asked) else None

    with endpoint(follows(bad, chats(says(LABELS)))) as server:
        asked = model(server)
        kinds = [one.problem and one.problem.kind for one in asked.classify(["good", "bad", "good"], TAXONOMY)]
        asked.classify(["good"], TAXONOMY)
    assert kinds == [None, "rejected", None]
    assert {"max_tokens", "temperature", "response_format"} <= server.requests[-1].keys()


@pytest.mark.parametrize(
    "words",
    [
        "Expected at most 500 enum values in total within a schema when using Structured Outputs, but found 800.",
        "Invalid schema for response_format 'answer': enum string lengths exceed the limit of 15000 characters",
        "The specified schema produces a constraint that has too many states for serving.",
        "Grammar is too complex to compile",
    ],
)
def test_labels_beyond_the_schema_limit_are_read_from_plain_text(words: str, caplog: pytest.LogCaptureFixture) -> None:
    many = Taxonomy(
        "many", tuple(Label(f"Topic {number}") for number in range(800)), multi=True, max_labels=3, allow_none=True
    )

    def large(path: str, asked: Any) -> Behaviour | None:
        return body(400, error(words)) if "Topic 799" in json.dumps(asked.get("response_format")) else None

    with endpoint(follows(large, chats(says('["Topic 7"]')))) as server:
        asked = model(server)
        predictions = asked.classify([f"text {number}" for number in range(3)], many)
        asked.classify(["few labels"], TAXONOMY)
    assert [one.labels for one in predictions] == [("Topic 7",)] * 3
    assert "response_format" in server.requests[-1], "smaller schemas are still sent"
    assert len([line for line in caplog.messages if "800 labels" in line]) == 1
    assert len(server.requests) <= 3 + 3 + 1


def test_fields_of_the_user_are_sent_with_every_request_and_never_dropped() -> None:
    wanted: Any = {"chat_template_kwargs": {"enable_thinking": False}}
    with endpoint(follows(refuses("chat_template_kwargs", error("unknown field chat_template_kwargs")))) as server:
        (prediction,) = model(server, **wanted).classify(["x"], TAXONOMY)
    assert prediction.problem is not None
    assert "unknown field chat_template_kwargs" in prediction.problem.detail
    assert all(asked["chat_template_kwargs"] == {"enable_thinking": False} for asked in server.requests)


def test_fields_of_the_user_and_the_endpoint_are_part_of_a_fingerprint() -> None:
    from prompts.text import Text

    with endpoint(says(LABELS)) as one, endpoint(says(LABELS)) as other:
        prints = [
            model(one).fingerprint(Text("x"), TAXONOMY),
            model(one, reasoning_effort="low").fingerprint(Text("x"), TAXONOMY),
            model(other).fingerprint(Text("x"), TAXONOMY),
        ]
    assert len(set(prints)) == 3


# --- log-probabilities ---


def top(*entries: Any) -> Behaviour:
    return choice(
        {"content": "A"}, logprobs={"content": [{"token": "A", "logprob": -0.1, "top_logprobs": list(entries)}]}
    )


@pytest.mark.parametrize(
    ("behaviour", "label", "kind"),
    [
        (top({"token": "B", "logprob": "-0.1"}, {"token": "A", "logprob": -3}), "Comedy", None),
        (top({"token": "B", "logprob": -0.1}, {"token": "A", "logprob": None}), "Comedy", None),
        (top({"token": "B", "logprob": 0.0001}, {"token": "A", "logprob": "-inf"}), "Comedy", None),
        (top({"token": "B", "logprob": -0.1}, {"token": None, "logprob": -1}, 5, None), "Comedy", None),
        (choice({"content": "A"}, logprobs={"content": [{"token": "A", "top_logprobs": None}]}), None, "unreadable"),
        (choice({"content": "A"}, logprobs={"content": []}), None, "unreadable"),
        (choice({"content": "A"}, logprobs=None), None, "unreadable"),
        (top({"token": "A", "logprob": "high"}), None, "unreadable"),
        (body(200, {"choices": None}), None, "unreadable"),
    ],
)  # fmt: skip
def test_log_probabilities_of_any_shape_are_read_or_are_a_problem(
    behaviour: Behaviour, label: str | None, kind: str | None
) -> None:
    single = Taxonomy("films", TAXONOMY.labels, multi=False, max_labels=1, allow_none=False)
    with endpoint(behaviour) as server:
        transport = HTTPTransport(server.url, KEY, 5, 0, 4)
        capabilities: Capabilities = CapabilityReport({}, top_logprobs=5)
        backend = OpenAICompatible(transport, "m", capabilities)
        (found,) = LanguageModel(backend, STRATEGIES["label_tokens"]).classify(["x"], single)
    assert (found.labels[:1] or (None,))[0] == label
    assert (found.problem and found.problem.kind) == kind


# --- words that UTF-8 cannot hold ---


@pytest.mark.parametrize(
    "words", ['["Drama", "\\ud800"]', '{"labels": ["Drama"], "why": "\\udfff"}', '\\ud83d ["Drama"]']
)
def test_a_lone_surrogate_in_a_reply_reaches_neither_cache_nor_log(words: str, tmp_path: Path) -> None:
    raw = (
        '{"model": "m\\ud800", "choices": [{"message": {"content": '
        + json.dumps(words).replace("\\\\u", "\\u")
        + "}}]}"
    )
    with endpoint(body(200, raw)) as server:
        cached = Cached(model(server), AnswerStore(tmp_path / "a.sqlite"))
        (prediction,) = cached.classify(["x"], TAXONOMY)
        (again,) = cached.classify(["x"], TAXONOMY)
    assert prediction.labels == again.labels == ("Drama",)
    assert again.cached
    repr(prediction).encode("utf-8")


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": "12", "completion_tokens": 3.0}, (12, 3)),
        ({"prompt_tokens": None, "completion_tokens": -5}, (0, 0)),
        ({"input_tokens": 12, "output_tokens": 3}, (12, 3)),
        ({"prompt_tokens": "many", "prompt_tokens_details": 5}, (0, 0)),
        ({"prompt_tokens": float("inf")}, (0, 0)),
        ("none", (0, 0)),
        (None, (0, 0)),
    ],
)
def test_counts_of_any_shape_are_whole_numbers(usage: Any, tokens: tuple[int, int]) -> None:
    found = usage_of({"usage": usage})
    assert (found.prompt_tokens, found.completion_tokens) == tokens


def test_invalid_utf_8_is_read() -> None:
    assert decoded(b'{"a": "\xff"}') == {"a": "\ufffd"}


# --- base URLs ---


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1"),
        ("127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("localhost:11434", "http://localhost:11434/v1"),
        ("gpu-box:8000/v1", "http://gpu-box:8000/v1"),
        ("api.openai.com/v1", "https://api.openai.com/v1"),
        ("http://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/v1", "https://api.openai.com/v1"),
        ("https://api.groq.com/v1", "https://api.groq.com/openai/v1"),
        ("https://openrouter.ai", "https://openrouter.ai/api/v1"),
        ("https://dashscope-intl.aliyuncs.com", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
        ("https://api.perplexity.ai", "https://api.perplexity.ai"),
        ("https://x.openai.azure.com", "https://x.openai.azure.com/openai/v1"),
        ("https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
         "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21"),
        ("https://gateway.example/llm", "https://gateway.example/llm"),
        ("http://[::1]:8000//v1", "http://[::1]:8000/v1"),
    ],
)  # fmt: skip
def test_a_base_url_is_corrected_where_the_right_one_is_known(given: str, right: str) -> None:
    assert correct_base_url(given)[0] == right
    assert correct_base_url(right) == (right, "")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("ftp://x/v1", "should be a URL"),
        ("http://", "should be a URL"),
        ("http://x:99999/v1", "port"),
        ("https://x.openai.azure.com/openai/deployments/d", "api-version"),
        ("http://a b/v1", "should be a URL"),
    ],
)
def test_a_base_url_that_cannot_work_is_refused(given: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadAddress, match=words):
        correct_base_url(given)
    monkeypatch.setenv("OPENAI_BASE_URL", given)
    with pytest.raises(InvalidSetting, match="OPENAI_BASE_URL"):
        read_settings()


def test_the_query_of_a_base_url_goes_with_every_request() -> None:
    with endpoint(says(LABELS)) as server:
        paths: list[str] = []

        def noted(path: str, asked: Any) -> None:
            paths.append(path)

        server.then = [follows(noted, otherwise=says(LABELS))]
        root = server.url.removesuffix("/v1")
        transport = HTTPTransport(f"{root}/openai/deployments/d?api-version=2024-10-21", KEY, 5, 0, 1)
        transport.post([{"model": "m"}])
        transport.get("/models")
    assert paths[0] == "/openai/deployments/d/chat/completions?api-version=2024-10-21"
    assert paths[1] == "/openai/deployments/d/models?api-version=2024-10-21"


@pytest.mark.parametrize(
    ("login", "header"),
    [
        ("me:letmein", "Basic bWU6bGV0bWVpbg=="),
        ("me:p%40ss", "Basic bWU6cEBzcw=="),
        ("me", "Basic bWU6"),
        ("", f"Bearer {KEY}"),
    ],
)
def test_a_login_in_the_base_url_is_sent_instead_of_the_key(login: str, header: str) -> None:
    with endpoint(says(LABELS)) as server:
        transport = HTTPTransport(server.url.replace("//", f"//{login}@") if login else server.url, KEY, 5, 0, 1)
        replies = [
            transport.get("/models"),
            *transport.post([{"model": "m"}]),
            *transport.post([{}], transport.server_url("/tokenize")),
        ]
        sent = [one["authorization"] for one in server.headers]
    assert all(isinstance(reply, dict) for reply in replies)
    assert sent == [header] * 3
    assert "letmein" not in repr((transport, transport.fingerprint_parts))


def test_azure_gets_the_key_in_its_own_header(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Address.parse("https://x.openai.azure.com/openai/v1").is_azure
    with endpoint(says(LABELS)) as server:
        HTTPTransport(server.url, KEY, 5, 0, 1).post([{"model": "m"}])
        monkeypatch.setattr(Address, "is_azure", True)
        azure = HTTPTransport(server.url, KEY, 5, 0, 1)
        azure.post([{"model": "m"}])
        azure.get("/models")
    assert [one.get("authorization") for one in server.headers] == [f"Bearer {KEY}", None, None]
    assert [one.get("api-key") for one in server.headers] == [None, KEY, KEY]


def test_a_wrong_path_gives_a_hint() -> None:
    with endpoint(body(404, {"detail": "Not Found"})) as server:
        (found,) = HTTPTransport(server.url.removesuffix("/v1") + "/api", KEY, 5, 0, 1).post([{"model": "m"}])
    assert "most base URLs end in /v1" in found.detail


def test_https_at_a_port_of_plain_http_gives_a_hint() -> None:
    with endpoint(body(200, {})) as server:
        (found,) = HTTPTransport(server.url.replace("http://", "https://"), KEY, 5, 0, 1).post([{"model": "m"}])
    assert found.kind == "unreachable"
    assert found.detail.endswith("does not answer in HTTPS; if it speaks plain HTTP, write http:// in the base URL")


def test_plain_http_at_a_port_that_breaks_it_off_gives_a_hint() -> None:
    """As a TLS server does with a request that is no handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reset() -> None:
            connection, _ = listener.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        thread = threading.Thread(target=reset)
        thread.start()
        (found,) = HTTPTransport(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", KEY, 5, 0, 1).post(
            [{"model": "m"}]
        )
        thread.join()
    assert found.kind == "unreachable"
    assert found.detail.endswith("breaks the connection off; if it speaks HTTPS, write https:// in the base URL")


@pytest.mark.parametrize("why", ["self-signed certificate", "certificate has expired"])
def test_a_certificate_that_is_not_trusted_is_named(why: str) -> None:
    cause, error = ssl.SSLCertVerificationError(1, "certificate verify failed"), OSError("no connection")
    cause.verify_message, error.__cause__ = why, cause
    found = no_connection("example.org:443", "https://example.org/v1", error)
    assert found.startswith(f"the certificate of example.org:443 is not trusted ({why})")
    assert "SSL_CERT_FILE" in found


@pytest.mark.parametrize(("url", "place"), [
    ("http://127.0.0.1:1/v1", "127.0.0.1:1"),
    ("http://[::1]:1/v1", "[::1]:1"),
    ("http://localhost:2/v1", "localhost:2"),
])  # fmt: skip
def test_no_connection_names_host_and_port_once(url: str, place: str) -> None:
    (found,) = HTTPTransport(url, KEY, 5, 0, 1).post([{"model": "m"}])
    assert found.detail == f"no connection to {place}; is the model server up?"


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (cuts, "closed the connection before its reply was complete"),
        (lambda handler: setattr(handler, "close_connection", True), "closed the connection before"),
        (babbles, "sent no valid HTTP"),
        (body(200, "{}", Content_Encoding="gzip"), "sent no valid HTTP"),
    ],
    ids=["half a body", "no reply", "another protocol", "no gzip"],
)
def test_a_connection_that_breaks_off_is_not_called_a_missing_one(behaviour: Behaviour, words: str) -> None:
    problem = problem_of(behaviour)
    assert problem.kind == "unreachable"
    assert words in problem.detail


# --- which model answers ---


@pytest.mark.parametrize(
    ("listing", "is_set", "name"),
    [
        ({"data": [{"id": "only"}]}, False, "only"),
        ({"data": [{"id": "only"}]}, True, "default"),
        ({"data": [{"id": "a"}, {"id": "default"}]}, False, "default"),
        ([{"id": "bare-list"}], False, "bare-list"),
        ({"data": None}, False, "default"),
        ({"data": [None, {"id": 5}, {"id": "only"}]}, False, "only"),
        ("<html>", False, "default"),
    ],
)
def test_the_only_model_listed_is_taken_where_none_is_set(listing: Any, is_set: bool, name: str) -> None:
    with endpoint(body(200, listing)) as server:
        assert ModelName(HTTPTransport(server.url, KEY, 5, 0, 1), "default", is_set)() == name


def test_several_models_require_a_setting() -> None:
    with (
        endpoint(body(200, {"data": [{"id": "a"}, {"id": "b"}]})) as server,
        pytest.raises(InvalidSetting, match=r"serves 2 models; set MARQUEE_MODEL to one of them: a, b"),
    ):
        ModelName(HTTPTransport(server.url, KEY, 5, 0, 1), "default", False)()


@pytest.mark.parametrize(
    ("served", "warns"),
    [("tiny-0.5b", True), ("m-2026-08-07", False), ("/models/m.gguf", False), ("org/M", False), ("", False)],
)
def test_answers_carry_the_name_of_the_model_that_answered(
    served: str, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with endpoint(says(LABELS, model=served)) as server:
        asked = model(server)
        names = [one.source.model for one in asked.classify(["a", "b"], TAXONOMY)]
    assert names == [served or "m"] * 2
    assert asked.name == (served or "m")
    assert sum("answers as" in line for line in caplog.messages) == warns
    assert all(sent["model"] == "m" for sent in server.requests)


def test_another_model_under_the_same_name_has_other_fingerprints() -> None:
    from prompts.text import Text

    with endpoint(says(LABELS, model="one"), says(LABELS, model="two")) as server:
        asked = model(server)
        asked.classify(["x"], TAXONOMY)
        first = asked.fingerprint(Text("x"), TAXONOMY)
        asked.classify(["x"], TAXONOMY)
        assert asked.fingerprint(Text("x"), TAXONOMY) != first


def test_the_list_of_models_is_behind_the_command_line_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from marquee.factory import RequestOptions
    from service.services import build

    with endpoint(follows(serves("/models", body(200, {"data": [{"id": "only"}]})), chats(says(LABELS)))) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("MARQUEE_PROBE_PATH", str(tmp_path / "p.json"))
        monkeypatch.setenv("MARQUEE_CACHE", "false")
        monkeypatch.setenv("MARQUEE_EXTRA_BODY", '{"reasoning_effort": "low"}')
        parts = build(read_settings())
        (found,) = parts.classifier_for(RequestOptions()).classify(["A soldier."], TAXONOMY)
        assert found.source.model == "only"
        sent = [asked for asked in server.requests if asked and "messages" in asked]
    assert all((asked["model"], asked["reasoning_effort"]) == ("only", "low") for asked in sent)


@pytest.mark.parametrize("value", ["[]", "{", "5", '{"model": "x"}', '{"messages": []}'])
def test_invalid_extra_fields_are_refused_at_the_start(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_EXTRA_BODY", value)
    with pytest.raises(InvalidSetting, match="MARQUEE_EXTRA_BODY"):
        read_settings()
