"""Drift of a service's answers: the window, the file of the reference, and the figures in /metrics."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from eval.drift import DriftTable
from llm.classifier import AnswerSource, Prediction
from llm.embedded.matcher import Matcher
from main import main
from marquee.drift import LEAST, DriftReference, DriftWindow, load_references, reference_of, save_reference
from prompts import registry
from prompts.errors import InvalidDataset, InvalidSetting, UnknownName
from prompts.taxonomy import Taxonomy
from service.telemetry import Metrics
from tabular.writing import write_table

OWN = Taxonomy.of(["Sport", "Art"], name="own", multi=True, allow_none=True)
SOURCE = AnswerSource("m", OWN.versioned_name)
CERTAIN, DOUBTFUL = {"Sport": 0.9, "Art": 0.2}, {"Sport": 0.3, "Art": 0.31}


def answers(sport: int, art: int, none: int = 0) -> list[Prediction]:
    """Answers whose scores differ a little from one another."""
    found = [Prediction(("Sport",), SOURCE, {"Sport": 0.9 - n / 1e4, "Art": 0.2}) for n in range(sport)]
    found += [Prediction(("Art",), SOURCE, {"Sport": 0.1, "Art": 0.6 - n / 1e4}) for n in range(art)]
    return found + [Prediction((), SOURCE, {"Sport": 0.2, "Art": 0.1}) for _ in range(none)]


def reference(sport: int, art: int, none: int = 0) -> DriftReference:
    found = answers(sport, art, none)
    scores = [max(one.scores.values()) for one in found]
    return reference_of(DriftTable([one.labels for one in found], scores, None), OWN)


def test_the_latest_answers_are_compared_once_there_are_enough_of_them() -> None:
    window = DriftWindow(reference(300, 100), size=400)
    found = [window.add(one) for one in answers(150, 50)]
    assert [place for place, one in enumerate(found) if one] == [LEAST - 1]
    assert found[-1] is not None
    assert found[-1].labels == pytest.approx(0, abs=1e-4)
    assert found[-1].low_confidence is not None
    for _ in range(2):
        found = [window.add(one) for one in answers(0, 300, 100)]
    assert found[-1] is not None
    assert found[-1].labels > 1  # the first answers have left the window
    assert found[-1].confidence is not None
    assert found[-1].confidence > 0.25
    assert found[-1].low_confidence is not None
    assert found[-1].low_confidence > 0.2


def test_answers_without_scores_are_compared_by_their_labels() -> None:
    plain = [replace(one, scores={}) for one in answers(150, 50)]
    window = DriftWindow(reference(150, 50))
    found = [window.add(one) for one in plain][-1]
    assert found is not None
    assert (found.labels, found.confidence, found.low_confidence) == (0, None, None)
    unscored = reference_of(DriftTable([one.labels for one in plain], None, None), OWN)
    scored = [DriftWindow(unscored).add(one) for one in answers(1, 0)]
    assert (unscored.edges, unscored.confidences, scored) == ((), (), [None])


def test_a_reference_reads_back_and_damage_is_named(tmp_path: Path) -> None:
    one = reference(150, 30, 20)
    path = save_reference(one, tmp_path / "drift")
    assert path == tmp_path / "drift" / "own.json"
    assert load_references(tmp_path / "drift") == [one]
    assert load_references(tmp_path / "nowhere") == []
    for damage in ('"rows"', '"confidences"', "0,"):
        path.write_text(path.read_text().replace(damage, damage[:1], 1))
        with pytest.raises(InvalidSetting, match=r"own\.json"):
            load_references(tmp_path / "drift")
        save_reference(one, tmp_path / "drift")
    path.write_text(path.read_text().replace('"edges": [', '"edges": [0.01,'))
    with pytest.raises(InvalidSetting, match="do not fit"):
        load_references(tmp_path / "drift")


def test_a_table_that_is_no_reference_says_why() -> None:
    with pytest.raises(InvalidDataset, match="3 answers; a reference needs 200"):
        reference_of(DriftTable([("Sport",)] * 3, None, None), OWN)
    with pytest.raises(InvalidDataset, match="--labels-field"):
        reference_of(DriftTable(None, [0.5] * 300, None), OWN)
    with pytest.raises(UnknownName, match="Sport"):
        reference_of(DriftTable([("Sprot",)] * 300, None, None), OWN)


def gauges(metrics: Metrics) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    samples = [sample for family in families for sample in family.samples]
    return {
        " ".join([sample.name, sample.labels.get("part", "")]).strip(): sample.value
        for sample in samples
        if sample.name.startswith(("marquee_drift", "marquee_low"))
    }


@pytest.mark.usefixtures("away")
def test_a_saved_reference_shows_drift_of_the_embedded_classifier_in_the_metrics(embedded: Matcher) -> None:
    tickets = registry.taxonomy("tickets")
    usual = [f"I was charged {n} euros twice on my invoice." for n in range(LEAST // 2)]
    usual += [f"The app has crashed {n} times since the update." for n in range(LEAST // 2)]
    labelled = embedded.classify(usual, tickets)
    rows = [
        {"text": text, "labels": list(one.labels), "scores": dict(one.scores)}
        for text, one in zip(usual, labelled, strict=True)
    ]
    write_table(Path("answers.jsonl"), rows)
    ran = CliRunner().invoke(main, ["drift", "answers.jsonl", "--save", "tickets"])
    assert ran.exit_code == 0, ran.output
    metrics = Metrics(load_references(Path("var/drift")))
    metrics.count_predictions(labelled)
    same = gauges(metrics)
    assert set(same) == {"marquee_drift_psi labels", "marquee_drift_psi confidence", "marquee_low_confidence_ratio"}
    assert max(same["marquee_drift_psi labels"], same["marquee_drift_psi confidence"]) == pytest.approx(0, abs=1e-9)
    assert same["marquee_low_confidence_ratio"] == pytest.approx(0.1, abs=0.05)
    metrics.count_predictions(embedded.classify(usual[:1] * 3 * LEAST, tickets))
    assert gauges(metrics)["marquee_drift_psi labels"] > 0.1
    other = Metrics(load_references(Path("var/drift")))
    other.count_predictions(embedded.classify(usual, registry.taxonomy("intents")))
    assert gauges(other) == {}  # another taxonomy
