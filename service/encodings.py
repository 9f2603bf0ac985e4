"""The bytes of a request's body: decompressed within a bound, and decoded from any of JSON's encodings."""

from __future__ import annotations

import json
import zlib

from service.request_problem import RequestProblem

_GZIP_OR_ZLIB, _RAW = 32 + zlib.MAX_WBITS, -zlib.MAX_WBITS
_KNOWN = frozenset(["gzip", "x-gzip", "deflate"])
_MOST_LAYERS = 2  # of encodings, one around the other
_ASCII = rb'{"\u0041": "+AEE-"}'  # codecs that unescape read another text here
_MOST_MEMBERS = 32  # the rest of the body is copied for each


def decompressed(body: bytes, encodings: str, most: int) -> bytes:
    """A body without its content encodings (RFC 9110).

    Args:
        body: as it came.
        encodings: the header ``Content-Encoding``.
        most: the largest decompressed body, in bytes.

    Raises:
        RequestProblem: an encoding that is unknown here, a damaged body, or one that becomes larger than ``most``.
    """
    names = [name.strip().lower() for name in encodings.split(",")]
    layers = [name for name in names if name not in ("", "identity")]
    if unknown := [name for name in layers if name not in _KNOWN]:
        detail = f"the content encoding {unknown[0][:40]!r} is unknown here; send gzip, deflate or none"
        raise RequestProblem("unsupported-media-type", detail)
    if len(layers) > _MOST_LAYERS:
        detail = f"{len(layers)} content encodings, one around the other; send {_MOST_LAYERS} at most"
        raise RequestProblem("unsupported-media-type", detail)
    for name in reversed(layers):
        body = _inflated(body, name, most)
    return body


def _inflated(body: bytes, name: str, most: int) -> bytes:
    try:
        return _members(body, _GZIP_OR_ZLIB, name, most)
    except zlib.error:
        if name != "deflate":
            raise _damaged(name) from None
    try:
        return _members(body, _RAW, name, most)  # as some clients understand "deflate"
    except zlib.error:
        raise _damaged(name) from None


def _members(body: bytes, bits: int, name: str, most: int) -> bytes:
    """All members of a stream; a gzip file may have several."""
    found = b""
    for _ in range(_MOST_MEMBERS):
        stream = zlib.decompressobj(bits)
        found += stream.decompress(body, most + 1 - len(found))
        if len(found) > most:
            detail = f"the body is larger than {most} bytes once it is decompressed; send fewer or shorter texts"
            raise RequestProblem("too-large", detail)
        if not stream.eof:
            raise _damaged(name)
        body = stream.unused_data
        if not body.rstrip(b"\0"):
            return found
    raise _damaged(name)


def _damaged(name: str) -> RequestProblem:
    return RequestProblem("bad-request", f"the body is no {name} data, or it was cut off; send it again, or without")


def decoded(body: bytes, charset: str | None) -> str:
    """A JSON body as text: UTF-8, or UTF-16 and UTF-32 by their first bytes, with or without a byte order mark.

    Args:
        body: decompressed.
        charset: what the content type says; used where the body is not UTF-8.

    Raises:
        RequestProblem: it is in none of these.
    """
    fault = "an unknown encoding"
    said = charset if charset and _reads_ascii(charset) else None
    for encoding in filter(None, (json.detect_encoding(body), said)):
        try:
            return body.decode(encoding)
        except UnicodeDecodeError as error:
            fault = f"byte {body[error.start]:#04x} at place {error.start}"
        except UnicodeError:  # as idna and punycode raise it
            continue
    raise RequestProblem("not-json", f"the body is not UTF-8 ({fault}); send JSON in UTF-8")


def _reads_ascii(charset: str) -> bool:
    """Whether Python has a codec of this name that is a superset of ASCII.

    Others are not charsets (``unicode_escape``), or are not accepted for JSON (EBCDIC).
    """
    try:
        return _ASCII.decode(charset) == _ASCII.decode()
    except (LookupError, ValueError):  # no such codec; a name that holds a null character
        return False
