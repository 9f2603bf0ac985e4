"""The embedded classifier with a tuning beside a taxonomy's file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llm.embedded.label_tuning import LabelWords, load, train, tuned_path
from llm.embedded.matcher import Matcher
from llm.embedded.tunings import with_tunings
from llm.pairs import classify_pairs
from marquee.settings import Settings
from marquee.taxonomy_tuning import tune_taxonomy
from prompts.errors import InvalidSetting
from prompts.taxonomy import Taxonomy
from prompts.taxonomy_file import load_taxonomy
from prompts.text import Text
from tests.support.label_descriptions import DESCRIPTIONS, TEXTS, taxonomy_file

BODIES = [text for text, _ in TEXTS]
NONE = Settings(classifier="embedded")


@pytest.fixture
def classifier(embedded: Matcher) -> Matcher:
    return with_tunings(embedded)


@pytest.fixture
def file(tmp_path: Path, embedded: Matcher) -> Path:
    path = taxonomy_file(tmp_path)
    tune_taxonomy(path, embedded, NONE)
    return path


def _right(classifier: Matcher, taxonomy: Taxonomy) -> int:
    found = classifier.classify(BODIES, taxonomy)
    return sum(one.labels == (label,) for one, (_, label) in zip(found, TEXTS, strict=True))


def test_descriptions_alone_teach_labels_whose_names_say_little(
    file: Path, classifier: Matcher, embedded: Matcher
) -> None:
    names_only = Taxonomy.of(["Team North", "Team South", "Team West"])
    assert _right(embedded, names_only) <= 6
    assert _right(classifier, load_taxonomy(file)) >= 8


def test_the_answer_names_the_tuning_and_shares_sum_to_one(file: Path, classifier: Matcher) -> None:
    digest = load(tuned_path(file)).digest
    for one in classifier.classify(BODIES, load_taxonomy(file)):
        assert one.source.model == f"{classifier.name}+tuned.{digest}"
        assert sum(one.scores.values()) == pytest.approx(1, abs=1e-3)
        assert list(one.scores.values()) == sorted(one.scores.values(), reverse=True)


def test_another_form_of_answer_is_tuned_as_well(file: Path, classifier: Matcher) -> None:
    several = load_taxonomy(file).shaped(multi=True, max_labels=2)
    found = classifier.classify(BODIES, several)
    assert all(one.source.model.startswith(f"{classifier.name}+tuned.") for one in found)
    assert all(1 <= len(one.labels) <= 2 and one.score_type == "probability" for one in found)
    assert sum(label in one.labels for one, (_, label) in zip(found, TEXTS, strict=True)) >= 8


def test_pairs_and_unrounded_scores_agree_with_classify(file: Path, classifier: Matcher) -> None:
    taxonomy, other = load_taxonomy(file), Taxonomy.of(["cooking", "travel"])
    expected = classifier.classify(BODIES, taxonomy)
    pairs = [(Text(text), one) for text in BODIES for one in (taxonomy, other)]
    found = classify_pairs(classifier, pairs)
    assert [one.labels for one in found[::2]] == [one.labels for one in expected]
    assert all(one.source.model == classifier.name for one in found[1::2])  # other labels are not tuned
    rows = classifier.unrounded(BODIES, taxonomy)
    scores = [[one.scores[name] for name in taxonomy.names] for one in expected]
    np.testing.assert_allclose(rows, scores, atol=2e-3)


def test_empty_texts_keep_their_problem(file: Path, classifier: Matcher) -> None:
    first, second = classifier.classify(["", BODIES[0]], load_taxonomy(file))
    assert first.problem
    assert first.problem.kind == "empty"
    assert second.labels == (TEXTS[0][1],)


def test_a_text_out_of_scope_stays_without_labels(tmp_path: Path, classifier: Matcher, embedded: Matcher) -> None:
    path = taxonomy_file(tmp_path, allow_none="out_of_scope")
    tune_taxonomy(path, embedded, NONE)
    texts, taxonomy = ["asdf qwer jkl", *BODIES], load_taxonomy(path)
    before, after = embedded.classify(texts, taxonomy), classifier.classify(texts, taxonomy)
    assert not after[0].labels
    assert [not one.labels for one in after] == [not one.labels for one in before]
    in_scope = [(one.labels, (label,)) for one, (_, label) in zip(after[1:], TEXTS, strict=True) if one.labels]
    assert in_scope
    assert all(found == expected for found, expected in in_scope)


def test_changed_labels_are_not_tuned_and_logged(
    file: Path, classifier: Matcher, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace("Team West", "Team East"), encoding="utf-8")
    changed = load_taxonomy(file)
    for _ in range(2):
        assert classifier.classify(BODIES[:1], changed)[0].source.model == classifier.name
    assert caplog.messages == [
        f"ignored: {tuned_path(file)} was made before its labels changed; run: main.py taxonomies tune {file}"
    ]


def test_changed_descriptions_are_not_tuned_and_logged(
    file: Path, classifier: Matcher, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace("boiler", "furnace"), encoding="utf-8")
    assert classifier.classify(BODIES[:1], load_taxonomy(file))[0].source.model == classifier.name
    assert caplog.messages == [
        f"ignored: {tuned_path(file)} was made before its descriptions changed; run: main.py taxonomies tune {file}"
    ]


def test_other_weights_are_not_tuned_and_logged(
    file: Path, embedded: Matcher, caplog: pytest.LogCaptureFixture
) -> None:
    taxonomy = load_taxonomy(file)
    numbers = {**embedded.weights.numbers, "lone bias": 0.0}
    retrained = with_tunings(replace(embedded, weights=replace(embedded.weights, numbers=numbers)))
    assert retrained.classify(BODIES[:1], taxonomy)[0].source.model == retrained.name
    assert "was made before the classifier from matcher." in caplog.text
    assert "changed; run: main.py taxonomies tune" in caplog.text


def test_a_taxonomy_of_the_same_labels_and_another_name_is_not_tuned(file: Path, classifier: Matcher) -> None:
    tuned = load_taxonomy(file)
    other = Taxonomy("others", tuned.labels, multi=False)
    assert [classifier.classify(BODIES[:1], one)[0].source.model == classifier.name for one in (tuned, other)] == [
        False, True,
    ]  # fmt: skip


def test_a_damaged_file_is_ignored_and_logged(
    file: Path, classifier: Matcher, caplog: pytest.LogCaptureFixture
) -> None:
    taxonomy, path = load_taxonomy(file), tuned_path(file)
    path.write_bytes(path.read_bytes()[:-100])
    assert classifier.classify(BODIES[:1], taxonomy)[0].source.model == classifier.name
    assert "cannot be read" in caplog.text


def test_a_new_tuning_is_used_by_a_classifier_that_is_running(file: Path, classifier: Matcher) -> None:
    taxonomy, path = load_taxonomy(file), tuned_path(file)
    kept = path.rename(path.with_name("kept"))
    assert classifier.classify(BODIES[:1], taxonomy)[0].source.model == classifier.name
    kept.replace(path)
    assert classifier.classify(BODIES[:1], taxonomy)[0].source.model != classifier.name


def test_the_same_descriptions_give_the_same_vectors(embedded: Matcher) -> None:
    words = [LabelWords(name, (), tuple(lines), name) for name, lines in DESCRIPTIONS.items()]
    (first, _), (second, _) = train(words, embedded.encoder), train(words, embedded.encoder)
    np.testing.assert_array_equal(first, second)


def test_one_label_has_nothing_to_be_distinguished_from(embedded: Matcher) -> None:
    with pytest.raises(InvalidSetting, match="one label cannot be tuned"):
        train([LabelWords("a", (), ("one cat",), "a")], embedded.encoder)
