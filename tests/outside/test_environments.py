"""Environment variables, paths, files and consoles as users have them: each works, or is one line that names it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llm.backends.transport import HTTPTransport
from main import main
from marquee.client import Client
from marquee.settings import read_settings
from prompts import registry
from prompts.errors import InvalidSetting
from prompts.network import connection, url_of
from service.access_control import Keys
from service.app import create_app
from service.server import listen
from service.services import build
from tests.support.misbehaving import Endpoint, endpoint, says

pytestmark = pytest.mark.usefixtures("away")
ROOT = Path(__file__).parents[2]
PLOT = "A young wizard learns magic to defeat a dragon."
_PROXIES = [
    name for one in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (one, one.upper())
] + ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"]  # fmt: skip


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxies and certificates of the machine that runs the tests."""
    for name in _PROXIES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def model() -> Iterator[Endpoint]:
    """An endpoint whose model always answers the same."""
    with endpoint(says('["Drama"]')) as server:
        yield server


def call(*arguments: str, **options: object) -> Result:
    """A command in this process; anything but an expected error is raised."""
    return CliRunner().invoke(main, arguments, catch_exceptions=False, **options)  # type: ignore[arg-type]


def error_of(result: Result) -> str:
    """The one line of an error."""
    assert result.exit_code, result.output
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: "), result.stderr
    assert "Traceback" not in result.output
    return lines[-1]


@pytest.mark.parametrize(
    ("name", "value", "field", "read"),
    [
        ("MARQUEE_PORT", "5001\n", "port", 5001),
        ("MARQUEE_PORT", '"5001"', "port", 5001),
        ("MARQUEE_TAXONOMY", " 'imdb'\r\n", "taxonomy", "imdb"),
        ("MARQUEE_CACHE", "'no'", "cache", False),
        ("OPENAI_BASE_URL", "\ufeffhttp://127.0.0.1:8000/v1\u200b", "openai_base_url", "http://127.0.0.1:8000/v1"),
        ("OPENAI_BASE_URL", '"http://127.0.0.1:8000/v1"\n', "openai_base_url", "http://127.0.0.1:8000/v1"),
        ("MARQUEE_VLLM_ARGUMENTS", '"--a b" "--c d"\n', "vllm_arguments", '"--a b" "--c d"'),
        ("MARQUEE_MODEL", "\u201cQwen/Qwen2\u201d", "model", "Qwen/Qwen2"),
        ("MARQUEE_RATE_LIMIT", "''", "rate_limit", "600 per minute"),
    ],
)
@pytest.mark.parametrize("in_file", [False, True])
def test_what_copying_adds_around_a_value_is_removed(
    away: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str, read: object, in_file: bool
) -> None:
    if in_file:
        (away / ".env").write_text(f"{name}={value.strip()}\n", encoding="utf-8")
    else:
        monkeypatch.setenv(name, value)
    if in_file and name == "MARQUEE_VLLM_ARGUMENTS":
        pytest.skip("a line of .env has one quoted value")
    assert getattr(read_settings(), field) == read


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OPENAI_API_KEY", "sk-one\nsk-two", "OPENAI_API_KEY: a line end"),
        ("MARQUEE_KEY", "mq_a\tb", "MARQUEE_KEY: a line end or another control"),
        ("MARQUEE_MODEL", "a\x1b[31m", "MARQUEE_MODEL: a line end or another control"),
        ("OPENAI_API_KEY", "sk-\u043a\u043b\u044e\u0447", "OPENAI_API_KEY: should be printable ASCII"),
        ("MARQUEE_KEY", "mq_a\u00a0b", "MARQUEE_KEY: should be printable ASCII"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:port/v1", "OPENAI_BASE_URL"),
        ("OPENAI_BASE_URL", "http://[::1/v1", "OPENAI_BASE_URL"),
        ("OPENAI_BASE_URL", "http://a b/v1", "OPENAI_BASE_URL"),
        ("MARQUEE_PROT", "1", "MARQUEE_PROT is no setting; did you mean MARQUEE_PORT?"),
        ("MARQUEE_REQUEST_TIMEOUT", "30s", 'MARQUEE_REQUEST_TIMEOUT is "30s"; give a number'),
        ("MARQUEE_REQUEST_TIMEOUT", "inf", "MARQUEE_REQUEST_TIMEOUT"),
        ("MARQUEE_THRESHOLD", "nan", "MARQUEE_THRESHOLD"),
        ("MARQUEE_THRESHOLD", "0,5", 'MARQUEE_THRESHOLD is "0,5"; give a number'),
        ("MARQUEE_CACHE", "enabled", 'MARQUEE_CACHE is "enabled"; give true or false'),
        ("MARQUEE_PORT", "99999", 'MARQUEE_PORT is "99999"; give 65535 or less'),
        ("MARQUEE_SERVICE_HOTS", "1", "MARQUEE_SERVICE_HOTS is no setting"),
    ],
)
def test_a_value_that_cannot_be_used_is_one_line_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    assert said in error_of(call("classify", PLOT))


