"""Clients of others at the typed questions: OpenAI's, TypeSafe's and LiteLLM, in an environment of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from llm.backends.local_backend import LocalBackend
from service.access_control import AccessControl, Keys
from service.decisions import TokenDecider
from similarity.micro_batching import Admission
from tests.engines.vllm_server import VAR, installed
from tests.service.test_decisions import TICKET, served
from tests.support.bare_model import opinionated
from tests.support.served import served_at
from tests.support.tiny_qwen2 import build

CLIENTS = ("openai==3.57.0", "typesafe-sdk==0.7.5", "litellm==1.110.2")


@pytest.fixture(scope="session")
def python() -> Path:
    """The Python of an environment with the clients (400 MB); the first call creates it."""
    folder = VAR / "decision-clients"
    try:
        return installed(folder, ("install", *CLIENTS))
    except subprocess.CalledProcessError:
        pip = (folder / "bin" / "python", "-m", "pip", "index", "versions", "typesafe-sdk", "--retries", "1")
        if subprocess.run(pip, capture_output=True, check=False).returncode:
            pytest.skip(f"the package index cannot be reached; it has the clients {', '.join(CLIENTS)}")
        raise


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URL and key of a service with a Qwen2 of random weights."""
    folder = tmp_path_factory.mktemp("clients")
    keys = Keys(folder / "keys.json")
    key = keys.add("a-client")
    model = LocalBackend(str(opinionated(build(folder / "tiny-qwen2"))), device="cpu", dtype="float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llm.backends.codes.LEAST_MASS", 0.0)  # random weights give codes no more than other tokens
        client = served(TokenDecider(model, Admission(4)), access=AccessControl(keys, locked=True))
        with served_at(client.application) as url:
            yield url, key


