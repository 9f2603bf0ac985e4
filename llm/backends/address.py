"""Base URLs as people paste them: split, checked, and corrected where the right one is known."""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
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
AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com", ".openai.azure.us")
_METHODS = re.compile(r"/(?:chat/completions|completions|responses|models|embeddings|tokenize|health)$")
_VERSION = re.compile(r"/(?:v\d\w*|openai|inference)(?:/|$)")
_SECRET_NAME = re.compile(r"key|token|secret|passw|auth|sig(?:nature)?$", re.IGNORECASE)
_LONG_NAME = 12  # characters; a short one is a person's or an account's, and may be part of any word
_DEPLOYMENT = re.compile(r"/openai/deployments/[^/]+$")


class BadAddress(ValueError):
    """A base URL that cannot work; the message says why, without the URL's secrets."""


@dataclass(frozen=True)
class Address:
    """Where requests to an endpoint go.

    Attributes:
        base_url: scheme, host and path, without a login, and without a slash at the end.
        query: sent with every request, such as Azure's ``api-version``.
        login: ``user:password``, as the URL had it.
    """

    base_url: str
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    login: str = field(default="", repr=False)

    @classmethod
    def of(cls, url: str) -> Address:
        """Split a URL; nothing is corrected."""
        parts = urlsplit(url)
        login, _, netloc = parts.netloc.rpartition("@")
        base_url = urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))
        return cls(base_url, dict(parse_qsl(parts.query, keep_blank_values=True)), login)

    @property
    def place(self) -> str:
        """Host and port, for messages: the port also where the URL leaves it to the scheme, on this machine alone."""
        parts = urlsplit(self.base_url)
        host = parts.hostname or "the endpoint"
        shown = f"[{host}]" if ":" in host else host
        port = parts.port or (80 if parts.scheme == "http" else None)
        return f"{shown}:{port}" if port else shown

    @property
    def host(self) -> str:
        """The host's name."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_azure(self) -> bool:
        """Whether the host is Azure's, which takes keys in the header ``api-key``."""
        return self.host.endswith(AZURE_HOSTS)

    def headers(self, api_key: str) -> dict[str, str]:
        """Headers with the key: ``api-key`` at Azure, a Bearer token elsewhere; none without a key.

        A login in the URL is sent instead of a Bearer token.
        """
        if self.login and not self.is_azure:
            name, _, password = self.login.partition(":")
            words = f"{unquote(name)}:{unquote(password)}"
            return {"Authorization": f"Basic {b64encode(words.encode()).decode()}"}
        if not api_key:
            return {}
        return {"api-key": api_key} if self.is_azure else {"Authorization": f"Bearer {api_key}"}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Secrets that no message may contain, longest first.

        These are the login and the password, as in the URL and as sent, and query values whose names are those of keys.

        A user name counts where it has no password or is long: some servers take a token there.
        """
        name, _, password = self.login.partition(":")
        parts = [self.login, password, name if not password or len(name) >= _LONG_NAME else ""]
        parts += [value for key, value in self.query.items() if _SECRET_NAME.search(key)]
        spelt = {form for part in parts for form in (part, unquote(part), quote(unquote(part), safe=""))}
        spelt.update(value.removeprefix("Basic ") for value in self.headers("").values())
        return tuple(sorted(spelt - {""}, key=lambda part: (-len(part), part)))

    def url(self, path: str) -> str:
        """The URL of a path under the root, with the query."""
        return f"{self.base_url}{path}?{urlencode(self.query)}" if self.query else self.base_url + path

    def beside(self, path: str) -> str:
        """The URL of a path beside the API's root: vLLM's ``/tokenize`` is not under ``/v1``."""
        parts = urlsplit(self.base_url)
        root = parts.path.rstrip("/").removesuffix("/v1")
        return urlunsplit((parts.scheme, parts.netloc, root + path, "", ""))

    @property
    def hint(self) -> str:
        """What may be wrong with the URL where the endpoint answers 404; empty where it looks right."""
        parts = urlsplit(self.base_url)
        if not _VERSION.search(parts.path + "/"):
            return f"most base URLs end in /v1, and OPENAI_BASE_URL is {self.base_url}"
        return "check MARQUEE_MODEL and OPENAI_BASE_URL"


def corrected(url: str) -> tuple[str, str]:
    """A base URL as it was given, made right where that is certain.

    Returns:
        The URL, and a sentence on what was changed; empty where nothing but a slash at the end was.

    Raises:
        BadAddress: it cannot be an endpoint's.
    """
    given = url
    url = _with_scheme(url.strip())
    parts = urlsplit(url)
    _check(parts.scheme, parts.hostname, url)
    host, scheme = (parts.hostname or "").lower(), parts.scheme.lower()
    public = host in _ROOTS or host.endswith(AZURE_HOSTS)
    netloc = parts.netloc
    if scheme == "http" and public:
        scheme, netloc = "https", netloc.removesuffix(":80")
    path = _METHODS.sub("", re.sub(r"/{2,}", "/", parts.path).rstrip("/"))
    path = _rooted(path, host)
    if host.endswith(AZURE_HOSTS) and _DEPLOYMENT.search(path) and "api-version=" not in parts.query:
        raise BadAddress(
            "is a deployment of Azure and lacks its version: add ?api-version=…, or use https://…/openai/v1"
        )
    new = urlunsplit((scheme, netloc, path, parts.query, ""))
    same = new.rstrip("/") == given.strip().rstrip("/")
    return new, "" if same else f"OPENAI_BASE_URL {_shown(given)} is taken as {_shown(new)}"


def _with_scheme(url: str) -> str:
    """``localhost:8000/v1`` means http, ``api.openai.com/v1`` https."""
    if "://" in url or not re.match(r"[\w\[]", url):
        return url
    host = urlsplit(f"//{url}").hostname or ""
    return f"{'http' if _is_near(host) or re.match(r'[^/]+:(?!443)[0-9]+', url) else 'https'}://{url}"


def _is_near(host: str) -> bool:
    """Whether a host is this machine, or on a private network."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".lan"))


def _check(scheme: str, host: str | None, url: str) -> None:
    if scheme.lower() not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise BadAddress("should be a URL such as http://127.0.0.1:8000/v1")
    try:
        urlsplit(url).port  # noqa: B018  (raises)
    except ValueError:
        raise BadAddress("has a port that is no number from 0 to 65535") from None


def _rooted(path: str, host: str) -> str:
    """The path with the API's root where it has none."""
    path = re.sub(r"(/v1)(?:/v1)+$", r"\1", path)
    root = _ROOTS.get(host, "/openai/v1" if host.endswith(AZURE_HOSTS) else "/v1")
    if path in ("", "/v1", "/openai") and (host in _ROOTS or host.endswith(AZURE_HOSTS)):
        return root
    return path or root


def _shown(url: str) -> str:
    """A URL without the values of its query, which may hold a key."""
    url = without_login(url.strip())
    return re.sub(r"=[^&#]*", "=…", url) if "?" in url else url