_SECRET = "s3cr3tw0rd"
_MALFORMED = [f"{_SECRET}\n", f'"{_SECRET}"', f"{_SECRET}\nx", f"{_SECRET}\u00e9", f"{_SECRET}\x7fz", f" {_SECRET} "]


@pytest.mark.parametrize("value", _MALFORMED)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("MARQUEE_KEY", ("classify", PLOT, "--url", "http://127.0.0.1:9")),
        ("OPENAI_API_KEY", ("classify", PLOT)),
        ("OPENAI_API_KEY", ("probe",)),
        ("OPENAI_API_KEY", ("bulk", "t.csv", "--out", "o.csv")),
        ("OPENAI_API_KEY", ("serve", "--host", "300.1.1.1")),
        ("MARQUEE_TMDB_KEY", ("keys", "list")),
    ],
)
def test_no_malformed_secret_is_ever_shown(
    monkeypatch: pytest.MonkeyPatch, away: Path, name: str, arguments: tuple[str, ...], value: str
) -> None:
    (away / "t.csv").write_text("text\nA wizard\n")
    if name == "OPENAI_API_KEY":
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        monkeypatch.setenv("MARQUEE_RETRIES", "0")
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("marquee.client._FIRST_WAIT", 0.0)
    result = call(*arguments)
    assert _SECRET not in result.output + result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{_SECRET}@127.0.0.1:9/v1",
        f"http://user:{_SECRET}@@127.0.0.1:9",
        f"http://user:{_SECRET}@[::1/v1",
        f"http://user:{_SECRET}/x@127.0.0.1:9",
        f"http://user:{_SECRET}@127.0.0.1:port/v1",
    ],
)
@pytest.mark.parametrize("how", ["base URL", "service"])
def test_no_password_of_a_url_is_ever_shown(monkeypatch: pytest.MonkeyPatch, url: str, how: str) -> None:
    monkeypatch.setattr("marquee.client._FIRST_WAIT", 0.0)
    monkeypatch.setenv("MARQUEE_RETRIES", "0")
    if how == "base URL":
        monkeypatch.setenv("OPENAI_BASE_URL", url)
    result = call("classify", PLOT, *(["--url", url] if how == "service" else []))
    assert result.exit_code
    assert _SECRET not in result.output + result.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SSL_CERT_FILE": "/none/cert.pem"}, "SSL_CERT_FILE names /none/cert.pem, which does not exist"),
        ({"SSL_CERT_DIR": "/none"}, "SSL_CERT_DIR names /none, which does not exist"),
        ({"REQUESTS_CA_BUNDLE": "/none/ca.pem"}, "REQUESTS_CA_BUNDLE names /none/ca.pem"),
        ({"SSL_CERT_FILE": __file__}, "SSL_CERT_FILE names .*no certificates in PEM form"),
        ({"ALL_PROXY": "socks5://127.0.0.1:1080"}, "ALL_PROXY names a SOCKS proxy"),
        ({"all_proxy": "socks://127.0.0.1:1080"}, "all_proxy names a SOCKS proxy"),
        ({"HTTPS_PROXY": "http://"}, "HTTPS_PROXY is not the URL of a proxy"),
        ({"https_proxy": f"http://user:{_SECRET}@proxy:port"}, "https_proxy is not the URL of a proxy"),
        ({"HTTPS_PROXY": "ftp://proxy:21"}, "HTTPS_PROXY is not the URL of a proxy"),
        ({"HTTPS_PROXY": "http://[proxy"}, "HTTPS_PROXY is not the URL of a proxy"),
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda: HTTPTransport("https://models.example/v1", "", 1.0, 0, 1),
        lambda: Client("https://marquee.example"),
    ],
    ids=["endpoint", "service"],
)
def test_a_proxy_or_certificate_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str, make: Callable[[], object]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting, match=said) as raised:
        make()
    assert _SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTP_PROXY": "http://127.0.0.1:9"},
        {"ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "??,["},
        {"http_proxy": "not a proxy"},
        {"SSL_CERT_FILE": "/none/cert.pem"},
        {"REQUESTS_CA_BUNDLE": "/none/cert.pem", "SSL_CERT_DIR": "/none"},
    ],
)
def test_loopback_is_reached_whatever_the_proxy_and_certificates(
    monkeypatch: pytest.MonkeyPatch, model: Endpoint, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (reply,) = HTTPTransport(model.url, "", 5.0, 0, 1).post([{"model": "m", "messages": []}])
    assert "choices" in str(reply)
    monkeypatch.setenv("OPENAI_BASE_URL", model.url)
    monkeypatch.setenv("MARQUEE_STRATEGY", "json_list")
    assert call("classify", PLOT, "--no-cache").stdout == "Drama\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "localhost", "LOCALHOST"])
def test_every_loopback_address_is_reached_directly(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert connection(f"https://{host}:8443/v1")["proxy"] is None
    assert connection("https://models.example/v1")["proxy"] == "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("entries", "bypassed"),
    [
        ("models.example", True),
        (".example", True),
        ("*.example , other", True),
        ("*", True),
        ("models.example:443", False),
        ("models.example:8443", True),
        ("dels.example", False),
        ("10.0.0.0/8", False),
        ("", False),
    ],
)
def test_no_proxy_is_read_as_curl_reads_it(monkeypatch: pytest.MonkeyPatch, entries: str, bypassed: bool) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", entries)
    found = connection("https://models.example:8443/v1")["proxy"]
    assert found == (None if bypassed else "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8")
    assert connection("https://10.1.2.3/v1")["proxy"] is None


@pytest.mark.parametrize("value", ["127.0.0.1:9", "http://127.0.0.1:9", f"http://ada:{_SECRET}@127.0.0.1:9"])
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "all_proxy"])
def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    detail = HTTPTransport("https://models.example/v1", "", 5.0, 0, 1).post([{"model": "m", "messages": []}])[0].detail
    assert f"no connection to models.example through the proxy of {name}; check it" in detail
    assert _SECRET not in detail


