"""What an endpoint is: its base URL, its headers and secrets, the user's extra fields and the name of its model."""

from __future__ import annotations

import ipaddress
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from prompts.network import without_login

# Roots of the OpenAI-compatible APIs of public hosts, from their documentation (November 2026).
_ROOTS: Mapping[str, str] = {
    "api.openai.com": "/v1",
    "dashscope.aliyuncs.com": "/compatible-mode/v1",
    "dashscope-intl.aliyuncs.com": "/compatible-mode/v1",
    "dashscope-us.aliyuncs.com": "/compatible-mode/v1",
    "api.groq.com": "/openai/v1",
    "api.mistral.ai": "/v1",
    "api.together.xyz": "/v1",
    "api.together.ai": "/v1",
    "api.fireworks.ai": "/inference/v1",
    "api.deepseek.com": "/v1",
    "openrouter.ai": "/api/v1",
    "api.x.ai": "/v1",
    "api.anthropic.com": "/v1",
    "api.cerebras.ai": "/v1",
    "api.cohere.ai": "/compatibility/v1",
    "api.cohere.com": "/compatibility/v1",
    "api.perplexity.ai": "",
    "generativelanguage.googleapis.com": "/v1beta/openai",
    "router.huggingface.co": "/v1",
    "integrate.api.nvidia.com": "/v1",
    "api.moonshot.ai": "/v1",
    "api.moonshot.cn": "/v1",
    "models.github.ai": "/inference",
}
_AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com", ".openai.azure.us")
_API_PATH = re.compile(r"/(?:chat/completions|completions|responses|models|embeddings|tokenize|health)$")
_VERSION = re.compile(r"/(?:v\d\w*|openai|inference)(?:/|$)")
_SECRET_NAME = re.compile(r"(?i)key|token|secret|passw|auth|sig(?:nature)?$")
_LONG_NAME = 12  # characters; a shorter user name may be part of an ordinary word
_DEPLOYMENT = re.compile(r"/openai/deployments/[^/]+$")
_RESERVED_FIELDS = {"model", "messages", "stream", "n"}


class BadAddress(ValueError):
    """A base URL that cannot work; the message says why, without the URL's secrets."""


@dataclass(frozen=True)
class Address:
    """A base URL in parts."""

    base_url: str  # scheme, host and path, without a login and without a slash at the end
    # Sent with every request, such as Azure's ``api-version``.
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    login: str = field(default="", repr=False)  # ``user:password``, percent-encoded as in the URL

    @classmethod
    def parse(cls, url: str) -> Address:
        """Split a URL without correcting it."""
        parts = urlsplit(url)
        login, _, netloc = parts.netloc.rpartition("@")
        base_url = urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))
        return cls(base_url, dict(parse_qsl(parts.query, keep_blank_values=True)), login)

    @property
    def endpoint(self) -> str:
        """Host and port for messages; the port is omitted for HTTPS on its default port."""
        parts = urlsplit(self.base_url)
        host = parts.hostname or "the endpoint"
        shown = f"[{host}]" if ":" in host else host
        port = parts.port or (80 if parts.scheme == "http" else None)
        return f"{shown}:{port}" if port else shown

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_azure(self) -> bool:
        """Whether the host is Azure's, which takes keys in the header ``api-key``."""
        return self.host.endswith(_AZURE_HOSTS)

    @property
    def is_openai(self) -> bool:
        return self.host.endswith(("api.openai.com", *_AZURE_HOSTS))

    def headers(self, api_key: str) -> dict[str, str]:
        """Authentication headers: ``api-key`` for Azure, else the URL's login (Basic), else the key (Bearer)."""
        if self.login and not self.is_azure:
            user, _, password = self.login.partition(":")
            login = f"{unquote(user)}:{unquote(password)}"
            return {"Authorization": f"Basic {b64encode(login.encode()).decode()}"}
        if not api_key:
            return {}
        return {"api-key": api_key} if self.is_azure else {"Authorization": f"Bearer {api_key}"}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Strings that no message may contain, longest first: the login and key-like query values, in every encoding.

        A user name counts if it has no password or is long, since some servers take a token there.
        """
        user, _, password = self.login.partition(":")
        parts = [self.login, password, user if not password or len(user) >= _LONG_NAME else ""]
        parts += [value for key, value in self.query.items() if _SECRET_NAME.search(key)]
        forms = {form for part in parts for form in (part, unquote(part), quote(unquote(part), safe=""))}
        forms.update(value.removeprefix("Basic ") for value in self.headers("").values())
        return tuple(sorted(forms - {""}, key=lambda form: (-len(form), form)))

    def url(self, path: str) -> str:
        """The URL of a path under the API's root, with the query."""
        return f"{self.base_url}{path}?{urlencode(self.query)}" if self.query else self.base_url + path

    def server_url(self, path: str) -> str:
        """The URL of a path outside the API's root: vLLM's ``/tokenize`` is not under ``/v1``."""
        parts = urlsplit(self.base_url)
        root = parts.path.rstrip("/").removesuffix("/v1")
        return urlunsplit((parts.scheme, parts.netloc, root + path, "", ""))

    @property
    def hint(self) -> str:
        """What may be wrong with the settings if the endpoint answers 404."""
        if not _VERSION.search(urlsplit(self.base_url).path + "/"):
            return f"most base URLs end in /v1, and OPENAI_BASE_URL is {self.base_url}"
        return "check MARQUEE_MODEL and OPENAI_BASE_URL"


