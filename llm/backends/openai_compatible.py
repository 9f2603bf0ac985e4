"""Any endpoint with OpenAI's chat completions: vLLM, OpenAI, DashScope, Ollama, llama.cpp, SGLang."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from llm.backends.backend import Completion, Constraint, Conversation, DecisionReply, TokenLogprobs
from llm.backends.capabilities import Capabilities, ModelName
from llm.backends.capability_checks import tokenize_fields
from llm.backends.codes import CodeTokens, from_top_tokens
from llm.backends.concurrency import SharedCalls
from llm.backends.endpoint import Address, parse_extra_body
from llm.backends.label_scoring import ID_LIMIT, score_labels
from llm.backends.label_trie import LabelTrie, Tokens, spelled
from llm.backends.replies import ReplyReader, content_of, top_tokens, usage_of
from llm.backends.request_adapter import REASONING_TOKENS, FindingsFile, RequestAdapter
from llm.backends.request_forms import wrapped
from llm.backends.transport import HTTPTransport, Transport
from llm.classifier import Problem
from llm.request_context import CURRENT_REQUEST, waiting_problem
from prompts.errors import InvalidSetting
from similarity.errors import Disconnected, Expired
from similarity.lru import LRUCache

_DECODING: Mapping[str, Any] = {"temperature": 0}
_BURST = 8  # conversations from which the common prefix is worth computing first
_PREFIXES_STORED = 64
_TAXONOMIES_STORED = 64


@dataclass(frozen=True)
class EndpointSettings:
    """How an endpoint is reached (see ``HTTPTransport``), and which fields its requests get."""

    base_url: str
    api_key: str = field(default="", repr=False)
    extra_body: str = ""  # JSON object of fields for every request (``MARQUEE_EXTRA_BODY``)
    reasoning_tokens: int = REASONING_TOKENS  # tokens added for models that reason before they answer
    findings: Path | None = None  # file for what is learned about the endpoint; None keeps it in this process
    timeout: float = 30.0
    retries: int = 2
    concurrency: int = 64

    def adapter(self) -> RequestAdapter:
        """The request forms of the endpoint's models.

        Raises:
            ValueError: ``extra_body`` is no object, or sets a field that the program sets itself.
        """
        extra = parse_extra_body(self.extra_body)
        return RequestAdapter(Address.parse(self.base_url), FindingsFile(self.findings), self.reasoning_tokens, extra)

    def transport(self) -> HTTPTransport:
        """The transport; see ``adapter`` for errors."""
        return HTTPTransport(self.base_url, self.api_key, self.timeout, self.retries, self.concurrency, self.adapter())


class OpenAICompatible:
    """A model behind an OpenAI-compatible endpoint, at temperature 0, using only what the endpoint supports."""

    def __init__(self, transport: Transport, model: str | ModelName, capabilities: Capabilities) -> None:
        self._model = ModelName(transport, model, is_set=True) if isinstance(model, str) else model
        self._transport, self._capabilities = transport, capabilities
        self._reader = ReplyReader(transport.endpoint, transport.redact)
        self._code_tokens = CodeTokens(self._tokenize, ID_LIMIT)
        self._warm_prefixes: LRUCache[str, bool] = LRUCache(_PREFIXES_STORED)
        self._tries: LRUCache[tuple[str, ...], tuple[LabelTrie, Mapping[Tokens, str]]] = LRUCache(_TAXONOMIES_STORED)
        self._calls = SharedCalls()

    def __repr__(self) -> str:
        return f"OpenAICompatible({self.name!r} at {self._transport.endpoint})"

    @property
    def name(self) -> str:
        """The model's name in the endpoint's replies, else the name that is sent."""
        return self._transport.served_model(self._model.known) or self._model.known

    @property
    def decoding(self) -> Mapping[str, Any]:
        """See ``Backend.decoding``; includes the endpoint and the model that answers."""
        served = self._transport.served_model(self._model()) or self._model()
        return {**_DECODING, **self._transport.fingerprint_parts, "served": served}

    @property
    def code_limit(self) -> int:
        """See ``Backend.code_limit``: exact values by token id if supported, else the most probable tokens."""
        return ID_LIMIT if self._capabilities.supports("token_ids") else self._capabilities.top_logprobs

    @property
    def enforces_schema(self) -> bool:
        capabilities = self._capabilities
        return capabilities.outcome("json_schema") in ("supported", "unknown") or capabilities.supports("json_array")

    @property
    def answers_directly(self) -> bool:
        return self._capabilities.outcome("known_answer") != "ignored"

    def prepare(self) -> None:
        """See ``Backend.prepare``: check the capabilities that ``auto`` and the common strategies use."""
        _ = self.answers_directly and self.scores_labels
        _ = self.code_limit
        self._schema_fields(Constraint({}, 1))

    def generate(self, conversations: Sequence[Conversation], constraint: Constraint) -> list[Completion]:
        fields = {"max_tokens": constraint.max_tokens, **self._schema_fields(constraint)}
        return [self._reader.completion(reply) for reply in self._send(conversations, fields)]

    def next_token_logprobs(self, conversations: Sequence[Conversation], codes: Sequence[str]) -> list[TokenLogprobs]:
        """See ``Backend.next_token_logprobs``.

        Raises:
            InvalidSetting: a code is not a single token of this model.
        """
        code_by_token = None
        if self._capabilities.supports("token_ids"):
            try:
                code_by_id = self._code_ids(codes)
            except (Expired, Disconnected) as error:
                return [TokenLogprobs(problem=waiting_problem(error))] * len(conversations)
            fields = {"logprob_token_ids": list(code_by_id), "return_tokens_as_token_ids": True}
            code_by_token = {f"token_id:{token}": code for token, code in code_by_id.items()}
        else:
            fields = {"top_logprobs": self._capabilities.top_logprobs}
        replies = self._send(conversations, {"max_tokens": 1, "logprobs": True, **fields})
        return [self._logprobs(reply, codes, code_by_token) for reply in replies]

    @property
    def scores_labels(self) -> bool:
        """See ``LabelScoringBackend``: needs tokens of words, many next-token probabilities and begun answers."""
        supports = self._capabilities.supports  # the check that most endpoints fail comes first
        return (
            supports("tokenize") and supports("continuation") and (supports("token_ids") or supports("many_logprobs"))
        )

    def label_logprobs(self, conversations: Sequence[Conversation], names: Sequence[str]) -> list[TokenLogprobs]:
        """See ``LabelScoringBackend.label_logprobs``."""
        try:
            trie, written = self._label_trie(names)
        except (Expired, Disconnected) as error:
            return [TokenLogprobs(problem=waiting_problem(error))] * len(conversations)
        by_id = self._capabilities.supports("token_ids")
        return score_labels(conversations, names, trie, written, by_id, self._send, self._reader)

    def decide(
        self, conversations: Sequence[Conversation], questions: Sequence[Mapping[str, Any]]
    ) -> list[DecisionReply]:
        """See ``DecidingBackend.decide``: by ``/v1/decisions``, else by ``/v1/systemone``."""
        from llm.backends import systemone

        supported, name = self._capabilities, self._model()
        if supported.outcome("decisions") in ("supported", "unknown"):
            bodies = [{"model": name, "input": list(one), "questions": list(questions)} for one in conversations]
            return [self._reader.decisions(reply) for reply in self._transport.post(bodies, "/decisions")]
        if supported.outcome("systemone") not in ("supported", "unknown"):
            detail = f"{self._transport.endpoint} answers neither /v1/decisions nor /v1/systemone with {name}"
            problem = Problem("misconfigured", f"{detail}; choose another strategy than decisions_api")
            return [DecisionReply(problem=problem)] * len(conversations)
        bodies = [{"model": name, **systemone.request_fields(one, questions)} for one in conversations]
        replies = self._transport.post(bodies, "/systemone")
        return [self._reader.decisions(systemone.as_decisions(reply, questions)) for reply in replies]

    def count(self, conversations: Sequence[Conversation]) -> list[int] | None:
        """See ``CountingBackend.count``: by vLLM's ``/tokenize``."""
        if not self._capabilities.supports("tokenize"):
            return None
        bodies = [{"model": self._model(), "messages": list(one)} for one in conversations]
        replies = self._transport.post(bodies, self._transport.server_url("/tokenize"))
        counts = [reply.get("count") if isinstance(reply, dict) else None for reply in replies]
        known = [count for count in counts if isinstance(count, int)]
        return known if len(known) == len(counts) else None

    def check(self) -> Problem | None:
        try:
            self._model()
        except InvalidSetting as error:
            return Problem("misconfigured", str(error))
        reply = self._transport.get("/models")
        if isinstance(reply, Problem) and not (reply.kind == "misconfigured" and "404" in reply.detail):
            return reply
        return None  # 404: the server answers, but does not list its models

    def _schema_fields(self, constraint: Constraint) -> Mapping[str, Any]:
        """The fields that enforce the schema in a form that the endpoint supports; none if it rejects all forms."""
        capabilities, schema = self._capabilities, constraint.schema
        if capabilities.rejects("json_schema") and not capabilities.supports("json_array"):
            return {"response_format": {"type": "json_object"}} if capabilities.supports("json_object") else {}
        if not capabilities.supports("json_array"):
            schema = wrapped(schema)
        described = {"name": "answer", "schema": dict(schema), "strict": True}
        logprobs = {"logprobs": True} if capabilities.supports("logprobs") else {}
        return {"response_format": {"type": "json_schema", "json_schema": described}, **logprobs}

    def _send(self, conversations: Sequence[Conversation], fields: Mapping[str, Any]) -> list[Any]:
        """One request per conversation. Before a burst the first is sent alone, to fill the prefix cache."""
        bodies = [self._body(conversation, fields) for conversation in conversations]
        if len(bodies) < _BURST or self._is_warm(bodies[0]):
            return self._transport.post(bodies)
        return [*self._transport.post(bodies[:1]), *self._transport.post(bodies[1:])]

    def _body(self, conversation: Conversation, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        body = {"model": self._model(), "messages": list(conversation), **_DECODING, **fields}
        salt = CURRENT_REQUEST.get().cache_salt
        # A field of vLLM, therefore only sent where vLLM's other field is supported.
        return {**body, "cache_salt": salt} if salt and self._capabilities.supports("token_ids") else body

    def _is_warm(self, body: Mapping[str, Any]) -> bool:
        """Whether a request with this prefix was sent before; notes that it is sent now."""
        prefix = hashlib.sha256((body.get("cache_salt", "") + body["messages"][0]["content"]).encode()).hexdigest()
        is_warm = self._warm_prefixes.get(prefix) is not None
        self._warm_prefixes.put(prefix, True)
        return is_warm

    def _code_ids(self, codes: Sequence[str]) -> Mapping[int, str]:
        """The code of each token id; looked up once for all requests."""
        cached = self._code_tokens.cached(codes)
        return cached or self._calls.result(tuple(codes), partial(self._code_tokens.of, codes, self.name))

    def _label_trie(self, names: Sequence[str]) -> tuple[LabelTrie, Mapping[Tokens, str]]:
        """Where the labels' tokens part, and the text before each branch; looked up once for all requests."""
        key = ("labels", *names)
        cached = self._tries.get(key)
        return cached or self._calls.result(key, partial(self._find_trie, key))

    def _find_trie(self, key: tuple[str, ...]) -> tuple[LabelTrie, Mapping[Tokens, str]]:
        trie = LabelTrie(spelled(key[1:], self._tokenize))
        written = {branch.written: self._detokenize(branch.written) for branch in trie.branches}
        self._tries.put(key, (trie, written))
        return trie, written

    def _detokenize(self, tokens: Tokens) -> str:
        if not tokens:
            return ""
        (reply,) = self._transport.post(
            [{"model": self._model(), "tokens": list(tokens)}], self._transport.server_url("/detokenize")
        )
        text = (reply.get("prompt") or reply.get("content")) if isinstance(reply, dict) else None
        if not isinstance(text, str):
            detail = reply.detail if isinstance(reply, Problem) else "it returned no text"
            raise InvalidSetting(f"no probabilities by label: {detail}; choose the strategy json_list")
        return text

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        bodies = [{"model": self._model(), **tokenize_fields(text)} for text in texts]
        replies = self._transport.post(bodies, self._transport.server_url("/tokenize"))
        if failed := next((reply for reply in replies if isinstance(reply, Problem)), None):
            raise InvalidSetting(f"no probabilities by code: {failed.detail}; choose the strategy json_list")
        tokenized = [reply.get("tokens") if isinstance(reply, dict) else None for reply in replies]
        return [tokens if isinstance(tokens, list) else [] for tokens in tokenized]

    def _logprobs(self, reply: Any, codes: Sequence[str], code_by_token: Mapping[str, str] | None) -> TokenLogprobs:
        choice = self._reader.choice(reply)
        if isinstance(choice, Problem):
            return TokenLogprobs(problem=choice, usage=usage_of(reply))
        tokens = top_tokens(choice)
        if not tokens:
            detail = f"{self._transport.endpoint} returned no probabilities"
            return TokenLogprobs(problem=Problem("unreadable", detail))
        result = from_top_tokens(tokens, codes, code_by_token)
        top_token = (content_of(choice) or "") if code_by_token else result.top_token
        return replace(result, top_token=top_token, usage=usage_of(reply))
