"""What is taken for a batch of texts, by every classifier alike."""

import ast
import decimal
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from eval.baselines.thresholds import Decoding
from eval.baselines.trained import Scorer, Trained
from llm.backends.backend import FakeBackend
from llm.classifier import AnswerSource, Classifier, Prediction
from llm.embedded.cosine import CosineClassifier
from llm.embedded.matcher import Matcher
from llm.embedded.multilingual import MultilingualClassifier
from llm.hierarchical import Hierarchical
from llm.language_model import LanguageModel
from llm.pretrained.classifier import pretrained
from llm.spending.rehearsal import Rehearsal
from llm.strategies.json_list import JSONList
from llm.wrappers.admission import AdmissionControl, MicroBatched
from llm.wrappers.cache import AnswerStore, Cached
from llm.wrappers.combined import Cascade, Fallback, OrderEnsemble, Shortlist
from llm.wrappers.fusion import Fusion
from llm.wrappers.languages import ByLanguage
from marquee.client import Client
from marquee.explained import ExplainingClassifier
from marquee.feedback.entries import RecordedAnswer
from marquee.feedback.judged import RecordedAnswers
from marquee.feedback.learned import Learned
from marquee.sklearn import MarqueeClassifier
from prompts import registry
from prompts.errors import InvalidTexts, MarqueeError
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts
from similarity.micro_batching import Admission
from tests.eval.rows import Named
from tests.support.tiny_classifiers import entailment

TMDB = registry.taxonomy("tmdb")
ROOT = Path(__file__).parents[2]
RECORDED = RecordedAnswer("", TMDB, ("War",), {}, None, AnswerSource("a-model", TMDB.versioned_name))
MODEL = LanguageModel(FakeBackend(lambda conversation: '["War"]'), JSONList())


class Unread:
    """A classifier that no text should reach."""

    name = "failed_predictions"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        raise AssertionError(f"was handed {texts!r}")

    def fingerprint(self, text: Text, taxonomy: Taxonomy) -> str:
        raise AssertionError


class Even(Scorer):
    """The same probability for each label."""

    def save(self, folder: Path) -> None:
        raise AssertionError

    def probabilities(self, texts: Sequence[str]) -> Any:
        return np.full((len(texts), len(TMDB.names)), 0.5, np.float32)


@pytest.fixture(scope="module")
def loaded(embedded: Matcher, tmp_path_factory: pytest.TempPathFactory) -> list[Classifier]:
    """Those that load a model or encode labels when they are made or first used."""
    multilingual = MultilingualClassifier(embedded.encoder)
    entails = pretrained(f"hf:{entailment(tmp_path_factory.mktemp('models') / 'nli')}")
    return [multilingual, ByLanguage(embedded, multilingual), entails]


@pytest.fixture
def classifiers(
    embedded: Matcher, plain: CosineClassifier, loaded: list[Classifier], tmp_path: Path
) -> dict[type, Classifier]:
    """One of every kind."""
    every: list[Classifier] = [
        embedded,
        plain,
        MODEL,
        MicroBatched(embedded, Admission(4)),
        AdmissionControl(MODEL, Admission(4)),
        Cached(MODEL, AnswerStore(tmp_path / "answers.sqlite")),
        Cascade(embedded, MODEL, 0.5),
        Fallback(MODEL, embedded),
        Shortlist(embedded, MODEL, 3),
        Fusion(MODEL, embedded),
        Rehearsal(MODEL, embedded),
        OrderEnsemble(MODEL, 2),
        *loaded,
        Hierarchical(MODEL, 2),
        Trained("words", TMDB, Even(), Decoding("global", (0.9,) * len(TMDB.names)), {}),
        Client("http://127.0.0.1:9"),
        Learned(MODEL, lambda shown: MODEL, lambda taxonomy: None),
        RecordedAnswers(dict.fromkeys(("Soldiers fight a war.", "Soldiers at war.", "a war", "a cowboy"), RECORDED)),
        ExplainingClassifier(embedded),
    ]
    return {type(one): one for one in every}


def test_every_kind_of_classifier_is_tried_here(classifiers: dict[type, Classifier]) -> None:
    known = {kind.__name__ for kind in classifiers}
    for folder in ("llm", "service", "eval", "bulk", "similarity", "marquee"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.ClassDef) or "Protocol" in ast.dump(node):
                    continue
                if "classify" in {one.name for one in node.body if isinstance(one, ast.FunctionDef)}:
                    allowed = known | {"Classifier", "BackendSpec"}  # the latter opens a classifier for checked texts
                    assert node.name in allowed, f"{path.name}: {node.name} is not tried"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("A cowboy", "texts is a string; give a list: ['A cowboy']"),
        ("", "texts is a string"),
        (np.str_("A cowboy"), "texts is a string"),
        (b"A cowboy", "texts is bytes; decode it"),
        (bytearray(b"A"), "texts is bytearray; decode it"),
        (Text("A cowboy"), "texts is a single Text; give a list"),
        ({"text": "A cowboy"}, "texts is a dict; give a list of its texts"),
        ({"A cowboy"}, "texts is a set, which has no order"),
        (frozenset(["A"]), "texts is a frozenset"),
        (None, "texts is None, a NoneType; give a list"),
        (7, "texts is 7, a int; give a list"),
        (np.array([["a"], ["b"]]), "texts is a ndarray of other than one dimension"),
        (np.array("a"), "texts is a ndarray of other than one dimension"),
        (pd.DataFrame({"a": ["x"]}), "texts is a DataFrame of other than one dimension; give one column"),
        (pa.table({"a": ["x"]}), "texts is a Table of other than one dimension; give one column"),
    ],
)
def test_what_is_no_batch_is_refused_by_every_classifier_with_one_error(
    classifiers: dict[type, Classifier], given: Any, said: str
) -> None:
    for classifier in classifiers.values():
        with pytest.raises(InvalidTexts) as raised:
            classifier.classify(given, TMDB)
        assert str(raised.value).startswith(said), classifier
        assert isinstance(raised.value, TypeError)
        assert isinstance(raised.value, MarqueeError)