def correct_base_url(url: str) -> tuple[str, str]:
    """A base URL, completed where the right form is certain, and a sentence about the change, or an empty one.

    Raises:
        BadAddress: it cannot be an endpoint's.
    """
    original, url = url, _with_scheme(url.strip())
    parts = urlsplit(url)
    host, scheme, netloc = (parts.hostname or "").lower(), parts.scheme.lower(), parts.netloc
    if scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise BadAddress("should be a URL such as http://127.0.0.1:8000/v1")
    try:
        _ = parts.port
    except ValueError:
        raise BadAddress("has a port that is no number from 0 to 65535") from None
    if scheme == "http" and (host in _ROOTS or host.endswith(_AZURE_HOSTS)):
        scheme, netloc = "https", netloc.removesuffix(":80")
    path = _with_root(_API_PATH.sub("", re.sub(r"/{2,}", "/", parts.path).rstrip("/")), host)
    if host.endswith(_AZURE_HOSTS) and _DEPLOYMENT.search(path) and "api-version=" not in parts.query:
        raise BadAddress(
            "is a deployment of Azure and lacks its version: add ?api-version=…, or use https://…/openai/v1"
        )
    new = urlunsplit((scheme, netloc, path, parts.query, ""))
    same = new.rstrip("/") == original.strip().rstrip("/")
    return new, "" if same else f"OPENAI_BASE_URL {_redacted_url(original)} is taken as {_redacted_url(new)}"


def _with_scheme(url: str) -> str:
    """``localhost:8000/v1`` means http, ``api.openai.com/v1`` https."""
    if "://" in url or not re.match(r"[\w\[]", url):
        return url
    host = urlsplit(f"//{url}").hostname or ""
    return f"{'http' if _is_private(host) or re.match(r'[^/]+:(?!443)[0-9]+', url) else 'https'}://{url}"


def _is_private(host: str) -> bool:
    """Whether a host is this machine or on a private network."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".lan"))


def _with_root(path: str, host: str) -> str:
    path = re.sub(r"(/v1)(?:/v1)+$", r"\1", path)
    is_azure = host.endswith(_AZURE_HOSTS)
    root = _ROOTS.get(host, "/openai/v1" if is_azure else "/v1")
    if path in ("", "/v1", "/openai") and (host in _ROOTS or is_azure):
        return root
    return path or root


def _redacted_url(url: str) -> str:
    """A URL without its login and without the values of its query, which may contain a key."""
    url = without_login(url.strip())
    return re.sub(r"=[^&#]*", "=…", url) if "?" in url else url


def parse_extra_body(text: str) -> dict[str, Any]:
    """The fields that the user adds to every request (``MARQUEE_EXTRA_BODY``).

    Raises:
        ValueError: the text is no JSON object, or sets a field that the program sets itself.
    """
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError('should be a JSON object such as {"reasoning_effort": "low"}')
    if reserved := value.keys() & _RESERVED_FIELDS:
        raise ValueError(f"cannot set {', '.join(sorted(reserved))}: the program sets these itself")
    return value
