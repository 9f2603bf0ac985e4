"""Behind reverse proxies: whose address is counted and logged, and links under a path prefix."""

import logging
import re
from contextlib import closing
from pathlib import Path
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client as WSGIClient
from werkzeug.wrappers import Response

from marquee.settings import read_settings
from service.access_control import AccessControl, Keys
from service.app import create_app
from service.problem_kinds import KINDS
from service.services import Services
from tests.eval.rows import Named

ROOT = Path(__file__).parents[2]
TEXT = {"text": "a war"}


def client_of(proxies: int, access: AccessControl | None = None) -> FlaskClient:
    parts = Services(
        lambda choice: Named(),
        lambda: None,
        lambda: None,
        "tmdb",
        access=access or AccessControl(),
        trusted_proxies=proxies,
    )
    return create_app(parts).test_client()


def statuses(client: FlaskClient, addresses: list[str], **headers: str) -> list[int]:
    return [
        client.post("/classify", json=TEXT, headers={"X-Forwarded-For": one, **headers}).status_code
        for one in addresses
    ]


def test_a_rate_limit_counts_the_address_that_a_trusted_proxy_names() -> None:
    client = client_of(1, AccessControl(rate_limit="2 per minute"))
    assert statuses(client, ["192.0.2.1"] * 3) == [200, 200, 429]
    assert statuses(client, ["192.0.2.2"]) == [200]
    # What a client writes into the header itself is before the proxy's entry and is not believed.
    assert statuses(client, ["198.51.100.9, 192.0.2.1"]) == [429]


