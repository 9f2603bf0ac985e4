"""`taxonomies`: list, show, check and suggest; and the page from texts to a served taxonomy, command by command."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llm.embedded.matcher import Matcher
from main import main
from marquee.settings import read_settings
from prompts import registry
from prompts.taxonomy_file import load_taxonomy
from service.app import create_app
from service.services import build
from tests.support.misbehaving import endpoint, says

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-taxonomies.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def there(away: Path, embedded: Matcher, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with the examples of the docs; models are loaded once for all tests."""
    monkeypatch.setattr("marquee.authoring.matcher", lambda **_: embedded)
    monkeypatch.setattr("marquee.authoring.MiniLM", lambda: embedded.encoder)
    monkeypatch.setattr("marquee.factory.matcher", lambda **_: embedded)
    (away / "docs").symlink_to(ROOT / "docs")
    return away


# --- list and show ---


def test_own_taxonomies_are_listed_with_their_file(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (there / "own").mkdir()
    (there / "own" / "parcels.yaml").write_text("labels: [delay, damage]")
    (there / "own" / "bad.yaml").write_text("labels: [a, a]")
    monkeypatch.setenv("MARQUEE_TAXONOMIES", "own")
    lines = {line.split()[0]: line.split()[-1] for line in call("taxonomies").stdout.splitlines()}
    assert lines["tmdb"] == "bundled"
    assert lines["parcels"] == str(there / "own" / "parcels.yaml")
    assert "bad" not in lines
    assert call("taxonomies", "show", "parcels").stdout.split() == ["label", "description", "delay", "damage"]
    assert "'a' occurs twice" in call("taxonomies", "show", "bad").output
    assert call("classify", "It came late.", "--taxonomy", "parcels").stdout.strip() in ("delay", "damage")


def test_a_name_in_place_of_a_command_gets_advice() -> None:
    result = call("taxonomies", "tickets")
    assert (result.exit_code, "main.py taxonomies show tickets" in result.output) == (2, True)


# --- check ---


@pytest.mark.parametrize(
    ("content", "status", "rules"),
    [
        ("labels: [a, a]", 1, ["invalid"]),
        ("labels: [", 1, ["invalid"]),
        ("multi: false\nlabels: [Printer, Invoice]", 1, ["no-description"]),
        ("labels: [{name: Printer, description: toner}, {name: Invoice, description: payment}]", 0, []),
        ("labels: [{name: Card lost, description: lost}, {name: Lost card, description: gone}]", 1, ["overlap"]),
    ],
)
def test_findings_decide_the_exit_status(there: Path, content: str, status: int, rules: list[str]) -> None:
    (there / "own.yaml").write_text(content)
    result = call("taxonomies", "check", "own.yaml", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, [one["rule"] for one in found["findings"]]) == (status, rules)
    assert found["errors"] + found["warnings"] == len(rules)
    words = call("taxonomies", "check", "own.yaml")
    assert words.exit_code == status
    assert all(f": {rule}: " in words.stdout for rule in rules)


def test_labels_that_no_text_gets_are_found_in_a_table(there: Path) -> None:
    result = call(*shlex.split("taxonomies check tickets --data docs/examples/helpdesk.csv --text-field text --json"))
    (one,) = [one for one in json.loads(result.stdout)["findings"] if one["rule"] == "unchosen"]
    assert set(one["labels"]) < set(registry.taxonomy("tickets").names)
    assert (result.exit_code, one["severity"]) == (0, "note")


def test_no_such_file_is_an_error(there: Path) -> None:
    result = call("taxonomies", "check", "none.yaml")
    assert (result.exit_code, "there is no file none.yaml" in result.output) == (1, True)


# --- suggest ---


def test_a_language_model_names_the_labels(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "taxonomies suggest docs/examples/helpdesk.csv --text-field text --labels 3 --names model"
    assert "no language model is set" in call(*words.split()).output
    with endpoint(says('{"name": "Help", "description": "all kinds of help"}')) as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.url)
        monkeypatch.setenv("MARQUEE_MODEL", "m")
        result = call(*words.split(), "--out", "own.yaml")
    assert result.exit_code == 0, result.output
    assert load_taxonomy(Path("own.yaml")).names[0] == "Help"


def test_a_suggestion_never_replaces_its_texts(there: Path) -> None:
    (there / "texts.csv").write_text("text\nx\n")
    result = call("taxonomies", "suggest", "texts.csv", "--text-field", "text", "--out", "texts.csv")
    assert (result.exit_code, (there / "texts.csv").read_text()) == (2, "text\nx\n")


# --- the page ---


def test_the_commands_of_the_page_lead_to_a_served_taxonomy(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _BLOCK.findall(PAGE)
    for place, (language, file, words) in enumerate(found):
        if file:
            (there / file).write_text(words, encoding="utf-8")
        if language != "sh" or "docker" in words:
            continue
        for line in words.splitlines():
            variables = dict(part.split("=", 1) for part in line.split(" .venv")[0].split() if "=" in part)
            if line.startswith("mkdir -p "):
                Path(line.split()[-1]).mkdir(parents=True)
            elif line.startswith("cp "):
                shutil.copy(*line.split()[1:])
            elif line.startswith("curl"):
                body = re.search(r"-d '(\{.*\})'", line)
                assert body
                _answers_like_the_page(json.loads(body[1]))
            elif line.endswith(" serve"):
                for name, value in variables.items():
                    monkeypatch.setenv(name, value)
            else:
                result = call(*shlex.split(line)[2:])
                assert result.exit_code == 0, f"{line}: {result.output}"
                if place + 1 < len(found) and found[place + 1][0] == "text":
                    assert result.stdout == found[place + 1][2]


def _answers_like_the_page(body: dict[str, str]) -> None:
    client = create_app(build(read_settings())).test_client()
    answer = client.post("/classify", json=body)
    assert (answer.status_code, answer.get_json()["labels"]) == (200, ["Printer"])


def test_the_page_explains_every_rule() -> None:
    source = (ROOT / "llm" / "authoring" / "taxonomy_check.py").read_text(encoding="utf-8")
    rules = set(re.findall(r'"([a-z-]+)",\s+"(?:note|warning)"', source)) - {"error"} | {"invalid"}
    assert rules == set(re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE))
    assert len(rules) > 8


def test_the_python_of_the_page_runs(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [words for language, _, words in _BLOCK.findall(PAGE) if language == "python"]
    exec(compile(code, "own-taxonomies.md", "exec"), {})
    assert "printer" in capsys.readouterr().out.casefold()
