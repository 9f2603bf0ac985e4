"""Many conversations a request: the same replies as one by one, whatever becomes of a batch."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.backends.backend import Constraint
from llm.backends.batch_transport import BatchTransport, divide
from llm.backends.capabilities import UNPROBED, CapabilityReport
from llm.backends.capability_checks import CheckResult
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.transport import HTTPTransport
from llm.classifier import Problem, Usage
from llm.request_context import CURRENT_REQUEST, RequestContext
from tests.support.misbehaving import Behaviour, Endpoint, body, cuts, endpoint, hangs

BATCHES = CapabilityReport({"batch": CheckResult("supported")})
BAD = "bad"


def completion(messages: Any, index: int = 0) -> dict[str, Any]:
    """A choice that repeats what was said last."""
    words = messages[-1]["content"]
    return {"index": index, "message": {"content": words}, "token_ids": list(range(len(words)))}


def alone(handler: BaseHTTPRequestHandler, asked: Any) -> None:
    if asked["messages"][-1]["content"] == BAD:
        return body(400, {"error": "this text"})(handler)
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4}}
    return body(200, {"choices": [completion(asked["messages"])], "usage": usage})(handler)


def together(handler: BaseHTTPRequestHandler, asked: Any) -> None:
    choices = [completion(messages, place) for place, messages in enumerate(asked["messages"])]
    if any(choice["message"]["content"] == BAD for choice in choices):
        return body(400, {"error": "one of them"})(handler)
    written = sum(len(choice["token_ids"]) for choice in choices)
    usage = {"prompt_tokens": 10 * len(choices), "completion_tokens": written}
    return body(200, {"choices": choices[::-1], "usage": usage})(handler)  # in whatever order


def serving(server: Endpoint, batch: Callable[[BaseHTTPRequestHandler, Any], None] | Behaviour = together) -> Behaviour:
    """An endpoint that accepts batches, or misbehaves on command."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        asked = server.requests[-1]
        if not handler.path.endswith("/batch"):
            alone(handler, asked)
        elif batch is together:
            together(handler, asked)
        else:
            batch(handler)  # type: ignore[call-arg]

    return respond


def bodies(*words: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"model": "m", "messages": [{"role": "user", "content": one}], **fields} for one in words]


def transport(
    server: Endpoint, size: int, capabilities: CapabilityReport = BATCHES, timeout: float = 5.0
) -> BatchTransport:
    return BatchTransport(HTTPTransport(server.url, "", timeout, 0, 1), capabilities, size)


def said(replies: list[Any]) -> list[Any]:
    """Words, or kinds of problems."""
    return [one.kind if isinstance(one, Problem) else one["choices"][0]["message"]["content"] for one in replies]


def test_conversations_go_together_and_replies_come_in_their_order() -> None:
    with endpoint(cuts) as server:
        server.then = [serving(server)]
        replies = transport(server, 3).post(bodies("a", "bb", "ccc", "dddd", "e"))
    assert said(replies) == ["a", "bb", "ccc", "dddd", "e"]
    assert [len(asked["messages"]) for asked in server.requests] == [3, 2]
    assert all(asked["model"] == "m" for asked in server.requests)


def test_only_bodies_that_are_otherwise_alike_go_together() -> None:
    with endpoint(cuts) as server:
        server.then = [serving(server)]
        replies = transport(server, 8).post([*bodies("a", "b", max_tokens=1), *bodies("c", max_tokens=2)])
    assert said(replies) == ["a", "b", "c"]
    assert [(asked["max_tokens"], len(asked["messages"])) for asked in server.requests] == [(1, 2), (2, 1)]


def test_the_tokens_of_a_batch_are_divide_to_the_last_one() -> None:
    with endpoint(cuts) as server:
        server.then = [serving(server)]
        replies = transport(server, 8).post(bodies("a", "b" * 9, "c" * 20))
    usages = [reply["usage"] for reply in replies]
    assert [usage["completion_tokens"] for usage in usages] == [1, 9, 20]
    prompts = [usage["prompt_tokens"] for usage in usages]
    assert sum(prompts) == 30
    assert prompts == sorted(prompts)


@given(st.integers(0, 10**6), st.lists(st.integers(1, 10**4), min_size=1, max_size=40))
def test_nothing_is_lost_in_sharing_out(total: int, parts: list[int]) -> None:
    shares = divide(total, parts)
    assert sum(shares) == total
    assert all(abs(share - total * part / sum(parts)) < 1 for share, part in zip(shares, parts, strict=True))


