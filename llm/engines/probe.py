"""What an endpoint really honours, found out by canary requests.

A server that does not know a constraint may drop it and answer 200 (old vLLM fields do that to this day), so its word
is not taken: each canary asks for something that no model says by itself, and looks whether it came.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from llm.classifier import Problem
from llm.engines.wire import CHAT, Wire

log = logging.getLogger(__name__)

Outcome = Literal["honoured", "ignored", "refused", "unknown"]
_CANARY = "zqx-7"
_SAY_HELLO = [{"role": "user", "content": "Say hello."}]
_LONG = [{"role": "user", "content": "One two three four five six seven eight nine ten. " * 60 + "Say hello."}]
_KEPT_SECONDS = 7 * 86_400.0
_AGAIN_SECONDS = 15.0


@dataclass(frozen=True)
class Finding:
    """How one canary came back; ``note`` is for people, ``amount`` says how much of it there is, where that counts."""

    outcome: Outcome
    note: str = ""
    amount: int = 0


@dataclass(frozen=True)
class Honours:
    """What an endpoint was seen to honour.

    Attributes:
        findings: one per capability; see ``CANARIES`` for their names.
        top_logprobs: how many of the likeliest tokens it tells the probabilities of; 0 for none.
        context: tokens that the model can take, where the endpoint tells.
        version: what the endpoint calls itself.
    """

    findings: Mapping[str, Finding]
    top_logprobs: int = 0
    context: int | None = None
    version: str = ""

    def does(self, capability: str) -> bool:
        """Whether the canary came back as asked."""
        return self.findings.get(capability, Finding("unknown")).outcome == "honoured"

    def refuses(self, capability: str) -> bool:
        """Whether asking for it fails the whole request."""
        return self.findings.get(capability, Finding("unknown")).outcome == "refused"

    def as_json(self) -> dict[str, Any]:
        """As it is kept and printed."""
        return asdict(self)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Honours:
        """From what ``as_json`` gave."""
        findings = {name: Finding(**finding) for name, finding in kept["findings"].items()}
        return cls(findings, kept["top_logprobs"], kept["context"], kept["version"])


# Of an endpoint not yet reached, nothing is known, and a JSON schema is worth trying.
UNPROBED = Honours({})


class Canaries:
    """Sends canaries to one model."""

    def __init__(self, wire: Wire, model: str) -> None:
        self.wire, self.model = wire, model

    def ask(self, messages: Any = None, max_tokens: int = 24, **fields: Any) -> Any:
        """A reply's first choice with its usage, or the ``Problem`` that stood against it."""
        body = {"model": self.model, "messages": messages or _SAY_HELLO, "max_tokens": max_tokens, "temperature": 0}
        (reply,) = self.wire.post([body | fields])
        if isinstance(reply, Problem):
            return reply
        choices = reply.get("choices") if isinstance(reply, dict) else None
        return {**choices[0], "usage": reply.get("usage") or {}} if choices else Problem("unreadable", "no choices")

    def says(self, wanted: str, **fields: Any) -> Finding:
        """Whether the words come back as a constraint wants them (a regular expression)."""
        reply = self.ask(**fields)
        if isinstance(reply, Problem):
            return Finding("refused", reply.detail)
        words = (reply.get("message") or {}).get("content") or ""
        return Finding("honoured" if re.fullmatch(wanted, words.strip()) else "ignored")

    def schema(self, schema: Mapping[str, Any], wanted: str) -> Finding:
        """Whether a JSON schema holds the words."""
        described = {"name": "canary", "strict": True, "schema": schema}
        return self.says(wanted, response_format={"type": "json_schema", "json_schema": described})

    def token_id(self, word: str) -> int | None:
        """The id of a word that is a single token, where the endpoint tells."""
        body = {"model": self.model, "prompt": word, "add_special_tokens": False}
        (reply,) = self.wire.post([body], self.wire.beside("/tokenize"))
        tokens = reply.get("tokens") if isinstance(reply, dict) else None
        return int(tokens[0]) if isinstance(tokens, list) and len(tokens) == 1 else None


