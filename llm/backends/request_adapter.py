"""Sends requests in the form that the endpoint accepts: learns from refusals at once and stores what helped."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llm.backends.endpoint import Address
from llm.backends.refusals import Refusal
from llm.backends.replies import model_in, only_reasoned
from llm.backends.request_forms import (
    OPTIONAL,
    Body,
    RequestForm,
    assumed_form,
    is_batch,
    next_form,
    ran_out_of_tokens,
    refused_field,
)
from prompts.errors import InvalidSetting
from prompts.files import digest_of, locked, write_text_atomically

log = logging.getLogger(__name__)

REASONING_TOKENS = 2_048
_MAX_CHANGES = 10  # forms tried for one request
_STORED_SECONDS = 7 * 86_400.0


class FindingsFile:
    """JSON file of findings about endpoints, by key, for a week. Safe for many processes; None stores nothing."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def get(self, key: str) -> Any:
        """The value of a key; None if it is missing or expired. A damaged file has no values."""
        entry = self._entries().get(key)
        return entry["value"] if entry and _age(entry) < _STORED_SECONDS else None

    def update(self, key: str, change: Callable[[Any], Any]) -> None:
        """Replace a value by the result of ``change`` (called with None for a new key); errors are logged."""
        if self._path is None:
            return
        try:
            with locked(self._path.with_suffix(".lock")):
                current = {name: entry for name, entry in self._entries().items() if _age(entry) < _STORED_SECONDS}
                before = current.get(key, {})
                entry = {"at": before.get("at", time.time()), "value": change(before.get("value"))}
                write_text_atomically(self._path, json.dumps(current | {key: entry}, indent=2))
        except (OSError, InvalidSetting) as error:
            log.warning("endpoint findings cannot be stored (%s)", error)

    def _entries(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._path.read_text(encoding="utf-8"))) if self._path else {}
        except (OSError, ValueError, TypeError):
            return {}


def _age(entry: Any) -> float:
    """Seconds since a value was first stored; infinite for anything that is no entry."""
    at = entry.get("at") if isinstance(entry, dict) and "value" in entry else None
    return time.time() - at if isinstance(at, int | float) else float("inf")


