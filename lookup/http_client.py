"""Rate-limited HTTP client of one provider: GET requests for JSON to a single host."""

from __future__ import annotations

import json
import math
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
from pydantic import BaseModel, ValidationError

from lookup.film import Kind, LookupFailure, ProviderFailure
from prompts.errors import InvalidSetting
from prompts.network import connection

Shape = TypeVar("Shape", bound=BaseModel)

_ATTEMPTS = 3
_ATTEMPT_SECONDS = 10.0
_FIRST_PAUSE = 0.5  # seconds, doubled for each attempt
_REFUSED_SECONDS = 600.0  # a refused key is not retried for every title
_MAX_REPLY_BYTES = 4_000_000  # after decompression


@dataclass(frozen=True)
class _Failure:
    """Why one attempt failed, and the seconds to pause before the next one; None: do not retry."""

    reason: LookupFailure
    pause: float | None = None


class RateLimiter:
    """Spaces the requests of all threads to one host, and pauses them when the host asks for it.

    Args:
        per_second: maximum request rate.
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._next_start = 0.0
        self._paused_until, self._pause_reason = 0.0, LookupFailure("busy", "")
        self._lock = threading.Lock()

    def back_off(self, seconds: float, reason: LookupFailure) -> None:
        """Send no request for some seconds, from any thread."""
        with self._lock:
            paused_until = time.monotonic() + seconds
            if paused_until > self._paused_until:
                self._paused_until, self._pause_reason = paused_until, reason

    def wait(self, deadline: float) -> LookupFailure | None:
        """Wait until the next request may start.

        Returns at once with the reason if that would be after ``deadline`` (monotonic), or if the host refused the key.
        """
        with self._lock:
            now = time.monotonic()
            paused = self._paused_until > now
            start = max(now, self._next_start, self._paused_until)
            if paused and (self._pause_reason.kind == "refused" or start >= deadline):
                return self._pause_reason
            if start >= deadline:
                return LookupFailure("timeout", "the deadline passed while the request waited for the rate limit")
            self._next_start = start + self._interval
        time.sleep(max(0.0, start - now))
        return None


class HTTPClient:
    """HTTP client of one host.

    Redirects are not followed, because they could lead to another host. The key is sent to that host only and is
    removed from messages.

    Args:
        name: name of the provider.
        base_url: scheme, host and path that every request starts with.
        per_second: maximum request rate over all threads.
        concurrency: maximum number of concurrent requests.
        params: query parameters of every request.
        headers: headers of every request.
        quota_message: text in a 401 or 403 reply that means an exhausted quota, not a wrong key.
        secret: text that is replaced by ``***`` in messages of the host.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        per_second: float,
        concurrency: int = 4,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        quota_message: str = "",
        secret: str = "",
    ) -> None:
        self.name, self.base_url = name, base_url.rstrip("/")
        self.place = urlsplit(base_url).hostname or name
        self._params, self._headers = params or {}, headers or {}
        self._quota_message, self._secret = quota_message, secret
        self._limiter, self._slots = RateLimiter(per_second), threading.BoundedSemaphore(concurrency)
        self._http: httpx2.Client | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"HTTPClient({self.place})"

    def get(self, path: str, params: Mapping[str, str], deadline: float, shape: type[Shape]) -> Shape:
        """Send a GET request and validate the JSON reply.

        Args:
            path: path after the base URL.
            params: query parameters of this request.
            deadline: monotonic time; retries and pauses end there.
            shape: model of the reply.

        Raises:
            ProviderFailure: no valid reply before the deadline.
        """
        for attempt in range(_ATTEMPTS):
            if reason := self._limiter.wait(deadline):
                raise ProviderFailure(reason)
            reply = self._attempt(path, params, deadline)
            if not isinstance(reply, _Failure):
                return self._validated(reply, shape)
            if reply.pause is None:
                break
            self._limiter.back_off(reply.pause or _FIRST_PAUSE * 2**attempt, reply.reason)
        raise ProviderFailure(reply.reason)

    def failed(self, detail: str, kind: Kind = "unreadable") -> ProviderFailure:
        """The exception for a reply that reports an error in its text."""
        return ProviderFailure(LookupFailure(kind, f"{self.place}: {self._excerpt(detail)}"))

    def _attempt(self, path: str, params: Mapping[str, str], deadline: float) -> Any:
        remaining = deadline - time.monotonic()
        if not self._slots.acquire(timeout=None if math.isinf(remaining) else max(0.0, remaining)):
            return _Failure(self._timeout())
        try:
            seconds = min(_ATTEMPT_SECONDS, max(0.01, deadline - time.monotonic()))
            request = self._client().stream(
                "GET", self.base_url + path, params={**self._params, **params}, timeout=seconds
            )
            with request as reply:
                return self._read(reply, _body(reply, time.monotonic() + seconds))
        except (httpx2.TimeoutException, TimeoutError):
            no_reply = LookupFailure("unreachable", f"{self.place} did not answer in time")
            return _Failure(no_reply if deadline > time.monotonic() else self._timeout(), 0.0)
        except InvalidSetting as error:  # invalid proxy or certificate settings
            return _Failure(LookupFailure("unreachable", f"no connection to {self.place}: {error}"))
        except httpx2.HTTPError as error:
            return _Failure(
                LookupFailure("unreachable", f"no connection to {self.place} ({type(error).__name__})"), 0.0
            )
        except OverflowError:
            return _Failure(LookupFailure("unreadable", f"{self.place} sent more than {_MAX_REPLY_BYTES:,} bytes"))
        finally:
            self._slots.release()

    def _read(self, reply: httpx2.Response, raw: bytes) -> Any:
        status, text = reply.status_code, raw[:2_000].decode("utf-8", "replace")
        if status == 200:
            return self._decoded(raw)
        if status in (401, 403):
            return self._refused(status, text)
        if status in (408, 429) or status >= 500:
            return _Failure(LookupFailure("busy", f"{self.place} is overloaded or failing ({status})"), _pause(reply))
        hint = ": it redirects, which is not followed" if 300 <= status < 400 else ""
        return _Failure(LookupFailure("unreadable", f"{self.place} answered {status}{hint}; is its base URL right?"))

    def _decoded(self, raw: bytes) -> Any:
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            detail = f"{self.place} answered, but not in JSON; is its base URL right?"
            return _Failure(LookupFailure("unreadable", detail))

    def _refused(self, status: int, text: str) -> _Failure:
        if self._quota_message and self._quota_message in text.casefold():
            reason = LookupFailure("busy", f"{self.place}: the request quota of the key is exhausted")
        else:
            reason = LookupFailure(
                "refused", f"{self.place} refused the key ({status}); check MARQUEE_{self.name.upper()}_KEY"
            )
        self._limiter.back_off(_REFUSED_SECONDS, reason)
        return _Failure(reason)

    def _validated(self, document: Any, shape: type[Shape]) -> Shape:
        try:
            return shape.model_validate(document)
        except ValidationError:
            raise self.failed("the JSON of the reply does not have the expected fields") from None

    def _timeout(self) -> LookupFailure:
        return LookupFailure("timeout", f"{self.place} did not answer before the deadline")

    def _excerpt(self, words: str) -> str:
        words = " ".join(words.split())
        return (words.replace(self._secret, "***") if self._secret else words)[:200]

    def _client(self) -> httpx2.Client:
        with self._lock:  # created on first use: a TLS context takes time, and most processes send no request
            if self._http is None:
                options = connection(self.base_url)
                self._http = httpx2.Client(headers=dict(self._headers), follow_redirects=False, **options)
                weakref.finalize(self, self._http.close)
            return self._http


def _body(reply: httpx2.Response, deadline: float) -> bytes:
    """The body, read in pieces with a limit on size and time, since a reply may be endless or very slow."""
    raw = bytearray()
    for piece in reply.iter_bytes():
        raw += piece
        if len(raw) > _MAX_REPLY_BYTES:
            raise OverflowError
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(raw)


def _pause(reply: httpx2.Response) -> float:
    """Seconds of the ``Retry-After`` header, a number or a date (RFC 9110, 10.2.3); 0 without one."""
    value = reply.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
