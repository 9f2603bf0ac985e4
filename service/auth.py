"""API keys: made once and shown once; only their hashes are kept.

A key is 32 random bytes, so a plain SHA-256 keeps it as well as a slow hash would: there is no dictionary to try.
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

from prompts.errors import InvalidSetting, UnknownName
from prompts.files import digest_of, locked, read_json, write_text_atomically

_PREFIX = "mq_"  # so that people, and scanners for leaked secrets, know one when they see one
_NAME = re.compile(r"[\w.@-]{1,64}")


@dataclass(frozen=True)
class Key:
    """A key as it is kept.

    Attributes:
        digest: SHA-256 of the key, in hex.
        made: when, ISO 8601.
        revoked: when, or empty.
    """

    digest: str
    made: str
    revoked: str = ""


class Keys:
    """Keys in one JSON file. A file that changes is read again, so that a running service knows of it at once.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: Mapping[str, Key] = {}

    def add(self, name: str) -> str:
        """Make a key, keep its hash, return it.

        Raises:
            InvalidSetting: the name is taken, or no name.
        """
        if not _NAME.fullmatch(name):
            raise InvalidSetting(f"{name!r} is no name for a key; take letters, digits and . _ @ - (64 at most)")
        token = _PREFIX + secrets.token_urlsafe(32)
        with self._changing() as keys:
            if name in keys and not keys[name].revoked:
                raise InvalidSetting(f"there is a key {name!r} already; revoke it, or take another name")
            keys[name] = Key(_digest(token), _now())
        return token

    def revoke(self, name: str) -> None:
        """Let a key open nothing from now on.

        Raises:
            UnknownName: there is no such key.
        """
        with self._changing() as keys:
            if name not in keys:
                raise UnknownName("key", name, keys)
            keys[name] = replace(keys[name], revoked=keys[name].revoked or _now())

    def all(self) -> Mapping[str, Key]:
        """All keys by name, revoked ones too: a service whose last key was revoked should not stand open."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._seen, self._keys = None, {}
            return self._keys
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen != self._seen:
            self._keys, self._seen = self._read(), seen
        return self._keys

    def owner(self, token: str) -> str | None:
        """Name of the key that this is. Every key is compared, in a time that tells nothing of them."""
        digest, found = _digest(token), None
        for name, key in self.all().items():
            if hmac.compare_digest(key.digest, digest) and not key.revoked:
                found = name
        return found

    def _read(self) -> dict[str, Key]:
        try:
            return {name: Key(**key) for name, key in read_json(self._path, InvalidSetting).items()}
        except (TypeError, AttributeError):
            raise InvalidSetting(f"{self._path} holds no API keys; correct MARQUEE_KEYS_PATH or the file") from None

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """The keys, to be changed and written back as a whole, one process at a time."""
        with locked(self._path.with_suffix(".lock")):
            keys = dict(self.all())
            yield keys
            content = json.dumps({name: asdict(key) for name, key in keys.items()}, indent=2)
            write_text_atomically(self._path, content, mode=0o600)


def _digest(token: str) -> str:
    return digest_of(token)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
