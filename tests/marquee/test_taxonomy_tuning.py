"""``taxonomies tune``: descriptions from a file or a language model, the files, and the check."""

import csv
import json
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import marquee.taxonomy_tuning as tuning
from cli.taxonomy_tuning import tune
from llm.authoring.label_descriptions import WRITTEN
from llm.backends.backend import Conversation, FakeBackend
from llm.classifier import Problem
from llm.embedded.label_tuning import manifest_path, tuned_path
from llm.embedded.matcher import SHIPPED, Matcher
from llm.embedded.saved_weights import save
from llm.embedded.weights import load
from main import main
from marquee.bulk_jobs import BulkRequest
from marquee.loaded_models import embedded as embedded_with
from marquee.settings import Settings
from prompts import registry
from prompts.errors import InvalidDataset, InvalidSetting, InvalidTaxonomy
from prompts.taxonomy_file import descriptions_in, load_taxonomy
from prompts.taxonomy_places import PLACES
from tests.support.label_descriptions import DESCRIPTIONS, TABLE, TEXTS, taxonomy_file

NONE = Settings(classifier="embedded")
Reply = Callable[[Conversation], str | Problem | None]
KITCHEN = [
    f"The {thing} in the kitchen {fault}."
    for thing in ("oven", "sink", "fridge", "kettle", "toaster", "dishwasher", "hob", "freezer", "tap")
    for fault in (
        "is dirty",
        "makes a noise",
        "was cleaned today",
        "smells",
        "has to be replaced",
        "works again",
        "leaks",
    )
]
GARDEN = [
    f"The {thing} in the garden {fault}."
    for thing in ("lawn", "hedge", "rose", "apple tree", "flower bed", "compost", "pond", "shed", "fence")
    for fault in (
        "needs water",
        "was cut",
        "looks sad",
        "grew a lot",
        "has to go",
        "is full of leaves",
        "is in the sun",
    )
]
SHORT = {name: lines[:1] for name, lines in DESCRIPTIONS.items()}


@pytest.fixture
def language_model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Reply], None]:
    """Makes a scripted language model that of the settings."""
    return lambda reply: monkeypatch.setattr(tuning, "_backend", lambda settings: FakeBackend(reply))


def test_a_file_has_several_descriptions_of_a_label(tmp_path: Path) -> None:
    path = taxonomy_file(tmp_path)
    assert descriptions_in(path)["Team West"] == tuple(DESCRIPTIONS["Team West"])
    assert load_taxonomy(path).labels[2].description == DESCRIPTIONS["Team West"][0]


def test_words_that_yaml_reads_as_other_types_are_descriptions(tmp_path: Path) -> None:
    path = tmp_path / "answers.yaml"
    path.write_text("labels:\n  - {name: yes, descriptions: [true, 1.0, on]}\n  - no\n", encoding="utf-8")
    assert descriptions_in(path) == {"yes": ("true", "1.0", "on"), "no": ()}


def test_missing_descriptions_are_requested_with_the_yaml(tmp_path: Path, embedded: Matcher) -> None:
    path = taxonomy_file(tmp_path, {**DESCRIPTIONS, "Team West": ["bills", "rent"], "Team East": []})
    with pytest.raises(InvalidTaxonomy) as error:
        tuning.tune_taxonomy(path, embedded, NONE)
    assert str(error.value) == (
        "tenants.yaml: tuning needs 5 descriptions of every label; missing are 'Team West' 3, 'Team East' 5; add them: "
        "- {name: Team West, description: a definition, descriptions: [typical words, a situation, an example text, "
        "another one]}; or set OPENAI_BASE_URL, and a model writes them"
    )
    assert not tuned_path(path).exists()


def test_a_hierarchy_is_refused(tmp_path: Path, embedded: Matcher) -> None:
    path = tmp_path / "tree.yaml"
    path.write_text("labels:\n  - name: a\n    children: [b, c]\n", encoding="utf-8")
    with pytest.raises(InvalidTaxonomy, match="is a hierarchy"):
        tuning.tune_taxonomy(path, embedded, NONE)


def test_a_bundled_taxonomy_is_refused(embedded: Matcher) -> None:
    with pytest.raises(InvalidTaxonomy, match="copy it, and tune the copy"):
        tuning.tune_taxonomy(registry.TAXONOMIES / "tickets.yaml", embedded, NONE)


