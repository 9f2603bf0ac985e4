"""The backend for OpenAI-compatible endpoints: what it sends, and one clear outcome for every fault."""

import math
import socket
from typing import Any

import pytest

from llm.backends.backend import Completion, Constraint
from llm.backends.capabilities import UNPROBED, CapabilityReport
from llm.backends.capability_checks import CheckResult
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.transport import HTTPTransport
from llm.classifier import Problem, ProblemKind, Usage
from llm.request_context import CURRENT_REQUEST, RequestContext
from prompts.errors import InvalidSetting
from tests.support.misbehaving import Behaviour, Rule, babbles, body, cuts, endpoint, follows, hangs, says

SECRET = "sk-very-secret-0123456789"
MESSAGES = ({"role": "system", "content": "s"}, {"role": "user", "content": "u"})
CONSTRAINT = Constraint({"type": "array"}, 48)


def backend(
    url: str, timeout: float = 5.0, retries: int = 0, capabilities: CapabilityReport = UNPROBED
) -> OpenAICompatible:
    return OpenAICompatible(HTTPTransport(url, SECRET, timeout, retries, 8), "a-model", capabilities)


def supporting(*capabilities: str, top_logprobs: int = 0) -> CapabilityReport:
    return CapabilityReport({name: CheckResult("supported") for name in capabilities}, top_logprobs)


def failure(*then: Behaviour, timeout: float = 5.0) -> Problem:
    with endpoint(*then) as server:
        (completion,) = backend(server.url, timeout).generate([MESSAGES], CONSTRAINT)
    assert completion.text is None
    assert completion.problem is not None
    return completion.problem


def test_a_request_carries_schema_bound_and_temperature() -> None:
    with endpoint(says("[]")) as server:
        backend(server.url).generate([MESSAGES], CONSTRAINT)
    (sent,) = server.requests
    assert sent["model"] == "a-model"
    assert sent["messages"] == list(MESSAGES)
    assert sent["temperature"] == 0
    assert sent["max_tokens"] == 48
    assert sent["response_format"]["type"] == "json_schema"
    assert sent["response_format"]["json_schema"]["schema"]["properties"] == {"labels": {"type": "array"}}
    assert sent["response_format"]["json_schema"]["strict"] is True
    assert server.headers[0]["authorization"] == f"Bearer {SECRET}"


def test_the_words_and_the_token_counts_come_back() -> None:
    with endpoint(says('["Drama"]')) as server:
        assert backend(server.url).generate([MESSAGES], CONSTRAINT) == [Completion('["Drama"]', Usage(11, 5, 7))]


def test_no_content_differs_from_empty_content() -> None:
    with endpoint(says(None)) as server:
        assert backend(server.url).generate([MESSAGES], CONSTRAINT)[0].text is None


@pytest.mark.parametrize(
    ("behaviour", "kind", "said"),
    [
        (body(401, {"error": {"message": f"Incorrect API key: {SECRET}"}}), "misconfigured", "OPENAI_API_KEY"),
        (body(403, {"error": "no"}), "misconfigured", "OPENAI_API_KEY"),
        (body(404, {"error": {"message": "no such model"}}), "misconfigured", "no such model"),
        (body(400, {"error": {"message": "schema not supported"}}), "rejected", "schema not supported"),
        (body(400, {"error": {"message": "This model's maximum context length is 9"}}), "too_long", "context"),
        (body(413, "too big", "text/plain"), "too_long", "context"),
        (body(429, {"error": "slow down"}), "busy", "429"),
        (body(500, "<html>oops</html>", "text/html"), "busy", "500"),
        (body(503, {"error": {"message": "queue full"}}), "busy", "queue full"),
        (body(200, "<html>login</html>", "text/html"), "unreadable", "not a chat completion"),
        (body(200, {"error": {"message": "inside a 200"}}), "unreadable", "not a chat completion"),
        (body(200, "{not json"), "unreadable", "JSON"),
        (body(200, {"choices": []}), "unreadable", "not a chat completion"),
        (body(200, "null"), "unreadable", "not a chat completion"),
        (says(None, refusal="I will not"), "unreadable", "I will not"),
        (cuts, "unreachable", "closed the connection"),
        (babbles, "unreachable", "no valid HTTP"),
    ],
)
def test_every_fault_has_one_clear_outcome(behaviour: Behaviour, kind: ProblemKind, said: str) -> None:
    problem = failure(behaviour)
    assert (problem.kind, said in problem.detail) == (kind, True), problem


def test_an_endpoint_that_hangs_is_given_up_after_the_timeout() -> None:
    problem = failure(hangs(3), timeout=0.3)
    assert problem.kind == "unreachable"
    assert "0.3 s" in problem.detail


def test_a_closed_port_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (completion,) = backend(f"http://127.0.0.1:{port}/v1").generate([MESSAGES], CONSTRAINT)
    assert completion.problem is not None
    assert "no connection" in completion.problem.detail