def test_one_text_goes_by_itself() -> None:
    with endpoint(cuts) as server:
        server.then = [serving(server)]
        (reply,) = transport(server, 8).post(bodies("a"))
    assert (reply["usage"]["prompt_tokens"], reply["usage"]["completion_tokens"]) == (10, 1)
    assert server.requests[0]["messages"] == [{"role": "user", "content": "a"}]


def test_cached_tokens_are_reported_for_all_texts_or_none() -> None:
    with endpoint(cuts) as server:
        server.then = [serving(server)]
        without_batches = transport(server, 8, UNPROBED).post(bodies("a", "b"))
        batched = transport(server, 2)
        replies = [*batched.post(bodies("a")), *batched.post(bodies("b", "c", "d", BAD))]
    assert all(reply["usage"]["prompt_tokens_details"] == {"cached_tokens": 4} for reply in without_batches)
    assert said(replies) == ["a", "b", "c", "d", "rejected"]
    assert not any("prompt_tokens_details" in reply["usage"] for reply in replies[:4])


@pytest.mark.parametrize("capabilities", [UNPROBED, CapabilityReport({"batch": CheckResult("rejected")})])
def test_an_endpoint_that_takes_no_batches_is_sent_none(capabilities: CapabilityReport) -> None:
    with endpoint(cuts) as server:
        server.then = [serving(server, cuts)]
        assert said(transport(server, 8, capabilities).post(bodies("a", "b", "c"))) == ["a", "b", "c"]
    assert len(server.requests) == 3


def test_one_text_that_is_refused_takes_no_other_with_it_and_the_next_batch_is_sent() -> None:
    with endpoint(cuts) as server:
        server.then = [serving(server)]
        batched = transport(server, 3)
        assert said(batched.post(bodies("a", BAD, "c", "d", "e"))) == ["a", "rejected", "c", "d", "e"]
        asked = len(server.requests)
        assert asked == 2 + 3  # both batches, and the three of the first one by one
        assert said(batched.post(bodies("f", "g"))) == ["f", "g"]
        assert len(server.requests) == asked + 1


@pytest.mark.parametrize(
    "trouble",
    [
        cuts,
        hangs(1.0),
        body(404, {"error": "an older server"}),
        body(500, {"error": "oops"}),
        body(200, "<html>"),
        body(200, {"choices": 5}),
        body(200, {"choices": [{"index": 0}, {"index": [1]}]}),
        body(200, {"choices": [completion([{"content": "only one"}])]}),
    ],
)
def test_after_a_failed_batch_texts_are_sent_one_by_one_and_no_batch_for_a_while(trouble: Behaviour) -> None:
    with endpoint(cuts) as server:
        server.then = [serving(server, trouble)]
        batched = transport(server, 8, timeout=0.5)
        assert said(batched.post(bodies("a", "b"))) == ["a", "b"]
        assert said(batched.post(bodies("c", "d"))) == ["c", "d"]
    assert len(server.requests) == 1 + 4


def test_an_endpoint_that_is_down_fails_every_text_as_it_does_without_batches() -> None:
    dead = BatchTransport(HTTPTransport("http://127.0.0.1:1/v1", "", 1, 0, 4), BATCHES, 8)
    assert said(dead.post(bodies("a", "b", "c"))) == ["unreachable"] * 3


def test_cancelled_requests_are_not_repeated() -> None:
    with endpoint(cuts) as server:
        server.then = [serving(server)]
        token = CURRENT_REQUEST.set(RequestContext(deadline=0.0))
        try:
            assert said(transport(server, 8).post(bodies("a", "b"))) == ["timeout", "timeout"]
        finally:
            CURRENT_REQUEST.reset(token)
    assert server.requests == []


def test_other_paths_are_left_alone() -> None:
    with endpoint(body(200, {"count": 3})) as server:
        batched = transport(server, 8)
        assert batched.post(bodies("a", "b"), batched.server_url("/tokenize")) == [{"count": 3}] * 2
    assert len(server.requests) == 2


def test_an_engine_does_not_notice() -> None:
    conversations = [({"role": "user", "content": word},) for word in ("a", "bb", "ccc")]
    with endpoint(cuts) as server:
        server.then = [serving(server)]
        backend = OpenAICompatible(transport(server, 8), "m", BATCHES)
        completions = backend.generate(conversations, Constraint({"type": "array"}, 48))
    assert [one.text for one in completions] == ["a", "bb", "ccc"]
    assert sum(one.usage.prompt_tokens for one in completions) == 30
    assert completions[2].usage == Usage(completions[2].usage.prompt_tokens, 0, 3)
    assert len(server.requests) == 1