def test_a_language_model_writes_what_is_missing(
    tmp_path: Path, embedded: Matcher, language_model: Callable[[Reply], None]
) -> None:
    requests: list[str] = []

    def reply(conversation: Conversation) -> str:
        requests.append(conversation[1]["content"])
        name = next(name for name in DESCRIPTIONS if f"Label: {name}\n" in conversation[1]["content"])
        others = [one for one in DESCRIPTIONS if one != name]
        return json.dumps({"descriptions": [*DESCRIPTIONS[name][1:], DESCRIPTIONS[name][1].upper(), *others, "ok"]})

    language_model(reply)
    path = taxonomy_file(tmp_path, SHORT)
    found = tuning.tune_taxonomy(path, embedded, NONE)
    assert len(requests) == len(DESCRIPTIONS)
    assert "Other labels: Team South; Team West" in requests[0]
    assert found.written["Team North"] == tuple(DESCRIPTIONS["Team North"][1:])
    assert found.notes[0] == "'Team North': 4 of 8 are repeated, too short, too long or a name"
    manifest = json.loads(manifest_path(path).read_text(encoding="utf-8"))
    assert manifest["written by"]["descriptions"]["Team West"] == list(DESCRIPTIONS["Team West"][1:])
    assert manifest["descriptions"] == dict.fromkeys(DESCRIPTIONS, 5)
    assert manifest["made from"]["labels"] == load_taxonomy(path).labels_digest


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("I would rather not.", "the answer has no list of descriptions"),
        (Problem("unreachable", "no connection to the endpoint"), "no connection to the endpoint"),
        (json.dumps({"descriptions": ["Team South"] * WRITTEN}), "8 of 8 are repeated"),
    ],
)
def test_a_language_model_that_writes_none_leaves_no_file(
    tmp_path: Path, embedded: Matcher, language_model: Callable[[Reply], None], reply: str | Problem, why: str
) -> None:
    language_model(lambda conversation: reply)
    path = taxonomy_file(tmp_path, SHORT)
    with pytest.raises(InvalidTaxonomy, match=f"missing are 'Team North' 4.*did not write enough.*{why}"):
        tuning.tune_taxonomy(path, embedded, NONE)
    assert not tuned_path(path).exists()


def test_the_command_tunes_checks_and_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_CLASSIFIER", "embedded")
    path = taxonomy_file(tmp_path)
    given = [str(path), "--check", str(TABLE), "--text-field", "text", "--labels-field", "label", "--json"]
    found = CliRunner().invoke(tune, given, catch_exceptions=False)
    result = json.loads(found.stdout)
    rows = {row["metric"]: row for row in result["check"]}
    assert list(rows) == ["accuracy", "macro-F1", "macro-AP"]
    assert rows["accuracy"]["after"] >= 8 / 9
    assert rows["accuracy"]["difference"] == pytest.approx(rows["accuracy"]["after"] - rows["accuracy"]["before"])
    assert 0 < rows["accuracy"]["p"] <= 1
    assert tuned_path(path).is_file()
    shown = CliRunner().invoke(tune, given[:-1], catch_exceptions=False).stdout.splitlines()
    assert shown[0].startswith(f"{tuned_path(path)}: 3 labels, ")
    assert shown[1].split() == ["metric", "before", "after", "difference", "95%", "interval", "p"]
    removed = CliRunner().invoke(tune, [str(path), "--remove"], catch_exceptions=False).stdout
    assert removed == f"removed: {tuned_path(path)}, {manifest_path(path)}\n"
    assert not tuned_path(path).exists()
    assert "has no tuning" in CliRunner().invoke(tune, [str(path), "--remove"]).stdout


def test_weights_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    path, weights = taxonomy_file(tmp_path), tmp_path / "own.safetensors"
    weights.write_bytes(b"no weights")
    found = CliRunner().invoke(main, ["taxonomies", "tune", str(path), "--weights", str(weights)])
    assert found.exit_code == 1
    assert f"{weights} has no weights of the embedded classifier of this version" in found.stderr
    assert not tuned_path(path).exists()


def test_own_weights_have_a_tuning_of_their_own(tmp_path: Path) -> None:
    path, weights = taxonomy_file(tmp_path), tmp_path / "own.safetensors"
    save(replace(load(SHIPPED), name="own"), weights, 16)
    assert CliRunner().invoke(main, ["taxonomies", "tune", str(path), "--weights", str(weights)]).exit_code == 0
    classifier, taxonomy = embedded_with(weights), load_taxonomy(path)
    assert classifier.classify(["My radiator is cold."], taxonomy)[0].source.model.startswith("embedded/own+tuned.")


