"""The wire to one provider: GET requests for JSON, to its own host alone, at its pace."""

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
from lookup.rate_limiter import RateLimiter
from prompts.errors import InvalidSetting
from prompts.network import connection

Shape = TypeVar("Shape", bound=BaseModel)

_ATTEMPTS = 3
_ATTEMPT_SECONDS = 10.0
_FIRST_PAUSE = 0.5
_REFUSED_SECONDS = 600.0  # a refused key is not tried again for every title
_LARGEST_REPLY = 4_000_000  # bytes, unpacked


@dataclass(frozen=True)
class _Failure:
    """Why an attempt gave nothing; ``pause`` is how long to leave the host alone, None where trying again is vain."""

    missing: LookupFailure
    pause: float | None = None


class HTTPClient:
    """Asks one host.

    Redirects are not followed: they could lead anywhere. The key goes to that host and into no message.

    Args:
        name: of the provider.
        base_url: scheme, host and path that every request starts with.
        per_second: the most requests in a second, over all threads.
        at_once: the most requests under way.
        params: sent with every request.
        headers: likewise.
        spent: words in a refusal that mean a used-up allowance, not a wrong key.
        secret: taken out of whatever the host says.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        per_second: float,
        at_once: int = 4,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        spent: str = "",
        secret: str = "",
    ) -> None:
        self.name, self.base_url = name, base_url.rstrip("/")
        self.place = urlsplit(base_url).hostname or name
        self._params, self._headers, self._spent, self._secret = params or {}, headers or {}, spent, secret
        self._pace, self._places = RateLimiter(per_second), threading.BoundedSemaphore(at_once)
        self._http: httpx2.Client | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"HTTPClient({self.place})"

    def get(self, path: str, params: Mapping[str, str], deadline: float, shape: type[Shape]) -> Shape:
        """A reply in the shape that is expected.

        Args:
            path: behind the base URL.
            params: of this request.
            deadline: monotonic time after which nobody waits for it; pauses that the host asks for are kept until then.
            shape: what the reply must hold.

        Raises:
            ProviderFailure: there is none, and why.
        """
        for attempt in range(_ATTEMPTS):
            if why := self._pace.turn(deadline):
                raise ProviderFailure(why)
            found = self._attempt(path, params, deadline)
            if not isinstance(found, _Failure):
                return self._shaped(found, shape)
            if found.pause is None:
                break
            self._pace.rest(found.pause or _FIRST_PAUSE * 2**attempt, found.missing)
        raise ProviderFailure(found.missing)

    def failed(self, detail: str, kind: Kind = "unreadable") -> ProviderFailure:
        """What to raise where a reply holds a failure in words."""
        return ProviderFailure(LookupFailure(kind, f"{self.place}: {self._excerpt(detail)}"))

    def _attempt(self, path: str, params: Mapping[str, str], deadline: float) -> Any:
        left = deadline - time.monotonic()
        if not self._places.acquire(timeout=None if math.isinf(left) else max(0.0, left)):
            return _Failure(self._late())
        try:
            seconds = min(_ATTEMPT_SECONDS, max(0.01, deadline - time.monotonic()))
            asked = self._client().stream(
                "GET", self.base_url + path, params={**self._params, **params}, timeout=seconds
            )
            with asked as reply:
                return self._read(reply, _body(reply, time.monotonic() + seconds))
        except (httpx2.TimeoutException, TimeoutError):
            silent = LookupFailure("unreachable", f"{self.place} did not answer in time")
            return _Failure(silent if deadline > time.monotonic() else self._late(), 0.0)
        except InvalidSetting as error:  # of a proxy or of certificates
            return _Failure(LookupFailure("unreachable", f"no connection to {self.place}: {error}"))
        except httpx2.HTTPError as error:
            return _Failure(
                LookupFailure("unreachable", f"no connection to {self.place} ({type(error).__name__})"), 0.0
            )
        except OverflowError:
            return _Failure(LookupFailure("unreadable", f"{self.place} sent more than {_LARGEST_REPLY:,} bytes"))
        finally:
            self._places.release()

    def _read(self, reply: httpx2.Response, raw: bytes) -> Any:
        status, said = reply.status_code, raw[:2_000].decode("utf-8", "replace")
        if status == 200:
            return self._decoded(raw)
        if status in (401, 403):
            return self._refused(status, said)
        if status in (408, 429) or status >= 500:
            return _Failure(LookupFailure("busy", f"{self.place} is overloaded or failing ({status})"), _pause(reply))
        where = ": it redirects, which is not followed" if 300 <= status < 400 else ""
        return _Failure(LookupFailure("unreadable", f"{self.place} answered {status}{where}; is its base URL right?"))

    def _decoded(self, raw: bytes) -> Any:
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            detail = f"{self.place} answered, but not in JSON; is its base URL right?"
            return _Failure(LookupFailure("unreadable", detail))

    def _refused(self, status: int, said: str) -> _Failure:
        if self._spent and self._spent in said.casefold():
            why = LookupFailure("busy", f"{self.place}: the key's allowance of requests is used up")
        else:
            why = LookupFailure(
                "refused", f"{self.place} refused the key ({status}); check MARQUEE_{self.name.upper()}_KEY"
            )
        self._pace.rest(_REFUSED_SECONDS, why)
        return _Failure(why)

    def _shaped(self, document: Any, shape: type[Shape]) -> Shape:
        try:
            return shape.model_validate(document)
        except ValidationError:
            raise self.failed("it answered in JSON of another shape than expected") from None

    def _late(self) -> LookupFailure:
        return LookupFailure("timeout", f"{self.place} did not answer before the time was over")

    def _excerpt(self, words: str) -> str:
        words = " ".join(words.split())
        return (words.replace(self._secret, "***") if self._secret else words)[:200]

    def _client(self) -> httpx2.Client:
        with self._lock:  # not before the first question: a TLS context takes a moment, and most processes ask nothing
            if self._http is None:
                options = connection(self.base_url)
                self._http = httpx2.Client(headers=dict(self._headers), follow_redirects=False, **options)
                weakref.finalize(self, self._http.close)
            return self._http


def _body(reply: httpx2.Response, deadline: float) -> bytes:
    """The body, piece by piece: it may be endless, or come a byte at a time."""
    raw = bytearray()
    for piece in reply.iter_bytes():
        raw += piece
        if len(raw) > _LARGEST_REPLY:
            raise OverflowError
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(raw)


def _pause(reply: httpx2.Response) -> float:
    """Seconds that the host wants to be left alone, as number or date (RFC 9110, 10.2.3); 0 where it does not say."""
    said = reply.headers.get("Retry-After", "").strip()
    if said.isdecimal():
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return 0.0