def test_retry_after_is_passed_on() -> None:
    assert failure(body(429, {}, Retry_After="17")).retry_after == 17
    assert failure(body(429, {})).retry_after is None
    assert failure(body(429, {}, Retry_After="Fri, 20 Nov 2026 00:00:00 GMT")).retry_after is None


def test_a_passing_fault_is_retried_by_the_client_alone() -> None:
    with endpoint(body(503, {}), says('["Drama"]')) as server:
        assert backend(server.url, retries=1).generate([MESSAGES], CONSTRAINT)[0].text == '["Drama"]'
    assert len(server.requests) == 2


def test_a_lasting_fault_is_asked_no_more_often_than_set() -> None:
    with endpoint(body(503, {})) as server:
        backend(server.url, retries=2).generate([MESSAGES], CONSTRAINT)
    assert len(server.requests) == 3


def test_a_request_that_stays_refused_is_sent_in_other_forms_but_never_twice_in_one() -> None:
    with endpoint(body(400, {"error": "bad schema"})) as server:
        backend(server.url, retries=2).generate([MESSAGES], CONSTRAINT)
    forms = [str(asked) for asked in server.requests]
    assert len(set(forms)) == len(forms) <= 4


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_the_key_is_never_shown(status: int) -> None:
    fault = failure(body(status, {"error": {"message": f"you sent {SECRET}"}}))
    assert SECRET not in fault.detail
    assert SECRET not in repr(backend("http://127.0.0.1:1/v1"))


def test_check_tells_a_dead_endpoint_from_a_live_one() -> None:
    with endpoint(body(200, {"object": "list", "data": []})) as server:
        assert backend(server.url).check() is None
    dead = backend(server.url).check()
    assert dead is not None
    assert dead.kind == "unreachable"
    with endpoint(body(404, {})) as server:
        assert backend(server.url).check() is None
    with endpoint(body(401, {})) as server:
        refused = backend(server.url).check()
    assert refused is not None
    assert refused.kind == "misconfigured"


# --- requests depend on capabilities ---


def weighed(*entries: tuple[str, float]) -> Behaviour:
    told = [{"token": token, "logprob": logprob} for token, logprob in entries]
    content = [{"token": "x", "logprob": -1.0, "top_logprobs": told}]
    choice = {"message": {"content": "x"}, "logprobs": {"content": content}}
    return body(200, {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}})


def tokenizes(vocabulary: dict[str, int]) -> Rule:
    """vLLM's ``/tokenize`` over whole texts; a text outside the taxonomy is two tokens, a line break one."""

    def rule(path: str, sent: Any) -> Behaviour | None:
        if not path.endswith("/tokenize"):
            return None
        text = sent["prompt"]
        own = text.removeprefix("\n")
        lead = [10] if own != text else []
        known = [vocabulary[one] for one in (text, own) if one in vocabulary][:1]
        return body(200, {"tokens": [*lead, *(known or ([200, 201] if own else []))]})

    return rule


def test_codes_are_read_by_token_id_where_the_endpoint_does_that() -> None:
    told = weighed(("token_id:66", -0.5), ("token_id:65", -2.0), ("token_id:7", -0.1))
    with endpoint(follows(tokenizes({"A": 65, "B": 66}), otherwise=told)) as server:
        model = backend(server.url, capabilities=supporting("token_ids", top_logprobs=20))
        assert model.code_limit == 128
        (result,) = model.next_token_logprobs([MESSAGES], ["A", "B"])
        model.next_token_logprobs([MESSAGES], ["A", "B"])
    assert result.logprobs == {"A": -2.0, "B": -0.5}
    assert result.bounds == frozenset()
    first, second = (asked for asked in server.requests if "messages" in asked)
    assert first["logprob_token_ids"] == second["logprob_token_ids"] == [65, 66]
    assert (first["max_tokens"], first["temperature"]) == (1, 0)
    tokenized = [asked["prompt"] for asked in server.requests if "prompt" in asked]
    assert len(tokenized) == len(set(tokenized)), "ids are requested once"


@pytest.mark.parametrize(
    ("vocabulary", "told", "shares"),
    [
        ({"A": 1, "B": 2, " A": 3, " B": 4}, {1: 0.01, 2: 0.02, 3: 0.2, 4: 0.7}, {"A": 0.21, "B": 0.72}),
        ({"A": 1, "B": 2, " B": 4}, {1: 0.1, 2: 0.2, 4: 0.6}, {"A": 0.1, "B": 0.8}),
        ({"A": 1, "B": 2, "\nB": 5}, {1: 0.1, 2: 0.2, 5: 0.6}, {"A": 0.1, "B": 0.8}),
        ({"A": 1, "B": 2, "b": 5, " a": 6}, {1: 0.1, 2: 0.2, 5: 0.3, 6: 0.3}, {"A": 0.4, "B": 0.5}),
    ],
)
def test_token_ids_of_every_spelling_of_a_code_are_requested_and_added_up(
    vocabulary: dict[str, int], told: dict[int, float], shares: dict[str, float]
) -> None:
    figures = weighed(*((f"token_id:{one}", math.log(share)) for one, share in told.items()), ("token_id:99", -1.0))
    with endpoint(follows(tokenizes(vocabulary), otherwise=figures)) as server:
        (result,) = backend(server.url, capabilities=supporting("token_ids")).next_token_logprobs(
            [MESSAGES], ["A", "B"]
        )
    assert {code: math.exp(logprob) for code, logprob in result.logprobs.items()} == pytest.approx(shares)
    assert result.bounds == frozenset()
    (asked,) = (asked for asked in server.requests if "messages" in asked)
    assert set(asked["logprob_token_ids"]) == set(told)


