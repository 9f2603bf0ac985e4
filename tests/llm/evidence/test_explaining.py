"""Evidence for the predictions of any classifier: quotes that are checked, what they cost, and reasons for none."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from llm.backends.backend import Backend, Completion, Constraint, Conversation, FakeBackend
from llm.backends.local_backend import LocalBackend
from llm.classifier import MOST_EXPLAINED, AnswerSource, Classifier, Prediction, Problem, Usage
from llm.embedded.cosine import CosineClassifier
from llm.embedded.matcher import Matcher
from llm.evidence.explaining import Explainer
from llm.language_model import LanguageModel
from llm.request_context import CURRENT_REQUEST, RequestContext
from llm.strategies.json_list import JSONList
from llm.wrappers.admission import AdmissionControl, MicroBatched
from llm.wrappers.cache import AnswerStore, Cached
from llm.wrappers.combined import Cascade, Fallback, Shortlist
from llm.wrappers.fusion import Fusion
from prompts import registry
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from similarity.micro_batching import Admission
from tests.support.tiny_qwen2 import build

TICKETS = Taxonomy.of(
    {"billing": "charges and refunds", "crash": "the app stops working", "praise": "thanks"},
    multi=True,
    allow_none=True,
)
TEXT = "My card was charged twice. The app closes when I press Save."
QUOTED = {"billing": "My card was charged twice.", "crash": "The app closes"}


class Model(FakeBackend):
    """Labels every text with billing and crash, quotes ``quotes`` for them, and counts requests and tokens."""

    def __init__(self, **quotes: str | Problem) -> None:
        super().__init__(self._answer, "a-model")
        self.quotes, self.sent = quotes, 0

    def generate(self, conversations: Sequence[Conversation], constraint: Constraint) -> list[Completion]:
        self.sent += len(conversations)
        return [replace(one, usage=Usage(100, 0, 10)) for one in super().generate(conversations, constraint)]

    def _answer(self, conversation: Conversation) -> str | Problem:
        question = conversation[-1]["content"].rpartition("</text>")[2]
        if "Label: " not in question:
            return json.dumps(["billing", "crash"])
        return self.quotes[question.partition("Label: ")[2].partition(":")[0]]


def model(backend: Backend) -> LanguageModel:
    return LanguageModel(backend, JSONList())


def explained(classifier: Classifier, texts: list[str | Text], taxonomy: Taxonomy = TICKETS) -> list[Prediction]:
    """The predictions with evidence, whose labels and scores are those without."""
    before = classifier.classify(texts, taxonomy)
    after = Explainer(classifier).explain(texts, before, taxonomy)
    for one, other in zip(before, after, strict=True):
        assert replace(other, evidence=None, unexplained={}, usage=one.usage) == one
    return after


def quoted(**quotes: str | Problem) -> Prediction:
    return explained(model(Model(**quotes)), [TEXT])[0]


def test_a_quote_is_a_part_of_the_text_with_its_place() -> None:
    found = quoted(**{name: json.dumps([quote]) for name, quote in QUOTED.items()})
    assert [(one.label, one.kind, one.quote, one.contribution) for one in found.evidence or ()] == [
        (name, "quote", quote, None) for name, quote in QUOTED.items()
    ]
    assert all(TEXT[one.start : one.end] == one.quote for one in found.evidence or ())
    assert found.unexplained == {}


@pytest.mark.parametrize(
    ("reply", "quote"),
    [
        ('["the app closes"]', "The app closes"),
        ('{"labels": ["The app closes when"]}', "The app closes when"),
        ('{"quote": "press Save"}', "press Save"),
        ("The app closes", "The app closes"),
        ('"The app closes"', "The app closes"),
        ('<think>["card"]</think>["The app closes"]', "The app closes"),
    ],
)
def test_quotes_are_read_in_the_forms_that_models_write(reply: str, quote: str) -> None:
    found = quoted(billing="[]", crash=reply)
    assert [one.quote for one in found.evidence or ()] == [quote]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("[]", "quotes no passage"),
        ('[""]', "quotes no passage"),
        ('["The app always crashes"]', "not in the text"),
        ("The user says that the app closes", "not in the text"),
        ('["a"]', "not in the text"),
        ("", "wrote nothing"),
        (Problem("timeout", "the deadline passed"), "the deadline passed"),
    ],
)
def test_without_a_true_quote_there_is_a_reason_and_no_evidence(reply: str | Problem, reason: str) -> None:
    found = quoted(billing='["charged twice"]', crash=reply)
    assert [one.label for one in found.evidence or ()] == ["billing"]
    assert list(found.unexplained) == ["crash"]
    assert reason in found.unexplained["crash"]


def test_a_copy_of_a_long_text_is_no_evidence() -> None:
    text = "The app closes and nothing helps me at all. " * 10
    (found,) = explained(model(Model(billing="[]", crash=json.dumps([text]))), [text])
    assert found.evidence == ()
    assert "longer than 300" in found.unexplained["crash"]


def test_the_tokens_of_quotes_are_counted_and_cached_quotes_are_free(tmp_path: Path) -> None:
    backend = Model(billing='["charged twice"]', crash="[]")
    cached = Cached(AdmissionControl(model(backend), Admission(8)), AnswerStore(tmp_path / "cache"))
    first = explained(cached, [TEXT, TEXT, "Other."])
    assert [one.usage.prompt_tokens for one in first] == [300, 100, 300]  # a repeated text is sent once
    sent = backend.sent
    again = explained(cached, [TEXT, "Other."])
    assert (backend.sent, [one.usage for one in again]) == (sent, [Usage(), Usage()])
    assert again[0].evidence == first[0].evidence
    assert again[0].unexplained == first[0].unexplained


def test_clients_with_other_keys_share_no_cached_quotes(tmp_path: Path) -> None:
    backend = Model(billing='["charged twice"]', crash="[]")
    cached = Cached(model(backend), AnswerStore(tmp_path / "cache"))
    token = CURRENT_REQUEST.set(RequestContext(cache_salt="one"))
    try:
        explained(cached, [TEXT])
        sent = backend.sent
        CURRENT_REQUEST.set(RequestContext(cache_salt="two"))
        explained(cached, [TEXT])
        assert backend.sent == 2 * sent
    finally:
        CURRENT_REQUEST.reset(token)


def test_a_model_that_takes_no_more_requests_leaves_the_labels() -> None:
    gate = Admission(1)
    classifier = AdmissionControl(model(Model(billing="[]", crash="[]")), gate)
    before = classifier.classify([TEXT], TICKETS)
    with gate.admit():
        (found,) = Explainer(classifier).explain([TEXT], before, TICKETS)
    assert (found.labels, found.evidence) == (("billing", "crash"), ())
    assert "pending" in found.unexplained["crash"]


def test_a_text_with_a_problem_stays_as_it_is(embedded: Matcher) -> None:
    first, empty, second = explained(embedded, ["The app crashes. I like tea.", " ", Text("", "Refund")])
    assert (empty.problem is not None, empty.evidence) == (True, None)
    assert first.evidence is not None
    assert second.evidence is not None


def test_only_the_first_labels_are_explained(embedded: Matcher) -> None:
    many = Taxonomy.of([f"topic {number}" for number in range(9)], multi=True)
    (found,) = embedded.classify(["One. Two."], many)
    named = replace(found, labels=many.names)
    (found,) = Explainer(embedded).explain(["One. Two."], [named], many)
    assert {one.label for one in found.evidence or ()} <= set(many.names[:MOST_EXPLAINED])
    assert all("first 5 labels" in found.unexplained[name] for name in many.names[MOST_EXPLAINED:])
    assert {one.label for one in found.evidence or ()} | set(found.unexplained) == set(many.names)


def test_a_classifier_without_evidence_says_so(plain: CosineClassifier) -> None:
    (found,) = explained(plain, ["The app crashes."])
    assert found.evidence == ()
    assert "all-MiniLM-L6-v2 gives no evidence" in found.unexplained[found.labels[0]]


class TestWrappers:
    """Whichever model answered is explained, through all wrappers."""

    @pytest.fixture
    def small(self, embedded: Matcher) -> MicroBatched:
        return MicroBatched(embedded, Admission(8))

    @pytest.fixture
    def large(self) -> AdmissionControl:
        return AdmissionControl(model(Model(billing='["charged twice"]', crash='["The app closes"]')), Admission(8))

    def test_an_outage_is_answered_and_explained_by_the_embedded_classifier(self, small: MicroBatched) -> None:
        down = model(FakeBackend(lambda conversation: Problem("unreachable", "down"), "a-model"))
        (found,) = explained(Fallback(down, small), [TEXT])
        assert found.labels
        assert {one.kind for one in found.evidence or ()} == {"sentence"}

    def test_a_fusion_has_the_evidence_of_both(self, small: MicroBatched, large: AdmissionControl) -> None:
        (found,) = explained(Fusion(large, small), [TEXT])
        assert {one.kind for one in found.evidence or ()} == {"quote", "sentence"}

    @pytest.mark.parametrize(("margin", "kind"), [(0.0, "sentence"), (2.0, "quote")])
    def test_a_cascade_is_explained_by_the_one_that_answered(
        self, small: MicroBatched, large: AdmissionControl, margin: float, kind: str
    ) -> None:
        (found,) = explained(Cascade(small, large, margin), [TEXT])
        assert {one.kind for one in found.evidence or ()} == {kind}

    def test_a_shortlist_does_not_hide_the_model(self, small: MicroBatched, large: AdmissionControl) -> None:
        (found,) = explained(Shortlist(small, large, 2), [TEXT])
        assert [one.quote for one in found.evidence or ()] == ["charged twice", "The app closes"]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalBackend:
    return LocalBackend(str(build(tmp_path_factory.mktemp("weights") / "tiny-qwen2")), device="cpu", dtype="float32")


def test_weights_in_this_process_choose_a_sentence(local: LocalBackend) -> None:
    source = AnswerSource(local.name, "own", "text.v1", "label_likelihood")
    given = Prediction(("billing",), source)
    text = Text('  He said: "Pay!"\nPay!\tNow.', "A bill")
    (found,) = Explainer(model(local)).explain([text], [given], TICKETS)
    if found.evidence:
        (one,) = found.evidence
        assert one.quote == (text.title if one.field == "title" else text.body)[one.start : one.end]
    else:
        assert "quotes no passage" in found.unexplained["billing"]
    assert found.usage.completion_tokens > 0


def test_evidence_of_film_genres_names_words(embedded: Matcher) -> None:
    (found,) = explained(embedded, ["A cowboy shoots the sheriff."], registry.taxonomy("tmdb"))
    assert {"cowboy", "sheriff"} <= {one.quote for one in found.evidence or () if one.kind == "word"}
