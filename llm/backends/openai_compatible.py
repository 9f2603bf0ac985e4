"""Any endpoint that speaks OpenAI's chat completions: vLLM, OpenAI, DashScope, Ollama, llama.cpp, SGLang."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from llm.backends.backend import Completion, Constraint, Conversation, DecisionReply, TokenLogprobs
from llm.backends.capabilities import Capabilities
from llm.backends.code_tokens import CodeTokens
from llm.backends.codes import from_top_tokens
from llm.backends.dialect import wrapped
from llm.backends.model_name import ModelName
from llm.backends.replies import ReplyReader, content_of, usage_of
from llm.backends.shared_calls import SharedCalls
from llm.backends.transport import Transport
from llm.classifier import Problem
from llm.request_context import CURRENT_REQUEST, waiting_problem
from prompts.errors import InvalidSetting
from similarity.errors import Disconnected, Expired

_DECODING: Mapping[str, Any] = {"temperature": 0}
_TOKEN_ID_LIMIT = 128  # token ids of one request, vLLM's own bound
_BURST = 8  # conversations from which the shared part is worth computing first
_PARTS_REMEMBERED = 64


class OpenAICompatible:
    """A model behind an OpenAI-compatible endpoint, at temperature 0, asked for no more than the endpoint honours.

    Args:
        transport: to the endpoint.
        model: the name under which the endpoint is asked for the model.
        honours: what the endpoint was seen to honour (``capabilities.CapabilityProbe``).
    """

    def __init__(self, transport: Transport, model: str | ModelName, capabilities: Callable[[], Capabilities]) -> None:
        self._model = ModelName(transport, model, is_set=True) if isinstance(model, str) else model
        self._transport, self._capabilities = transport, capabilities
        self._reader = ReplyReader(transport.place, transport.redacted)
        self._code_tokens = CodeTokens(self._tokenized, _TOKEN_ID_LIMIT)
        self._warmed: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self._calls = SharedCalls()

    def __repr__(self) -> str:
        return f"OpenAICompatible({self.name!r} at {self._transport.place})"

    @property
    def name(self) -> str:
        """The model's name as the endpoint's replies give it, else the one that it is asked for."""
        return self._transport.served(self._model.known) or self._model.known

    @property
    def decoding(self) -> Mapping[str, Any]:
        """See ``Backend.decoding``; the endpoint and the model that answers there are part of it."""
        return {
            **_DECODING,
            **self._transport.fingerprint_parts,
            "served": self._transport.served(self._model()) or self._model(),
        }

    @property
    def code_limit(self) -> int:
        """See ``Backend.code_limit``: exact figures by token id where the endpoint has them, else the likeliest."""
        capabilities = self._capabilities()
        return _TOKEN_ID_LIMIT if capabilities.supports("token_ids") else capabilities.top_logprobs

    @property
    def holds_schema(self) -> bool:
        """See ``Backend.holds_schema``; assumed of an endpoint that was not reached yet."""
        capabilities = self._capabilities()
        return capabilities.outcome("json_schema") in ("honoured", "unknown") or capabilities.supports("json_array")

    @property
    def answers_directly(self) -> bool:
        """See ``Backend.answers_directly``: by a question with a known answer; assumed where it cannot be checked."""
        return self._capabilities().outcome("known_answer") != "ignored"

    def prepare(self) -> None:
        """See ``PreparingBackend.prepare``: check the capabilities that `auto` and both common strategies depend on."""
        _ = self.code_limit >= 2 and self.answers_directly
        self._constrained(Constraint({}, 1))

    def generate(self, conversations: Sequence[Conversation], constraint: Constraint) -> list[Completion]:
        """See ``Backend.generate``."""
        fields = {"max_tokens": constraint.max_tokens, **self._constrained(constraint)}
        return [self._reader.completion(reply) for reply in self._ask(conversations, fields)]

    def next_token_logprobs(self, conversations: Sequence[Conversation], codes: Sequence[str]) -> list[TokenLogprobs]:
        """See ``Backend.next_token_logprobs``.

        Raises:
            InvalidSetting: a code is not a single token of this model.
        """
        if self._capabilities().supports("token_ids"):
            try:
                code_by_id = self._codes(codes)
            except (Expired, Disconnected) as error:
                return [TokenLogprobs(problem=waiting_problem(error))] * len(conversations)
            fields = {"logprob_token_ids": list(code_by_id), "return_tokens_as_token_ids": True}
            by_id = {f"token_id:{one}": code for one, code in code_by_id.items()}
        else:
            fields, by_id = {"top_logprobs": self._capabilities().top_logprobs}, None
        replies = self._ask(conversations, {"max_tokens": 1, "logprobs": True, **fields})
        return [self._weighing(reply, codes, by_id) for reply in replies]

    def decide(
        self, conversations: Sequence[Conversation], questions: Sequence[Mapping[str, Any]]
    ) -> list[DecisionReply]:
        """See ``DecidingBackend.decide``."""
        bodies = [{"model": self._model(), "input": list(one), "questions": list(questions)} for one in conversations]
        return [self._reader.decided(reply) for reply in self._transport.post(bodies, "/decisions")]

    def count(self, conversations: Sequence[Conversation]) -> list[int] | None:
        """See ``CountingBackend.count``: by vLLM's ``/tokenize``, where the endpoint was seen to serve it."""
        if not self._capabilities().supports("tokenize"):
            return None
        bodies = [{"model": self._model(), "messages": list(one)} for one in conversations]
        replies = self._transport.post(bodies, self._transport.beside("/tokenize"))
        counts = [reply.get("count") if isinstance(reply, dict) else None for reply in replies]
        told = [count for count in counts if isinstance(count, int)]
        return told if len(told) == len(counts) else None

    def check(self) -> Problem | None:
        """See ``Backend.check``."""
        try:
            self._model()
        except InvalidSetting as error:
            return Problem("misconfigured", str(error))
        reply = self._transport.get("/models")
        if isinstance(reply, Problem) and not (reply.kind == "misconfigured" and "404" in reply.detail):
            return reply
        return None  # a 404 is an answer: not every server lists its models

    def _constrained(self, constraint: Constraint) -> Mapping[str, Any]:
        """The fields that hold the words to the schema, as this endpoint takes them; none where it refuses them all."""
        capabilities, schema = self._capabilities(), constraint.schema
        if capabilities.rejects("json_schema") and not capabilities.supports("json_array"):
            return {"response_format": {"type": "json_object"}} if capabilities.supports("json_object") else {}
        if not capabilities.supports("json_array"):
            schema = wrapped(schema)
        described = {"name": "answer", "schema": dict(schema), "strict": True}
        told = {"logprobs": True} if capabilities.supports("logprobs") else {}
        return {"response_format": {"type": "json_schema", "json_schema": described}, **told}

    def _ask(self, conversations: Sequence[Conversation], fields: Mapping[str, Any]) -> list[Any]:
        """One request per conversation.

        The first of a burst is sent alone, so that the shared prefix is in the server's prefix cache when the others
        arrive.
        """
        bodies = [self._body(conversation, fields) for conversation in conversations]
        if len(bodies) < _BURST or self._is_warm(bodies[0]):
            return self._transport.post(bodies)
        return [*self._transport.post(bodies[:1]), *self._transport.post(bodies[1:])]

    def _body(self, conversation: Conversation, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"model": self._model(), "messages": list(conversation), **_DECODING, **fields, **self._salted()}

    def _salted(self) -> Mapping[str, Any]:
        """vLLM's own field, so only where its other ones were seen to be honoured."""
        salt = CURRENT_REQUEST.get().cache_salt
        return {"cache_salt": salt} if salt and self._capabilities().supports("token_ids") else {}

    def _is_warm(self, body: Mapping[str, Any]) -> bool:
        """Whether this static part went ahead before; notes that it does now."""
        part = hashlib.sha256((body.get("cache_salt", "") + body["messages"][0]["content"]).encode()).hexdigest()
        with self._lock:
            warm = part in self._warmed
            self._warmed[part] = None
            self._warmed.move_to_end(part)
            while len(self._warmed) > _PARTS_REMEMBERED:
                self._warmed.popitem(last=False)
        return warm

    def _codes(self, codes: Sequence[str]) -> Mapping[int, str]:
        """The code of each token id; looked up once for all requests."""
        found = self._code_tokens.known(codes)
        return found or self._calls.result(tuple(codes), partial(self._code_tokens.of, codes, self.name))

    def _tokenized(self, texts: Sequence[str]) -> list[list[int]]:
        bodies = [{"model": self._model(), "prompt": text, "add_special_tokens": False} for text in texts]
        replies = self._transport.post(bodies, self._transport.beside("/tokenize"))
        if failed := next((reply for reply in replies if isinstance(reply, Problem)), None):
            raise InvalidSetting(f"no probabilities by code: {failed.detail}; choose the strategy json_list")
        found = [reply.get("tokens") if isinstance(reply, dict) else None for reply in replies]
        return [tokens if isinstance(tokens, list) else [] for tokens in found]

    def _weighing(self, reply: Any, codes: Sequence[str], by_id: Mapping[str, str] | None) -> TokenLogprobs:
        choice = self._reader.choice(reply)
        if isinstance(choice, Problem):
            return TokenLogprobs(problem=choice, usage=usage_of(reply))
        told = self._reader.top_tokens(choice)
        if not told:
            return TokenLogprobs(problem=Problem("unreadable", f"{self._transport.place} told no probabilities"))
        found = from_top_tokens(told, codes, by_id)
        said = content_of(choice) if by_id else found.said
        return replace(found, said=said or "", usage=usage_of(reply))
