"""`hf:NAME_OR_PATH` wherever a system is named: Python, evaluate, bulk, classify and the service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import marquee
from main import main
from marquee.settings import read_settings
from marquee.systems import SystemContext, from_settings, from_spec
from service.app import create_app
from service.services import build
from similarity.encoders import precision
from tests.support import tiny_classifiers as tiny
from tests.test_docs import COMMANDS, ROOT

TEXTS = ["My card was charged twice.", "the app crashes when i save", "guns and horse fight in a western town"]
LABELS = ["billing", "crash", "praise"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for make in (tiny.entailment, tiny.gliclass, tiny.reranker):
        make(folder / make.__name__)
    return folder


@pytest.fixture(autouse=True)
def elsewhere(away: Path) -> Iterator[None]:
    yield
    precision.choose("auto")


def test_python_loads_each_kind_by_name(models: Path) -> None:
    for folder in models.iterdir():
        classifier = marquee.load_classifier(f"hf:{folder}")
        found = marquee.classify(TEXTS, LABELS, classifier=classifier)
        assert {one.source.model for one in found} == {classifier.name}
        assert classifier.name.startswith(f"hf:{folder.name}@")
        assert marquee.classify(TEXTS, LABELS, classifier=f"hf:{folder}")[0].labels == found[0].labels


def test_one_report_compares_pretrained_models_with_the_embedded_classifier(models: Path, tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)] * 3
    systems = ["embedded", *(f"hf:{folder}" for folder in sorted(models.iterdir()))]
    run = marquee.evaluate(rows, text="text", labels="label", systems=systems)
    assert [row["invalid"] for row in run.metrics.values()] == [0] * 4
    page = run.report(tmp_path / "report").read_text(encoding="utf-8")
    assert all(name in page for name in ("embedded", "entailment", "gliclass", "reranker"))


def test_a_setup_names_the_digest_so_that_no_run_mixes_two_models(tmp_path: Path) -> None:
    context = SystemContext(marquee.Taxonomy.of(LABELS, multi=True), ())
    folder = tiny.reranker(tmp_path / "model")
    before = from_spec(f"hf:{folder}", context).setup
    tiny.reranker(folder, seed=1)
    assert from_spec(f"hf:{folder}", context).setup["model"] != before["model"]


def test_bulk_labels_a_table(models: Path, tmp_path: Path) -> None:
    table = tmp_path / "texts.csv"
    table.write_text("text\n" + "\n".join(TEXTS) + "\n", encoding="utf-8")
    out = tmp_path / "out.jsonl"
    command = ["bulk", str(table), "--out", str(out), "--taxonomy", "sentiment", "--system", f"hf:{models}/reranker"]
    ran = CliRunner().invoke(main, command)
    assert ran.exit_code == 0, ran.output
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(TEXTS)
    assert all("hf:reranker@" in json.dumps(row) for row in rows)


def test_classify_takes_a_system_and_caches_its_answer(models: Path) -> None:
    command = ["classify", TEXTS[0], "--labels", ",".join(LABELS), "--system", f"hf:{models}/entailment", "--json"]
    first, second = (json.loads(CliRunner().invoke(main, command).stdout) for _ in range(2))
    assert (first["cached"], second["cached"]) == (False, True)
    assert first["labels"] == second["labels"]
    assert first["model"].startswith("hf:entailment@")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--strategy", "yes_no"], "leave --strategy out"),
        (["--base-url", "http://127.0.0.1:9/v1"], "leave --base-url out"),
        (["--url", "http://127.0.0.1:9"], "leave --url out"),
    ],
)
def test_options_of_another_model_are_refused_beside_a_system(more: list[str], words: str) -> None:
    ran = CliRunner().invoke(main, ["classify", "a text", "--system", "embedded", *more])
    assert ran.exit_code == 2
    assert words in ran.stderr


def test_the_service_answers_with_the_model_of_the_settings(models: Path) -> None:
    client = create_app(build(read_settings(classifier=f"hf:{models}/gliclass"))).test_client()
    body = {"texts": TEXTS, "labels": LABELS, "multi": False, "scores": True}
    first = client.post("/classify", json=body).json
    assert first is not None
    assert [row["score_type"] for row in first["results"]] == ["share"] * 3
    assert [row["cached"] for row in client.post("/classify", json=body).json["results"]] == [True] * 3  # type: ignore[index]
    uncached = client.post("/classify", json=body | {"cache": False}).json
    assert uncached is not None
    assert [row["cached"] for row in uncached["results"]] == [False] * 3
    assert uncached["results"][0]["scores"] == first["results"][0]["scores"]
    noted = client.post("/classify", json=body | {"strategy": "yes_no"}).json
    assert noted is not None
    assert noted["results"][0]["notes"] == [f"strategy 'yes_no' is ignored: {first['results'][0]['model']} answers"]


def test_a_decision_is_answered_by_the_model(models: Path) -> None:
    client = create_app(build(read_settings(classifier=f"hf:{models}/reranker"))).test_client()
    question = {"type": "choice", "instructions": "What is it about?", "choices": [{"value": name} for name in LABELS]}
    answer = client.post("/v1/decisions", json={"model": "marquee", "input": TEXTS[0], "questions": [question]})
    assert answer.status_code == 200, answer.text
    body = answer.get_json()
    assert body["answers"][0]["choice"] in LABELS


def test_an_invalid_model_of_the_settings_stops_the_start_and_no_weights_are_loaded_before(
    models: Path, tmp_path: Path
) -> None:
    with pytest.raises(marquee.MarqueeError, match=r"has no config\.json"):
        build(read_settings(classifier=f"hf:{tmp_path}"))
    (models / "reranker" / "model.safetensors").rename(models / "weights")
    try:
        build(read_settings(classifier=f"hf:{models}/reranker"))
    finally:
        (models / "weights").rename(models / "reranker" / "model.safetensors")


def test_the_classifier_of_the_settings_is_evaluated(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_CLASSIFIER", f"hf:{models}/reranker")
    opened = from_settings(SystemContext(marquee.Taxonomy.of(LABELS, multi=True), ())).open()
    assert opened.classifier.name.startswith("hf:reranker@")
    assert opened.decode_rule is not None
    assert opened.decode_rule.startswith("reranker: score from 0.5 on")


def test_the_commands_of_the_page_run_on_models_of_these_names(away: Path) -> None:
    for name in ("models/my-nli-model", "MoritzLaurer/deberta-v3-base-zeroshot-v2.0"):
        tiny.entailment(away / name)
    tiny.reranker(away / "models/my-reranker")
    (away / "docs").symlink_to(ROOT / "docs")
    (away / "reviews.csv").write_text("text\nA funny story.\n", encoding="utf-8")
    commands = [command for command in COMMANDS if command.page.name == "pretrained.md"]
    ran = [CliRunner().invoke(main, command.arguments) for command in commands if command.arguments[0] != "serve"]
    assert len(ran) >= 4
    assert not [one.output for one in ran if one.exit_code]


def test_serve_refuses_two_choices_of_a_model(models: Path) -> None:
    ran = CliRunner().invoke(main, ["serve", "--system", f"hf:{models}/reranker", "--local", "x"])
    assert "give one of --system, --local" in ran.stderr
