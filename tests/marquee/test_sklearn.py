"""Marquee as a scikit-learn estimator: its contract, and what it learns."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, MultiLabelBinarizer
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

from eval.baselines.thresholds import Decoding
from llm.backends.backend import Conversation, FakeBackend
from llm.classifier import Problem
from llm.embedded.matcher import Matcher
from llm.language_model import LanguageModel
from marquee.sklearn import EXPECTED_FAILED_CHECKS, MarqueeClassifier, backend
from prompts.errors import InvalidDataset, InvalidSetting, InvalidTaxonomy, MarqueeError, UnansweredTexts, UnknownName
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text
from tests.eval.rows import Named, OfRows
from tests.support.misbehaving import endpoint, says

GENRES = ("Comedy", "Horror", "War")
MOODS = Taxonomy("moods", tuple(Label(name) for name in GENRES), max_labels=3, allow_none=True)
# The classifier sees names only, so texts name their labels.
TEXTS = [
    "a comedy of manners",
    "horror at night",
    "war and horror",
    "a comedy at war",
    "quiet rooms",
    "horror comedy",
] * 2
LABELS = [["Comedy"], ["Horror"], ["War", "Horror"], ["Comedy", "War"], [], ["Comedy", "Horror"]] * 2
MATRIX = MultiLabelBinarizer(classes=GENRES).fit_transform(LABELS)
PLAIN, GENRE = ["a comedy", "horror", "the war", "comedy again"] * 3, ["Comedy", "Horror", "War", "Comedy"] * 3


@pytest.fixture
def shared(embedded: Matcher, monkeypatch: pytest.MonkeyPatch) -> Matcher:
    """The embedded classifier of all tests, so that estimators need not load one more."""
    monkeypatch.setattr(backend, "_embedded", lambda: embedded)
    return embedded


def named(taxonomy: Any = MOODS, **given: Any) -> MarqueeClassifier:
    return MarqueeClassifier(taxonomy, classifier=Named(), **given)


# --- the contract ---


def test_scikit_learns_checks_pass_but_those_that_no_text_can_pass() -> None:
    results = check_estimator(
        OfRows(classifier=Named()), expected_failed_checks=dict(EXPECTED_FAILED_CHECKS), on_skip=None
    )
    status = {result["check_name"]: result["status"] for result in results}
    assert {name for name, how in status.items() if how == "xfail"} == EXPECTED_FAILED_CHECKS.keys()
    assert sum(how == "passed" for how in status.values()) > 40


def test_it_says_that_it_takes_texts_so_that_checks_of_numbers_leave_it_alone() -> None:
    with pytest.warns(SkipTestWarning, match="one_d_array=True"):
        check_estimator(named())


def test_it_is_copied_printed_and_sent_by_its_parameters_alone() -> None:
    classifier = Named()
    one = MarqueeClassifier("tmdb", classifier=classifier, decision=0.4, few_shot=3)
    copied = clone(one)
    assert copied.get_params() == one.get_params()
    assert copied.classifier is classifier
    assert repr(MarqueeClassifier("tmdb", decision=0.4)) == "MarqueeClassifier(decision=0.4, taxonomy='tmdb')"
    fitted = named(decision="global", calibration="sigmoid").fit(TEXTS, LABELS)
    sent = pickle.loads(pickle.dumps(fitted))
    assert (sent.predict_proba(TEXTS) == fitted.predict_proba(TEXTS)).all()


def test_with_a_taxonomy_it_predicts_before_fit_and_without_one_it_cannot() -> None:
    check_is_fitted(named())
    assert named().predict_names(["war of comedy"]) == [("Comedy", "War")]
    for unready in (named(None), named(decision="global"), named(calibration="batch"), named(few_shot=2)):
        with pytest.raises(NotFittedError, match="call fit"):
            unready.predict(["a"])


# --- forms of X and y ---


def test_one_label_a_text() -> None:
    fitted = named(None).fit(PLAIN, GENRE)
    assert fitted.classes_.tolist() == ["Comedy", "Horror", "War"]
    assert fitted.predict(["war", "horror"]).tolist() == ["War", "Horror"]
    probabilities = fitted.predict_proba(["war", "nothing at all"])
    assert probabilities.shape == (2, 3)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert fitted.score(PLAIN, GENRE) == 1


def test_classes_keep_their_type() -> None:
    fitted = named(None).fit(["a 7", "a 12", "a 7"], [7, 12, 7])
    assert fitted.predict(["now 12"]).tolist() == [12]


def test_several_labels_as_names_or_as_a_matrix() -> None:
    by_names, by_matrix = named().fit(TEXTS, LABELS), named().fit(TEXTS, MATRIX)
    assert by_names.classes_.tolist() == by_matrix.classes_.tolist() == list(GENRES)
    assert (by_names.predict(TEXTS) == MATRIX).all()
    assert by_names.predict(TEXTS).dtype == int
    assert by_names.predict_proba(TEXTS).shape == (12, 3)
    assert by_names.score(TEXTS, LABELS) == by_matrix.score(TEXTS, MATRIX) == 1
    assert by_names.predict_names(["war, then horror"]) == [("Horror", "War")]


def test_a_matrix_may_be_sparse_or_nested_lists() -> None:
    for matrix in (csr_matrix(MATRIX), MATRIX.tolist()):
        fitted = named(decision="global").fit(TEXTS, matrix)
        assert fitted.decision_ == named(decision="global").fit(TEXTS, LABELS).decision_


def test_the_shape_of_y_is_the_shape_of_the_answer() -> None:
    assert named().fit(PLAIN, GENRE).predict(["horror and war"]).shape == (1,)
    single = Taxonomy("single", MOODS.labels, multi=False)
    assert named(single).fit(TEXTS, LABELS).predict(["horror and war"]).tolist() == [[0, 1, 1]]


def test_other_spellings_in_lists_are_their_labels_and_in_a_column_an_error() -> None:
    genres = Taxonomy(
        "genres", (Label("Science Fiction", aliases=("SF",)), Label("War"), Label("Short", predict=False))
    )
    fitted = named(genres).fit(["a", "b"], [["sf", "Short"], ["WAR"]])
    assert fitted.score(["science fiction"], [["SF"]]) == 1
    assert fitted.classes_.tolist() == ["Science Fiction", "War"]
    with pytest.raises(InvalidDataset, match="spelt 'Science Fiction'"):
        named(genres).fit(["a", "b"], ["SF", "War"])


def test_a_taxonomy_may_be_names_or_names_with_descriptions() -> None:
    assert named(["War", "Peace"]).fit(["war"]).taxonomy_.names == ("War", "Peace")
    described = named({"War": "armies fight", "Peace": "they do not"}).fit(["war"])
    assert described.taxonomy_.labels[0].description == "armies fight"


def test_a_title_may_stand_beside_a_text() -> None:
    assert named().predict_names([Text("quiet rooms", title="Horror")]) == [("Horror",)]


@pytest.mark.parametrize(
    ("X", "words"),
    [
        ("one text", "put it into a list"),
        ([], "0 sample"),
        (["a", None], "text 1 is None"),
        (["a", 3.5], "text 1 is 3.5"),
        (np.array([["a", "b"]]), "2 dimensions"),
        (7, "give a list"),
    ],
)
def test_an_x_that_is_no_texts_is_told(X: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        named().predict(X)


@pytest.mark.parametrize(
    ("taxonomy", "y", "error", "words"),
    [
        (MOODS, ["Comedy", "Opera"], InvalidDataset, "'Opera', which is no label of 'moods'"),
        (MOODS, [["Comedy"], ["Opera"]], InvalidDataset, "'Opera', which is no label of 'moods'"),
        (MOODS, np.array([[0, 1], [1, 0]]), InvalidDataset, "2 columns, and the taxonomy 'moods' has 3"),
        (None, np.array([[0, 1], [1, 0]]), InvalidDataset, "does not name its columns"),
        (None, [[], []], InvalidDataset, "no text of y has a label"),
        (None, [["a", 3], ["b"]], ValueError, "y holds 'a' and 3"),
        (None, [0.5, 1.7], ValueError, "continuous"),
        (None, ["a"], ValueError, "inconsistent"),
        (None, None, ValueError, "requires y"),
        ("tmbd", None, UnknownName, "did you mean 'tmdb'"),
        ([1, 2], None, InvalidTaxonomy, "the label 1 is not a string"),
        (["War", "War"], None, InvalidTaxonomy, "occurs twice"),
    ],
)
def test_a_y_that_fits_no_taxonomy_is_told(taxonomy: Any, y: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as raised:
        named(taxonomy).fit(["a", "b"], y)
    assert y is None or isinstance(raised.value, ValueError)  # as scikit-learn's own errors about y


MISSING = [None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT]
TWO = ["a text", "another"]


@pytest.mark.parametrize("taxonomy", [None, MOODS])
@pytest.mark.parametrize("missing", MISSING, ids=repr)
@pytest.mark.parametrize(
    "form",
    [
        lambda missing: ["War", missing],
        lambda missing: np.array(["War", missing], dtype=object),
        lambda missing: pd.Series(["War", missing], dtype=object),
        lambda missing: [["War"], ["Comedy", missing]],
        lambda missing: [["War"], missing],
    ],
    ids=["list", "array", "series", "names", "row"],
)
def test_a_missing_label_is_an_error_and_no_class(taxonomy: Any, missing: Any, form: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match="Input y contains NaN"):
        named(taxonomy).fit(TWO, form(missing))


@pytest.mark.parametrize(
    "y",
    [
        [1.0, float("nan")],
        pd.Series([1, None], dtype="Int64"),
        pd.Series(["War", None], dtype="string"),
        pd.Series(["War", None], dtype="category"),
        np.array([[1, 0, np.nan], [0, 1, 0]]),
        csr_matrix(np.array([[1, 0, np.nan], [0, 1, 0]])),
    ],
    ids=["floats", "Int64", "string", "category", "matrix", "sparse matrix"],
)
def test_a_missing_label_is_an_error_in_every_type_of_column(y: Any) -> None:
    with pytest.raises(ValueError, match="contains NaN"):
        named(MOODS).fit(TWO, y)


@pytest.mark.parametrize(
    "y", [["War", 1], [1, "War"], ["War", True], [["War"], [2]], np.array(["War", 1.5], dtype=object)], ids=repr
)
def test_text_and_numbers_are_not_mixed(y: Any) -> None:
    with pytest.raises(ValueError, match=r"Mix of label input types \(string and number\)"):
        named(None).fit(TWO, y)


@pytest.mark.parametrize("y", [["War"], ["War", "War", "War"], [["War"]], MATRIX[:3], csr_matrix(MATRIX[:3])])
def test_a_y_of_another_length_than_x_is_an_error(y: Any) -> None:
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        named(MOODS).fit(TWO, y)


@pytest.mark.parametrize(
    "y", [[float("inf"), 1.0], [{"War"}, {"a": 1}], [object(), object()]], ids=["inf", "dict", "object"]
)
def test_what_is_no_label_is_an_error(y: Any) -> None:
    with pytest.raises(ValueError, match=r"infinity|Unknown label type"):
        named(None).fit(TWO, y)


@pytest.mark.parametrize("y", [[7.0, 12.0], [7, 12], np.array([7, 12], np.int8), pd.Series([7, 12], dtype="Int64")])
@pytest.mark.parametrize("taxonomy", [None, ["7", "12"]])
def test_whole_numbers_are_labels_by_their_digits(taxonomy: Any, y: Any) -> None:
    fitted = named(taxonomy).fit(["a 7", "a 12"], y)
    assert sorted(fitted.taxonomy_.names) == ["12", "7"]
    assert [str(int(one)) for one in fitted.predict(["now 12", "now 7"])] == ["12", "7"]


@pytest.mark.parametrize("missing", MISSING, ids=repr)
def test_a_missing_text_is_an_error_that_names_its_place(missing: Any) -> None:
    for X in (["a", missing], np.array(["a", missing], dtype=object), pd.Series(["a", missing], dtype=object)):
        with pytest.raises(ValueError, match="text 1 is"):
            named().predict(X)


# --- what is learnt ---


def test_a_threshold_may_be_set_and_is_learnt_where_that_is_asked() -> None:
    low = MarqueeClassifier(MOODS, classifier=Named(0.3))
    assert low.predict(["war"]).tolist() == [[0, 0, 0]]
    assert clone(low).set_params(decision=0.2).predict(["war"]).tolist() == [[0, 0, 1]]
    for rule in ("global", "per-label"):
        learnt = clone(low).set_params(decision=rule).fit(TEXTS, LABELS)
        assert learnt.score(TEXTS, LABELS) == 1, rule
        assert all(0.3 / 9 < cut <= 0.3 for cut in learnt.decision_.thresholds)


def test_top_k_learns_how_many_labels_texts_have() -> None:
    texts, labels = ["comedy war", "war horror"] * 3, [["Comedy", "War"], ["War", "Horror"]] * 3
    learnt = named(decision="top-k").fit(texts, labels)
    assert learnt.decision_ == Decoding("top-k", k=2, objective="macro")
    assert learnt.predict(["horror"]).sum() == 2


@pytest.mark.parametrize("calibration", ["sigmoid", "isotonic"])
def test_calibrated_probabilities_come_true_as_often_as_they_say(calibration: str) -> None:
    texts = ["war"] * 40 + ["rooms"] * 40
    labels = [["War"]] * 10 + [["Comedy"]] * 30 + [["Comedy"]] * 40  # what is said at .9 is true one time in four
    learnt = named(calibration=calibration).fit(texts, labels)
    war = learnt.predict_proba(["war", "rooms"])[:, GENRES.index("War")]
    assert war == pytest.approx([0.25, 0], abs=0.04)
    assert learnt.predict(["war"]).tolist() == [[1, 0, 0]]


def test_batch_calibration_needs_no_labels_and_takes_a_models_habit_away() -> None:
    always = {"Comedy": 0.8, "Horror": 0.1, "War": 0.1}

    def weights(conversation: Conversation) -> Mapping[str, float]:
        horror = "horror" in conversation[-1]["content"]
        return dict(zip("ABC", (0.6, 0.3, 0.1) if horror else always.values(), strict=True))

    model = LanguageModel(FakeBackend(weights=weights))
    single = Taxonomy("single", MOODS.labels, multi=False)
    plain = MarqueeClassifier(single, classifier=model, strategy="label_tokens")
    corrected = clone(plain).set_params(calibration="batch").fit(["rooms"] * 20 + ["horror"])
    assert plain.predict(["horror"]).tolist() == ["Comedy"]
    assert corrected.predict(["horror"]).tolist() == ["Horror"]
    assert corrected.predict_proba(["horror"]).sum() == pytest.approx(1)


def test_what_a_model_was_shown_is_not_learnt_from() -> None:
    heard: list[str] = []

    def weights(conversation: Conversation) -> Mapping[str, float]:
        heard.append("\n".join(message["content"] for message in conversation))
        return {"Yes": 0.5, "No": 0.5}

    model = LanguageModel(FakeBackend(weights=weights))
    texts = [f"{text} {place}" for place, text in enumerate(TEXTS)]
    fitted = MarqueeClassifier(
        MOODS, classifier=model, strategy="yes_no", few_shot=3, decision="global", random_state=0
    ).fit(texts, LABELS)
    shown = {shot.text.body for shot in fitted.examples_}
    put = {content.rpartition("<text>\n")[2].partition("\n</text>")[0] for content in heard}
    assert len(shown) == 3
    assert put == set(texts) - shown
    assert all(text in heard[0] for text in shown)
    assert {label for shot in fitted.examples_ for label in shot.labels} == set(GENRES)
    again = clone(fitted).fit(texts, LABELS)
    assert again.examples_ == fitted.examples_


def test_the_nearest_examples_are_shown_and_never_the_text_itself(shared: Matcher) -> None:
    heard: list[str] = []

    def reply(conversation: Conversation) -> str:
        heard.append("\n".join(message["content"] for message in conversation))
        return '["War"]'

    model = LanguageModel(FakeBackend(reply))
    texts = ["tanks roll into battle", "a clown slips", "soldiers storm the beach", "ghosts in the attic"]
    labels = [["War"], ["Comedy"], ["War"], ["Horror"]]
    fitted = MarqueeClassifier(MOODS, classifier=model, few_shot=1, nearest=True).fit(texts, labels)
    fitted.predict([texts[0]])
    assert "soldiers storm the beach" in heard[-1]
    assert heard[-1].count(texts[0]) == 1


# --- who is asked ---


def test_nothing_set_asks_the_embedded_classifier(shared: Matcher) -> None:
    film = "A sheriff faces three outlaws in a dusty frontier town."
    own = MarqueeClassifier(["Western", "Science Fiction"])
    assert own.predict_names([film]) == [("Western",)]
    (found,) = shared.classify([film], own.fit([film]).taxonomy_)
    assert own.predict_proba([film])[0].tolist() == [found.scores["Science Fiction"], found.scores["Western"]]


def test_the_key_of_an_endpoint_comes_from_the_environment_and_is_not_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-mine")
    with endpoint(says('{"labels": ["War"]}')) as server:
        remote = MarqueeClassifier(MOODS, base_url=server.url, model="m", strategy="json_list", prompt="plot")
        assert remote.predict_names(["a"]) == [("War",)]
        assert server.headers[-1]["authorization"] == "Bearer secret-of-mine"
        assert "secret-of-mine" not in repr(remote) + str(remote.get_params()) + str(pickle.dumps(remote))


def test_a_key_that_is_given_is_used_by_clones_and_printed_nowhere() -> None:
    with endpoint(says('{"labels": ["War"]}')) as server:
        remote = MarqueeClassifier(MOODS, base_url=server.url, model="m", api_key="first-secret", strategy="json_list")
        for one, key in ((clone(remote), "first-secret"), (remote.set_params(api_key="new-secret"), "new-secret")):
            assert one.predict_names(["a"]) == [("War",)]
            assert server.headers[-1]["authorization"] == f"Bearer {key}"
            assert "-secret" not in repr(one) + one._repr_html_() + str(one.get_params())


def test_answers_are_remembered_where_that_is_asked(tmp_path: Path) -> None:
    heard: list[Conversation] = []

    def reply(conversation: Conversation) -> str:
        heard.append(conversation)
        return '["War"]'

    model = LanguageModel(FakeBackend(reply))
    remembering = MarqueeClassifier(MOODS, classifier=model, cache=str(tmp_path / "answers.sqlite"))
    for _ in range(2):
        clone(remembering).fit(TEXTS, LABELS).predict(["a", "b"])
    assert len(heard) == 2


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"strategy": "json_list"}, InvalidSetting, "strategy need a language model"),
        ({"prompt": "plot", "cache": "x"}, InvalidSetting, "prompt and cache"),
        ({"few_shot": 1}, InvalidSetting, "few_shot need a language model"),
        ({"base_url": "http://127.0.0.1:9/v1"}, InvalidSetting, "classifier and base_url are both set"),
        ({"base_url": "http://127.0.0.1:9/v1", "classifier": None}, InvalidSetting, "base_url needs model"),
        ({"decision": "best-of-all"}, UnknownName, "no decision"),
        ({"calibration": "platt"}, UnknownName, "no calibration"),
        ({"objective": "mikro"}, UnknownName, "did you mean 'micro'"),
        ({"decision": 1.5}, InvalidSetting, "between 0 and 1"),
        ({"calibration": "sigmoid", "few_shot": 99}, MarqueeError, "99 examples"),
        (
            {"classifier": LanguageModel(FakeBackend()), "strategy": "label_token"},
            UnknownName,
            "did you mean 'label_tokens'",
        ),
        ({"classifier": LanguageModel(FakeBackend()), "prompt": "plt"}, UnknownName, "did you mean 'plot"),
    ],
)
def test_parameters_that_do_not_go_together_are_told(given: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        MarqueeClassifier(MOODS, **{"classifier": Named(), **given}).fit(TEXTS, LABELS).predict(TEXTS)


def test_of_one_label_nothing_is_decided() -> None:
    with pytest.raises(InvalidSetting, match="else the most probable label"):
        named(decision=0.5).fit(PLAIN, GENRE)


def test_a_text_without_an_answer_is_an_error_and_no_guess() -> None:
    def reply(conversation: Conversation) -> str | Problem:
        return Problem("busy", "overloaded") if "horror" in conversation[-1]["content"] else '["War"]'

    failing = MarqueeClassifier(MOODS, classifier=LanguageModel(FakeBackend(reply)))
    with pytest.raises(UnansweredTexts, match="2 of 4 texts got no answer; text 1: overloaded"):
        failing.predict(["war", "horror", "war", "more horror"])
    with pytest.raises(UnansweredTexts, match="there is no text"):
        named().predict([" "])


def test_probabilities_are_given_only_where_there_are_any(plain: Any) -> None:
    with pytest.raises(InvalidSetting, match="list gives no scores"):
        MarqueeClassifier(MOODS, classifier=LanguageModel(FakeBackend(lambda conversation: '["War"]'))).predict_proba(
            ["a"]
        )
    with pytest.raises(InvalidSetting, match="similarities"):
        MarqueeClassifier(MOODS, classifier=plain).predict_proba(["a war film"])
    learnt = MarqueeClassifier(MOODS, classifier=plain, calibration="sigmoid").fit(TEXTS, LABELS)
    assert ((learnt.predict_proba(TEXTS) > 0) & (learnt.predict_proba(TEXTS) < 1)).all()


# --- among scikit-learn's own ---


def test_cross_validation_scores_one_label_and_several() -> None:
    assert cross_val_score(named(None), PLAIN, GENRE, cv=3).tolist() == [1, 1, 1]
    assert cross_val_score(named(), TEXTS, MATRIX, cv=2, scoring="f1_macro").tolist() == [1, 1]
    out_of_fold = cross_val_predict(named(None), PLAIN, GENRE, cv=3, method="predict_proba")
    assert out_of_fold.shape == (12, 3)
    assert cross_val_score(named(), TEXTS, MATRIX, cv=2, scoring="roc_auc_ovr").tolist() == [1, 1]


def test_it_stands_at_the_end_of_a_pipeline_and_beside_others() -> None:
    lower = FunctionTransformer(lambda texts: [text.replace("WAHR", "war") for text in texts])
    piped = Pipeline([("spelling", lower), ("labels", named())])
    assert piped.predict(["WAHR"]).tolist() == [[0, 0, 1]]
    assert cross_val_score(piped, TEXTS, MATRIX, cv=2).tolist() == [1, 1]
    union = FeatureUnion([("words", TfidfVectorizer()), ("scores", FunctionTransformer(named().predict_proba))])
    assert union.fit_transform(TEXTS).shape[1] > 3


def test_a_grid_finds_the_prompt_and_the_strategy_that_answer_best() -> None:
    """A model that reads letters right under one prompt only, and is of no use otherwise."""

    def weights(conversation: Conversation) -> Mapping[str, float]:
        system, user = (message["content"] for message in conversation)
        right = {name: code for code, name in zip("ABC", GENRES, strict=True)}
        knows = "review" in system.lower() and "Answer with the character" in user
        named_code = next((code for name, code in right.items() if name.lower() in user), "A")
        return {named_code: 0.8} if knows else {"A": 0.5, "B": 0.3, "C": 0.2, "Yes": 0.5, "No": 0.5}

    single = Taxonomy("single", MOODS.labels, multi=False)
    search = GridSearchCV(
        MarqueeClassifier(single, classifier=LanguageModel(FakeBackend(weights=weights))),
        {"prompt": ["plot", "review", "company"], "strategy": ["label_tokens", "yes_no"]},
        cv=2,
    ).fit(PLAIN, GENRE)
    assert search.best_params_ == {"prompt": "review", "strategy": "label_tokens"}
    assert search.best_score_ == 1
    assert search.predict(["the war"]).tolist() == ["War"]


def test_a_grid_searches_what_fit_learns() -> None:
    low = MarqueeClassifier(MOODS, classifier=Named(0.3))
    grid = {"decision": [None, 0.2, "global"], "calibration": [None, "sigmoid"]}
    search = GridSearchCV(low, grid, cv=2, scoring="f1_micro").fit(TEXTS, MATRIX)
    found: Callable[..., float] = f1_score
    assert found(MATRIX, search.predict(TEXTS), average="micro") == 1
    assert search.best_params_["decision"] is not None or search.best_params_["calibration"] is not None