_STRING = {"type": "string", "enum": [_CANARY]}
_ARRAY = {"type": "array", "items": _STRING, "minItems": 1, "maxItems": 1}
_OBJECT = {
    "type": "object",
    "properties": {"labels": _ARRAY},
    "required": ["labels"],
    "additionalProperties": False,
}


def _logit_bias(canaries: Canaries) -> Finding:
    token = canaries.token_id("Q")
    if token is None:
        return Finding("unknown", "needs token ids")
    return canaries.says("Q", max_tokens=1, logit_bias={str(token): 100})


def _logprobs(canaries: Canaries) -> Finding:
    reply = Problem("rejected", "")
    for most in (20, 5):
        reply = canaries.ask(max_tokens=1, logprobs=True, top_logprobs=most)
        if not isinstance(reply, Problem):
            told = len(_top(reply))
            return Finding("honoured", f"{told} likeliest tokens", told) if told > 1 else Finding("ignored")
    return Finding("refused", reply.detail)


def _token_ids(canaries: Canaries) -> Finding:
    ids = [canaries.token_id(word) for word in ("A", "B", "C")]
    if None in ids:
        return Finding("unknown", "needs token ids")
    fields = {"logprobs": True, "logprob_token_ids": ids, "return_tokens_as_token_ids": True}
    reply = canaries.ask(max_tokens=1, **fields)
    if isinstance(reply, Problem):
        return Finding("refused", reply.detail)
    told = {entry.get("token") for entry in _top(reply)}
    return Finding("honoured" if {f"token_id:{one}" for one in ids} <= told else "ignored")


def _tokenize(canaries: Canaries) -> Finding:
    return Finding("honoured" if canaries.token_id("A") is not None else "refused")


def _prefix_caching(canaries: Canaries) -> Finding:
    reply = [canaries.ask(_LONG, max_tokens=1) for _ in range(2)][-1]
    if isinstance(reply, Problem):
        return Finding("refused", reply.detail)
    details = reply["usage"].get("prompt_tokens_details")
    if not isinstance(details, dict) or details.get("cached_tokens") is None:
        return Finding("unknown", "the endpoint does not tell cached tokens")
    return Finding("honoured" if details["cached_tokens"] else "ignored", f"{details['cached_tokens']} tokens")


