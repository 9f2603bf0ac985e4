"""Keys, limits, headers: who may ask and how often."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from llm.backends.backend import FakeBackend
from llm.classifier import Classifier
from llm.language_model import LanguageModel
from llm.request_context import CURRENT_REQUEST
from llm.strategies.json_list import JSONList
from main import main
from marquee.settings import read_settings
from prompts.errors import InvalidSetting, UnknownName
from prompts.network import is_loopback
from service.access_control import AccessControl, Keys, access_control_of
from service.app import create_app
from service.services import Services

ROOT = Path(__file__).parents[2]
TEXT = {"text": "a plot"}


def model() -> Classifier:
    return LanguageModel(FakeBackend(lambda conversation: '["War"]'), JSONList())


def behind(lock: AccessControl, classifier: Classifier | None = None) -> FlaskClient:
    answering = classifier or model()
    return create_app(Services(lambda choice: answering, lambda: None, lambda: None, "tmdb", access=lock)).test_client()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


# --- keys ---


def test_a_key_is_shown_once_and_only_its_hash_is_kept(keys: Keys, tmp_path: Path) -> None:
    token = keys.add("ada")
    file = tmp_path / "keys.json"
    assert token not in file.read_text()
    assert token.removeprefix("mq_") not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert keys.owner(token) == "ada"
    assert keys.add("bob") != token
    assert [keys.owner(wrong) for wrong in ("", token[:-1], token + "x", "mq_", "ключ")] == [None] * 5


def test_a_revoked_key_opens_nothing_and_is_not_forgotten(keys: Keys) -> None:
    token = keys.add("ada")
    keys.revoke("ada")
    assert keys.owner(token) is None
    assert keys.all()["ada"].revoked
    again = keys.add("ada")
    assert (keys.owner(token), keys.owner(again)) == (None, "ada")


def test_names_are_checked(keys: Keys) -> None:
    keys.add("ada")
    with pytest.raises(InvalidSetting, match="a key 'ada' exists"):
        keys.add("ada")
    with pytest.raises(InvalidSetting, match="cannot name a key"):
        keys.add("a b")
    with pytest.raises(UnknownName, match="did you mean 'ada'"):
        keys.revoke("adda")


def test_a_file_that_holds_no_keys_opens_nothing(keys: Keys, tmp_path: Path) -> None:
    for content, message in (("[1]", "must be a JSON object"), ('{"a": 1}', "has no API keys")):
        (tmp_path / "keys.json").write_text(content)
        with pytest.raises(InvalidSetting, match=message):
            keys.all()
    assert behind(AccessControl(keys)).post("/classify", json=TEXT).status_code == 503


def test_keys_need_no_library_of_the_service(away: Path) -> None:
    hidden = "flask werkzeug flask_limiter limits gunicorn prometheus_client"
    program = f"import sys; sys.modules.update(dict.fromkeys({hidden.split()})); from main import main; main()"
    command = [sys.executable, "-c", program, "keys", "add", "ada"]
    made = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert made.stdout.startswith("mq_"), made.stderr


def test_the_command_line_makes_lists_and_revokes_keys(away: Path) -> None:
    def call(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["keys", *arguments], catch_exceptions=False)

    token = call("add", "ada").stdout.strip()
    assert Keys(away / "var" / "keys.json").owner(token) == "ada"
    header, row = (line.split() for line in call("list").stdout.splitlines())
    assert (header, row[0], len(row)) == (["name", "made", "revoked"], "ada", 2)
    assert call("revoke", "ada").exit_code == 0
    assert len(call("list").stdout.splitlines()[1].split()) == 3
    assert (call("revoke", "eve").exit_code, "there is no key 'eve'" in call("revoke", "eve").stderr) == (1, True)


# --- access control ---


def test_with_keys_who_asks_needs_one_and_who_reads_does_not(keys: Keys) -> None:
    token, client = keys.add("ada"), behind(AccessControl(keys))
    refused = client.post("/classify", json=TEXT)
    assert (refused.status_code, refused.get_json()["type"]) == (401, "/problems/no-key")
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert client.post("/predict_genre", json=TEXT, headers=bearer("wrong")).status_code == 401
    assert [client.get(path).status_code for path in ("/metrics", "/metrics/")] == [401, 401]
    for path in ("/", "/healthz", "/readyz", "/taxonomies", "/prompts", "/problems/no-key"):
        assert client.get(path).status_code == 200
    assert client.post("/classify", json=TEXT, headers=bearer(token)).status_code == 200
    assert client.post("/classify", json=TEXT, headers={"X-API-Key": token}).status_code == 200
    assert client.get("/metrics", headers=bearer(token)).status_code == 200


def test_a_running_service_knows_new_and_revoked_keys_at_once(keys: Keys, tmp_path: Path) -> None:
    client, elsewhere = behind(AccessControl(keys)), Keys(tmp_path / "keys.json")
    assert client.post("/classify", json=TEXT).status_code == 200, "no key, no lock, on loopback"
    token = elsewhere.add("ada")
    assert client.post("/classify", json=TEXT).status_code == 401
    assert client.post("/classify", json=TEXT, headers=bearer(token)).status_code == 200
    elsewhere.revoke("ada")
    assert client.post("/classify", json=TEXT, headers=bearer(token)).status_code == 401
    assert client.post("/classify", json=TEXT).status_code == 401, "the last key revoked does not open the door"


def test_another_address_than_loopback_needs_keys_or_a_word(away: Path) -> None:
    with pytest.raises(InvalidSetting, match="every client that reaches"):
        access_control_of(read_settings(host="0.0.0.0"))
    assert access_control_of(read_settings(host="0.0.0.0", allow_anonymous=True)).keys is None
    assert not access_control_of(read_settings()).needs_key
    Keys(away / "var" / "keys.json").add("ada")
    assert access_control_of(read_settings(host="0.0.0.0")).needs_key
    assert access_control_of(read_settings(host="127.0.0.1")).needs_key
    assert [is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org")] == [False] * 4


def test_who_guesses_keys_is_stopped_and_who_has_one_is_not(keys: Keys) -> None:
    token, client = keys.add("ada"), behind(AccessControl(keys))
    found = [client.post("/classify", json=TEXT, headers=bearer(f"mq_{n}")).status_code for n in range(40)]
    assert found == [401] * 20 + [429] * 20
    assert client.post("/classify", json=TEXT, headers=bearer(token)).status_code == 200


def test_askers_have_salts_of_their_own(keys: Keys) -> None:
    salts: list[str] = []

    class Salted:
        name = "salted"

        def classify(self, texts: Any, taxonomy: Any) -> Any:
            salts.append(CURRENT_REQUEST.get().cache_salt)
            return model().classify(texts, taxonomy)

    ada, bob = keys.add("ada"), keys.add("bob")
    client = behind(AccessControl(keys), Salted())
    for token in (ada, bob, ada):
        client.post("/classify", json=TEXT, headers=bearer(token))
    assert salts[0] == salts[2] != salts[1]
    assert all(salts)
    assert ada not in salts


# --- rates ---


def test_a_key_has_its_rate_and_is_told_how_much_is_left(keys: Keys) -> None:
    ada, bob = keys.add("ada"), keys.add("bob")
    client = behind(AccessControl(keys, rate_limit="3 per hour"))
    replies = [client.post("/classify", json=TEXT, headers=bearer(ada)) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert [reply.headers["RateLimit-Remaining"] for reply in replies] == ["2", "1", "0", "0"]
    assert replies[-1].get_json()["type"] == "/problems/too-many-requests"
    assert "3 per 1 hour" in replies[-1].get_json()["detail"]
    assert 0 < int(replies[-1].headers["Retry-After"]) <= 3_601
    assert replies[0].headers["RateLimit-Limit"] == "3"
    assert client.post("/classify", json=TEXT, headers=bearer(bob)).status_code == 200
    assert client.get("/readyz", headers=bearer(ada)).status_code == 200


def test_without_keys_an_address_has_its_rate() -> None:
    client = behind(AccessControl(rate_limit="2 per hour"))
    assert [client.post("/classify", json=TEXT).status_code for _ in range(3)] == [200, 200, 429]
    other = client.post("/classify", json=TEXT, environ_base={"REMOTE_ADDR": "127.0.0.2"})
    assert other.status_code == 200


def test_two_applications_count_for_themselves(keys: Keys) -> None:
    for _ in range(2):
        assert behind(AccessControl(rate_limit="1 per hour")).post("/classify", json=TEXT).status_code == 200


def test_on_loopback_without_keys_nothing_is_counted(away: Path) -> None:
    assert access_control_of(read_settings()).rate_limit == ""
    assert access_control_of(read_settings(allow_anonymous=True)).rate_limit == "600 per minute"


def test_counts_that_cannot_be_kept_stop_the_start() -> None:
    with pytest.raises(InvalidSetting, match="MARQUEE_RATE_STORAGE"):
        behind(AccessControl(rate_limit="1 per hour", storage="nowhere://"))
    with pytest.raises(InvalidSetting, match="MARQUEE_RATE_LIMIT: should be such as"):
        read_settings(rate_limit="many")


# --- security headers ---


def test_answers_and_problems_carry_the_headers_that_keep_browsers_in_check() -> None:
    client = behind(AccessControl())
    for reply in (client.post("/classify", json=TEXT), client.get("/nowhere"), client.get("/")):
        assert reply.headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["X-Frame-Options"] == "DENY"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert not [name for name, _ in reply.headers if name.startswith("Access-Control")]


def test_no_key_stands_in_the_log(keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    token, client = keys.add("ada"), behind(AccessControl(keys))
    client.post("/classify", json=TEXT, headers=bearer(token))
    client.post("/classify", json=TEXT, headers=bearer("mq_wrong"))
    assert [record.fields.get("key") for record in caplog.records if hasattr(record, "fields")] == ["ada", None]
    assert token not in caplog.text
    assert "mq_wrong" not in json.dumps([vars(one) for one in caplog.records], default=str)
