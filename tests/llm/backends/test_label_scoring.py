"""Label probabilities from an endpoint: what is sent to vLLM and to llama.cpp, and how faults of one text end."""

import json
import math
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from llm.backends.backend import TokenLogprobs
from llm.backends.capabilities import CapabilityReport
from llm.backends.capability_checks import CheckResult
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.transport import HTTPTransport
from tests.support.misbehaving import Behaviour, Rule, body, endpoint, follows

VLLM = ("token_ids", "tokenize", "continuation")
LLAMA = ("many_logprobs", "tokenize", "continuation")
# Probability of the next letter after a begun answer; one token per letter.
NEXT: dict[str, Mapping[str, float]] = {"": {"c": 0.6, "d": 0.2}, "c": {"a": 0.3, "o": 0.1}}


def letters(by_id: bool, broken: str = "") -> Behaviour:
    """A server with one token per letter that returns probabilities by id or its most probable tokens.

    It fails for conversations that contain ``broken``.
    """

    def chat(path: str, request: Any) -> Behaviour | None:
        if "/chat/completions" not in path:
            return None
        if broken and broken in json.dumps(request["messages"]):
            return body(400, {"error": {"message": "no such thing"}})
        begun = request["messages"][-1]["content"] if request["messages"][-1]["role"] == "assistant" else ""
        known = {ord(letter): math.log(probability) for letter, probability in NEXT[begun].items()}
        if by_id:
            entries = [
                {"token": f"token_id:{one}", "logprob": known.get(one, -9.0)} for one in request["logprob_token_ids"]
            ]
        else:
            entries = [{"token": chr(one), "id": one, "logprob": logprob} for one, logprob in known.items()]
        content = [{"token": "c", "logprob": -0.5, "top_logprobs": entries}]
        usage = {"prompt_tokens": 10, "completion_tokens": 1}
        choice = {"message": {"role": "assistant", "content": "c"}, "logprobs": {"content": content}}
        return body(200, {"choices": [choice], "usage": usage})

    def words(path: str, request: Any) -> Behaviour | None:
        if path.endswith("/tokenize"):
            return body(200, {"tokens": [ord(letter) for letter in request["prompt"]]})
        if path.endswith("/detokenize"):
            text = "".join(map(chr, request["tokens"]))
            return body(200, {"prompt": text} if by_id else {"content": text})
        return None

    rules: tuple[Rule, ...] = (chat, words)
    return follows(*rules)


def scored(behaviour: Behaviour, texts: list[str], *capabilities: str) -> tuple[list[TokenLogprobs], list[Any]]:
    """The scores of the labels ``ca``, ``co`` and ``d``, and the chat requests."""
    report = CapabilityReport({name: CheckResult("supported") for name in capabilities})
    with endpoint(behaviour) as server:
        backend = OpenAICompatible(HTTPTransport(server.url, "", 5, 0, 4), "m", report)
        conversations = [[{"role": "user", "content": text}] for text in texts]
        results = backend.label_logprobs(conversations, ["ca", "co", "d"])
        return results, [request for request in server.requests if "messages" in request]


@pytest.mark.parametrize(("by_id", "capabilities"), [(True, VLLM), (False, LLAMA)])
def test_labels_get_their_probabilities_by_id_and_from_the_most_probable_tokens(
    by_id: bool, capabilities: tuple[str, ...]
) -> None:
    (result,), requests = scored(letters(by_id), ["a text"], *capabilities)
    assert {name: math.exp(value) for name, value in result.logprobs.items()} == pytest.approx(
        {"ca": 0.45, "co": 0.15, "d": 0.2}
    )
    assert (result.top_token, result.usage.prompt_tokens, len(requests)) == ("c", 20, 2)
    first, second = requests
    assert all(request["max_tokens"] == 1 for request in requests)
    assert ("logprob_token_ids" in first, first.get("top_logprobs")) == ((True, None) if by_id else (False, 400))
    assert second["messages"][-1] == {"role": "assistant", "content": "c"}
    assert (second["continue_final_message"], second["add_generation_prompt"]) == (True, False)
    assert "continue_final_message" not in first


def test_a_label_that_is_not_among_the_most_probable_tokens_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NEXT, "", {"c": 0.6})
    (result,), _ = scored(letters(by_id=False), ["a text"], *LLAMA)
    assert result.bounds == {"d"}
    assert math.exp(result.logprobs["d"]) == pytest.approx(0.4), "what the tokens leave"


def test_one_text_fails_alone() -> None:
    (fine, failed), _ = scored(letters(by_id=True, broken="fails"), ["a text", "it fails"], *VLLM)
    assert fine.problem is None
    assert failed.problem is not None
    assert failed.problem.kind == "rejected"
    assert failed.logprobs == {}


def test_a_reply_without_probabilities_is_that_texts_problem() -> None:
    def silent(handler: BaseHTTPRequestHandler) -> None:
        body(200, {"choices": [{"message": {"role": "assistant", "content": "c"}}]})(handler)

    def words(path: str, request: Any) -> Behaviour | None:
        return body(200, {"tokens": [ord(letter) for letter in request["prompt"]]}) if "/tokenize" in path else None

    report = CapabilityReport({name: CheckResult("supported") for name in VLLM})
    with endpoint(follows(words, otherwise=silent)) as server:
        backend = OpenAICompatible(HTTPTransport(server.url, "", 5, 0, 4), "m", report)
        (result,) = backend.label_logprobs([[{"role": "user", "content": "x"}]], ["a", "b"])
    assert result.problem is not None
    assert (result.problem.kind, "no probabilities" in result.problem.detail) == ("unreadable", True)


@pytest.mark.parametrize("missing", [*VLLM, "many_logprobs"])
def test_an_endpoint_that_lacks_a_part_scores_no_labels(missing: str) -> None:
    named = set(LLAMA if missing == "many_logprobs" else VLLM) - {missing}
    report = CapabilityReport({name: CheckResult("supported") for name in named})
    backend = OpenAICompatible(HTTPTransport("http://127.0.0.1:1/v1", "", 5, 0, 4), "m", report)
    assert not backend.scores_labels
