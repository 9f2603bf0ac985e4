"""A real llama.cpp server: the behaviour that a backend relies on, by plain requests and by OpenAI's client."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest

from llm.backends.backend import Constraint
from llm.strategies.json_list import JSONList, read_answer
from prompts import registry
from prompts.text import Text
from tests.engines.llama_server import LlamaServer, to_gguf
from tests.engines.vllm_server import MODEL_NAME
from tests.support.tiny_qwen2 import build
from tests.support.ugly import ugly_texts

API_KEY = "sk-for-the-tests"
CONTEXT, TOKENS = 32_768, 2_000  # context length and token count of the tiny model
TMDB = registry.taxonomy("tmdb")
LIST = JSONList().constraint(TMDB)
# With the object around the list that OpenAI's strict mode requires; our backend sends it to unknown endpoints.
OBJECT = {
    "type": "object",
    "properties": {"labels": LIST.schema},
    "required": ["labels"],
    "additionalProperties": False,
}
CONSTRAINT = Constraint(OBJECT, LIST.max_tokens)
ODD_NAMES = ["tax, law & order", 'the "quoted"', "back\\slash", "日本料理", "C++", "film 🎬", " lead"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    server = LlamaServer(to_gguf(build(tmp_path_factory.mktemp("gguf") / "tiny-qwen2")), API_KEY)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def client(llama: LlamaServer) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with httpx2.Client(base_url=llama.base_url, headers=headers, timeout=120) as client:
        yield client


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema), "strict": True}}


def list_of(names: Sequence[str], most: int, **more: Any) -> dict[str, Any]:
    """The schema of ``JSONList`` for a taxonomy that is not in the registry."""
    labels = {"type": "array", "items": {"type": "string", "enum": list(names)}, "minItems": 1, "maxItems": most}
    properties = {"labels": labels | more}
    return {"type": "object", "properties": properties, "required": ["labels"], "additionalProperties": False}


def messages(text: str = "A plot.") -> list[dict[str, str]]:
    return [dict(message) for message in registry.prompt("plot").render(Text(text), TMDB)]


def post(client: httpx2.Client, **fields: Any) -> httpx2.Response:
    """Request one chat completion, by default unconstrained and short."""
    usual = {"model": MODEL_NAME, "messages": messages(), "temperature": 0, "max_tokens": 4}
    return client.post("chat/completions", json=usual | fields)


def complete(client: httpx2.Client, **fields: Any) -> Any:
    reply = post(client, **fields)
    assert reply.status_code == 200, reply.text
    return reply.json()


def choice(client: httpx2.Client, **fields: Any) -> Any:
    return complete(client, **fields)["choices"][0]


def refusal(client: httpx2.Client, **fields: Any) -> Any:
    reply = post(client, **fields)
    assert reply.status_code == 400, reply.text
    return reply.json()["error"]


def labels(client: httpx2.Client, **fields: Any) -> Any:
    """The labels of an answer under the schema of ``JSONList``, by a parser that repairs nothing."""
    usual = {"response_format": strict_schema(CONSTRAINT.schema), "max_tokens": CONSTRAINT.max_tokens}
    answer = choice(client, **usual | fields)
    assert answer["finish_reason"] == "stop", answer
    return json.loads(answer["message"]["content"])["labels"]


def written(client: httpx2.Client, **fields: Any) -> Any:
    """The logprobs of each generated token."""
    return choice(client, logprobs=True, **fields)["logprobs"]["content"]


def all_tokens(client: httpx2.Client) -> Any:
    """All tokens of the model with their probability as the first token."""
    [token] = written(client, top_logprobs=1_000_000, max_tokens=1)
    return token["top_logprobs"]


# --- ugly texts ---


@pytest.mark.parametrize("number", range(0, 300, 5))
def test_every_ugly_text_is_answered_inside_the_taxonomy(client: httpx2.Client, number: int) -> None:
    reply = choice(
        client,
        messages=messages(ugly_texts()[number]),
        response_format=strict_schema(CONSTRAINT.schema),
        max_tokens=CONSTRAINT.max_tokens,
    )
    answer = read_answer(reply["message"]["content"], TMDB)
    assert (reply["finish_reason"], answer.problem, answer.dropped) == ("stop", None, ())
    assert set(answer.labels) <= set(TMDB.names)
    assert 1 <= len(answer.labels) <= TMDB.max_labels


# --- the schema ---


def test_the_schema_constrains_a_model_that_would_not_follow_it(client: httpx2.Client) -> None:
    assert set(labels(client)) <= set(TMDB.names)
    with pytest.raises(json.JSONDecodeError):
        json.loads(choice(client, max_tokens=40)["message"]["content"])


def test_the_schema_constrains_every_sample(client: httpx2.Client) -> None:
    for seed in range(40):
        sampled = labels(client, temperature=1, seed=seed)
        assert set(sampled) <= set(TMDB.names)
        assert 1 <= len(sampled) <= TMDB.max_labels


def test_labels_of_any_spelling_are_supported(client: httpx2.Client) -> None:
    schema = strict_schema(list_of(ODD_NAMES, len(ODD_NAMES)))
    for seed in range(20):
        sampled = labels(client, response_format=schema, max_tokens=500, temperature=1, seed=seed)
        assert sampled
        assert set(sampled) <= set(ODD_NAMES)


# With names of three and of four bytes per character, llama.cpp's grammar accepts an overlong form of the one as the
# beginning of the other. The output is no label, and the parser must report a problem.
def test_a_name_may_come_out_as_broken_utf8_where_scripts_meet(client: httpx2.Client) -> None:
    singles = {tuple(token["bytes"]): str(token["id"]) for token in all_tokens(client)}
    overlong = {singles[(0xF0,)]: 80, singles[(0x86,)]: 70}
    assert labels(client, response_format=strict_schema(list_of(["日"], 1)), logit_bias=overlong) == ["日"]
    [broken] = labels(client, response_format=strict_schema(list_of(["日", "🎬"], 1)), logit_bias=overlong)
    assert set(broken) == {"\ufffd"}
    assert read_answer(json.dumps({"labels": [broken]}), TMDB).problem is not None


def test_a_thousand_names_are_taken(client: httpx2.Client) -> None:
    names = [f"label number {number}" for number in range(1_000)]
    assert set(labels(client, response_format=strict_schema(list_of(names, len(names))), max_tokens=2_000)) <= set(
        names
    )


def test_unique_items_are_accepted_and_not_kept(client: httpx2.Client) -> None:
    schema = strict_schema(list_of(["one"], 2, minItems=2, uniqueItems=True))
    assert labels(client, response_format=schema) == ["one", "one"]


def test_a_json_object_with_a_schema_is_the_same_constraint(client: httpx2.Client) -> None:
    older = {"type": "json_object", "schema": dict(CONSTRAINT.schema)}
    assert set(labels(client, response_format=older)) <= set(TMDB.names)


def test_formats_and_schemas_that_it_does_not_know_are_refused(client: httpx2.Client) -> None:
    assert "response_format type" in refusal(client, response_format={"type": "yaml"})["message"]
    assert "unrecognized type" in refusal(client, response_format=strict_schema({"type": "nonsense"}))["message"]


# The grammar permits whitespace, unlike vLLM with "disable_any_whitespace": up to two line feeds and twenty blanks or
# tabs per gap. Our limit on tokens is too low for the maximum; real models do not write it.
def test_blanks_between_the_parts_end_but_not_always_within_our_bound(client: httpx2.Client) -> None:
    fond_of_blanks = {"\n": 60, "\t": 50, " ": 50}
    schema = strict_schema(CONSTRAINT.schema)
    cut = choice(client, logit_bias=fond_of_blanks, response_format=schema, max_tokens=CONSTRAINT.max_tokens)
    assert cut["finish_reason"] == "length"
    assert set(read_answer(cut["message"]["content"], TMDB).labels) <= set(TMDB.names)
    assert set(labels(client, logit_bias=fond_of_blanks, max_tokens=1_000)) <= set(TMDB.names)


def test_a_code_fence_around_the_json_is_allowed_and_taken_off(client: httpx2.Client) -> None:
    tokens = written(
        client, logit_bias={"`": 50}, response_format=strict_schema(CONSTRAINT.schema), max_tokens=CONSTRAINT.max_tokens
    )
    text = "".join(token["token"] for token in tokens)
    assert text.startswith("```json")
    assert text.endswith("```")
    assert set(labels(client, logit_bias={"`": 50})) <= set(TMDB.names)


# --- grammars ---


def test_a_grammar_is_taken_in_place_of_a_schema(client: httpx2.Client) -> None:
    assert choice(client, grammar='root ::= "yes" | "no"')["message"]["content"] in ("yes", "no")
    assert "grammar" in refusal(client, grammar='root ::= "yes')["message"]


def test_of_a_schema_and_a_grammar_the_schema_holds(client: httpx2.Client) -> None:
    assert set(labels(client, grammar='root ::= "yes" | "no"')) <= set(TMDB.names)


# --- the bound on tokens ---


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_that_meets_the_bound_is_cut_and_says_so(client: httpx2.Client, name: str) -> None:
    bound = {"max_tokens": None} | {name: 3}
    reply = complete(client, response_format=strict_schema(CONSTRAINT.schema), **bound)
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 3
    assert read_answer(reply["choices"][0]["message"]["content"], TMDB).problem is not None


def test_a_bound_of_nothing_still_writes_one_token(client: httpx2.Client) -> None:
    assert complete(client, max_tokens=0)["usage"]["completion_tokens"] == 1


# --- probabilities ---


def test_logprobs_have_the_form_of_openai(llama: LlamaServer) -> None:
    with openai.OpenAI(base_url=llama.base_url, api_key=API_KEY, max_retries=0) as theirs:
        reply = theirs.chat.completions.create(
            model=MODEL_NAME,
            messages=[{"role": "user", "content": "A or B?"}],
            max_tokens=2,
            temperature=0,
            logprobs=True,
            top_logprobs=3,
        )
    assert reply.choices[0].logprobs is not None
    content = reply.choices[0].logprobs.content or []
    assert "".join(token.token for token in content) == reply.choices[0].message.content
    for token in content:
        logprobs = [other.logprob for other in token.top_logprobs]
        assert len(logprobs) == 3
        assert logprobs == sorted(logprobs, reverse=True)
        assert token.logprob == pytest.approx(logprobs[0])
        assert bytes(token.bytes or []).decode() == token.token


@pytest.mark.parametrize(("requested", "returned"), [(1, 1), (20, 20), (21, 21), (500, 500), (TOKENS + 1, TOKENS)])
def test_the_requested_number_of_alternatives_is_returned(client: httpx2.Client, requested: int, returned: int) -> None:
    assert [len(token["top_logprobs"]) for token in written(client, top_logprobs=requested)] == [returned] * 4


def test_twenty_alternatives_are_the_default(client: httpx2.Client) -> None:
    assert [len(token["top_logprobs"]) for token in written(client)] == [20] * 4


def test_zero_alternatives_mean_no_logprobs(client: httpx2.Client) -> None:
    assert "logprobs" not in choice(client, logprobs=True, top_logprobs=0)


def test_alternatives_without_logprobs_are_refused(client: httpx2.Client) -> None:
    assert refusal(client, top_logprobs=5)["message"] == "top_logprobs requires logprobs to be set to true"


def test_the_probabilities_of_all_tokens_sum_to_one_and_models_reports_their_number(client: httpx2.Client) -> None:
    tokens = all_tokens(client)
    assert math.fsum(math.exp(token["logprob"]) for token in tokens) == pytest.approx(1, abs=1e-4)
    assert len({token["id"] for token in tokens}) == TOKENS
    assert client.get("models").json()["data"][0]["meta"]["n_vocab"] == TOKENS


@pytest.mark.parametrize(
    "sampling",
    [{"grammar": "root ::= [A-F]"}, {"logit_bias": {"A": 90}}, {"temperature": 1.7, "seed": 1}],
    ids=lambda sampling: next(iter(sampling)),
)
def test_probabilities_are_the_models_own_whatever_decides_what_is_written(
    client: httpx2.Client, sampling: Mapping[str, Any]
) -> None:
    [plain] = written(client, top_logprobs=50, max_tokens=1)
    [bent] = written(client, top_logprobs=50, max_tokens=1, **sampling)
    own, seen = ({other["id"]: other["logprob"] for other in one["top_logprobs"]} for one in (plain, bent))
    both = own.keys() & seen.keys()  # near-equal values at the end of the list may swap
    assert len(both) >= 45
    assert all(seen[token] == pytest.approx(own[token], abs=1e-2) for token in both)


def test_a_written_token_need_not_be_among_its_alternatives(client: httpx2.Client) -> None:
    [token] = written(client, top_logprobs=1, max_tokens=1, grammar='root ::= "A"')
    assert token["token"] == "A"
    assert token["top_logprobs"][0]["token"] != "A"
    assert token["logprob"] < token["top_logprobs"][0]["logprob"]


def test_probabilities_under_the_constraint_are_given_under_names_of_their_own(client: httpx2.Client) -> None:
    whole = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0}  # by default the sampler drops the unlikely ones
    [token] = written(
        client, top_logprobs=50, max_tokens=1, post_sampling_probs=True, grammar="root ::= [A-F]", **whole
    )
    assert "logprob" not in token
    assert {other["token"] for other in token["top_probs"]} == set("ABCDEF")
    assert math.fsum(other["prob"] for other in token["top_probs"]) == pytest.approx(1, abs=1e-4)


# So a label's score, the product over its entries, is too high if a character has several tokens.
def test_of_a_character_in_several_tokens_only_the_last_has_a_logprob(client: httpx2.Client) -> None:
    reply = complete(client, grammar='root ::= "🎬"', logprobs=True, max_tokens=20)
    [character, end] = reply["choices"][0]["logprobs"]["content"]
    assert (character["token"], bytes(character["bytes"]).decode(), end["token"]) == ("🎬", "🎬", "")
    assert reply["usage"]["completion_tokens"] > 2


# --- fields of the request ---


def test_logit_bias_takes_ids_and_words(client: httpx2.Client) -> None:
    [token] = written(client, logit_bias={"Drama": 90}, max_tokens=1)
    assert token["token"] == "Drama"
    for bias in ({str(token["id"]): 90}, [[token["id"], 90]]):
        assert choice(client, logit_bias=bias, max_tokens=1)["message"]["content"] == "Drama"


def test_logit_bias_of_a_token_that_is_none_is_ignored(client: httpx2.Client) -> None:
    assert choice(client, logit_bias={"99999999": 90}) == choice(client)


@pytest.mark.parametrize(
    "unknown",
    [
        {"logprob_token_ids": [1, 2, 3]},
        {"allowed_token_ids": [300]},
        {"guided_choice": ["yes", "no"]},
        {"structured_outputs": {"choice": ["yes", "no"]}},
        {"no_such_field": {"a": 1}},
    ],
    ids=lambda unknown: next(iter(unknown)),
)
def test_fields_that_it_does_not_know_are_ignored(client: httpx2.Client, unknown: Mapping[str, Any]) -> None:
    plain, changed = (written(client, top_logprobs=2, **more) for more in ({}, unknown))
    assert [token["token"] for token in changed] == [token["token"] for token in plain]
    assert [len(token["top_logprobs"]) for token in changed] == [2] * 4


def test_a_known_field_of_a_wrong_type_is_refused(client: httpx2.Client) -> None:
    assert "temperature" in refusal(client, temperature="hot")["message"]


# --- keys, names, lengths ---


@pytest.mark.parametrize("authorization", ["Bearer sk-wrong", ""])
def test_a_wrong_key_is_401_and_not_echoed(client: httpx2.Client, authorization: str) -> None:
    headers = {"Authorization": authorization}
    body = {"messages": messages(), "max_tokens": 1}
    for reply in (client.post("chat/completions", json=body, headers=headers), client.get("models", headers=headers)):
        assert reply.status_code == 401
        assert reply.json()["error"]["type"] == "authentication_error"
        assert "sk-wrong" not in reply.text


def test_openais_client_sees_a_wrong_key_as_such(llama: LlamaServer) -> None:
    with (
        openai.OpenAI(base_url=llama.base_url, api_key="sk-wrong", max_retries=0) as theirs,
        pytest.raises(openai.AuthenticationError),
    ):
        theirs.models.list()


# A misspelt model is no 404; only the reply's "model" and the list of models show it.
@pytest.mark.parametrize("name", ["some/other-model", "", None])
def test_a_wrong_name_is_answered_by_the_one_model_there_is(client: httpx2.Client, name: str | None) -> None:
    assert complete(client, model=name)["model"] == MODEL_NAME
    assert [model["id"] for model in client.get("models").json()["data"]] == [MODEL_NAME]


def test_a_prompt_beyond_the_context_is_refused_with_both_numbers(client: httpx2.Client) -> None:
    error = refusal(client, messages=messages("字" * 50_000))
    assert error["type"] == "exceed_context_size_error"
    assert error["n_ctx"] == CONTEXT
    assert error["n_prompt_tokens"] > CONTEXT
    assert "exceeds the available context size" in error["message"]


def test_a_prompt_that_leaves_no_tokens_for_the_answer_is_cut_and_not_refused(client: httpx2.Client) -> None:
    def of_length(count: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": "a " * count}]

    frame = complete(client, messages=of_length(100))["usage"]["prompt_tokens"] - 100
    reply = complete(client, messages=of_length(CONTEXT - frame - 2), max_tokens=50)
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 2
    assert refusal(client, messages=of_length(CONTEXT - frame))["n_prompt_tokens"] == CONTEXT


# All requests share one context. If it is full, running requests fail, also those of short texts: a retry is right, and
# "too long" would be wrong.
def test_long_prompts_that_fit_one_by_one_may_fail_together_with_500(client: httpx2.Client) -> None:
    long_ones = [messages(f"{number}. " + "a " * 17_000) for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(lambda one: post(client, messages=one, max_tokens=1_000), long_ones))
    lost = [reply for reply in replies if reply.status_code != 200]
    assert lost
    for reply in lost:
        assert reply.status_code == 500
        assert reply.json()["error"]["message"] == "Context size has been exceeded."
    assert [post(client, messages=one).status_code for one in long_ones] == [200, 200]


def test_the_static_part_is_computed_once(client: httpx2.Client) -> None:
    usages = [complete(client, messages=messages(f"Plot number {number}."))["usage"] for number in range(2)]
    assert usages[-1]["prompt_tokens_details"]["cached_tokens"] > 0.5 * usages[-1]["prompt_tokens"]


# --- outage; last, because it needs a restart ---


def test_a_killed_server_cannot_be_reached_until_it_is_back(llama: LlamaServer, client: httpx2.Client) -> None:
    llama.kill()
    with pytest.raises(httpx2.ConnectError):
        post(client)
    llama.start()
    assert set(labels(client)) <= set(TMDB.names)