def output_of(python: Path, program: str, service: tuple[str, str]) -> Any:
    """What a program of a client prints as JSON; ``URL``, ``KEY`` and ``TICKET`` are defined in it."""
    url, key = service
    head = f"import json\nURL, KEY, TICKET = {url!r}, {key!r}, {TICKET!r}\n"
    done = subprocess.run(
        [python, "-c", head + dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"},
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout.splitlines()[-1])


def check_shares(shares: dict[str, float], names: list[str]) -> None:
    assert list(shares) == names
    assert sum(shares.values()) == pytest.approx(1)


# --- OpenAI's client: /v1/decisions ---


def test_openais_client_reads_every_answer_and_error(python: Path, service: tuple[str, str]) -> None:
    found = output_of(
        python,
        """
        import openai

        client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
        decision = client.decisions.create(
            model="marquee",
            input=[{"role": "system", "content": "You read tickets."}, {"role": "user", "content": TICKET}],
            questions=[
                {"type": "predicate", "name": "refund", "instructions": "The customer wants money back."},
                {"type": "choice", "instructions": "Which team?", "choices": [{"value": True}, {"value": "shipping"}]},
                {"type": "score", "instructions": "How upset?", "levels": [{"label": "calm"}, {"label": "furious"}]},
            ],
        )
        errors = {}
        refund = {"type": "predicate", "instructions": "The customer wants money back."}
        for name, change in {
            "model": {"model": "gpt-6-luna"},
            "choices": {"questions": [{"type": "choice", "instructions": "?", "choices": [{"value": "a"}] * 256}]},
            "levels": {"questions": [{"type": "score", "instructions": "?", "levels": [{"label": "a"}]}]},
        }.items():
            body = {"model": "marquee", "input": "a", "questions": [refund], **change}
            try:
                client.decisions.create(**body)
            except openai.APIStatusError as error:
                errors[name] = [type(error).__name__, error.param, error.body["message"]]
        try:
            openai.OpenAI(base_url=f"{URL}/v1", api_key="wrong").decisions.create(model="m", input="a", questions=[])
        except openai.AuthenticationError as error:
            errors["key"] = [type(error).__name__, error.param, error.body["message"]]
        models = [model.id for model in client.models.list()]
        print(json.dumps([decision.model_dump(), errors, models]))
        """,
        service,
    )
    decision, errors, models = found
    refund, team, mood = decision["answers"]
    assert (refund["type"], refund["name"]) == ("predicate", "refund")
    assert 0 < refund["probability"] < 1
    assert team["choice"] in (True, "shipping")
    assert [one["value"] for one in team["probabilities"]] == [True, "shipping"]
    assert [(one["label"], one["value"]) for one in mood["probabilities"]] == [("calm", 0), ("furious", 1)]
    assert 0 < mood["score"] < 1
    assert decision["usage"]["input_tokens"] > 0
    assert errors["model"][:2] == ["NotFoundError", "model"]
    assert errors["choices"][:2] == ["UnprocessableEntityError", "questions.0.choices"]
    assert "255" in errors["choices"][2]
    assert errors["levels"][1] == "questions.0.levels"
    assert errors["key"][0] == "AuthenticationError"
    assert models[-1] == "marquee"


# --- TypeSafe's client: /v1/systemone ---


def test_typesafes_client_reads_every_answer_and_error(python: Path, service: tuple[str, str]) -> None:
    found = output_of(
        python,
        """
        import typesafe_sdk as ts

        client = ts.TypeSafeClient(base_url=URL, api_key=KEY, model="marquee", retry=ts.RetryPolicy(max_retries=0))
        questions = {
            "refund": ts.Noul(instructions="Does the customer want money back?", criteria={"true": "a refund"}),
            "team": ts.Choice(criteria={"billing": {"about": ["charges"]}, "shipping": None}),
            "mood": ts.Score(instructions="How upset?", criteria=["calm", {"level": "annoyed"}, "furious"]),
        }
        result = client.system_one(state={"subject": "Charge", "body": TICKET * 40}, questions=questions)
        errors = {}
        for name, change in {
            "options": {"questions": {"q": ts.Choice(criteria={str(n): None for n in range(256)})}},
            "levels": {"questions": {"q": ts.Score(criteria=["one"])}},
            "model": {"model": "jev-latest"},
            "box": {"questions": {"q": ts.Box(instructions="the dog")}},
        }.items():
            try:
                client.system_one(**{"state": TICKET, "questions": questions, **change})
            except ts.TypeSafeAPIError as error:
                errors[name] = [type(error).__name__, str(error), error.body.get("detail")]
        try:
            ts.TypeSafeClient(base_url=URL, api_key="wrong", retry=ts.RetryPolicy(max_retries=0)).models.list()
            ts.TypeSafeClient(base_url=URL, api_key="wrong").system_one(state="a", questions=questions)
        except ts.TypeSafeAuthenticationError as error:
            errors["key"] = [type(error).__name__, str(error), None]
        models = [model.name for model in client.models.list().models]
        usage = result.usage.model_dump()
        answers = {name: answer.model_dump() for name, answer in result.answers.items()}
        print(json.dumps([result.model, answers, usage, errors, models]))
        """,
        service,
    )
    model, answers, usage, errors, models = found
    assert model in models
    assert 0 < answers["refund"]["noul"] < 1
    check_shares(answers["team"]["probabilities"], ["billing", "shipping"])
    assert answers["team"]["choice"] in ("billing", "shipping")
    assert answers["mood"]["legend"] == {"0": "calm", "1": {"level": "annoyed"}, "2": "furious"}
    check_shares(answers["mood"]["probabilities"], ["0", "1", "2"])
    assert 0 < answers["mood"]["score"] < 2
    assert usage["input_tokens"] > usage["output_tokens"] >= 0
    assert errors["options"][0] == "TypeSafeUnprocessableEntityError"
    assert errors["options"][2][0]["loc"] == ["body", "questions", "q", "criteria"]
    assert "255" in errors["options"][1]
    assert "give 2 or more" in errors["levels"][1]
    assert errors["model"][0] == "TypeSafeNotFoundError"
    assert "known: " in errors["model"][1]
    assert errors["box"][0] == "TypeSafeUnprocessableEntityError"
    assert errors["key"][0] == "TypeSafeAuthenticationError"
    assert models[-1] == "marquee"


def test_the_program_of_the_page_runs_as_shown(python: Path, service: tuple[str, str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "decisions-api.md").read_text(encoding="utf-8")
    program = page.split("```python\n")[2].split("```")[0]
    program = program.replace('"http://127.0.0.1:5000"', "URL").replace('"none"', "KEY")
    probability = output_of(python, program, service)
    assert 0 < probability < 1


# --- LiteLLM: both routes ---


def test_litellm_reads_both_routes(python: Path, service: tuple[str, str]) -> None:
    found = output_of(
        python,
        """
        import litellm

        openai = [
            {"type": "predicate", "name": "refund", "instructions": "The customer wants money back."},
            {"type": "choice", "name": "team", "instructions": "?", "choices": [{"value": True}, {"value": "no"}]},
            {"type": "score", "name": "mood", "instructions": "?", "levels": [{"label": "calm"}, {"label": "angry"}]},
        ]
        typesafe = {
            "refund": {"type": "noul", "instructions": "The customer wants money back."},
            "team": {"type": "choice", "criteria": {"billing": "charges", "shipping": None}},
            "mood": {"type": "score", "criteria": ["calm", "angry"]},
        }
        found, errors = {}, {}
        for model in ("openai/marquee", "typesafe/marquee", "hosted_vllm/marquee"):
            at = {"model": model, "api_base": URL, "api_key": KEY}
            found[model] = [
                litellm.decisions(input=TICKET, questions=openai, **at).model_dump(),
                litellm.systemone(state=TICKET, questions=typesafe, **at).model_dump(),
            ]
            try:
                litellm.decisions(input="a" * 200_000, questions=openai, num_retries=0, **at)
            except Exception as error:
                errors[model] = [getattr(error, "status_code", None), str(error)]
        print(json.dumps([found, errors]))
        """,
        service,
    )
    answered, errors = found
    refunds = set()
    for decisions, system_one in answered.values():
        refund, team, mood = decisions["answers"]
        assert [one["type"] for one in (refund, team, mood)] == ["predicate", "choice", "score"]
        assert team["choice"] in (True, "no")
        assert [one["value"] for one in team["probabilities"]] == [True, "no"]
        assert [one["label"] for one in mood["probabilities"]] == ["calm", "angry"]
        check_shares(system_one["answers"]["team"]["probabilities"], ["billing", "shipping"])
        assert system_one["answers"]["mood"]["legend"] == {"0": "calm", "1": "angry"}
        refunds |= {round(refund["probability"], 3), round(system_one["answers"]["refund"]["noul"], 3)}
    assert len(refunds) == 1, "both routes give the same probability"
    for status, message in errors.values():
        assert status in (400, 413)
        assert "has 200000 characters; at most" in message