def test_a_proxy_that_is_set_is_used(monkeypatch: pytest.MonkeyPatch, model: Endpoint) -> None:
    monkeypatch.setenv("HTTP_PROXY", model.url.removesuffix("/v1"))
    (reply,) = HTTPTransport("http://models.example/v1", "", 5.0, 0, 1).post([{"model": "m", "messages": []}])
    assert "choices" in str(reply)


@pytest.mark.parametrize("service", ["MARQUEE", "MARQUEE_API", "MARQUEE_REDIS"])
def test_the_variables_of_a_kubernetes_service_are_no_settings(
    monkeypatch: pytest.MonkeyPatch, away: Path, service: str
) -> None:
    (away / ".env").write_text("MARQUEE_PORT=5007\n")
    for name, value in {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "5000",
        "SERVICE_PORT_HTTP": "5000",
        "PORT": "tcp://10.0.0.1:5000",
        "PORT_5000_TCP": "tcp://10.0.0.1:5000",
        "PORT_5000_TCP_PROTO": "tcp",
        "PORT_5000_TCP_PORT": "5000",
        "PORT_5000_TCP_ADDR": "10.0.0.1",
        "PORT_53_UDP": "udp://10.0.0.1:53",
    }.items():
        monkeypatch.setenv(f"{service}_{name}", value)
    settings = read_settings()
    assert (settings.port, settings.host) == (5007 if service != "MARQUEE" else settings.port, "127.0.0.1")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("MARQUEE_TAXONOMY=imdb\n".encode("utf-16"), r".env:1 is in UTF-16; save the file as UTF-8"),
        ("MARQUEE_TAXONOMY=imdb\n".encode("utf-16-le"), r".env:1 is not text in UTF-8"),
        ("# caf\u00e9\nMARQUEE_TAXONOMY=imdb\n".encode("latin-1"), r".env:1 is not text in UTF-8 (byte 0xe9)"),
        (b"MARQUEE_TAXONOMY=imdb\n\nOPENAI_API_KEY=\xff\n", r".env:3 is not text in UTF-8 (byte 0xff)"),
        (b"MARQUEE_TAXONOMY=imdb\x00\n", r".env:1 is not text in UTF-8 (byte 0x00)"),
        (b"MARQUEE_PORT=1\n\nMARQUEE_TAXONOMY imdb\n", r".env:3 cannot be read; write NAME=value"),
        (b'MARQUEE_TAXONOMY="imdb\n', r".env:1 cannot be read; write NAME=value"),
        (b"# a\nMARQUEE_TAXONOMY: imdb\n", r".env:2 cannot be read; write NAME=value"),
        (b"MARQUEE_TAXONOMY\n", r".env:1 cannot be read; write NAME=value"),
        (b"A B=c\n", r".env:1 cannot be read; write NAME=value"),
        (
            b"MARQUEE_TAXONOMY=imdb\n\nexport MARQUEE_TAXONOMY=news\n",
            ".env:3 sets MARQUEE_TAXONOMY again, first in line 1; keep one",
        ),
    ],
)
def test_an_env_file_that_cannot_be_read_stops_the_start(away: Path, content: bytes, said: str) -> None:
    (away / ".env").write_bytes(content)
    assert said in error_of(call("classify", PLOT))


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffMARQUEE_TAXONOMY=imdb\n",
        "export MARQUEE_TAXONOMY=imdb",
        "MARQUEE_TAXONOMY = imdb # of films\r\n",
        "\n\n# a note\nMARQUEE_TAXONOMY='imdb'\nOTHER=caf\u00e9\n",
        "MARQUEE_TAXONOMY=imdb\nMARQUEE_TAXONOMY=imdb\n",
        "NAME=im\nMARQUEE_TAXONOMY=${NAME}db\n",
        "MARQUEE_TAXONOMY=${NOT_SET:-imdb}\n",
    ],
)
def test_an_env_file_as_editors_write_it_is_read(away: Path, content: str) -> None:
    (away / ".env").write_text(content, encoding="utf-8")
    assert read_settings().taxonomy == "imdb"