# Azure's gateways write the port, which differs for each connection; IPv6 clients take any address of their /64.
@pytest.mark.parametrize(
    "forms",
    [
        ["192.0.2.1:4711", "192.0.2.1:4712", "192.0.2.1"],
        ["[2001:db8::7]:4711", "[2001:db8::7]:4712", "2001:db8::7"],
        ["::ffff:192.0.2.1", "192.0.2.1", "[::ffff:192.0.2.1]:80"],
        ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff:ffff:ffff:ffff"],
        ["fe80::1%eth0", "fe80::1", "fe80::2"],
        ["unknown", "unknown", "unknown"],
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer mq_wrong"}])
def test_one_client_is_counted_once_however_its_address_is_written(forms: list[str], headers: dict[str, str]) -> None:
    client = client_of(1, AccessControl(rate_limit="2 per minute"))
    assert statuses(client, forms, **headers) == [200, 200, 429]


@pytest.mark.parametrize("others", [["192.0.2.1", "192.0.2.2:80"], ["2001:db8:0:1::1", "2001:db8:0:2::1"]])
def test_different_clients_are_counted_apart(others: list[str]) -> None:
    assert statuses(client_of(1, AccessControl(rate_limit="1 per minute")), others) == [200, 200]


def test_without_a_trusted_proxy_the_header_is_ignored() -> None:
    client = client_of(0, AccessControl(rate_limit="2 per minute"))
    assert statuses(client, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]) == [200, 200, 429]


def test_two_proxies_are_two_entries_of_the_header() -> None:
    client = client_of(2, AccessControl(rate_limit="1 per minute"))
    assert statuses(client, ["192.0.2.1, 10.0.0.1", "192.0.2.1, 10.0.0.2", "192.0.2.2, 10.0.0.1"]) == [200, 429, 200]


def test_wrong_keys_are_counted_by_the_clients_address(tmp_path: Path) -> None:
    client = client_of(1, AccessControl(Keys(tmp_path / "keys.json"), locked=True))
    assert statuses(client, ["192.0.2.1"] * 21, Authorization="Bearer mq_wrong")[-1] == 429
    assert statuses(client, ["192.0.2.2"], Authorization="Bearer mq_wrong") == [401]


@pytest.mark.parametrize(("proxies", "address"), [(0, "127.0.0.1"), (1, "192.0.2.1")])
@pytest.mark.parametrize("given", ["192.0.2.1", "192.0.2.1:4711"])
def test_the_log_has_the_clients_address(
    proxies: int, address: str, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "service.requests"):
        statuses(client_of(proxies), [given])
    assert [vars(record)["fields"]["address"] for record in caplog.records] == [address]


@pytest.mark.usefixtures("away")
def test_the_number_of_proxies_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().trusted_proxies == 0
    monkeypatch.setenv("MARQUEE_TRUSTED_PROXIES", "2")
    assert read_settings().trusted_proxies == 2


PAGES = ("/", "/docs", "/problems/no-key")
LINK = re.compile(r'(?:href|src)="([^"#]+)')
SCRIPT_LINK = re.compile(r'(?:from|import) "(\./[^"]+)"')


def mounted(prefix: str) -> WSGIClient:
    """The service under a prefix, with nothing at the root."""
    app = create_app(Services(lambda choice: Named(), lambda: None, lambda: None, "tmdb"))
    nothing = Response("nothing is here", 404)
    return WSGIClient(DispatcherMiddleware(nothing, {prefix: app}))


@pytest.mark.parametrize("prefix", ["/marquee", "/tools/text/classify"])
def test_no_link_of_a_page_leaves_the_prefix(prefix: str) -> None:
    client, seen = mounted(prefix), set[str]()
    waiting = [prefix + page for page in PAGES]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        assert path.startswith(f"{prefix}/"), path
        with closing(client.get(path, headers={"Accept": "text/html"})) as reply:
            assert reply.status_code == 200, path
            links = LINK.findall(reply.text) if reply.mimetype == "text/html" else SCRIPT_LINK.findall(reply.text)
        waiting += [urljoin(path, link) for link in links if not link.startswith(("http:", "https:", "data:"))]
    assert {f"{prefix}/page/{name}" for name in ("page.js", "docs.js", "api.js", "marquee.css", "icon.svg")} <= seen


def test_scripts_request_paths_through_one_function_that_makes_them_relative() -> None:
    folder = ROOT / "service" / "page" / "static"
    callers = {path.name for path in folder.glob("*.js") if "fetch(" in path.read_text(encoding="utf-8")}
    assert callers == {"api.js"}
    assert 'fetch(path.replace(/^\\//, "./")' in (folder / "api.js").read_text(encoding="utf-8")
    for path in folder.glob("*.js"):
        assert "location.origin" not in path.read_text(encoding="utf-8"), path.name


def test_programs_find_the_prefix_in_problems_and_in_the_document() -> None:
    client = mounted("/marquee")
    problem = client.post("/marquee/classify", json={"txet": "a"}).get_json()
    assert problem["type"] == "/marquee/problems/invalid-request"
    assert client.get(problem["type"]).status_code == 200
    document = client.get("/marquee/openapi.json").get_json()
    assert document["servers"] == [{"url": "/marquee"}]
    one = client.post("/marquee/classify", json={"texts": ["a war", ""]}).get_json()["results"][1]
    assert one["problem"]["type"] == "/marquee/problems/invalid-request"


def test_the_address_without_the_last_slash_leads_to_the_page() -> None:
    client = mounted("/marquee")
    reply = client.get("/marquee", headers={"Accept": "text/html"})
    links = [urljoin("/marquee", link) for link in LINK.findall(reply.text)]
    redirected = reply.status_code in (301, 302, 307, 308) and reply.headers["Location"].endswith("/marquee/")
    assert redirected or (reply.status_code == 200 and all(link.startswith("/marquee/") for link in links))


@pytest.mark.parametrize(("proxies", "prefix"), [(0, ""), (1, "/marquee")])
def test_a_trusted_proxy_may_name_the_prefix_that_it_removes(proxies: int, prefix: str) -> None:
    client = client_of(proxies)
    headers = {"X-Forwarded-Prefix": "/marquee"}
    assert client.get("/nowhere", headers=headers).get_json()["type"] == f"{prefix}/problems/not-found"
    assert client.get("/openapi.json", headers=headers).get_json()["servers"] == [{"url": prefix or "/"}]


@pytest.mark.parametrize("path", PAGES)
def test_links_work_where_a_proxy_removes_the_prefix_without_saying_so(path: str) -> None:
    page = client_of(0).get(path, headers={"Accept": "text/html"}).text
    links = [link for link in LINK.findall(page) if not link.startswith(("http", "data:"))]
    assert links, links
    assert all(urljoin(f"/unknown{path}", link).startswith("/unknown/") for link in links), links


# --- explanations of problems ---


@pytest.mark.parametrize("slug", KINDS)
def test_every_kind_of_problem_is_explained_for_programs_and_for_browsers(slug: str) -> None:
    client, kind = client_of(0), KINDS[slug]
    shown = client.get(f"/problems/{slug}").get_json()
    assert (shown["type"], shown["title"], shown["status"]) == (f"/problems/{slug}", kind.title, kind.status)
    assert len(shown["meaning"]) > 20
    assert shown["causes"]
    assert shown["remedies"]
    reply = client.get(f"/problems/{slug}", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (reply.mimetype, reply.headers["Vary"]) == ("text/html", "Accept")
    words = reply.text.replace("&#39;", "'").replace("&amp;", "&")
    assert all(sentence in words for sentence in (kind.title, kind.meaning, *kind.causes, *kind.remedies))
    assert "Content-Security-Policy" in reply.headers


def test_an_unknown_kind_of_problem_is_not_found() -> None:
    assert "known: bad-request" in client_of(0).get("/problems/xyzzy").get_json()["detail"]


def test_settings_that_remedies_name_exist() -> None:
    from marquee.settings import Settings, environment_name

    known = {environment_name(name) for name in Settings.model_fields}
    words = " ".join(sentence for kind in KINDS.values() for sentence in (*kind.causes, *kind.remedies))
    assert set(re.findall(r"\b(?:MARQUEE|OPENAI)_[A-Z_]+", words)) <= known
