"""The pages of docs/ tell the truth: their commands run, their files are taken, their references are the program's."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner

from eval.datasets import Fields, load
from eval.metrics import METRICS, indicator
from llm.backends.capability_checks import CHECKS
from llm.backends.vllm_server import FLAGS
from llm.embedded.matcher import Matcher
from llm.strategies import STRATEGIES
from main import main
from marquee.settings import Settings, environment_name, read_settings
from prompts import registry
from prompts.taxonomy_file import load_taxonomy
from service.app import create_app
from service.reference import pages
from service.schemas.classify import ClassifyAnswer, ClassifyRequest
from service.schemas.routes import SimilarAnswer, SimilarRequest
from service.services import Services
from tests.test_architecture import MAY_IMPORT

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
RESULTS = sorted([*ROOT.glob("eval/*.md"), *ROOT.glob("benchmarks/*.md")])
ROOMS = (*sorted(MAY_IMPORT.keys() - {"main", "benchmarks"}), "data", "docs")
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")


class Block(NamedTuple):
    """A fenced block of a page: its language, the file that it names, and what stands in it."""

    language: str
    file: str
    words: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in _BLOCK.findall(page.read_text(encoding="utf-8"))]


@pytest.fixture
def own_shelf(away: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the shelf of taxonomies, on which the examples' may be put too."""
    folder = away / "prompts" / "taxonomies"
    shutil.copytree(registry.TAXONOMIES, folder)
    monkeypatch.setattr(registry, "TAXONOMIES", folder)
    registry.forget()
    yield folder
    monkeypatch.undo()
    registry.forget()


# --- all pages ---


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "README.md"], ids=lambda page: page.name)
def test_a_page_first_says_what_a_reader_can_do_after_it(page: Path) -> None:
    title, empty, first = page.read_text(encoding="utf-8").splitlines()[:3]
    assert title.startswith("# ")
    assert not empty
    assert first.startswith("After this page you ")


def test_every_page_is_linked_from_the_index() -> None:
    linked = {(DOCS / target).resolve() for target, _ in _LINK.findall((DOCS / "README.md").read_text())}
    assert set(PAGES) - {DOCS / "README.md"} <= linked