def _top(reply: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = (reply.get("logprobs") or {}).get("content") or []
    return list(content[0].get("top_logprobs") or []) if content else []


def _batch(canaries: Canaries) -> Finding:
    described = {"name": "canary", "strict": True, "schema": _OBJECT}
    body = {"model": canaries.model, "messages": [_SAY_HELLO, _SAY_HELLO], "max_tokens": 24, "temperature": 0}
    schema = {"response_format": {"type": "json_schema", "json_schema": described}}
    (reply,) = canaries.wire.post([body | schema], f"{CHAT}/batch")
    if isinstance(reply, Problem):
        return Finding("refused", reply.detail)
    choices = reply.get("choices") if isinstance(reply, dict) else None
    said = [str((choice.get("message") or {}).get("content")) for choice in choices or ()]
    return Finding("honoured" if len(said) == 2 and all(_CANARY in words for words in said) else "ignored")


def _decisions(canaries: Canaries) -> Finding:
    question = {"type": "predicate", "name": "q", "instructions": "This is a greeting."}
    body = {"model": canaries.model, "input": "Hello!", "questions": [question]}
    (reply,) = canaries.wire.post([body], "/decisions")
    if isinstance(reply, Problem):
        return Finding("refused", reply.detail)
    answers = reply.get("answers") if isinstance(reply, dict) else None
    told = isinstance(answers, list) and bool(answers) and "probability" in answers[0]
    return Finding("honoured" if told else "ignored")


CANARIES: Mapping[str, Callable[[Canaries], Finding]] = {
    "json_schema": lambda c: c.schema(_OBJECT, r'\{\s*"labels"\s*:\s*\[\s*"zqx-7"\s*\]\s*\}'),
    "json_array": lambda c: c.schema(_ARRAY, r'\[\s*"zqx-7"\s*\]'),
    "choice": lambda c: c.says(_CANARY, structured_outputs={"choice": [_CANARY]}),
    "regex": lambda c: c.says("zq[0-9]{3}", structured_outputs={"regex": "zq[0-9]{3}"}),
    "grammar": lambda c: c.says(_CANARY, structured_outputs={"grammar": f'root ::= "{_CANARY}"'}),
    "gbnf": lambda c: c.says(_CANARY, grammar=f'root ::= "{_CANARY}"'),
    "logit_bias": _logit_bias,
    "logprobs": _logprobs,
    "token_ids": _token_ids,
    "tokenize": _tokenize,
    "prefix_caching": _prefix_caching,
    "batch": _batch,
    "decisions": _decisions,
}


def probe(wire: Wire, model: str) -> Honours | Problem:
    """Send every canary; a ``Problem`` where the endpoint cannot be reached or does not serve the model."""
    canaries = Canaries(wire, model)
    plain = canaries.ask()
    if isinstance(plain, Problem):
        return plain
    findings = {name: canary(canaries) for name, canary in CANARIES.items()}
    return Honours(findings, findings["logprobs"].amount, _context(wire, model), version(wire))


def version(wire: Wire) -> str:
    """What the server beside the API calls itself, where it says so."""
    reply = wire.get(wire.beside("/version"))
    return str(reply.get("version", "")) if isinstance(reply, dict) else ""


def _context(wire: Wire, model: str) -> int | None:
    reply = wire.get("/models")
    served = reply.get("data") if isinstance(reply, dict) else None
    for entry in served if isinstance(served, list) else []:
        if isinstance(entry, dict) and entry.get("id") == model:
            length = entry.get("max_model_len") or (entry.get("meta") or {}).get("n_ctx_train")
            return int(length) if length else None
    return None


class Probed:
    """What an endpoint honours, probed at first use and kept in a file per endpoint, model and version.

    Args:
        wire: to the endpoint.
        model: as the endpoint calls it.
        path: the JSON file; None keeps findings in memory only.
    """

    def __init__(self, wire: Wire, model: str, path: Path | None = None) -> None:
        self._wire, self._model, self._path = wire, model, path
        self._found: Honours | None = None
        self._again_at = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> Honours:
        """The findings; ``UNPROBED`` while the endpoint cannot be reached, which is tried again after a while."""
        if self._found is None:
            with self._lock:  # many requests may come before the first probe is through; one sends it
                self._find()
        return self._found or UNPROBED

    def _find(self) -> None:
        if self._found is None and time.monotonic() >= self._again_at:
            found = self.kept() or self.anew()
            if isinstance(found, Problem):
                log.warning("probe: %s", found.detail)
                self._again_at = time.monotonic() + _AGAIN_SECONDS

    def anew(self) -> Honours | Problem:
        """Probe now, whatever is kept."""
        # On nobody's behalf: what one request did not wait for is nothing that the endpoint refused.
        found = Context().run(probe, self._wire, self._model)
        if isinstance(found, Honours):
            self._found = found
            self._keep(found)
        return found

    def kept(self) -> Honours | None:
        """What the file says of this endpoint, model and version, unless it is a week old."""
        entry = self._file().get(self._key(version(self._wire)))
        if not entry or _age(entry) > _KEPT_SECONDS:
            return None
        found = Honours.of(entry["honours"])
        if found.findings.keys() != CANARIES.keys():
            return None  # kept by a version of this program that asked for less
        self._found = found
        return found

    def _keep(self, found: Honours) -> None:
        if self._path is None:
            return
        young = {key: entry for key, entry in self._file().items() if _age(entry) < _KEPT_SECONDS}
        entries = young | {self._key(found.version): {"at": time.time(), "honours": found.as_json()}}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps(entries, indent=2), encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            log.warning("probe: could not keep the findings (%s)", error)

    def _file(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._path.read_text(encoding="utf-8"))) if self._path else {}
        except (OSError, ValueError):
            return {}

    def _key(self, version: str) -> str:
        return f"{self._wire.base_url} {self._model} {version}"


def _age(entry: Any) -> float:
    """Seconds since an entry was written; endless where it is not one."""
    at = entry.get("at") if isinstance(entry, dict) else None
    return time.time() - at if isinstance(at, int | float) else float("inf")
