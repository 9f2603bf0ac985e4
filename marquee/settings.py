"""Settings, read once at the door from the environment and ``.env``; everything below receives arguments."""

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
from prompts.errors import InvalidSetting, UnknownName
from prompts.faults import fault_of
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
        "auto", description="who answers; auto: the language model where an endpoint or a key is set, else MiniLM"
    )
    openai_base_url: str = Field(
        "",
        description="root of the endpoint, e.g. `http://127.0.0.1:8000/v1`; OpenAI's where only a key is set",
    )
    openai_api_key: SecretStr = Field(
        SecretStr(""),
        description="the endpoint's key, where it asks for one; shown nowhere",
    )
    local_model: str = Field(
        "", description="folder or name of a language model to load into this process; serve --local"
    )
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "auto",
        description="number format of torch and OpenVINO; auto: bfloat16 where the GPU or CPU multiplies in it, else "
        "float32; serve --precision",
    )
    adapter: str = Field("", description="folder of a LoRA adapter for that model; `serve --adapter` sets it")
    model: str = Field(
        _DEFAULT_MODEL,
        description="name under which the endpoint serves the model; where none is set, the only one that it lists",
    )
    extra_body: str = Field(
        "",
        description="JSON object of fields added to every request, such as "
        '`{"chat_template_kwargs": {"enable_thinking": false}}`',
    )
    reasoning_tokens: int = Field(
        2048, ge=0, le=100_000, description="tokens added for models that reason before they answer, once one did"
    )
    strategy: str = Field(
        "auto", description="how the model is read: auto, json_list, label_tokens, yes_no, decisions_api"
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="score from which labels are given, in letters and yes_no; default: learnt, or .1 and .5",
    )
    thresholds_path: Path = Field(Path("var/thresholds.json"), description="where learnt thresholds are kept")
    probe_path: Path = Field(Path("var/probe.json"), description="file of capability checks and request forms")
    label_orders: int = Field(
        1, ge=1, le=100, description="orders of the labels to average over; costs as many times more"
    )
    max_candidate_labels: int = Field(0, ge=0, description="labels to narrow larger taxonomies to; 0 shows all")
    cascade_margin: float = Field(
        0.0, ge=0, description="margin below which MiniLM leaves a text to the model; 0: none"
    )
    examples_path: Path | None = Field(
        None, description='JSON lines of examples to show the model, `{"text": …, "labels": […]}`'
    )
    examples_nearest: int = Field(0, ge=0, description="show only so many, the nearest to each text; 0 shows all")
    timeout: float = Field(30.0, gt=0, description="seconds that one attempt at the endpoint may take")
    retries: int = Field(2, ge=0, le=10, description="further attempts after the first")
    concurrency: int = Field(64, ge=1, le=512, description="most requests to the endpoint under way at once")
    texts_per_request: int | None = Field(
        None, ge=1, le=256, description="texts that a request to vLLM carries; default: 1, in bulk 32"
    )
    fallback: bool = Field(False, description="let MiniLM answer while the endpoint cannot be reached")
    taxonomy: str = Field("tmdb", description="vocabulary of requests that name none: a name, or a YAML file")
    cache: bool = Field(True, description="remember the language model's answers")
    cache_path: Path = Field(Path("var/cache/answers.sqlite"), description="where they are kept (SQLite)")
    cache_megabytes: int = Field(256, ge=1, description="size from which the least recently used are dropped")
    cache_shared: bool = Field(
        False, description="whether API keys share cached answers; otherwise each key finds only its own"
    )
    vllm_python: str = Field("", description="interpreter that has vLLM, for serve --vllm; default: this one")
    vllm_max_model_len: int = Field(8192, ge=256, description="tokens of prompt and answer that vLLM makes room for")
    vllm_arguments: str = Field("", description="further arguments of the vLLM server, as a shell would take them")
    lookup_providers: str = Field(
        "tmdb,omdb,wikipedia", description="who is asked about titles, in this order; those without their key are not"
    )
    tmdb_key: SecretStr = Field(SecretStr(""), description="API key or read access token of TMDB")
    omdb_key: SecretStr = Field(SecretStr(""), description="API key of OMDb")
    tmdb_url: str = Field("", description="root of TMDB's API, where a mirror is to be asked")
    omdb_url: str = Field("", description="the same for OMDb")
    wikipedia_url: str = Field("", description="api.php of another Wikipedia")
    lookup_contact: str = Field("", description="address or page of yours that Wikipedia is told, as it asks for")
    lookup_timeout: float = Field(10.0, gt=0, description="seconds of a request that looking up may take")
    lookup_cache_path: Path = Field(Path("var/cache/lookups.sqlite"), description="where films are remembered")
    lookup_days: float = Field(30.0, ge=0, description="for how long; that there is none, for a week at most")
    index: Path | None = Field(None, description="folder of the index of films; default: the sample films")
    encoder: str = Field("", description="sentence-transformers model of the index, folder or name; default: MiniLM")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(5000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    allow_anonymous: bool = Field(
        False, description="answer without keys whoever reaches the address; serve --allow-anonymous"
    )
    keys_path: Path = Field(Path("var/keys.json"), description="where the hashes of API keys are kept")
    key: SecretStr = Field(SecretStr(""), description="key that classify --url sends to a service")
    rate_limit: str = Field(
        "600 per minute", description="requests of one key, or address, e.g. `10/second;5000/day`; empty: no bound"
    )
    cors_origins: str = Field(
        "", description="origins whose pages may ask, such as https://a.example,https://b.example"
    )
    trusted_proxies: int = Field(
        0, ge=0, le=10, description="reverse proxies in front of the service; 0 ignores their X-Forwarded headers"
    )
    rate_storage: str = Field("memory://", description="where they are counted; redis://… for several processes")
    workers: int = Field(1, ge=1, le=64, description="processes, each with a model of its own")
    threads: int = Field(96, ge=2, le=1024, description="connections of one process served at once")
    max_pending: int = Field(64, ge=1, le=1000, description="requests that wait for or are with a model; more get 503")
    request_timeout: float = Field(120.0, gt=0, description="seconds after which a request is given up")
    drain_seconds: float = Field(1.0, ge=0, le=300, description="seconds from 'not ready' to the end, on SIGTERM")
    debug: bool = Field(
        False, description="show the traceback of an error that the command line otherwise prints as one line"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least weighty line to log")
    max_body_bytes: int = Field(4_000_000, ge=1_000, description="largest request body")
    max_texts: int = Field(256, ge=1, description="most texts of one request")
    max_text_chars: int = Field(50_000, ge=100, description="longest text")
    max_request_labels: int = Field(1_000, ge=1, description="most labels that a request may bring")

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
        from lookup.providers.registry import order_of  # with an HTTP client, which not every command needs

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
            raise ValueError("MARQUEE_MAX_PENDING should be below MARQUEE_THREADS: else no thread is left to say 503")
        if self.classifier == "openai" and not self._endpoint_is_set:
            raise ValueError("MARQUEE_CLASSIFIER=openai needs OPENAI_BASE_URL or OPENAI_API_KEY")
        if self.adapter and not self.local_model and self.classifier != "embedded":
            raise ValueError(
                "MARQUEE_ADAPTER is for a model that Marquee loads: set MARQUEE_LOCAL_MODEL, or use serve --vllm; an "
                "endpoint that serves an adapter by itself is asked for it by MARQUEE_MODEL"
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
        """Whether a language model answers; MiniLM does otherwise."""
        wanted = bool(self.local_model) or self._endpoint_is_set
        return self.classifier == "openai" or (self.classifier == "auto" and wanted)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of ``cors_origins``, one by one."""
        return tuple(filter(None, map(str.strip, self.cors_origins.split(","))))

    @property
    def base_url(self) -> str:
        """The endpoint to ask."""
        return self.openai_base_url or _OPENAI

    @property
    def extra_fields(self) -> dict[str, Any]:
        """The fields of ``extra_body``."""
        return parse_extra_body(self.extra_body)

    def asking(self, base_url: str, api_key: str) -> Settings:
        """The same settings, but this endpoint is asked."""
        there = {
            "openai_base_url": base_url, "openai_api_key": SecretStr(api_key), "local_model": "", "adapter": "",
        }  # fmt: skip
        return self.model_copy(update={"classifier": "openai", **there})


def read_settings(**overrides: Any) -> Settings:
    """The settings in force; what is given here goes before the environment, and that before ``.env``.

    Raises:
        InvalidSetting: one line that names the setting, its value unless it may be a secret, and what would be right.
    """
    named = given_settings()
    values: dict[str, Any] = {field: named[name] for field, name in _names().items() if name in named}
    try:
        settings = Settings(**values | {name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        fault = fault_of(error, Settings, whole="the settings")
        raise InvalidSetting(str(replace(fault, place=environment_name(fault.place) if fault.place else ""))) from None
    choose(settings.precision)  # models are loaded in many places, most of which receive no settings
    return settings


def given_settings() -> Mapping[str, str]:
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
