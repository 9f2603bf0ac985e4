"""URLs, and how to reach them: loopback, proxies and certificates from the environment."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from prompts.errors import InvalidSetting

if TYPE_CHECKING:
    import ssl

_INVISIBLE = "".join(map(chr, range(33))) + "\x7f\x85\xa0\u200b\u200c\u200d\u2028\u2029\u2060\ufeff"
_QUOTES = {('"', '"'), ("'", "'"), ("`", "`"), ("\u201c", "\u201d"), ("\u2018", "\u2019"), ("\u00ab", "\u00bb")}
_LONGEST_ADDRESS = 64  # characters shown of an entry that is no IP address
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


def connection(url: str) -> Mapping[str, Any]:
    """Arguments for an ``httpx2`` client that talks to one host: its proxy, and the certificates to trust.

    A loopback address is reached directly. For others ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``
    count, and ``SSL_CERT_FILE``, ``SSL_CERT_DIR`` or ``REQUESTS_CA_BUNDLE``.

    Raises:
        InvalidSetting: one of these variables cannot be used; the message names it.
    """
    import ssl  # only for requests: the module takes as long as all others of a setting's check

    parts = split_url(url)
    if parts.scheme == "http" and is_loopback(parts.hostname or ""):
        return {"proxy": None, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "trust_env": False}
    variable, path = next(((name, path) for name in _CERTIFICATES if (path := os.environ.get(name))), ("", ""))
    return {"proxy": _proxy_for(parts)[1], "verify": _trusted(variable, path), "trust_env": False}


def no_connection(place: str, url: str, error: BaseException | None = None) -> str:
    """Why no connection to a model server was made, and what to do: its scheme or certificate, a proxy, or the server.

    ``place`` is host and port. The causes of the HTTP client's ``error`` tell a wrong scheme from a server that is
    down.
    """
    import ssl

    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        why = next(filter(None, (getattr(cause, "verify_message", "") for cause in causes)), "unknown authority")
        return f"the certificate of {place} is not trusted ({why}); name its authority's certificates in SSL_CERT_FILE"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return f"{place} does not answer in HTTPS; if it speaks plain HTTP, write http:// in the base URL"
    if url.startswith("http://") and any(isinstance(cause, ConnectionResetError) for cause in causes):
        return f"{place} breaks the connection off; if it speaks HTTPS, write https:// in the base URL"
    if variable := _proxy_for(split_url(url))[0]:
        return f"no connection to {place} through the proxy of {variable}; check it, or add the host to NO_PROXY"
    return f"no connection to {place}; is the model server up?"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


def split_url(url: str) -> SplitResult:
    """The parts of an HTTP URL.

    Raises:
        ValueError: it is none; the message does not repeat it, since a URL may hold a password.
    """
    parts = urlsplit(url)  # raises ValueError for brackets that do not close
    _ = parts.port  # raises ValueError for a port that is none
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("no HTTP URL")
    return parts


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def client_address(given: str | None) -> str:
    """A client's address without the port that some proxies write after it, and an IPv4 address in its own form."""
    address = (given or "").strip()
    bare = address[1:].partition("]")[0] if address.startswith("[") else address
    bare = bare.rpartition(":")[0] if bare.count(":") == 1 else bare
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        return address[:_LONGEST_ADDRESS]
    return str(getattr(found, "ipv4_mapped", None) or found)


def client_network(address: str) -> str:
    """The addresses that one client may use: an IPv4 address, or the /64 network of an IPv6 address (RFC 6177)."""
    try:
        return str(ipaddress.IPv6Network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


def url_of(host: str, port: int) -> str:
    """The URL of a server at an address; IPv6 addresses go into brackets.

    An address that means every interface (``0.0.0.0``, ``::``) becomes the loopback address of its family.
    """
    host = host.strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def trimmed(value: str) -> str:
    """A key or URL without what copying adds around it: spaces, line ends, invisible characters, a pair of quotes."""
    value = value.strip(_INVISIBLE)
    quoted = len(value) > 1 and (value[0], value[-1]) in _QUOTES
    return value[1:-1].strip(_INVISIBLE) if quoted else value


def without_login(words: str) -> str:
    """The words without the user name and the password of each URL in them."""
    return re.sub(r"//[^/\s]*@", "//***@", words)


def _proxy_for(parts: SplitResult) -> tuple[str, str | None]:
    """The variable that names the proxy, and its URL."""
    host = (parts.hostname or "").lower()
    entries = re.split(r"[,\s]+", _variable("NO_PROXY")[1].lower())
    if is_loopback(host) or any(_bypasses(entry, host, parts.port) for entry in entries if entry):
        return "", None
    variables = map(_variable, (f"{parts.scheme}_proxy".upper(), "ALL_PROXY"))
    variable, value = next((pair for pair in variables if pair[1]), ("", ""))
    return variable, _proxy(variable, value, host) if value else None


def _variable(name: str) -> tuple[str, str]:
    """A variable as it is set, in small letters or in capitals, and its value."""
    values = [(one, os.environ.get(one, "").strip()) for one in (name.lower(), name)]
    return next((pair for pair in values if pair[1]), values[1])


def _proxy(variable: str, value: str, host: str) -> str:
    value = value if "://" in value else f"http://{value}"
    scheme = value.partition("://")[0].lower()
    remedy = f"use an HTTP proxy such as http://proxy.example:3128, unset {variable}, or add {host} to NO_PROXY"
    if scheme.startswith("socks"):
        raise InvalidSetting(f"{variable} names a SOCKS proxy, which is not supported; {remedy}")
    try:
        split_url(value)
    except ValueError:
        raise InvalidSetting(f"{variable} is not the URL of a proxy; {remedy}") from None
    return value


def _bypasses(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of ``NO_PROXY`` names a host: itself, a domain above it, a network, or everything."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        name, _, of = entry.partition(":")
        domain = name.removeprefix("*").removeprefix(".")
        return entry == "*" or (bool(domain) and of in ("", str(port)) and f".{host}".endswith(f".{domain}"))


@cache
def _trusted(variable: str, path: str) -> ssl.SSLContext:
    """The certificates of a file or folder that a variable names, else those of the system."""
    if not variable:
        import httpx2

        return httpx2.create_ssl_context(trust_env=False)
    import ssl

    if not Path(path).exists():
        raise InvalidSetting(f"{variable} names {path}, which does not exist; correct or unset it")
    try:
        folder = Path(path).is_dir()
        return ssl.create_default_context(cafile=None if folder else path, capath=path if folder else None)
    except OSError as error:  # ssl.SSLError is one
        why = error.strerror if error.filename else "no certificates in PEM form"
        raise InvalidSetting(f"{variable} names {path}, which cannot be used ({why}); correct or unset it") from None