def test_otherwise_by_the_likeliest_tokens_and_a_missing_code_is_a_bound_and_not_a_zero() -> None:
    with endpoint(weighed(("B", -0.5), ("y", -1.0), ("x", -3.0))) as server:
        model = backend(server.url, capabilities=supporting("logprobs", top_logprobs=5))
        assert model.code_limit == 5
        (result,) = model.next_token_logprobs([MESSAGES], ["A", "B"])
    assert result.logprobs == {"A": -9999.0, "B": -0.5}, "the three have all of the probability, and a little more"
    assert result.bounds == {"A"}
    assert server.requests[0]["top_logprobs"] == 5


def test_a_code_that_is_no_single_token_is_an_error_before_any_request() -> None:
    with (
        endpoint(body(200, {"tokens": [1, 2]})) as server,
        pytest.raises(InvalidSetting, match="'Yes' is not a single token"),
    ):
        backend(server.url, capabilities=supporting("token_ids")).next_token_logprobs([MESSAGES], ["Yes", "No"])


def test_no_probabilities_in_the_reply_are_a_problem() -> None:
    with endpoint(says("A")) as server:
        (result,) = backend(server.url, capabilities=supporting("logprobs", top_logprobs=5)).next_token_logprobs(
            [MESSAGES], ["A", "B"]
        )
    assert result.problem is not None
    assert result.problem.kind == "unreadable"


@pytest.mark.parametrize(
    ("capabilities", "root"),
    [
        (UNPROBED, "object"),
        (supporting("json_schema"), "object"),
        (supporting("json_schema", "json_array"), "array"),
        (CapabilityReport({"json_schema": CheckResult("rejected")}), None),
        (CapabilityReport({"json_schema": CheckResult("ignored")}), "object"),
    ],
)
def test_the_schema_is_sent_as_the_endpoint_takes_it(capabilities: CapabilityReport, root: str | None) -> None:
    with endpoint(says('["Drama"]')) as server:
        model = backend(server.url, capabilities=capabilities)
        model.generate([MESSAGES], CONSTRAINT)
        assert model.enforces_schema == (
            root is not None and capabilities != CapabilityReport({"json_schema": CheckResult("ignored")})
        )
    sent = server.requests[0].get("response_format")
    assert (sent and sent["json_schema"]["schema"]["type"]) == root


def test_generated_tokens_have_probabilities_if_the_endpoint_returns_them() -> None:
    content = [{"token": '["', "logprob": 0.0}, {"token": "War", "logprob": -0.5}, {"token": '"]', "logprob": 0.0}]
    choice = {"message": {"content": '["War"]'}, "logprobs": {"content": content}}
    with endpoint(body(200, {"choices": [choice]})) as server:
        (completion,) = backend(server.url, capabilities=supporting("json_schema", "logprobs")).generate(
            [MESSAGES], CONSTRAINT
        )
    assert completion.tokens[1].text == "War"
    assert server.requests[0]["logprobs"] is True


def test_before_a_burst_the_shared_part_goes_ahead_once() -> None:
    with endpoint(says("[]")) as server:
        model = backend(server.url)
        model.generate([MESSAGES] * 10, CONSTRAINT)
        assert len(server.requests) == 10
        assert model._is_warm({"messages": MESSAGES})
        assert not model._is_warm({"messages": ({"role": "system", "content": "another"},)})


@pytest.mark.parametrize(("capabilities", "salted"), [(UNPROBED, False), (supporting("token_ids"), True)])
def test_the_cache_salt_is_sent_to_vllm_only(capabilities: CapabilityReport, salted: bool) -> None:
    with endpoint(says("[]")) as server:
        token = CURRENT_REQUEST.set(RequestContext(cache_salt="of-a-key"))
        backend(server.url, capabilities=capabilities).generate([MESSAGES], CONSTRAINT)
        CURRENT_REQUEST.reset(token)
        backend(server.url, capabilities=capabilities).generate([MESSAGES], CONSTRAINT)
    with_key, without = server.requests
    assert with_key.get("cache_salt") == ("of-a-key" if salted else None)
    assert "cache_salt" not in without
