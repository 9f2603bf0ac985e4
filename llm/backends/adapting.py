"""Requests that are refused for a field are rewritten and sent again at once; what helped is kept for later ones."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from llm.backends.address import Address
from llm.backends.dialect import LEVELS, OPTIONAL, Body, RequestForm, assumed, is_batch, ran_out
from llm.backends.findings_file import FindingsFile
from llm.backends.refusals import Refusal
from llm.backends.replies import only_reasoned, served_by
from prompts.files import digest_of

log = logging.getLogger(__name__)

_MOST_CHANGES = 10  # refusals of one request that are answered by another form of it
REASONING_TOKENS = 2_048


@dataclass(frozen=True)
class Reply:
    """What came back for one request.

    Attributes:
        reply: the decoded body, or the ``Problem``.
        refusal: what the endpoint said, where it refused the request itself.
    """

    reply: Any
    refusal: Refusal | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the body of a successful reply came back."""
        return self.refusal is None and isinstance(self.reply, Mapping)

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed later: the endpoint was busy, or the account had no credit."""
        return self.refusal is not None and (self.refusal.passing or self.refusal.spent)


Send = Callable[[Body], Awaitable[Reply]]


class Adapting:
    """The dialects of all models at one endpoint.

    Args:
        address: of the endpoint.
        file: keeps dialects between processes.
        reasoning_tokens: tokens added for models that reason before they answer.
        extra: fields that the user has set; they are never changed.
    """

    def __init__(
        self,
        address: Address,
        file: FindingsFile = FindingsFile(),
        reasoning_tokens: int = REASONING_TOKENS,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._address = address
        self._file, self._reasoning_tokens, self.extra = file, reasoning_tokens, dict(extra or {})
        self._dialects: dict[str, RequestForm] = {}
        self._worked: set[tuple[str, frozenset[str]]] = set()
        self._served: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def identity(self) -> Mapping[str, Any]:
        """What answers depend on besides request and model, as JSON.

        That is the endpoint without login and query, and a digest of the fields that the user has set.
        """
        extra = json.dumps(self.extra, sort_keys=True)
        return {
            "endpoint": self._address.base_url,
            **({"extra_body": digest_of(extra, 16)} if self.extra else {}),
        }

    def dialect(self, model: str) -> RequestForm:
        """What is known of a model."""
        if model not in self._dialects:
            kept = self._file.get(self._key(model))
            self._dialects[model] = RequestForm.of(kept) if kept else self._assumed(model)
        return self._dialects[model]

    @property
    def address(self) -> Address:
        """Of the endpoint."""
        return self._address

    def with_extra(self, body: Body) -> Body:
        """A request with the user's fields, before it is rewritten."""
        return {**body, **self.extra}

    def prepared(self, body: Body, keep: Collection[str] = ()) -> Body:
        """A request in the form that its model takes, so far as is known; for requests that others send."""
        return self.dialect(str(body.get("model", ""))).applied(self.with_extra(body), {*keep, *self.extra})

    def learn(self, body: Body, outcomes: Iterable[Reply], keep: Collection[str] = ()) -> bool:
        """Learn from failures of one request that others sent.

        Args:
            body: the request before it was rewritten.
            outcomes: all its failures, in their order; each was sent in the form that those before it had taught.
            keep: fields that must stay as they are.

        Returns:
            Whether the last failure is avoided by the form that the request has now. A failure that passes and teaches
            nothing is skipped.
        """
        model, keep, taught = str(body.get("model", "")), {*keep, *self.extra}, False
        known, dialect = self.dialect(model), self._assumed(model)
        for outcome in outcomes:
            changed = self._changed(dialect, body, outcome, keep, False) or self._changed(
                known, body, outcome, keep, False
            )
            if changed is None and outcome.passes:
                continue  # says nothing about the form of the request
            taught = changed is not None and changed != dialect
            dialect = changed or dialect
        if taught:
            self._keep(model, dialect, body)
        return taught

    def _assumed(self, model: str) -> RequestForm:
        return assumed(self._address.host, model, self._reasoning_tokens)

    def served(self, model: str) -> str:
        """The name that replies gave the model asked for, in this process or lately; empty where they gave none."""
        if model not in self._served:
            kept = self._file.get(self._key(model, "serves"))
            self._served[model] = kept if isinstance(kept, str) else ""
        return self._served[model]

    async def exchange(self, send: Send, body: Body, keep: Collection[str] = ()) -> Any:
        """Send a request, in other forms while the endpoint refuses one for a reason that can be avoided.

        Args:
            send: sends a body once.
            body: the request in the form that most endpoints take.
            keep: fields that must stay as they are.

        Returns:
            The decoded reply, or the ``Problem``.
        """
        model = str(body.get("model", ""))
        known = dialect = self.dialect(model)
        keep = {*keep, *self.extra}
        sent = frozenset(body)
        outcome = await self._send(send, dialect, body, keep)
        for _ in range(_MOST_CHANGES):
            changed = self._changed(dialect, body, outcome, keep, (model, sent) in self._worked)
            if changed is None or changed == dialect:
                break
            dialect = changed
            outcome = await self._send(send, dialect, body, keep)
        if self._is_worth_eliminating(dialect, body, outcome) and (model, sent) not in self._worked:
            dialect, outcome = await self._eliminated(send, dialect, body, keep, outcome)
        if outcome.succeeded:
            self._worked.add((model, sent))
            self._note(model, served_by(outcome.reply))
            if dialect != known:
                self._keep(model, dialect, body)
        return outcome.reply

    async def _send(self, send: Send, dialect: RequestForm, body: Body, keep: Collection[str]) -> Reply:
        return await send(dialect.applied(self.with_extra(body), keep))

    def _changed(
        self, dialect: RequestForm, body: Body, outcome: Reply, keep: Collection[str], worked: bool
    ) -> RequestForm | None:
        """Another dialect to try after an outcome; None where the outcome is final."""
        if outcome.refusal is not None:
            if changed := dialect.learnt(body, outcome.refusal, keep, worked):
                return changed
            needs_room = ran_out(outcome.refusal)
        else:
            needs_room = only_reasoned(outcome.reply)
        if needs_room and not dialect.room and body.get("max_tokens", 0) > 1:
            return replace(dialect, room=self._reasoning_tokens)
        return None

    def _is_worth_eliminating(self, dialect: RequestForm, body: Body, outcome: Reply) -> bool:
        if outcome.refusal is None or not _is_unexplained(outcome.refusal) or is_batch(body):
            return False
        return dialect.named(body, outcome.refusal) is None

    async def _eliminated(
        self, send: Send, dialect: RequestForm, body: Body, keep: Collection[str], refused: Reply
    ) -> tuple[RequestForm, Reply]:
        """Find fields that are refused without being named: leave all out, then put back those that do no harm."""
        names = [name for name in OPTIONAL if name in body and name not in keep]
        bare = replace(dialect, folds_system=True)
        for name in names:
            bare = bare.without_field(name)
        outcome = await self._send(send, bare, body, keep)
        if not outcome.succeeded:
            self._worked.add((str(body.get("model", "")), frozenset(body)))  # the text is refused: ask no more for it
            return dialect, refused
        best = bare
        for name in ("system", *names):
            tried = _with_field(best, dialect, name)
            found = await self._send(send, tried, body, keep)
            if found.succeeded:
                best, outcome = tried, found
        return best, outcome

    def _note(self, model: str, name: str) -> None:
        """Remember which model answers; where it is another than the one asked for, say so once."""
        if not name or name == self.served(model):
            return
        with self._lock:
            before, self._served[model] = self._served[model], name
        if before == name:
            return
        if not _is_version_of(name, model):
            log.warning(
                "%s answers as %r where %r is asked for; answers carry its name", self._address.place, name, model
            )
        self._file.update(self._key(model, "serves"), lambda _: name)

    def _keep(self, model: str, dialect: RequestForm, body: Body) -> None:
        """Remember what helped; two requests may have learnt different things at the same time."""
        with self._lock:
            before = self._dialects.get(model, RequestForm())
            self._dialects[model] = merged = _merged(before, dialect)
        if merged != before:
            self._tell(model, before, merged)
            self._file.update(self._key(model), lambda kept: _merged(RequestForm.of(kept or {}), merged).as_json())

    def _tell(self, model: str, before: RequestForm, now: RequestForm) -> None:
        where = f"{model} at {self._address.place}"
        if len(now.refused_sizes) > len(before.refused_sizes):
            labels = now.refused_sizes[-1][0]
            log.warning(
                "%s takes no schema of %d labels: the answers are read from unconstrained text; "
                "MARQUEE_MAX_CANDIDATE_LABELS=100 "
                "narrows the labels first",
                *(where, labels),
            )
        changes = [one.name for one in fields(now) if getattr(now, one.name) != getattr(before, one.name)]
        told = {name: getattr(now, name) for name in changes if name not in ("refused_sizes", "refused_schemas")}
        if told:
            log.info("%s refuses some fields; its requests are sent so from now on: %s", where, told)

    def _key(self, model: str, what: str = "accepts") -> str:
        return f"{self._address.base_url} {model} {what}"


