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
_LATE = " did not answer before the deadline"


class _Retry(ProviderFailure):
    """A failed attempt after which another one makes sense, ``pause`` seconds later; 0: a short, growing pause."""

    def __init__(self, kind: Kind, detail: str, pause: float = 0.0) -> None:
        super().__init__(LookupFailure(kind, detail))
        self.pause = pause


class RateLimiter:
    """Spaces the requests of all threads to one host, and pauses them when the host asks for it."""

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
        name: of the provider.
        base_url: scheme, host and path that every request starts with.
        per_second: maximum request rate over all threads.
        concurrency: maximum number of concurrent requests.
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
        """Send a GET request and validate the JSON reply; retries and pauses end at the deadline (monotonic).

        Raises:
            ProviderFailure: no valid reply before the deadline.
        """
        for attempt in range(_ATTEMPTS):
            if reason := self._limiter.wait(deadline):
                raise ProviderFailure(reason)
            try:
                return shape.model_validate(self._attempt(path, params, deadline))
            except ValidationError:
                raise self.failed("the JSON of the reply does not have the expected fields") from None
            except _Retry as error:
                failure = error.failure
                self._limiter.back_off(error.pause or _FIRST_PAUSE * 2**attempt, failure)
        raise ProviderFailure(failure)

    def failed(self, detail: str, kind: Kind = "unreadable") -> ProviderFailure:
        """The exception for a reply that reports an error in its text."""
        words = " ".join(detail.split())
        return self._failed(kind, f": {(words.replace(self._secret, '***') if self._secret else words)[:200]}")

    def _failed(self, kind: Kind, detail: str) -> ProviderFailure:
        return ProviderFailure(LookupFailure(kind, self.place + detail))

    def _attempt(self, path: str, params: Mapping[str, str], deadline: float) -> Any:
        """The JSON of a reply."""
        remaining = deadline - time.monotonic()
        if not self._slots.acquire(timeout=None if math.isinf(remaining) else max(0.0, remaining)):
            raise self._failed("timeout", _LATE)
        try:
            seconds = min(_ATTEMPT_SECONDS, max(0.01, deadline - time.monotonic()))
            url, params = self.base_url + path, {**self._params, **params}
            with self._client().stream("GET", url, params=params, timeout=seconds) as reply:
                return self._read(reply, _body(reply, time.monotonic() + seconds))
        except (httpx2.TimeoutException, TimeoutError):
            if deadline > time.monotonic():
                raise _Retry("unreachable", f"{self.place} did not answer in time") from None
            raise _Retry("timeout", self.place + _LATE) from None
        except InvalidSetting as error:  # invalid proxy or certificate settings
            failure = LookupFailure("unreachable", f"no connection to {self.place}: {error}")
            raise ProviderFailure(failure) from None
        except httpx2.HTTPError as error:
            raise _Retry("unreachable", f"no connection to {self.place} ({type(error).__name__})") from None
        except OverflowError:
            raise self._failed("unreadable", f" sent more than {_MAX_REPLY_BYTES:,} bytes") from None
        finally:
            self._slots.release()

    def _read(self, reply: httpx2.Response, raw: bytes) -> Any:
        status = reply.status_code
        if status in (401, 403):
            raise self._refused(status, raw[:2_000].decode("utf-8", "replace"))
        if status in (408, 429) or status >= 500:
            raise _Retry("busy", f"{self.place} is overloaded or failing ({status})", _pause(reply))
        if status != 200:
            hint = ": it redirects, which is not followed" if 300 <= status < 400 else ""
            raise self._failed("unreadable", f" answered {status}{hint}; is its base URL right?")
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise self._failed("unreadable", " answered, but not in JSON; is its base URL right?") from None

    def _refused(self, status: int, text: str) -> ProviderFailure:
        if self._quota_message and self._quota_message in text.casefold():
            error = self._failed("busy", ": the request quota of the key is exhausted")
        else:
            error = self._failed("refused", f" refused the key ({status}); check MARQUEE_{self.name.upper()}_KEY")
        self._limiter.back_off(_REFUSED_SECONDS, error.failure)
        return error

    def _client(self) -> httpx2.Client:
        with self._lock:  # created on first use: a TLS context takes time, and most processes send no request
            if self._http is None:
                options = connection(self.base_url)
                self._http = httpx2.Client(headers=dict(self._headers), follow_redirects=False, **options)
                weakref.finalize(self, self._http.close)
            return self._http


@dataclass(frozen=True)
class HTTPProvider:
    """A provider behind an HTTP client, which has the provider's name and base URL."""

    http: HTTPClient

    @property
    def name(self) -> str:
        """Name in settings."""
        return self.http.name

    @property
    def base_url(self) -> str:
        """Root of its API."""
        return self.http.base_url


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
