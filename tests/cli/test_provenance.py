"""Runs record the endpoint and the model that answered, and continue with the same ones only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from main import main
from tests.bulk.words import write_lines
from tests.support.misbehaving import Behaviour, Rule, body, chats, endpoint, follows, says, serves

MODEL = "Qwen/Qwen2-7B-Instruct"
SERVED = "qwen2-7b-awq"
EMBEDDED = "embedded/matcher.v2"
SECRETS = ("letmein", "sk-secret-1", "k3y")


@dataclass(frozen=True)
class Program:
    """A command whose runs can be interrupted and continued.

    Attributes:
        arguments: of the command line.
        manifests: the manifest of an unfinished and of a finished run.
        answers: what the run's folder has, to compare.
    """

    arguments: tuple[str, ...]
    manifests: tuple[str, str]
    answers: Callable[[], Any]

    def __call__(self, *more: str) -> Result:
        return CliRunner().invoke(main, [*self.arguments, *more])

    @property
    def unfinished(self) -> Any:
        """The manifest of the unfinished run."""
        return json.loads(Path(self.manifests[0]).read_text())

    @property
    def finished(self) -> Any:
        """The manifest of the finished run."""
        return json.loads(Path(self.manifests[1]).read_text())

    def alter(self, change: Callable[[Any], object]) -> None:
        """Change the manifest of the unfinished run."""
        manifest = self.unfinished
        change(manifest)
        Path(self.manifests[0]).write_text(json.dumps(manifest))


def stored() -> Any:
    with sqlite3.connect("o.jsonl.parts/answers.sqlite") as connection:
        return connection.execute("SELECT digest, problem FROM answers ORDER BY digest").fetchall()


PROGRAMS = {
    "evaluate": Program(
        tuple("evaluate --data films.jsonl --systems llm:json_list --out run --no-cache --alone 0 --batch 4".split()),
        ("run/llm-json_list/manifest.json", "run/llm-json_list/manifest.json"),
        lambda: [Path(f"run/llm-json_list/{name}").read_bytes() for name in ("rows.jsonl", "manifest.json")],
    ),
    "bulk": Program(
        tuple(
            "bulk films.jsonl --system llm:json_list --out o.jsonl --batch 4 --patience 0 --text-field description "
            "--taxonomy tmdb".split()
        ),
        ("o.jsonl.parts/manifest.json", "o.jsonl.manifest.json"),
        stored,
    ),
}


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest, away: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    write_lines(
        away / "films.jsonl", [{"id": f"f{n}", "description": f"Film {n} of war.", "genres": ["War"]} for n in range(8)]
    )
    monkeypatch.setenv("MARQUEE_MODEL", MODEL)
    monkeypatch.setenv("MARQUEE_RETRIES", "0")
    return PROGRAMS[request.param]


def busy(path: str, asked: Any) -> Behaviour | None:
    """Refuses the second half of the films."""
    later = any(f"Film {n} of war" in json.dumps(asked) for n in range(4, 8))
    return body(503, {"error": "overloaded"}) if later else None


def answering(served: str, *rules: Rule, listed: str = MODEL) -> Behaviour:
    listing = serves("/models", body(200, {"data": [{"id": listed}]}))
    return follows(*rules, listing, chats(says('["War"]', model=served)))


def interrupted(program: Program, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    first = program()
    assert Path(program.manifests[0]).exists(), first.output


def test_the_same_endpoint_continues_and_the_finished_manifest_names_endpoint_and_model(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    with endpoint(answering(SERVED, busy)) as server:
        interrupted(program, server.url, monkeypatch)
        server.then = [answering(SERVED)]
        before = len(server.requests)
        done = program()
        assert done.exit_code == 0, done.output
        films = [one for one in server.requests[before:] if "of war" in json.dumps(one)]
    assert len(films) == 4
    manifest = program.finished
    assert (manifest["setup"]["endpoint"], manifest["setup"]["model"]) == (server.url, MODEL)
    assert manifest["served"] == [SERVED]
    assert "extra_body" not in manifest["setup"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"OPENAI_BASE_URL": "{other}"}, "endpoint"),
        ({"OPENAI_BASE_URL": "{url}/b"}, "endpoint"),
        ({"MARQUEE_EXTRA_BODY": '{"reasoning_effort": "low"}'}, "extra_body"),
        ({"MARQUEE_EXTRA_BODY": '{"chat_template_kwargs": {"enable_thinking": false}}'}, "extra_body"),
        ({"MARQUEE_MODEL": "gpt-4o-mini"}, "model"),
    ],
)
def test_another_endpoint_or_other_fields_are_refused_before_a_request(
    program: Program, change: Mapping[str, str], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with endpoint(answering(SERVED, busy)) as server, endpoint(answering(SERVED)) as other:
        interrupted(program, server.url, monkeypatch)
        kept, sent = program.answers(), len(server.requests)
        for name, value in change.items():
            monkeypatch.setenv(name, value.replace("{url}", server.url).replace("{other}", other.url))
        refused = program()
    assert refused.exit_code == 1
    assert f"{field} " in refused.output
    assert "now " in refused.output
    assert "--overwrite" in refused.output
    assert program.answers() == kept
    assert "of war" not in json.dumps([*server.requests[sent:], *other.requests])


@pytest.mark.parametrize(
    ("name", "answer"), [("tiny-0.5b", '["War"]'), ("tiny-0.5b", "no list at all"), ("qwen2-7b", "[]"), (MODEL, "[]")]
)
def test_another_model_behind_the_same_url_is_refused_before_its_answers_are_kept(
    program: Program, name: str, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with endpoint(answering(SERVED, busy)) as server:
        interrupted(program, server.url, monkeypatch)
        kept = program.answers()
        server.then = [follows(chats(says(answer, model=name)), otherwise=answering(name))]
        refused = program()
        assert refused.exit_code == 1
        lines = [line for line in refused.output.splitlines() if "has answers of the model" in line]
        assert len(lines) == 1
        assert all(words in lines[0] for words in (repr(SERVED), repr(name), server.url, "--overwrite")), lines[0]
        assert program.answers() == kept
        server.then = [answering(SERVED)]
        done = program()
        assert done.exit_code == 0, done.output
    assert program.finished["served"] == [SERVED]


@pytest.mark.parametrize(("first", "then"), [("", SERVED), (MODEL, "tiny-0.5b"), ("a", "b")])
def test_a_manifest_of_an_earlier_version_continues_and_stays_without_an_endpoint(
    program: Program, first: str, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with endpoint(answering(first, busy)) as server, endpoint(answering(then)) as other:
        interrupted(program, server.url, monkeypatch)
        program.alter(lambda manifest: manifest["setup"].pop("endpoint"))
        monkeypatch.setenv("OPENAI_BASE_URL", other.url)
        monkeypatch.setenv("MARQUEE_EXTRA_BODY", '{"reasoning_effort": "low"}')
        done = program()
        assert done.exit_code == 0, done.output
    assert not {"endpoint", "extra_body"} & set(
        program.finished["setup"]
    )  # where the first answers are from is unknown
    assert program.finished["served"] == sorted([first or MODEL, then])


@pytest.mark.parametrize("listed", ["only-one", "org/Another-7B"])
def test_an_unset_model_is_not_named_before_it_answers(
    program: Program, listed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MARQUEE_MODEL")
    with endpoint(answering(listed, busy, listed=listed)) as server:
        interrupted(program, server.url, monkeypatch)
        assert "model" not in program.unfinished["setup"]
        program.alter(lambda manifest: manifest["setup"].update(model=MODEL))  # as earlier versions wrote it
        server.then = [answering(listed, listed=listed)]
        done = program()
        assert done.exit_code == 0, done.output
        assert all(one["model"] == listed for one in server.requests if one)
    assert program.finished["served"] == [listed]


@pytest.mark.parametrize(
    "url",
    [
        "http://me:letmein@{host}/v1",
        "http://letmein@{host}/v1/",
        "http://me:letmein@{host}/v1?api-key=k3y",
    ],
)
def test_no_login_and_no_key_is_in_a_manifest(program: Program, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1")
    monkeypatch.setenv("MARQUEE_EXTRA_BODY", '{"user": "letmein"}')
    with endpoint(answering(SERVED, busy)) as server:
        host = server.url.split("/")[2]
        interrupted(program, url.replace("{host}", host), monkeypatch)
        server.then = [answering(SERVED)]
        done = program()
        assert done.exit_code == 0, done.output
    assert program.finished["setup"]["endpoint"] == f"http://{host}/v1"
    written = [path.read_bytes() for path in Path().rglob("*") if path.is_file()]
    assert not [secret for secret in SECRETS if any(secret.encode() in one for one in written)]


def denied(path: str, asked: Any) -> Behaviour | None:
    """Refuses the key for the second half of the films; no fallback answers then."""
    return body(401, {"error": "expired key"}) if busy(path, asked) else None


def flagged(path: str, asked: Any) -> Behaviour | None:
    """Refuses the second half of the films for their content."""
    return body(400, {"error": "flagged content"}) if busy(path, asked) else None


# What is around the model, who answers first and who answers the rest; the first half of the films is above the
# cascade's margin, on every kind of processor: 0.27 to 0.44 against 0.04 to 0.12.
FALLBACK, CASCADE = {"MARQUEE_FALLBACK": "true"}, {"MARQUEE_CASCADE_MARGIN": "0.2"}
TWO_NAMES = [
    pytest.param(FALLBACK, SERVED, SERVED, (busy,), id="fallback"),
    pytest.param(CASCADE, SERVED, SERVED, (), id="cascade"),
    pytest.param({}, SERVED, EMBEDDED, (), id="neither, second name of the fallback"),
    pytest.param({}, EMBEDDED, SERVED, (), id="neither, first name of the cascade"),
]


def configured(program: Program, around: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Program:
    """The command with the system of the settings."""
    lines = [f"{n} people in a town." if n < 4 else f"Film {n} of war, love, money and magic." for n in range(8)]
    write_lines(Path("films.jsonl"), [{"id": line, "description": line, "genres": ["War"]} for line in lines])
    for name, value in {"MARQUEE_STRATEGY": "json_list", **around}.items():
        monkeypatch.setenv(name, value)
    first, second = (one.replace("/llm-json_list", "") for one in program.manifests)
    arguments = tuple(one for one in program.arguments if one not in ("--systems", "--system", "llm:json_list"))
    return Program(arguments, (first, second), program.answers)


def accepts(done: Result, program: Program, accepted: bool) -> None:
    if accepted:
        assert done.exit_code == 0, done.output
        assert program.finished["served"] == sorted([SERVED, EMBEDDED])
    else:
        assert done.exit_code == 1
        assert "has answers of the model" in done.output
        assert all(repr(name) in done.output for name in (SERVED, EMBEDDED))


@pytest.mark.parametrize(("around", "first", "then", "rules"), TWO_NAMES)
def test_a_second_name_continues_a_run_only_beside_a_fallback_or_cascade(
    program: Program,
    around: Mapping[str, str],
    first: str,
    then: str,
    rules: tuple[Rule, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = configured(program, around, monkeypatch)
    with endpoint(answering(first, denied)) as server:
        interrupted(program, server.url, monkeypatch)
        if (rows := Path("run/rows.jsonl")).exists():  # as a process that was ended after its first batch leaves it
            rows.write_bytes(b"".join(rows.read_bytes().splitlines(keepends=True)[:4]))
        server.then = [answering(then, *rules)]
        accepts(program(), program, bool(around))


@pytest.mark.parametrize("program", ["bulk"], indirect=True)
@pytest.mark.parametrize(("around", "first", "then", "rules"), TWO_NAMES)
def test_a_second_name_answers_failed_rows_only_beside_a_fallback_or_cascade(
    program: Program,
    around: Mapping[str, str],
    first: str,
    then: str,
    rules: tuple[Rule, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = configured(program, around, monkeypatch)
    with endpoint(answering(first, flagged)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert program().exit_code == 0
        written = Path("o.jsonl").read_bytes()
        assert program.finished["counts"]["problems"] == {"rejected": 4}
        server.then = [answering(then, *rules)]
        accepts(program("--retry-failed"), program, bool(around))
    assert (Path("o.jsonl").read_bytes() != written) == bool(around)