def test_a_worker_of_a_bulk_job_uses_the_tuning_or_fails(
    tmp_path: Path, embedded: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARQUEE_CLASSIFIER", "embedded")
    path = taxonomy_file(tmp_path)
    tuning.tune_taxonomy(path, embedded, NONE)
    given = dict.fromkeys(name.name for name in fields(BulkRequest))
    request = BulkRequest(**given | {"source": str(TABLE), "taxonomy": str(path), "batch": 4})  # type: ignore[arg-type]
    job, system = request.with_system(request.job())
    assert system.setup["tuning"].startswith("+tuned.")
    opener = pickle.dumps(job.classifier.open)
    PLACES.clear()  # as in the process of a worker
    found = pickle.loads(opener)().classify([TEXTS[0][0]], job.taxonomy)
    assert found[0].source.model.endswith(system.setup["tuning"])
    PLACES.clear()
    tuned_path(path).unlink()
    with pytest.raises(InvalidSetting, match="copy the taxonomy's folder to all nodes"):
        pickle.loads(opener)()


def two_teams(folder: Path) -> Path:
    """Names that say little, and one label per text."""
    path = folder / "teams.yaml"
    path.write_text(
        "multi: false\nlabels:\n  - {name: Team A, description: kitchen}\n  - {name: Team B, description: garden}\n",
        encoding="utf-8",
    )
    return path


def test_texts_without_labels_alone_are_enough(tmp_path: Path, embedded: Matcher) -> None:
    path = two_teams(tmp_path)
    found = tuning.tune_taxonomy(path, embedded, NONE, texts=[*KITCHEN, *GARDEN, ""])
    assert found.texts > 100
    assert found.notes == ("tuned by texts alone: 2 labels lack descriptions",)
    manifest = json.loads(manifest_path(path).read_text(encoding="utf-8"))
    assert manifest["texts"]["number"] == found.texts
    assert manifest["descriptions"] == {}
    assert manifest["training"] is None
    known = load_taxonomy(path)
    answers = embedded_with().classify([KITCHEN[0], GARDEN[0]], known)
    assert [one.labels for one in answers] == [("Team A",), ("Team B",)]
    before, after = embedded.classify(KITCHEN, known), embedded_with().classify(KITCHEN, known)
    assert sum(one.scores["Team A"] for one in after) > sum(one.scores["Team A"] for one in before)


def test_texts_are_used_in_addition_to_descriptions(tmp_path: Path, embedded: Matcher) -> None:
    path = taxonomy_file(tmp_path)
    alone = tuning.tune_taxonomy(path, embedded, NONE).tuning
    both = tuning.tune_taxonomy(path, embedded, NONE, texts=[*KITCHEN, *GARDEN])
    assert both.texts > 100
    assert both.notes == ()
    assert both.tuning.digest != alone.digest


def test_a_taxonomy_of_several_labels_per_text_learns_from_no_texts(tmp_path: Path, embedded: Matcher) -> None:
    path = taxonomy_file(tmp_path, multi=True)
    with pytest.raises(InvalidTaxonomy, match=r"tenants\.yaml has several labels per text.*leave the texts out"):
        tuning.tune_taxonomy(path, embedded, NONE, texts=KITCHEN)
    assert not tuned_path(path).exists()


def test_too_few_texts_are_an_error_with_the_numbers(tmp_path: Path, embedded: Matcher) -> None:
    path = two_teams(tmp_path)
    with pytest.raises(InvalidDataset, match=r"needs 50 texts or more, but there are 20 \(1 more are empty"):
        tuning.tune_taxonomy(path, embedded, NONE, texts=[*KITCHEN[:10], *GARDEN[:10], " "])
    assert not tuned_path(path).exists()


def test_the_command_learns_from_no_test_row_and_from_no_row_that_it_checks(tmp_path: Path) -> None:
    path, table = two_teams(tmp_path), tmp_path / "texts.csv"
    labelled = [(text, "Team A") for text in KITCHEN] + [(text, "Team B") for text in GARDEN]
    splits = [*["train"] * 10, "validation", "test"]
    rows = [(text, label, splits[at % 12]) for at, (text, label) in enumerate(labelled)]
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label", "split"), *rows, rows[0]])
    given = [
        str(path), "--texts", str(table), "--check", str(table), "--split", "validation",
        "--text-field", "text", "--labels-field", "label",
    ]  # fmt: skip
    found = CliRunner().invoke(tune, [*given, "--json"], catch_exceptions=False)
    result = json.loads(found.stdout)
    assert result["texts"] == sum(split == "train" for *_, split in rows)
    shown = CliRunner().invoke(tune, given, catch_exceptions=False).stdout.splitlines()
    assert shown[0].startswith(f"{tuned_path(path)}: 2 labels, {result['texts']} texts, ")
    assert shown[-1] == f"{sum(split == 'validation' for *_, split in rows)} texts"
