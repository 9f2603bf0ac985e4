"""Settings, read once from the environment and ``.env``; other modules receive them as arguments."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from llm.backends.endpoint import correct_base_url, parse_extra_body
from marquee.environment import PREFIX, given
from prompts.errors import InvalidSetting, UnknownName, fault_of
from similarity.encoders.precision import choose

log = logging.getLogger(__name__)

_OPENAI = "https://api.openai.com/v1"
_DEFAULT_MODEL = "Qwen/Qwen2-7B-Instruct"


class Settings(BaseModel):
    """All settings of the program.

    The name in the environment is ``MARQUEE_`` and the field's name in capitals, except ``OPENAI_BASE_URL`` and
    ``OPENAI_API_KEY``, which the ``openai`` client defines.
    """

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    classifier: Literal["auto", "openai", "embedded"] = Field(
        "auto", description="auto, openai or embedded; auto: the language model if an endpoint is set"
    )
    openai_base_url: str = Field(
        "", description="base URL of the endpoint, e.g. `http://127.0.0.1:8000/v1`; default with a key: OpenAI"
    )
    openai_api_key: SecretStr = Field(SecretStr(""), description="API key of the endpoint; never printed")
    local_model: str = Field("", description="language model to load into this process, folder or name; serve --local")
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="number format of torch and OpenVINO; auto: bfloat16 where the hardware supports it"
    )
    adapter: str = Field("", description="folder of a LoRA adapter for that model; `serve --adapter` sets it")
    model: str = Field(
        _DEFAULT_MODEL, description="name of the model at the endpoint; default: the only model that the endpoint lists"
    )
    extra_body: str = Field(
        "",
        description="JSON object of fields added to every request, such as "
        '`{"chat_template_kwargs": {"enable_thinking": false}}`',
    )
    reasoning_tokens: int = Field(
        2048, ge=0, le=100_000, description="extra tokens per request for a model that returned reasoning"
    )
    strategy: str = Field(
        "auto", description="auto, json_list, label_likelihood, label_tokens, yes_no or decisions_api"
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="score threshold of strategies with scores; default: tuned, or 0.05 (yes_no: 0.5)"
    )
    thresholds_path: Path = Field(Path("var/thresholds.json"), description="file of tuned thresholds")
    probe_path: Path = Field(Path("var/probe.json"), description="file of capability checks and request forms")
    label_orders: int = Field(1, ge=1, le=100, description="label permutations to average; multiplies the cost")
    max_candidate_labels: int | None = Field(None, ge=0, description="most labels in a prompt; 0: all; default: 20")
    fusion: bool = Field(False, description="add the log-odds of MiniLM to those of the language model")
    cascade_margin: float = Field(0.0, ge=0, description="margin of MiniLM below which the model labels a text; 0: off")
    examples_path: Path | None = Field(
        None, description='JSON lines of few-shot examples, `{"text": …, "labels": […]}`'
    )
    examples_nearest: int = Field(0, ge=0, description="number of few-shot examples, the nearest to each text; 0: all")
    timeout: float = Field(30.0, gt=0, description="maximum seconds of one request to the endpoint")
    retries: int = Field(2, ge=0, le=10, description="retries after a failed request to the endpoint")
    concurrency: int = Field(64, ge=1, le=512, description="maximum number of concurrent requests to the endpoint")
    texts_per_request: int | None = Field(
        None, ge=1, le=256, description="texts per request to vLLM; default: 1, in bulk 32"
    )
    fallback: bool = Field(False, description="use MiniLM while the endpoint is unreachable")
    taxonomy: str = Field("tmdb", description="default taxonomy: a name, or a YAML file")
    cache: bool = Field(True, description="cache the answers of the language model")
    cache_path: Path = Field(Path("var/cache/answers.sqlite"), description="SQLite file of the answer cache")
    cache_megabytes: int = Field(
        256, ge=1, description="maximum size of the answer cache in MB; least recently used answers are dropped"
    )
    cache_shared: bool = Field(False, description="whether API keys share cached answers")
    vllm_python: str = Field("", description="Python interpreter with vLLM, for serve --vllm; default: this one")
    vllm_max_model_len: int = Field(8192, ge=256, description="maximum tokens of prompt and answer in vLLM")
    vllm_arguments: str = Field("", description="more arguments of the vLLM server, in shell syntax")
    gguf: str = Field("", description="GGUF file that `serve` runs in llama.cpp; serve --gguf")
    gguf_context: int = Field(8192, ge=512, description="tokens of all prompts and answers under way in llama.cpp")
    lookup_providers: str = Field(
        "tmdb,omdb,wikipedia", description="look-up providers, in order; a provider without its key is skipped"
    )
    tmdb_key: SecretStr = Field(SecretStr(""), description="API key or read access token of TMDB")
    omdb_key: SecretStr = Field(SecretStr(""), description="API key of OMDb")
    tmdb_url: str = Field("", description="base URL of a mirror of TMDB's API")
    omdb_url: str = Field("", description="base URL of a mirror of OMDb's API")
    wikipedia_url: str = Field("", description="api.php of another Wikipedia")
    lookup_contact: str = Field("", description="your e-mail address or page, sent to Wikipedia as it requires")
    lookup_timeout: float = Field(10.0, gt=0, description="maximum seconds for the look-ups of a request")
    lookup_cache_path: Path = Field(Path("var/cache/lookups.sqlite"), description="SQLite file of looked-up films")
    lookup_days: float = Field(30.0, ge=0, description="days for which a film is cached; a missing film: at most 7")
    index: Path | None = Field(None, description="folder of the film index; default: the sample films")
    encoder: str = Field("", description="sentence-transformers model of the index, folder or name; default: MiniLM")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(5000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    allow_anonymous: bool = Field(False, description="accept requests without an API key; serve --allow-anonymous")
    keys_path: Path = Field(Path("var/keys.json"), description="file of the hashes of API keys")
    key: SecretStr = Field(SecretStr(""), description="API key that classify --url sends to a service")
    rate_limit: str = Field(
        "600 per minute", description="requests per API key or address, e.g. `10/second;5000/day`; empty: unlimited"
    )
    cors_origins: str = Field("", description="allowed CORS origins, such as https://a.example,https://b.example")
    trusted_proxies: int = Field(
        0, ge=0, le=10, description="reverse proxies in front of the service; 0 ignores their X-Forwarded headers"
    )
    rate_storage: str = Field("memory://", description="storage of the rate limit; redis://… for several processes")
    workers: int = Field(1, ge=1, le=64, description="worker processes; each loads the model")
    threads: int = Field(96, ge=2, le=1024, description="concurrent connections per process")
    max_pending: int = Field(64, ge=1, le=1000, description="maximum number of pending requests; more get 503")
    request_timeout: float = Field(120.0, gt=0, description="maximum seconds of a request")
    drain_seconds: float = Field(1.0, ge=0, le=300, description="seconds between 'not ready' and exit, on SIGTERM")
    debug: bool = Field(False, description="print tracebacks of errors on the command line")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="minimum log level")
    log_format: Literal["auto", "text", "json"] = Field("auto", description="log of serve; auto: text on a terminal")
    max_body_bytes: int = Field(4_000_000, ge=1_000, description="maximum bytes of a request body")
    max_texts: int = Field(256, ge=1, description="maximum number of texts per request")
    max_text_chars: int = Field(50_000, ge=100, description="maximum characters of a text")
    max_request_labels: int = Field(1_000, ge=1, description="maximum number of labels in a request")

    @field_validator("openai_base_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if not url:
            return url
        right, change = correct_base_url(url)  # BadAddress is a ValueError
        if change:
            _say(change)
        return right

    @field_validator("extra_body")
    @classmethod
    def _is_an_object(cls, fields: str) -> str:
        parse_extra_body(fields)
        return fields

    @field_validator("tmdb_url", "omdb_url", "wikipedia_url")
    @classmethod
    def _is_safe_for_a_key(cls, url: str) -> str:
        parts = urlsplit(url)
        inside = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
        plain = not (parts.query or parts.fragment or parts.username or parts.password)
        if url and not (parts.hostname and plain and (parts.scheme == "https" or inside)):
            raise ValueError("should be an https URL without query or password; http on this machine alone")
        return url

    @field_validator("openai_api_key", "key", "tmdb_key", "omdb_key", "lookup_contact")
    @classmethod
    def _can_stand_in_a_header(cls, value: Any) -> Any:
        words = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not (words.isascii() and words.isprintable()):
            raise ValueError("should be printable ASCII on one line")
        return value

    @field_validator("lookup_providers")
    @classmethod
    def _are_providers(cls, names: str) -> str:
        from lookup.providers import order_of  # with an HTTP client, which not every command needs

        try:
            order_of(names)
            return names
        except UnknownName as error:
            raise ValueError(str(error)) from None

    @field_validator("vllm_arguments")
    @classmethod
    def _can_be_split(cls, arguments: str) -> str:
        try:
            shlex.split(arguments)
        except ValueError as error:
            raise ValueError(f"cannot be split into arguments: {error}") from None
        return arguments

    @field_validator("rate_limit")
    @classmethod
    def _is_a_rate(cls, rate: str) -> str:
        from limits import parse_many  # loads in a moment, but not for those who only ask for help

        try:
            parse_many(rate or "1 per day")
            return rate
        except ValueError:
            raise ValueError("should be such as '600 per minute', or '10/second;5000/day'") from None

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: str) -> str:
        for origin in filter(None, map(str.strip, origins.split(","))):
            parts = urlsplit(origin)
            if "*" in origin or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}".lower():
                raise ValueError("should be exact origins such as https://a.example, with commas between them; no *")
        return origins

    @model_validator(mode="after")
    def _is_coherent(self) -> Settings:
        if self.max_pending >= self.threads:
            raise ValueError("MARQUEE_MAX_PENDING should be below MARQUEE_THREADS: otherwise no thread can send 503")
        if self.classifier == "openai" and not self._endpoint_is_set:
            raise ValueError("MARQUEE_CLASSIFIER=openai needs OPENAI_BASE_URL or OPENAI_API_KEY")
        if self.adapter and not self.local_model and self.classifier != "embedded":
            raise ValueError(
                "MARQUEE_ADAPTER is for a model that Marquee loads: set MARQUEE_LOCAL_MODEL, or use serve --vllm; an "
                "endpoint that serves an adapter has it under a name of its own: set MARQUEE_MODEL"
            )
        asks_openai = self.uses_language_model and not self.openai_base_url and not self.local_model
        if asks_openai and self.model == _DEFAULT_MODEL:
            raise ValueError(
                "OPENAI_API_KEY without OPENAI_BASE_URL means OpenAI itself, which does not serve "
                f"{_DEFAULT_MODEL}: set MARQUEE_MODEL, or OPENAI_BASE_URL, or MARQUEE_CLASSIFIER=embedded"
            )
        return self

    @property
    def _endpoint_is_set(self) -> bool:
        return bool(self.openai_base_url or self.openai_api_key.get_secret_value())

    @property
    def uses_language_model(self) -> bool:
        """Whether a language model labels texts; otherwise the embedded classifier does."""
        wanted = bool(self.local_model) or self._endpoint_is_set
        return self.classifier == "openai" or (self.classifier == "auto" and wanted)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of ``cors_origins``, one by one."""
        return tuple(filter(None, map(str.strip, self.cors_origins.split(","))))

    @property
    def base_url(self) -> str:
        """The base URL of the endpoint."""
        return self.openai_base_url or _OPENAI

    @property
    def extra_fields(self) -> dict[str, Any]:
        """The fields of ``extra_body``."""
        return parse_extra_body(self.extra_body)

    def with_endpoint(self, base_url: str, api_key: str) -> Settings:
        """The same settings with another endpoint."""
        there = {
            "openai_base_url": base_url, "openai_api_key": SecretStr(api_key), "local_model": "", "adapter": "",
        }  # fmt: skip
        return self.model_copy(update={"classifier": "openai", **there})