def test_a_link_of_env_that_leads_nowhere_stops_the_start(away: Path) -> None:
    (away / ".env").symlink_to("secrets.env")
    assert "cannot read .env: No such file or directory" in error_of(call("classify", PLOT))
    (away / ".env").unlink()
    (away / ".env").symlink_to(".env")
    assert "cannot read .env: Too many levels of symbolic links" in error_of(call("classify", PLOT))


def test_a_pipe_is_read_and_a_folder_is_not(away: Path) -> None:
    (away / ".env").mkdir()  # an environment of Python's
    assert read_settings().taxonomy == "tmdb"
    (away / ".env").rmdir()
    os.mkfifo(away / ".env")  # as password managers give secrets
    writer = threading.Thread(target=(away / ".env").write_text, args=("MARQUEE_TAXONOMY=imdb\n",), daemon=True)
    writer.start()
    assert read_settings().taxonomy == "imdb"
    writer.join()


@pytest.mark.parametrize(("field", "value"), [("keys_path", "~/keys.json"), ("local_model", "~/models/own")])
@pytest.mark.parametrize("in_file", [False, True])
def test_a_path_may_begin_with_the_home_folder(
    away: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: str, in_file: bool
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    name = f"MARQUEE_{field.upper()}"
    if in_file:
        (away / ".env").write_text(f"{name}={value}\n", encoding="utf-8")
    else:
        monkeypatch.setenv(name, value)
    assert str(getattr(read_settings(), field)) == value.replace("~", "/home/ada")


@pytest.mark.parametrize(
    "content", ['{"a": 1}'.encode("utf-16"), b"\xff", b"", b"{", b'{"a": 1}', b"[1]", b'{"a": {"b": 1}}']
)
def test_a_keys_file_that_holds_no_keys_is_one_line_that_names_it(away: Path, content: bytes) -> None:
    (away / "keys.json").write_bytes(content)
    with pytest.raises(InvalidSetting, match=r"keys\.json") as raised:
        Keys(away / "keys.json").all()
    assert "\n" not in str(raised.value)


@pytest.fixture
def own_taxonomy(away: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The setting names a file."""
    registry.forget()
    (away / "own.yaml").write_text("labels: [magic, cooking]\nmulti: false\n", encoding="utf-8")
    monkeypatch.setenv("MARQUEE_TAXONOMY", "own.yaml")
    yield
    registry.forget()


@pytest.mark.usefixtures("own_taxonomy")
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("classify", PLOT), "magic"),
        (
            ("bulk", "films.jsonl", "--text-field", "plot", "--out", "out.jsonl"),
            "12 rows, 12 different texts, 0 rows with a problem",
        ),
        (("data", "films.jsonl", "--text-field", "plot", "--labels-field", "kind"), "no split"),
        (("evaluate", "--data", "films.jsonl", "--text-field", "plot", "--labels-field", "kind"), "accuracy"),
        (("probe", "--order", "--data", "films.jsonl"), "20 orders, 24 decisions"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_the_setting_of_the_taxonomy_may_be_a_file(away: Path, command: tuple[str, ...], said: str) -> None:
    rows = [{"id": n, "plot": f"{PLOT} {n}", "kind": "magic"} for n in range(12)]
    (away / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    result = call(*command)
    assert result.exit_code == 0, result.output
    assert said in result.output


@pytest.mark.usefixtures("own_taxonomy")
def test_a_service_lists_the_taxonomy_of_a_file_and_takes_its_name() -> None:
    client = create_app(build(read_settings())).test_client()
    listed = client.get("/taxonomies").get_json()
    assert listed["default"] == "own"
    assert "own" in [one["name"] for one in listed["taxonomies"]]
    for body in ({"text": PLOT}, {"text": PLOT, "taxonomy": "own"}):
        assert client.post("/classify", json=body).get_json()["labels"] == ["magic"]
    assert client.post("/classify", json={"text": PLOT, "taxonomy": "own.yaml"}).status_code == 404


def _inputs(folder: Path) -> None:
    rows = [
        {
            "id": str(one),
            "title": f"Film {one}",
            "plot": f"{PLOT} {one}",
            "year": 2000,
            "genres": ["Fantasy"],
            "split": "train" if one % 3 else "validation",
        }
        for one in range(12)
    ]
    (folder / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "file").write_text("", encoding="utf-8")
    (folder / "folder").mkdir()


_DATA = ("--data", "films.jsonl", "--taxonomy", "tmdb", "--text-field", "plot", "--labels-field", "genres")
_OUTPUTS: dict[str, tuple[str, ...]] = {
    "data": ("data", "films.jsonl", *_DATA[2:], "--out"),
    "split": ("split", "films.jsonl", "--ignore-splits", *_DATA[2:], "--out"),
    "bulk": ("bulk", "films.jsonl", "--text-field", "plot", "--system", "embedded", "--out"),
    "bulk for a Batch API": ("bulk", "films.jsonl", "--text-field", "plot", "--system", "llm", "--batch-file"),
    "enrich": ("enrich", "films.jsonl", "--text-field", "plot", "--out"),
    "map": ("map", "--out"),
    "evaluate-similar": ("evaluate-similar", "films.jsonl", "--text-field", "plot", "--out"),
    "train the matcher": ("train", "matcher", "--data", "films.jsonl", "--reviews", "reviews", "--out"),
}
_FOLDERS: dict[str, tuple[str, ...]] = {
    "evaluate": ("evaluate", *_DATA, "--systems", "embedded", "--out"),
    "index": ("index", "films.jsonl", "--text-field", "plot", "--out"),
    "train": ("train", "prior", *_DATA, "--split", "train", "--out"),
    "train an adapter": ("train", "lora", *_DATA, "--out"),
    "refit": ("refit", "trained", *_DATA, "--out"),
    "distil": ("distil", "films.jsonl", "--taxonomy", "tmdb", "--text-field", "plot", "--out"),
    "reference": ("reference", "--out"),
}


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any work that a path should have been checked before is an error."""

    def works(*_: object, **__: object) -> None:
        raise AssertionError("the work began before the output was checked")

    for place in (
        "marquee.bulk_jobs.BulkRequest.job", "marquee.systems.from_spec", "cli.data.DataOptions.load",
        "cli.similar.FilmOptions.films", "cli.similar._live_index", "cli.distil._loaded",
        "service.reference.pages", "eval.datasets.load", "tabular.open_table",
    ):  # fmt: skip
        monkeypatch.setattr(place, works)


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("command", _OUTPUTS | _FOLDERS)
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file/out.jsonl", "cannot use {away}file/out.jsonl: Not a directory; a part of the path is a file"),
        ("/proc/none/out.jsonl", "cannot use /proc: No such file or directory"),
        ("loop/out.jsonl", "cannot use loop/out.jsonl: Too many levels of symbolic links"),
        ("a" * 300, "File name too long; give a shorter path"),
    ],
    ids=["below a file", "no such file system", "a loop of links", "a long name"],
)
def test_an_output_that_cannot_be_written_is_one_line_before_any_work(
    away: Path, command: str, place: str, said: str
) -> None:
    _inputs(away)
    (away / "loop").symlink_to("loop")
    assert said.format(away="") in error_of(call(*(_OUTPUTS | _FOLDERS)[command], place))


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("command", _OUTPUTS | _FOLDERS)
def test_a_folder_where_a_file_is_written_and_a_file_where_a_folder_is_are_one_line(away: Path, command: str) -> None:
    _inputs(away)
    before = sorted(away.rglob("*"))
    wrong = "folder" if command in _OUTPUTS else "file"
    why = "Is a directory" if command in _OUTPUTS else "Not a directory"
    assert f"cannot use {wrong}: {why}" in error_of(call(*(_OUTPUTS | _FOLDERS)[command], wrong))
    assert sorted(away.rglob("*")) == before


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("command", ["evaluate", "train", "train an adapter", "train the matcher"])
def test_the_default_place_of_an_output_is_checked_before_any_work(away: Path, command: str) -> None:
    _inputs(away)
    (away / "var").write_text("", encoding="utf-8")
    said = error_of(call(*(_OUTPUTS | _FOLDERS)[command][:-1]))
    assert "cannot use var/" in said
    assert "Not a directory" in said