@pytest.mark.parametrize("page", [*PAGES, *RESULTS, *ROOT.glob("*.md")], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            there = page.parent / target if target else page
            assert there.exists(), target
            assert not anchor or anchor in _anchors(there), f"{target}#{anchor}"


@pytest.mark.parametrize("folder", ["eval", "benchmarks"])
def test_tables_of_results_have_at_most_eight_rows(folder: str) -> None:
    text = (ROOT / folder / "RESULTS.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\|.*\n\|[-:|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert len(tables) > 8
    assert max(len(table.splitlines()) for table in tables) <= 8


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


def test_the_references_are_those_that_the_program_makes() -> None:
    for name, words in pages().items():
        assert (DOCS / name).read_text(encoding="utf-8") == words, f"{name} is out of date; run make docs"


def test_every_setting_and_route_stands_in_the_references() -> None:
    made = pages()
    for field in Settings.model_fields:
        assert f"| `{environment_name(field)}` |" in made["configuration.md"]
    for name in ClassifyRequest.model_fields:
        assert f"| `{name}` |" in made["http.md"]
    assert "sk-" not in made["configuration.md"]


# --- commands ---


class Command(NamedTuple):
    """A command of a page: the page, variables set before it, and the arguments of ``main.py``."""

    page: Path
    variables: tuple[str, ...]
    arguments: tuple[str, ...]


def _commands() -> Iterator[Command]:
    """Every ``main.py …`` and ``marquee …`` in a block of shell commands, up to a pipe or a redirection."""
    for page in PAGES:
        for block in blocks(page):
            if block.language in ("sh", "console"):
                for line in block.words.replace("\\\n", " ").splitlines():
                    if "main.py" in line or line.startswith("$ marquee"):
                        yield from _commands_of(page, shlex.split(line.removeprefix("$ "), comments=True))


def _commands_of(page: Path, words: list[str]) -> Iterator[Command]:
    for place, word in enumerate(words):
        if word.endswith("main.py") or (word == "marquee" and place == 0):
            end = next((n for n, other in enumerate(words) if n > place and other in ("|", ">", "&&", ";")), len(words))
            set_before = tuple(other for other in words[:place] if "=" in other)
            yield Command(page, set_before, tuple(words[place + 1 : end]))


COMMANDS = [command for command in _commands() if command.arguments and "…" not in command.arguments]


def check_options(command: click.Command, arguments: tuple[str, ...]) -> None:
    """Raise click's error where an option, a choice or a subcommand does not exist; files need not exist."""
    context = click.Context(command, info_name=command.name)
    options, rest, _ = command.make_parser(context).parse_args(list(arguments))
    for parameter in command.params:
        given = options.get(parameter.name or "")
        for value in given if isinstance(given, list) else [given]:
            if isinstance(parameter.type, click.Choice) and isinstance(value, str):
                parameter.type.convert(value, parameter, context)
    if isinstance(command, click.Group) and rest:
        _, subcommand, after = command.resolve_command(context, rest)
        assert subcommand is not None
        check_options(subcommand, tuple(after))
    else:
        assert not rest, f"unexpected arguments: {rest}"


def test_every_command_of_a_page_has_options_that_exist() -> None:
    assert len(COMMANDS) > 60
    wrong = []
    for command in COMMANDS:
        try:
            check_options(main, command.arguments)
        except (click.UsageError, AssertionError) as error:
            wrong.append(f"{command.page.relative_to(ROOT)}: {' '.join(command.arguments)}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "arguments", [("classify", "x", "--labls", "a"), ("classfy", "x"), ("taxonomies", "show", "a", "b")]
)
def test_a_wrong_command_is_found(arguments: tuple[str, ...]) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        check_options(main, arguments)


def _cheap() -> Iterator[Command]:
    """Commands that the embedded classifier runs within a second on files of the repository."""
    for command in COMMANDS:
        if command.page.name == "quick-start.md":
            continue  # below, in their order
        name, *rest = command.arguments
        needs_more = {"--url", "--lookup", "parcels", "parcel", "gym"} & set(rest)
        files = [word for word in rest if re.search(r"\.(csv|yaml|jsonl)$", word)]
        needs_more |= {word for word in rest if word.startswith("hf:")}
        cheap = name in ("classify", "taxonomies", "prompts", "data") and not command.variables
        if cheap and not needs_more and all((ROOT / file).exists() for file in files):
            yield command


def test_cheap_commands_of_all_pages_run(away: Path, embedded: Matcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marquee.factory.matcher", lambda **_: embedded)  # loaded once for all tests
    (away / "docs").symlink_to(DOCS)
    (away / "data").symlink_to(ROOT / "data")
    ran = {" ".join(command.arguments): CliRunner().invoke(main, command.arguments) for command in _cheap()}
    assert len(ran) > 5
    assert not {words: result.output for words, result in ran.items() if result.exit_code}


def test_the_python_of_the_architecture_page_runs(
    embedded: Matcher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("marquee.factory.matcher", lambda **_: embedded)
    (code,) = [block.words for block in blocks(DOCS / "architecture.md") if block.language == "python"]
    exec(compile(code, "architecture.md", "exec"), {})
    assert capsys.readouterr().out == "('Billing',) None embedded/matcher.v2\n"


# --- the HTTP API ---


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        ("http-api.md", ClassifyRequest.model_fields.keys() | ClassifyAnswer.model_fields.keys()),
        ("similar-films.md", SimilarRequest.model_fields.keys() | SimilarAnswer.model_fields.keys()),
    ],
)
def test_every_field_of_a_request_and_an_answer_is_on_its_page(page: str, fields: set[str]) -> None:
    assert fields <= set(re.findall(r"`(\w+)`", (DOCS / page).read_text(encoding="utf-8")))


def test_the_first_request_of_the_http_page_is_answered_as_shown(embedded: Matcher) -> None:
    text = (DOCS / "http-api.md").read_text(encoding="utf-8")
    sent, shown = re.search(r"-d '(\{.*?\})'", text), re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert sent
    assert shown
    app = create_app(Services(lambda choice: embedded, lambda: None, lambda: None, "tmdb"))
    answers = app.test_client().post("/classify", json=json.loads(sent[1])).get_json()["results"]
    expected = json.loads(shown[1])["results"]
    for one, other in zip(answers, expected, strict=True):
        scores = other.pop("scores")
        assert one.pop("scores") == pytest.approx(scores, abs=0.01)  # processors round differently
        assert one == other


# --- endpoints ---


@pytest.mark.parametrize(
    ("head", "model"),
    [
        ("OpenAI", "gpt-4o-mini"),
        ("DashScope", "qwen-plus"),
        ("vLLM", "Qwen/Qwen2-7B-Instruct"),
        ("Ollama", "qwen2:7b-instruct"),
        ("llama.cpp", "qwen2-7b-instruct"),
        ("In this process", "Qwen/Qwen2-7B-Instruct"),
    ],
)
@pytest.mark.usefixtures("away")
def test_a_block_of_settings_pasted_into_env_lets_that_endpoint_answer(head: str, model: str) -> None:
    text = (DOCS / "language-models.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {head}\n")[2].partition("\n## ")[0]
    found = [words for language, _, words in _BLOCK.findall(section) if language == "sh" and _only_settings(words)]
    Path(".env").write_text("\n".join(found), encoding="utf-8")
    settings = read_settings()
    assert settings.uses_language_model
    assert settings.model == model
    assert settings.local_model or settings.base_url.rstrip("/").endswith("/v1")


def _only_settings(words: str) -> bool:
    return all(re.match(r"(MARQUEE|OPENAI)_[A-Z_]+=\S+$", line) for line in words.splitlines())


def test_the_endpoints_page_lists_every_strategy_and_every_capability_check() -> None:
    text = (DOCS / "language-models.md").read_text(encoding="utf-8")
    heads = re.search(r"^\| endpoint \|(.*)\|$", text, re.MULTILINE)
    assert heads
    assert re.findall(r"`(\w+)`", heads[1]) == list(STRATEGIES)
    told = re.findall(r"^\| `(\w+)` \|", text.partition("## Capability checks")[2], re.MULTILINE)
    assert told == list(CHECKS)


def test_the_endpoints_page_gives_vllm_the_flags_that_we_start_it_with() -> None:
    shown = re.search(r"^vllm serve .*?[^\\]$", (DOCS / "language-models.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shown
    assert set(FLAGS) <= set(shlex.split(shown[0].replace("\\\n", " ")))


# --- quick start ---


def test_every_command_of_the_quick_start_runs(
    own_shelf: Path, away: Path, embedded: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marquee.factory.matcher", lambda **_: embedded)
    (away / "docs").symlink_to(DOCS)
    (away / "data").symlink_to(ROOT / "data")
    found = "".join(block.words for block in blocks(DOCS / "quick-start.md") if block.language == "sh")
    for line in found.splitlines():
        if line.startswith("cp "):
            shutil.copy(*line.split()[1:])
            registry.forget()
        if line.startswith(".venv/bin/python main.py "):
            ran = CliRunner().invoke(main, shlex.split(line)[2:], catch_exceptions=False)
            assert ran.exit_code == 0, f"{line}: {ran.output}"
            assert ran.stdout.strip()
    assert (away / "var" / "runs" / "first" / "report.html").stat().st_size > 10_000


def test_the_bodies_of_the_quick_start_are_requests() -> None:
    found = "".join(block.words for block in blocks(DOCS / "quick-start.md") if block.language == "sh")
    bodies = re.findall(r"-d '(\{.*\})'", found)
    assert len(bodies) == 2
    for body in bodies:
        assert ClassifyRequest.model_validate(json.loads(body)).all_texts()


# --- examples ---


@pytest.mark.parametrize("page", sorted((DOCS / "examples").glob("*.md")), ids=lambda page: page.stem)
def test_an_example_is_answered_as_it_says(page: Path, own_shelf: Path, embedded: Matcher) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"^cp docs/examples/(\S+) prompts/taxonomies/$", text, re.MULTILINE):
        shutil.copy(DOCS / "examples" / name, own_shelf)
    registry.forget()
    asked = re.findall(
        r"-d '(\{.*?\})'\n```\n\n\| text \| labels \|\n\|---\|---\|\n((?:\|[^\n]*\|\n)+)", text, re.DOTALL
    )
    assert asked
    for body, table in asked:
        request = ClassifyRequest.model_validate(json.loads(body))
        found = embedded.classify(request.all_texts(), request.resolve_taxonomy(registry.taxonomy("tmdb")))
        told = [
            f"| {one.body} | {', '.join(answer.labels)}" for one, answer in zip(request.all_texts(), found, strict=True)
        ]
        assert [line.rstrip("| ") for line in told] == [line.rstrip("| ") for line in table.splitlines()]


def test_the_labelled_messages_of_the_gym_give_about_the_figure_that_is_told(embedded: Matcher) -> None:
    gym = load_taxonomy(DOCS / "examples" / "gym.yaml")
    rows = load(DOCS / "examples" / "gym.csv", gym, Fields(text="text", labels="labels")).examples
    found = embedded.classify([row.text for row in rows], gym)
    figure = METRICS["micro-F1"](*(indicator([one.labels for one in some], gym) for some in (rows, found)))
    said = re.search(r"micro-F1 is about (0\.\d)", (DOCS / "examples" / "tickets.md").read_text(encoding="utf-8"))
    assert said
    assert abs(figure - float(said[1])) < 0.06


# --- extending ---


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program with every file and change of the page in it."""
    copy = tmp_path_factory.mktemp("program")
    for room in ROOMS:
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("main.py", "pyproject.toml"):  # no links: Python would enter the rooms beside what they lead to
        shutil.copy(ROOT / name, copy)
    for block in blocks(DOCS / "extending.md"):
        if block.language == "diff":
            change(copy / block.file, block.words)
        elif block.file:
            assert not (copy / block.file).exists(), f"{block.file} is there already"
            (copy / block.file).write_text(block.words, encoding="utf-8")
    return copy


def change(file: Path, diff: str) -> None:
    """Apply a change that is written as a diff without line numbers; its place must be found once."""
    lines = [line or " " for line in diff.splitlines()]
    old, new = ("\n".join(line[1:] for line in lines if line[0] in marks) for marks in (" -", " +"))
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"the page changes what {file.name} does not have:\n{old}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def _trials() -> list[tuple[Block, str]]:
    """Commands and Python of the page that name no file, each with what the page says they print."""
    found = blocks(DOCS / "extending.md")
    return [
        (block, after.words)
        for block, after in pairwise(found)
        if block.language in ("sh", "python") and not block.file
    ]


@pytest.mark.parametrize(("block", "printed"), _trials(), ids=lambda value: str(value)[:40])
def test_what_the_page_adds_does_what_the_page_says(extended: Path, block: Block, printed: str) -> None:
    script = block.words.replace(".venv/bin/python", sys.executable)
    command = ["bash", "-c", script] if block.language == "sh" else [sys.executable, "-c", script]
    run = subprocess.run(command, cwd=extended, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."})
    assert run.stdout == printed, run.stderr


def test_what_the_page_adds_is_in_the_style_of_the_house(extended: Path) -> None:
    names = {block.file for block in blocks(DOCS / "extending.md") if block.file.endswith(".py")}
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, *sorted(names)]
        run = subprocess.run(ruff, cwd=extended, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout


def test_the_references_have_no_empty_types_and_no_years_with_commas() -> None:
    http, settings = pages()["http.md"], pages()["configuration.md"]
    assert " of null" not in http
    assert not re.search(r"\b[12],\d{3}\b(?!,)", http)
    lookups = settings.partition("## Look-up of titles")[2].partition("\n## ")[0]
    assert lookups.count("LOOKUP") == 5
    assert "VLLM" not in lookups
    assert "LOOKUP" not in settings.partition("## vLLM")[2].partition("\n## ")[0]
