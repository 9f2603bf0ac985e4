"""Who may ask, how often, and what answers tell a browser.

What asks for work needs a key, where keys are asked for: every method but GET, and the metrics. Pages, taxonomies and
health can be read by all.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from flask import Flask, Response, g, request
from flask_limiter import ApplicationLimit, Limiter
from limits.errors import ConfigurationError

from llm.request_context import CURRENT_REQUEST
from marquee.settings import Settings
from prompts.errors import InvalidSetting
from prompts.files import digest_of
from prompts.network import client_address, client_network, is_loopback
from service.auth import Keys
from service.request_problem import RequestProblem

_READS = frozenset(["GET", "HEAD", "OPTIONS"])
_WRONG_KEYS = "20 per minute"  # from one address
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class AccessControl:
    """How the service is locked.

    Attributes:
        keys: the keys; None where nobody needs one.
        locked: a key is needed even while none exists. Otherwise from the first one on.
        rate_limit: requests of one key, or of one address without one, such as ``600 per minute``; empty: no bound.
        storage: where the counts are kept; ``memory://`` counts in each worker process for itself.
    """

    keys: Keys | None = None
    locked: bool = False
    rate_limit: str = ""
    storage: str = "memory://"

    @property
    def needs_key(self) -> bool:
        """Whether who asks needs a key now."""
        return self.keys is not None and (self.locked or bool(self.keys.all()))


def door(settings: Settings) -> AccessControl:
    """The lock that the settings ask for.

    Raises:
        InvalidSetting: another address than loopback is to be listened on, without keys and without saying so.
    """
    keys, inside = Keys(settings.keys_path), is_loopback(settings.host)
    if not (inside or settings.allow_anonymous or keys.all()):
        raise InvalidSetting(
            f"whoever reaches {settings.host} could ask this service: make a key (`main.py keys add NAME`), "
            "or say that all may (--allow-anonymous, MARQUEE_ALLOW_ANONYMOUS=true), or listen on 127.0.0.1"
        )
    limited = settings.rate_limit if settings.allow_anonymous or not inside or keys.all() else ""
    return AccessControl(None if settings.allow_anonymous else keys, not inside, limited, settings.rate_storage)


def install(app: Flask, lock: AccessControl) -> None:
    """Guard an application."""
    app.after_request(_add_headers)
    if lock.keys is None and not lock.rate_limit:
        return
    limiter = _limiter(app, lock)

    @app.before_request
    def let_in() -> None:
        if not _is_guarded() or not lock.needs_key or _owner(lock):
            return
        said = "this key opens nothing here" if _given() else "send a key: Authorization: Bearer KEY, or X-API-Key: KEY"
        raise RequestProblem("no-key", said)

    @app.before_request
    def name_asker() -> None:
        if lock.keys and (name := _owner(lock)):
            g.key = name
            salt = digest_of(lock.keys.all()[name].digest, 32)
            CURRENT_REQUEST.set(replace(CURRENT_REQUEST.get(), cache_salt=salt))

    @app.after_request
    def tell_limits(response: Response) -> Response:
        if limit := limiter.current_limit:
            wait = max(0, math.ceil(limit.reset_at - time.time()))
            response.headers["RateLimit-Limit"] = str(limit.limit.amount)
            response.headers["RateLimit-Remaining"] = str(max(0, limit.remaining))
            response.headers["RateLimit-Reset"] = str(wait)
            if response.status_code == 429:
                response.headers["Retry-After"] = str(max(1, wait))
        if response.status_code == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


def _limiter(app: Flask, lock: AccessControl) -> Limiter:
    """Registered before the lock is: who has guessed too often is not even told that the key was wrong."""
    guesses = ApplicationLimit(
        _WRONG_KEYS,
        key_function=_address,
        scope="wrong keys",
        exempt_when=lambda: not _is_guarded() or not lock.needs_key or _owner(lock) is not None,
        deduct_when=lambda response: response.status_code == 401,
    )
    limits = [guesses]
    if lock.rate_limit:
        limits.append(
            ApplicationLimit(
                lock.rate_limit,
                key_function=lambda: f"key {owner}" if (owner := _owner(lock)) else _address(),
                scope="requests",
                exempt_when=lambda: not _is_guarded() or (lock.needs_key and _owner(lock) is None),
            )
        )
    try:
        limiter = Limiter(
            _address,
            application_limits=limits,  # type: ignore[arg-type]  # a list is invariant
            storage_uri=lock.storage,
            swallow_errors=True,  # a counter that cannot be reached should not close the service
        )
        # Where nothing is counted, the limiter is not asked: going through its rules takes a quarter of our own time.
        limiter.request_filter(lambda: not (_is_guarded() and (lock.rate_limit or lock.needs_key)))
        limiter.init_app(app)
    except ConfigurationError as error:
        raise InvalidSetting(f"MARQUEE_RATE_STORAGE: {error}") from None
    return limiter


def is_guarded(method: str, path: str) -> bool:
    """Whether a route needs a key, where keys are asked for."""
    return method not in _READS or path == "/metrics"


def _is_guarded() -> bool:
    return request.url_rule is not None and is_guarded(request.method, request.path)


def _given() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("X-API-Key", "")


def _owner(lock: AccessControl) -> str | None:
    """Name of the key that came with the request; looked up once."""
    if "owner" not in g:
        g.owner = lock.keys.owner(_given()) if lock.keys and _given() else None
    found: str | None = g.owner
    return found


def _address() -> str:
    return f"address {client_network(client_address(request.remote_addr))}"


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