def read_settings(**overrides: Any) -> Settings:
    """The settings in force; what is given here goes before the environment, and that before ``.env``.

    Raises:
        InvalidSetting: one line that names the setting, its value unless it may be a secret, and what would be right.
    """
    named = settings_variables()
    values: dict[str, Any] = {field: named[name] for field, name in _names().items() if name in named}
    values |= {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = Settings(**values)
    except ValidationError as error:
        fault = fault_of(error, Settings, values, whole="the settings")
        raise InvalidSetting(str(replace(fault, place=environment_name(fault.place) if fault.place else ""))) from None
    choose(settings.precision)  # models are loaded in many places, most of which receive no settings
    return settings


def settings_variables() -> Mapping[str, str]:
    """The settings as environment variables, for processes on other machines.

    They must not find any other settings there.
    """
    return given(_names().values(), kept_quotes=[environment_name("vllm_arguments")])


def environment_name(field: str) -> str:
    """How a field is called in the environment."""
    return field.upper() if field.upper().startswith("OPENAI_") else PREFIX + field.upper()


def _names() -> Mapping[str, str]:
    """The name in the environment of each field."""
    return {field: environment_name(field) for field in Settings.model_fields}


@cache
def _say(change: str) -> None:
    """Log once what a setting is taken as."""
    log.warning("%s", change)