def _is_version_of(name: str, model: str) -> bool:
    """Whether a name is the same, a dated snapshot, or a file of the model asked for."""
    short, wanted = (one.rsplit("/", 1)[-1].casefold().removesuffix(".gguf") for one in (name, model))
    return bool(wanted) and (short.startswith(wanted) or wanted.startswith(short))


def _is_unexplained(refusal: Refusal) -> bool:
    """Whether a request was refused without a hint that its text is the reason."""
    if refusal.status not in (400, 422) or refusal.too_long or refusal.spent or refusal.lacks_model:
        return False
    if refusal.parameter == "messages":
        return False
    return "content" not in refusal.everything.lower() and "safety" not in refusal.everything.lower()


def _with_field(best: RequestForm, before: RequestForm, name: str) -> RequestForm:
    """A dialect with one field back that was left out for a trial."""
    if name == "system":
        return replace(best, folds_system=before.folds_system)
    if name == "response_format":
        return replace(best, schema=before.schema)
    return replace(best, omitted=tuple(one for one in best.omitted if one != name or one in before.omitted))


def _merged(one: RequestForm, other: RequestForm) -> RequestForm:
    """What either of two dialects has learnt."""
    return RequestForm(
        {**one.renamed, **other.renamed},
        {**one.values, **other.values},
        tuple(dict.fromkeys((*one.omitted, *other.omitted))),
        one.folds_system or other.folds_system,
        max(one.schema, other.schema, key=LEVELS.index),
        one.wraps or other.wraps,
        tuple(dict.fromkeys((*one.without, *other.without))),
        tuple(dict.fromkeys((*one.refused_sizes, *other.refused_sizes))),
        tuple(dict.fromkeys((*one.refused_schemas, *other.refused_schemas))),
        max(one.room, other.room),
        max(one.least_tokens, other.least_tokens),
    )
