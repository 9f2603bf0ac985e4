"""Learning from feedback: what is learned, when it is put in force, and how it is undone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner

from llm.backends.backend import Conversation, FakeBackend
from llm.classifier import AnswerSource, Prediction
from llm.few_shot import StaticExamples, no_examples
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from main import main
from marquee.feedback import candidates
from marquee.feedback.entries import RecordedAnswer, text_digest
from marquee.feedback.judged import judged_texts
from marquee.feedback.learned import Learned, LearnedVersions
from marquee.feedback.learning import Answering, Learning, LearningOutcome
from marquee.feedback.store import FeedbackStore
from marquee.feedback.versions import TaxonomyVersions
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tests.support.process import service

YAML = "multi: true\nmax_labels: 2\nallow_none: true\nlabels: [Sport, Science]\n"
TOPICS = Taxonomy.of(["Sport", "Science"], name="topics", multi=True, allow_none=True, max_labels=2)
Truth = Callable[[int, str], Sequence[str]]  # from the number and the digest of a text to its right labels


def is_held_out(digest: str) -> bool:
    return int(digest[:8], 16) / 2**32 < 0.3


def scores_of(number: int) -> dict[str, float]:
    """Sport is scored between 0 and .4, so that the default threshold of .5 never chooses it."""
    return {"Sport": number % 40 / 100, "Science": 0.9 if number % 2 else 0.1}


def answer(number: int, taxonomy: Taxonomy = TOPICS) -> Prediction:
    labels = tuple(name for name, score in scores_of(number).items() if score >= 0.5)
    source = AnswerSource("a-model", taxonomy.versioned_name)
    return Prediction(labels, source, scores_of(number), score_type="probability")


def right(number: int, digest: str = "") -> Sequence[str]:
    """Sport from a score of .2 on."""
    return [name for name, score in scores_of(number).items() if score >= (0.2 if name == "Sport" else 0.5)]


def fill(store: FeedbackStore, count: int, truth: Truth, taxonomy: Taxonomy = TOPICS) -> None:
    for number in range(count):
        text = Text(f"text {number}")
        record = RecordedAnswer.of(text, taxonomy, answer(number), "", store.with_texts)
        store.record("", f"r{number}", [(0, taxonomy.name, record)])
        recorded = store.answer("", f"r{number}", 0)
        store.add_for_answer("", f"r{number}", recorded, truth(number, text_digest(text)))


@pytest.fixture
def away_with_feedback(away: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARQUEE_FEEDBACK_PATH", "feedback.sqlite")
    Path("topics.yaml").write_text(YAML, encoding="utf-8")
    return away


def learn(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["learn", "--taxonomy", "topics.yaml", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


class Repeating:
    """A classifier with the answers above."""

    name = "a-model"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        return [answer(int(Text.of(text).body.split()[1]), taxonomy) for text in texts]


# --- from digests alone ---


def test_thresholds_are_learned_from_recorded_scores_and_put_in_force(away_with_feedback: Path) -> None:
    fill(FeedbackStore(Path("feedback.sqlite")), 120, right)
    code, printed = learn()
    assert code == 0, printed
    assert "texts are not stored: thresholds are learned from recorded scores" in printed
    assert "no head: texts are not stored" in printed
    assert "B is better on micro-F1" in printed
    assert "version 000001 is in force" in printed
    versions = LearnedVersions(Path("var/learned"), dict)
    assert versions.name(TOPICS) == "topics/000001"
    classifier = Learned(Repeating(), lambda shown: Repeating(), versions.get)
    numbers = range(200, 240)  # texts without feedback
    found = classifier.classify([f"text {number}" for number in numbers], TOPICS)
    wrong = [n for n, one in zip(numbers, found, strict=True) if set(one.labels) != set(right(n))]
    assert len(wrong) <= 3  # those next to the threshold
    before = [n for n in numbers if set(answer(n).labels) != set(right(n))]
    assert len(before) == 20
    assert learn("--back") == (0, "topics: the answers without feedback are in force again\n")
    assert classifier.classify(["text 39"], TOPICS)[0].labels == ("Science",)
    assert "has no version in force" in learn("--back")[1]


def test_no_file_of_a_version_has_a_text(away_with_feedback: Path) -> None:
    store = FeedbackStore(Path("feedback.sqlite"), with_texts=True)
    for number in range(40):
        store.add_for_text("", Text(f"zebra {number}"), TOPICS, ["Sport"])
    outcome = learned_by_examples(store)
    assert outcome.version is not None
    content = b"".join(file.read_bytes() for file in Path("learned").rglob("*") if file.is_file())
    assert sum(text_digest(Text(f"zebra {number}")).encode() in content for number in range(40)) >= 8
    assert b"zebra" not in content


def test_a_dry_run_changes_nothing(away_with_feedback: Path) -> None:
    fill(FeedbackStore(Path("feedback.sqlite")), 120, right)
    code, printed = learn("--dry-run", "--json")
    found = json.loads(printed.splitlines()[-1])
    assert (code, found["version"], found["gate"]["passed"]) == (0, None, True)
    assert found["selection"][found["chosen"]] > found["selection"]["today"]
    assert [one.name for one in Path("var/learned/topics").iterdir() if not one.name.startswith(".lock")] == []


def test_what_is_worse_on_held_out_texts_does_not_pass_the_gate(away_with_feedback: Path) -> None:
    def truth(number: int, digest: str) -> Sequence[str]:
        return answer(number).labels if is_held_out(digest) else right(number)

    fill(FeedbackStore(Path("feedback.sqlite")), 120, truth)
    code, printed = learn()
    assert code == 1, printed
    assert "A is better on micro-F1" in printed
    assert "nothing is put in force" in printed
    assert LearnedVersions(Path("var/learned"), dict).get(TOPICS) is None


def test_right_answers_teach_nothing(away_with_feedback: Path) -> None:
    fill(FeedbackStore(Path("feedback.sqlite")), 60, lambda number, digest: answer(number).labels)
    code, printed = learn()
    assert (code, printed.splitlines()[-1]) == (
        0, "no candidate is better than today's answers; nothing is put in force",
    )  # fmt: skip


def test_too_little_feedback_is_counted_in_the_error(away_with_feedback: Path) -> None:
    assert "there is no feedback at feedback.sqlite" in learn()[1]
    store = FeedbackStore(Path("feedback.sqlite"))
    fill(store, 10, right)
    store.add_for_text("", Text("never answered"), TOPICS, ["Sport"])
    code, printed = learn()
    assert code == 1
    assert "topics has usable feedback on 10 texts" in printed
    assert "1 with no recorded scores of the model as it is without feedback; learn needs 20" in printed


# --- the feedback that is used ---


def test_the_newest_entry_of_a_text_counts_and_old_labels_are_skipped(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "f.sqlite", with_texts=True)
    wider = Taxonomy.of(["Sport", "Science", "Weather"], name="topics", multi=True)
    same = Taxonomy.of(["Science", "Sport"], name="custom", multi=True, allow_none=True)
    for number in range(60):
        store.add_for_text("a", Text(f"{number}"), TOPICS, ["Sport"])
    store.add_for_text("b", Text("0"), TOPICS, ["Science"])  # another key, later
    store.add_for_text("a", Text("of removed label"), wider, ["Weather"])
    store.add_for_text("a", Text("of own labels"), same, ["Science"])
    store.add_for_text("a", Text("of another taxonomy"), Taxonomy.of(["War", "Peace"]), ["War"])
    judged = judged_texts(store.entries(), TOPICS, 0.3)
    found = {
        one.text.body: one.labels
        for part in (judged.fit, judged.selection, judged.held_out)
        for one in part
        if one.text
    }
    assert found.keys() == {"of own labels", *map(str, range(60))}
    assert found["0"] == ("Science",)
    assert judged.skipped == {"labels that do not fit the taxonomy of today": 1}
    assert 10 < len(judged.held_out) < 26


def test_a_text_never_changes_its_part(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "f.sqlite")
    fill(store, 60, right)
    before = {one.digest for one in judged_texts(store.entries(), TOPICS, 0.3).held_out}
    fill(store, 120, right)
    assert before < {one.digest for one in judged_texts(store.entries(), TOPICS, 0.3).held_out}


# --- few-shot examples, and heads ---


def language_model(shown: StaticExamples | None = None) -> LanguageModel:
    """It answers Sport where it sees an example, else Science."""

    def reply(conversation: Conversation) -> str:
        return '["Sport"]' if any("zebra" in one["content"] for one in conversation[:-1]) else '["Science"]'

    return LanguageModel(FakeBackend(reply, "a-model"), JSONList(), examples=shown or no_examples)


def learned_by_examples(store: FeedbackStore) -> LearningOutcome:
    for entry in list(store.entries()):  # corrections of what the model answered
        text = entry.text or Text()
        (found,) = language_model().classify([text], TOPICS)
        store.record("", entry.id, [(0, "topics", RecordedAnswer.of(text, TOPICS, found, "", True))])
        store.add_for_answer("", entry.id, store.answer("", entry.id, 0), entry.labels)
    judged = judged_texts(store.entries(), TOPICS, 0.3)
    texts = {one.digest: one.text for one in store.entries() if one.text}
    learned = LearnedVersions(Path("learned"), lambda: texts)
    answering = Answering(language_model(), language_model, learned.get)
    return Learning(TOPICS, judged, answering, TaxonomyVersions(Path("learned/topics"))).run()


@pytest.mark.usefixtures("away")
def test_examples_for_a_language_model_are_read_from_the_feedback_and_deleted_with_it() -> None:
    store = FeedbackStore(Path("f.sqlite"), with_texts=True)
    for number in range(40):
        store.add_for_text("", Text(f"zebra {number}"), TOPICS, ["Sport"])
    outcome = learned_by_examples(store)
    assert (outcome.chosen, outcome.selection["today"]) == ("8 examples", 0.0)
    assert outcome.notes[0] == "no thresholds: a-model gives no scores"
    assert outcome.notes[1].startswith("no head: ")

    def texts() -> dict[str, Text]:
        return {one.digest: one.text for one in store.entries() if one.text}

    def labels() -> tuple[str, ...]:
        learned = LearnedVersions(Path("learned"), texts).get  # as a process that starts now
        return Learned(language_model(), language_model, learned).classify(["a new text"], TOPICS)[0].labels

    assert labels() == ("Sport",)
    store.delete()
    assert labels() == ("Science",)


SPORT = "The striker scored {} goals in the cup final.", "The team won match {} after extra time."
SCIENCE = "The telescope measured {} distant galaxies.", "The chemist mixed {} acids in the laboratory."


def test_a_head_is_trained_where_there_are_enough_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: Any
) -> None:
    monkeypatch.setattr(candidates, "LEAST_FOR_HEAD", 30)
    odd = Taxonomy.of(["alpha", "beta"], name="odd")  # names that say nothing
    store = FeedbackStore(tmp_path / "f.sqlite", with_texts=True)
    for number in range(80):
        kind, label = (SPORT, "alpha") if number % 2 else (SCIENCE, "beta")
        store.add_for_text("", Text(kind[number // 2 % 2].format(number)), odd, [label])
    judged = judged_texts(store.entries(), odd, 0.3)
    learned = LearnedVersions(tmp_path / "learned", dict)
    answering = Answering(embedded, lambda shown: embedded, learned.get)
    outcome = Learning(odd, judged, answering, TaxonomyVersions(tmp_path / "learned" / "odd")).run()
    assert outcome.chosen == "head few-examples", outcome.selection
    assert outcome.version is not None
    classifier = Learned(embedded, lambda shown: embedded, learned.get)
    found = classifier.classify([SPORT[0].format(7), SCIENCE[0].format(8)], odd)
    assert [one.labels for one in found] == [("alpha",), ("beta",)]
    described = replace(odd, labels=tuple(replace(label, description="x") for label in odd.labels))
    assert classifier.classify(["a text"], described)[0].source.model == embedded.name  # not what the head has learned
    without = Learning(
        odd, replace(judged, with_texts=False), answering, TaxonomyVersions(tmp_path / "learned" / "odd")
    )
    with pytest.raises(InvalidSetting, match="a head is in force for odd, and no texts are stored"):
        without.run()


# --- versions ---


def published(folder: Path, times: int = 1) -> TaxonomyVersions:
    store = FeedbackStore(folder / "f.sqlite", with_texts=True)
    fill(store, 120, right)
    judged, versions = judged_texts(store.entries(), TOPICS, 0.3), TaxonomyVersions(folder / "topics")
    answering = Answering(Repeating(), lambda shown: Repeating(), lambda taxonomy: None)
    for _ in range(times):
        assert Learning(TOPICS, judged, answering, versions).run().version is not None
    return versions


def test_back_goes_one_version_back_each_time(tmp_path: Path) -> None:
    versions = published(tmp_path, 2)
    current = versions.current()
    assert current is not None
    assert (current.name, current.manifest.previous) == ("000002", "000001")
    assert versions.back() == "000001"
    again = versions.current()
    assert again is not None
    assert again.name == "000001"
    assert versions.back() == ""
    assert versions.current() is None
    assert (tmp_path / "topics" / "versions" / "000002").is_dir()  # kept; the next one is 000003


def test_a_failed_publication_leaves_the_old_version_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = published(tmp_path)

    def full(path: Path, content: str, mode: int = 0o666) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("marquee.feedback.versions.write_text_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        published(tmp_path)
    monkeypatch.undo()
    current = versions.current()
    assert current is not None
    assert current.name == "000001"
    assert not list((tmp_path / "topics").glob(".learning-*"))


def test_a_damaged_version_is_reported_and_the_one_before_answers_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    versions = published(tmp_path)
    learned = LearnedVersions(tmp_path, dict)
    assert learned.name(TOPICS) == "topics/000001"
    published(tmp_path)
    part = tmp_path / "topics" / "versions" / "000002" / "threshold.json"
    part.write_text(part.read_text().replace("0.", "0.1"))
    assert learned.name(TOPICS) == "topics/000001"
    assert "the new version cannot be used" in caplog.text
    with pytest.raises(InvalidSetting, match=r"threshold\.json was changed or deleted; learn again"):
        versions.current()


def test_other_labels_and_models_are_answered_as_before(tmp_path: Path) -> None:
    published(tmp_path)
    learned = LearnedVersions(tmp_path, dict)
    other = Taxonomy.of(["Sport", "Art"], name="topics", multi=True)
    assert learned.get(other) is None
    parts = learned.get(TOPICS)
    assert parts is not None
    strange = replace(answer(39), source=AnswerSource("another", TOPICS.versioned_name))
    assert parts.relabelled(strange, TOPICS) is strange
    assert parts.relabelled(answer(39), TOPICS).labels == ("Science", "Sport")


def test_a_threshold_is_for_one_training_of_a_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FeedbackStore(tmp_path / "f.sqlite", with_texts=True)
    fill(store, 120, right)
    judged, versions = judged_texts(store.entries(), TOPICS, 0.3), TaxonomyVersions(tmp_path / "topics")
    answering = Answering(Repeating(), lambda shown: Repeating(), lambda taxonomy: None, "1a2b")
    published = Learning(TOPICS, judged, answering, versions).run().version
    assert published is not None
    assert published.manifest.kind == "threshold"
    assert LearnedVersions(tmp_path, dict, trained="1a2b").name(TOPICS) == "topics/000001"
    assert caplog.text == ""
    for other in ("3c4d", ""):  # another training, and another kind of model
        learned = LearnedVersions(tmp_path, dict, trained=other)
        assert [learned.get(TOPICS), learned.get(TOPICS)] == [None, None]
    warnings = [one.getMessage() for one in caplog.records]
    assert len(warnings) == 2, "once for each process"
    assert "version 000001 is not used: its threshold is for another model than the one that answers" in warnings[0]


def test_threads_load_a_version_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(tmp_path)
    loads: list[str] = []
    current = TaxonomyVersions.current

    def counted(self: TaxonomyVersions) -> Any:
        loads.append("")
        return current(self)

    monkeypatch.setattr(TaxonomyVersions, "current", counted)
    learned, names = LearnedVersions(tmp_path, dict), list[str]()
    threads = [threading.Thread(target=lambda: names.append(learned.name(TOPICS))) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert names == ["topics/000001"] * 8
    assert len(loads) == 1


def test_texts_that_cannot_be_answered_teach_nothing(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "f.sqlite", with_texts=True)
    fill(store, 60, right)
    judged = judged_texts(store.entries(), TOPICS, 0.3)
    silent = LanguageModel(FakeBackend(lambda conversation: "no labels at all"), JSONList())
    answering = Answering(silent, lambda shown: silent, lambda taxonomy: None)
    with pytest.raises(InvalidDataset, match="no text has an answer"):
        Learning(TOPICS, judged, answering, TaxonomyVersions(tmp_path / "topics")).run()


def test_feedback_on_the_answers_of_another_model_is_noted(tmp_path: Path) -> None:
    class Another(Repeating):
        def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
            found = super().classify(texts, taxonomy)
            return [replace(one, source=replace(one.source, model="another-model")) for one in found]

    store = FeedbackStore(tmp_path / "f.sqlite", with_texts=True)
    fill(store, 60, right)
    judged, versions = judged_texts(store.entries(), TOPICS, 0.3), TaxonomyVersions(tmp_path / "topics")

    def notes(model: Repeating) -> str:
        answering = Answering(model, lambda shown: model, lambda taxonomy: None)
        return " ".join(Learning(TOPICS, judged, answering, versions, dry_run=True).run().notes)

    assert "the answers with feedback are by a-model, and today's answers here are by another-model" in notes(Another())
    assert "a-model" not in notes(Repeating())


# --- a real service ---


def test_the_same_request_is_answered_better_after_learning_and_as_before_after_going_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No right answer has Drama, which MiniLM gives to most texts."""
    settings = {
        "MARQUEE_FEEDBACK": "true", "MARQUEE_FEEDBACK_TEXTS": "true",
        "MARQUEE_FEEDBACK_PATH": str(tmp_path / "f.sqlite"), "MARQUEE_LEARNED_PATH": str(tmp_path / "learned"),
    }  # fmt: skip
    lines = (Path(__file__).parents[2] / "data/sample/films.jsonl").read_text(encoding="utf-8").splitlines()
    plots = [json.loads(line)["plot"] for line in lines[:70]]
    with service("--workers", "2", **settings) as running:
        url = running.url

        def answered(text: str) -> list[str]:
            return list(httpx2.post(f"{url}/classify", json={"text": text}, timeout=60).json()["labels"])

        for plot in plots:
            reply = httpx2.post(f"{url}/classify", json={"text": plot}, timeout=60)
            labels = [name for name in reply.json()["labels"] if name != "Drama"]
            body = {"request_id": reply.headers["X-Request-ID"], "labels": labels or ["History"]}
            assert httpx2.post(f"{url}/feedback", json=body, timeout=60).status_code == 200
        new = "A cowboy returns to his town and meets the woman he once left."
        before = answered(new)
        assert "Drama" in before
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(main, ["learn", "--taxonomy", "tmdb"])
        assert "version 000001 is in force" in result.output, result.output
        assert all("Drama" not in answered(new) for _ in range(6))  # by both workers
        assert CliRunner().invoke(main, ["learn", "--taxonomy", "tmdb", "--back"]).exit_code == 0
        assert [answered(new) for _ in range(6)] == [before] * 6