@dataclass(frozen=True)
class Reply:
    """The outcome of one request."""

    result: Any  # the decoded body, or the ``Problem``
    refusal: Refusal | None = None  # the endpoint's error, if it refused the request itself

    @property
    def succeeded(self) -> bool:
        return self.refusal is None and isinstance(self.result, Mapping)

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed later: the endpoint was busy, or the account had no credit."""
        return self.refusal is not None and (self.refusal.is_transient or self.refusal.no_credit)


Send = Callable[[Body], Awaitable[Reply]]


class RequestAdapter:
    """The request forms of all models at one endpoint.

    Args:
        address: of the endpoint.
        file: stores forms between processes.
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
        self.address, self.extra = address, dict(extra or {})
        self._file, self._reasoning_tokens = file, reasoning_tokens
        self._forms: dict[str, RequestForm] = {}
        self._worked: set[tuple[str, frozenset[str]]] = set()
        self._served: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def fingerprint_parts(self) -> Mapping[str, Any]:
        """Part of the cache key: the endpoint, without a login or a query, and a digest of the user's fields."""
        extra = {"extra_body": digest_of(json.dumps(self.extra, sort_keys=True), 16)} if self.extra else {}
        return {"endpoint": self.address.base_url, **extra}

    def with_extra(self, body: Body) -> Body:
        """A request with the user's fields, before it is rewritten."""
        return {**body, **self.extra}

    def prepared(self, body: Body, keep: Collection[str] = ()) -> Body:
        """A request in the known form of its model, for requests that other programs send."""
        return self._form(_model(body)).applied(self.with_extra(body), {*keep, *self.extra})

    def served_model(self, model: str) -> str:
        """The model name in recent replies to requests for a model; empty if they gave none."""
        if model not in self._served:
            stored = self._file.get(self._key(model, "serves"))
            self._served[model] = stored if isinstance(stored, str) else ""
        return self._served[model]

    async def exchange(self, send: Send, body: Body, keep: Collection[str] = ()) -> Any:
        """Send a request, and send it again in other forms while the endpoint refuses a field that may change."""
        keep = {*keep, *self.extra}

        async def attempt(form: RequestForm) -> Reply:
            return await send(form.applied(self.with_extra(body), keep))

        fields = (_model(body), frozenset(body))
        known = form = self._form(_model(body))
        reply = await attempt(form)
        for _ in range(_MAX_CHANGES):
            changed = self._changed(form, body, reply, keep, fields in self._worked)
            if changed is None or changed == form:
                break
            form, reply = changed, await attempt(changed)
        if fields not in self._worked and _is_unexplained(form, body, reply):
            names = [name for name in OPTIONAL if name in body and name not in keep]
            form, reply = await _eliminate(attempt, form, names) or (form, reply)
            self._worked.add(fields)  # if all forms failed, the text is refused and not a field: do not search again
        if reply.succeeded:
            self._worked.add(fields)
            self._note_model(_model(body), model_in(reply.result))
            if form != known:
                self._store(_model(body), form)
        return reply.result

    def learn(self, body: Body, replies: Iterable[Reply], keep: Collection[str] = ()) -> bool:
        """Learn from all failures of one request that another program sent, in order; transient ones are skipped.

        Each request was sent in the form learned from the failures before it. ``body`` is the request before it was
        rewritten. Returns whether the request now has another form than at its last failure.
        """
        model, keep, is_new = _model(body), {*keep, *self.extra}, False
        known, form = self._form(model), self._assumed(model)
        for reply in replies:
            changed = self._changed(form, body, reply, keep) or self._changed(known, body, reply, keep)
            if changed is None and reply.may_pass:
                continue
            is_new = changed is not None and changed != form
            form = changed or form
        if is_new:
            self._store(model, form)
        return is_new

    def _form(self, model: str) -> RequestForm:
        if model not in self._forms:
            stored = self._file.get(self._key(model, "form"))
            self._forms[model] = RequestForm.from_json(stored) if stored else self._assumed(model)
        return self._forms[model]

    def _assumed(self, model: str) -> RequestForm:
        return assumed_form(self.address, model, self._reasoning_tokens)

    def _changed(
        self, form: RequestForm, body: Body, reply: Reply, keep: Collection[str], worked: bool = False
    ) -> RequestForm | None:
        """Another form to try after a reply; None if the reply is final."""
        if reply.refusal and (changed := next_form(form, body, reply.refusal, keep, worked)):
            return changed
        too_short = ran_out_of_tokens(reply.refusal) if reply.refusal else only_reasoned(reply.result)
        if too_short and not form.extra_tokens and body.get("max_tokens", 0) > 1:
            return replace(form, extra_tokens=self._reasoning_tokens)
        return None

    def _note_model(self, model: str, name: str) -> None:
        """Store which model answers; warn once if it is another model than the requested one."""
        if not name or name == self.served_model(model):
            return
        with self._lock:
            before, self._served[model] = self._served[model], name
        if before == name:
            return
        if not _is_version_of(name, model):
            log.warning("%s answers as %r to requests for %r", self.address.endpoint, name, model)
        self._file.update(self._key(model, "serves"), lambda _: name)

    def _store(self, model: str, form: RequestForm) -> None:
        """Add what helped to the model's form; concurrent requests may have learned different things."""
        with self._lock:
            before = self._forms.get(model, RequestForm())
            self._forms[model] = merged = before.merged(form)
        if merged != before:
            _log_change(f"{model} at {self.address.endpoint}", before, merged)
            self._file.update(
                self._key(model, "form"), lambda stored: asdict(RequestForm.from_json(stored or {}).merged(merged))
            )

    def _key(self, model: str, what: str) -> str:
        return f"{self.address.base_url} {model} {what}"


async def _eliminate(
    attempt: Callable[[RequestForm], Awaitable[Reply]], form: RequestForm, names: Sequence[str]
) -> tuple[RequestForm, Reply] | None:
    """Find fields that are refused without a name: remove all, then restore those that do no harm."""
    removed = ["system", *names]
    reply = await attempt(form.without(*removed))
    if not reply.succeeded:
        return None
    for name in list(removed):
        fewer = [one for one in removed if one != name]
        result = await attempt(form.without(*fewer))
        if result.succeeded:
            removed, reply = fewer, result
    return form.without(*removed), reply


def _model(body: Body) -> str:
    return str(body.get("model", ""))


def _is_unexplained(form: RequestForm, body: Body, reply: Reply) -> bool:
    """Whether a request was refused without a hint at a field or at its text."""
    refusal = reply.refusal
    if refusal is None or refusal.status not in (400, 422) or refusal.is_about_text_or_account or is_batch(body):
        return False
    hints = refusal.text.lower()
    if refusal.parameter == "messages" or "content" in hints or "safety" in hints:
        return False
    return refused_field(form, body, refusal) is None


def _is_version_of(name: str, model: str) -> bool:
    """Whether a name is the requested model, a dated snapshot or a file of it."""
    short, requested = (one.rsplit("/", 1)[-1].casefold().removesuffix(".gguf") for one in (name, model))
    return bool(requested) and (short.startswith(requested) or requested.startswith(short))


def _log_change(where: str, before: RequestForm, now: RequestForm) -> None:
    changes = {name: value for name, value in asdict(now).items() if value != getattr(before, name)}
    if sizes := changes.pop("refused_sizes", ()):
        log.warning(
            "%s accepts no schema of %d labels: the answers are read from unconstrained text; "
            "a lower MARQUEE_MAX_CANDIDATE_LABELS narrows the labels first",
            *(where, sizes[-1][0]),
        )
    changes.pop("refused_schemas", None)
    if changes:
        log.info("%s refuses some fields; its requests now have this form: %s", where, changes)