def test_a_wrapper_refuses_before_it_asks(tmp_path: Path) -> None:
    inner = Unread()
    wrappers: list[Classifier] = [
        MicroBatched(inner, Admission(1)), AdmissionControl(inner, Admission(1)),
        Cached(inner, AnswerStore(tmp_path / "a")),
        Cascade(inner, inner, 1), Fallback(inner, inner), OrderEnsemble(inner, 2),
    ]  # fmt: skip
    for wrapper in wrappers:
        with pytest.raises(InvalidTexts):
            wrapper.classify("A cowboy", TMDB)


MISSING = (
    None,
    float("nan"),
    np.nan,
    np.float32("nan"),
    pd.NA,
    pd.NaT,
    decimal.Decimal("nan"),
    np.ma.masked,
    "",
    " \n",
)
STRANGE = (7, 1.5, True, b"A plot", ["A plot"], {"text": "A plot"}, object())


def _name(value: object) -> str:
    """The name of a case: the same in every process, so without the addresses that ``repr`` shows."""
    return re.sub(r" at 0x\w+", "", repr(value))


@pytest.mark.parametrize("bad", [*MISSING, *STRANGE], ids=_name)
def test_one_bad_entry_costs_its_own_answer_and_no_other(classifiers: dict[type, Classifier], bad: Any) -> None:
    for classifier in classifiers.values():
        if isinstance(classifier, Client):
            continue  # asks a service that does not run; see tests/service/test_batches.py
        first, second, third = classifier.classify(["Soldiers fight a war.", bad, "Soldiers at war."], TMDB)
        assert (first.problem, third.problem) == (None, None), classifier
        assert second.problem is not None, classifier
        assert second.problem.kind == "empty", classifier
        assert second.labels == (), classifier


@pytest.mark.parametrize("bad", STRANGE, ids=_name)
def test_the_problem_of_what_is_no_text_shows_it(embedded: Matcher, bad: Any) -> None:
    (found,) = embedded.classify([bad], TMDB)
    assert found.problem is not None
    assert found.problem.detail == f"{bad!r:.60} is no text; give a string"


def test_two_faults_of_a_batch_keep_their_own_words_behind_a_cache(tmp_path: Path) -> None:
    found = Cached(MODEL, AnswerStore(tmp_path / "a.sqlite")).classify([7, 8, None], TMDB)  # type: ignore[list-item]
    assert [one.problem and one.problem.detail.partition(" is")[0] for one in found][:2] == ["7", "8"]


@pytest.mark.parametrize(
    "given",
    [
        ["Soldiers at war", "A cowboy rides west"],
        ("Soldiers at war", "A cowboy rides west"),
        np.array(["Soldiers at war", "A cowboy rides west"]),
        np.array(["Soldiers at war", "A cowboy rides west"], dtype=object),
        pd.Series(["Soldiers at war", "A cowboy rides west"], index=[7, 3]),
        pd.Series(["Soldiers at war", "A cowboy rides west"]).astype("string"),
        pd.Series(["Soldiers at war", "A cowboy rides west"]).astype("category"),
        pd.Index(["Soldiers at war", "A cowboy rides west"]),
        pa.array(["Soldiers at war", "A cowboy rides west"]),
        pa.chunked_array([["Soldiers at war"], ["A cowboy rides west"]]),
    ],
    ids=lambda given: type(given).__name__,
)
def test_any_sequence_of_texts_is_a_batch(given: Any, embedded: Matcher) -> None:
    assert [text.body for text in checked_texts(given)] == ["Soldiers at war", "A cowboy rides west"]
    batched = Fallback(MicroBatched(embedded, Admission(1)), embedded)
    assert [one.labels[0] for one in batched.classify(given, TMDB)] == ["War", "Western"]


def test_a_generator_is_read_once_by_every_classifier(classifiers: dict[type, Classifier]) -> None:
    for classifier in classifiers.values():
        if not isinstance(classifier, Client):
            found = classifier.classify((text for text in ("a war", "a cowboy")), TMDB)  # type: ignore[arg-type]
            assert len(found) == 2, classifier


@pytest.mark.parametrize("given", ["A cowboy", b"A cowboy", Text("A cowboy")])
def test_the_estimator_refuses_a_bare_text_as_scikit_learn_does(given: Any) -> None:
    with pytest.raises(ValueError, match="put it into a list"):
        MarqueeClassifier("tmdb", classifier=Named()).predict(given)