@pytest.mark.parametrize("command", ["data", "split", "bulk", "enrich", "evaluate-similar"])
def test_an_output_that_is_the_input_is_refused(away: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("MARQUEE_LOOKUP_PROVIDERS", "tmdb")
    monkeypatch.setenv("MARQUEE_TMDB_KEY", "0123456789abcdef")
    _inputs(away)
    (away / "other.jsonl").symlink_to("films.jsonl")
    before = (away / "films.jsonl").read_bytes()
    for out in ("films.jsonl", "./folder/../films.jsonl", "other.jsonl"):
        assert "give another" in error_of(call(*_OUTPUTS[command], out))
    assert (away / "films.jsonl").read_bytes() == before


@pytest.mark.parametrize("place", ["file/keys.json", "/proc/none/keys.json", "folder"])
@pytest.mark.parametrize("arguments", [("add", "ada"), ("list",), ("revoke", "ada")])
def test_a_keys_path_that_cannot_be_used_is_one_line(
    away: Path, monkeypatch: pytest.MonkeyPatch, place: str, arguments: tuple[str, ...]
) -> None:
    _inputs(away)
    monkeypatch.setenv("MARQUEE_KEYS_PATH", place)
    result = call("keys", *arguments)
    assert "Traceback" not in result.output
    if arguments[0] == "add" or place == "folder":
        assert place.split("/")[0] in error_of(result) or "none" in result.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "out.csv"), "cannot use out.csv: No space left on device; free some"),
        (PermissionError(13, "Permission denied", "x/y"), "cannot use x/y: Permission denied; give a path"),
        (OSError(30, "Read-only file system", b"ro/\xff"), "cannot use ro/"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (OSError("cannot seek"), "cannot seek"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "not UTF-8"),
    ],
)
def test_any_error_of_the_system_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr("cli.keys._keys", fails)
    assert said in error_of(call("keys", "list"))


