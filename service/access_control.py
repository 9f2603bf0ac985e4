"""Access control: API keys, and which requests need one; ``request_hooks.py`` checks them.

Once a key exists, every method but GET needs one, and so do ``/metrics`` and the texts of ``/review/texts``. Pages,
taxonomies and health stay public.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from marquee.settings import Settings
from prompts.errors import InvalidSetting, UnknownName
from prompts.files import digest_of, locked, read_json, write_text_atomically
from prompts.network import is_loopback

_PREFIX = "mq_"  # lets people and secret scanners recognise a key
_NAME = re.compile(r"[\w.@-]{1,64}")
_READING_METHODS = frozenset(["GET", "HEAD", "OPTIONS"])
_GUARDED_PATHS = frozenset(["/metrics", "/review/texts"])  # whatever the method


@dataclass(frozen=True)
class Key:
    """An API key as it is stored.

    Attributes:
        digest: SHA-256 of the key in hex. A key is 32 random bytes, so a slow hash would add nothing.
        made: ISO 8601 time of creation.
        revoked: ISO 8601 time of revocation; empty while the key is valid.
    """

    digest: str
    made: str
    revoked: str = ""


class Keys:
    """API keys in a JSON file, which is read again whenever it changes.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int, int] | None = None  # of the file that was read last
        self._keys: Mapping[str, Key] = {}

    def add(self, name: str) -> str:
        """Create a key, store its hash and return the key.

        Raises:
            InvalidSetting: the name is taken or invalid.
        """
        if not _NAME.fullmatch(name):
            raise InvalidSetting(f"{name!r} cannot name a key; use letters, digits and . _ @ - (64 at most)")
        token = _PREFIX + secrets.token_urlsafe(32)
        with self._changing() as keys:
            if name in keys and not keys[name].revoked:
                raise InvalidSetting(f"a key {name!r} exists; revoke it, or use another name")
            keys[name] = Key(digest_of(token), _now())
        return token

    def revoke(self, name: str) -> None:
        """Make a key invalid from now on.

        Raises:
            UnknownName: no key has this name.
        """
        with self._changing() as keys:
            if name not in keys:
                raise UnknownName("key", name, keys)
            keys[name] = replace(keys[name], revoked=keys[name].revoked or _now())

    def all(self) -> Mapping[str, Key]:
        """All keys by name. Revoked keys are included: a service whose last key was revoked stays locked."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._version, self._keys = None, {}
            return self._keys
        version = (status.st_mtime_ns, status.st_size, status.st_ino)
        if version != self._version:
            self._keys, self._version = self._read(), version
        return self._keys

    def owner(self, token: str) -> str | None:
        """Name of a valid key; None for any other string. All keys are compared, in constant time."""
        digest, owner = digest_of(token), None
        for name, key in self.all().items():
            if hmac.compare_digest(key.digest, digest) and not key.revoked:
                owner = name
        return owner

    def _read(self) -> dict[str, Key]:
        try:
            return {name: Key(**key) for name, key in read_json(self._path, InvalidSetting).items()}
        except (TypeError, AttributeError):
            raise InvalidSetting(f"{self._path} has no API keys; correct MARQUEE_KEYS_PATH or the file") from None

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """The keys, to be changed and then written back under a lock."""
        with locked(self._path.with_suffix(".lock")):
            keys = dict(self.all())
            yield keys
            content = json.dumps({name: asdict(key) for name, key in keys.items()}, indent=2)
            write_text_atomically(self._path, content, mode=0o600)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class AccessControl:
    """Which requests are allowed.

    Attributes:
        keys: the API keys; None where no request needs one.
        locked: whether a key is needed even while none exists. Otherwise it is needed once the first one exists.
        rate_limit: requests per key, or per address without one, such as ``600 per minute``; empty: no limit.
        storage: where requests are counted; ``memory://`` counts in each worker process.
    """

    keys: Keys | None = None
    locked: bool = False
    rate_limit: str = ""
    storage: str = "memory://"

    @property
    def needs_key(self) -> bool:
        """Whether requests need a key now."""
        return self.keys is not None and (self.locked or bool(self.keys.all()))


def access_control_of(settings: Settings) -> AccessControl:
    """The access control that the settings describe.

    Raises:
        InvalidSetting: the service would listen beyond loopback without a key, and anonymous access is not allowed.
    """
    keys, local = Keys(settings.keys_path), is_loopback(settings.host)
    if not (local or settings.allow_anonymous or keys.all()):
        raise InvalidSetting(
            f"every client that reaches {settings.host} could use this service: make a key (`main.py keys add NAME`), "
            "allow anonymous clients (--allow-anonymous, MARQUEE_ALLOW_ANONYMOUS=true), or listen on 127.0.0.1"
        )
    limit = settings.rate_limit if settings.allow_anonymous or not local or keys.all() else ""
    return AccessControl(None if settings.allow_anonymous else keys, not local, limit, settings.rate_storage)


def is_guarded(method: str, path: str) -> bool:
    """Whether a route needs a key once keys exist."""
    return method not in _READING_METHODS or path in _GUARDED_PATHS