@pytest.mark.parametrize("value", ["1", "yes", "TRUE"])
def test_debug_shows_the_traceback_of_an_error(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert "Traceback" not in call("keys", "revoke", "nobody").stderr
    monkeypatch.setenv("MARQUEE_DEBUG", value)
    shown = call("keys", "revoke", "nobody").stderr
    assert shown.startswith("Traceback (most recent call last)")
    assert shown.splitlines()[-1].startswith("Error: ")
    monkeypatch.setenv("MARQUEE_PORT", "none")  # the settings themselves are wrong
    assert "Traceback" in call("classify", PLOT).stderr


@pytest.mark.parametrize("value", ["0", "no", ""])
def test_debug_can_be_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MARQUEE_DEBUG", value)
    assert "Traceback" not in call("keys", "revoke", "nobody").stderr


def run(*arguments: str | bytes, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    """A command as a process of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MARQUEE_", "OPENAI_", "LC_"))}
    return subprocess.run(
        [sys.executable, ROOT / "main.py", *arguments], env=clean | variables, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "caf\u00e9 \U0001f3ac".encode()),  # click writes UTF-8 where Python finds ASCII
        ({"PYTHONIOENCODING": "latin-1"}, b"caf\xe9 \\ud83c\\udfac"),
        ({"PYTHONIOENCODING": "cp1252"}, b"caf\xe9 \\ud83c\\udfac"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "caf\u00e9 \U0001f3ac".encode()),
        ({"LC_ALL": "C.UTF-8"}, "caf\u00e9 \U0001f3ac".encode()),
    ],
)
def test_an_answer_is_printed_whatever_the_console_can_show(
    away: Path, variables: dict[str, str], shown: bytes
) -> None:
    (away / "own.yaml").write_text("labels: [caf\u00e9 \U0001f3ac]", encoding="utf-8")
    done = run("taxonomies", "show", "own.yaml", **variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith(shown)  # after the header
    printed = run("taxonomies", "show", "own.yaml", "--json", **{"PYTHONIOENCODING": "cp1252"}).stdout.decode("cp1252")
    assert json.loads(printed)["labels"][0]["name"] == "caf\u00e9 \U0001f3ac"


def test_a_text_that_is_not_utf_8_is_labelled(away: Path) -> None:
    done = run("classify", b"A caf\xe9 where a wizard learns magic to defeat a dragon.", "--labels", "fantasy,cooking",
               "--single", "--json", LC_ALL="C.UTF-8")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["labels"] == ["fantasy"]


_ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_labels_of_any_letters_are_taken_in_a_locale_without_utf_8(away: Path) -> None:
    labels = {"Caf\u00e9", "\u041a\u0438\u043d\u043e", "\U0001f3ac"}
    given = [part for label in sorted(labels) for part in ("--labels", label.encode())]
    done = run("classify", "A chef.", *given, "--scores", "--json", **_ASCII)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["scores"]) == labels


def test_a_taxonomy_file_of_any_name_is_read_in_a_locale_without_utf_8(away: Path) -> None:
    (away / "caf\u00e9.yaml").write_text("labels: [one, two]", encoding="utf-8")
    done = run("taxonomies", "show", "caf\u00e9.yaml".encode(), **_ASCII)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == b"one"


@pytest.mark.parametrize(
    ("label", "variables"),
    [(b"Caf\xe9", _ASCII), (b"\xff\xfe", {"LC_ALL": "C.UTF-8"}), (b"Gr\xfc\xdfe", {"LC_ALL": "C.UTF-8"})],
)
def test_labels_that_are_not_utf_8_are_named(away: Path, label: bytes, variables: dict[str, str]) -> None:
    done = run("classify", "A chef opens a restaurant.", "--labels", label + b",Crime", "--json", **variables)
    assert done.returncode != 0
    (line,) = done.stderr.decode().splitlines()
    assert str(label)[2:-1] in line
    assert "as UTF-8" in line
    assert "codec" not in line


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("taxonomies >&-", ""),
        ("taxonomies 2>&-", "tmdb"),
        ("classify <&-", "there is no text; give TEXT, --title, or standard input"),
        ("similar <&-", "Error: "),
        ("taxonomies <&- >&- 2>&-", ""),
    ],
)
def test_a_closed_stream_is_no_traceback(command: str, said: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} {ROOT / 'main.py'} {command}"], capture_output=True, check=False, text=True
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert said in done.stdout + done.stderr


def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, str(ROOT / "main.py"), "taxonomies"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["Error: No space left on device; free some space, or give another path"]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("::1", "http://[::1]:5103"),
        ("::", "http://[::1]:5103"),
        ("0.0.0.0", "http://127.0.0.1:5103"),
        ("127.0.0.1", "http://127.0.0.1:5103"),
        ("fe80::1", "http://[fe80::1]:5103"),
        ("[::1]", "http://[::1]:5103"),
        ("localhost", "http://localhost:5103"),
    ],
)
def test_the_address_that_is_printed_can_be_opened(host: str, url: str) -> None:
    assert url_of(host, 5103) == url
    Client(url)


@pytest.mark.parametrize("host", ["no.such.invalid", "http://127.0.0.1", "127.0.0.1:5000", "fe80::1%none", "a b"])
def test_a_host_that_does_not_exist_is_told_before_who_may_reach_it(host: str) -> None:
    assert f"cannot listen on {host}: " in error_of(call("serve", "--host", host))


@pytest.mark.parametrize("host", ["300.1.1.1", "::g", "no such host", "a" * 300, "\udcff"])
def test_an_address_that_is_none_is_one_line(host: str) -> None:
    with pytest.raises(InvalidSetting, match="cannot listen on"):
        listen(host, 0)


@pytest.mark.parametrize("url", ["http://[::1]:9/v1", "http://[::1]/v1"])
def test_an_ipv6_base_url_is_asked(url: str) -> None:
    problem = HTTPTransport(url, "", 1.0, 0, 1).post([{}])[0]
    assert "no connection to" in problem.detail
    assert "::1" in problem.detail
