"""The strategies: what each asks, and how figures become scores."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import strategies as choice
from llm.backends.backend import Completion, Constraint, Conversation, FakeBackend, Token, TokenLogprobs
from llm.backends.capabilities import UNPROBED, CapabilityProbe
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.transport import HTTPTransport
from llm.calibration.thresholds import ThresholdStore
from llm.classifier import Prediction, Problem, Usage
from llm.few_shot import StaticExamples
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from llm.strategies.label_likelihood import LabelLikelihood
from llm.strategies.scored import DecisionsAPI, LabelTokens, YesNo, normalized
from prompts import registry
from prompts.errors import UnknownName
from prompts.taxonomy import Label, Taxonomy
from prompts.template import FewShotExample
from prompts.text import Text
from tests.support.misbehaving import Behaviour, body, endpoint, follows, serves

TMDB, SENTIMENT = registry.taxonomy("tmdb"), registry.taxonomy("sentiment")
MANY = Taxonomy("many", tuple(Label(f"label {number:03}") for number in range(300)), max_labels=3)


def coded(conversation: Conversation) -> dict[str, str]:
    """The labels that a letters prompt offers, by code."""
    lines = re.findall(r"^(\w)\. (.*)$", conversation[0]["content"], re.MULTILINE)
    return {code: label.partition(":")[0] for code, label in lines}


class Counting(FakeBackend):
    """A scripted engine that keeps what it was asked."""

    def __init__(self, weights: object, code_limit: int = 128) -> None:
        super().__init__(weights=weights, code_limit=code_limit)  # type: ignore[arg-type]
        self.batches: list[tuple[list[Conversation], list[str]]] = []

    def next_token_logprobs(self, conversations: Sequence[Conversation], codes: Sequence[str]) -> list[TokenLogprobs]:
        self.batches.append((list(conversations), list(codes)))
        return super().next_token_logprobs(conversations, codes)


class Scoring(FakeBackend):
    """A scripted engine that scores labels by name; keeps the answers that were offered.

    Texts that contain ``unreadable`` get hardly any probability; ``reply`` is the text that it generates.
    """

    scores_labels = True

    def __init__(
        self, logprobs: Mapping[str, float], top_token: str = "", reply: str = "", unreadable: str = "\0"
    ) -> None:
        super().__init__(lambda conversation: reply)
        self._by_name, self._top_token, self._unreadable = logprobs, top_token, unreadable
        self.offered: list[list[str]] = []
        self.seen: list[Conversation] = []

    def label_logprobs(self, conversations: Sequence[Conversation], names: Sequence[str]) -> list[TokenLogprobs]:
        self.offered.append(list(names))
        self.seen += conversations
        return [self._scored(conversation, names) for conversation in conversations]

    def _scored(self, conversation: Conversation, names: Sequence[str]) -> TokenLogprobs:
        known = {} if self._unreadable in conversation[-1]["content"] else self._by_name
        return TokenLogprobs({name: known.get(name, -20.0) for name in names}, top_token=self._top_token)


def letters(backend: FakeBackend, taxonomy: Taxonomy, threshold: float | None = None) -> LanguageModel:
    return LanguageModel(backend, LabelTokens(), thresholds=ThresholdStore(threshold=threshold))


# --- letters ---


def prefers(weights: Mapping[str, float]) -> object:
    """Weights by label, for whatever codes a prompt gives them."""

    def next_token_logprobs(conversation: Conversation) -> dict[str, float]:
        return {code: weights.get(label, 1e-4) for code, label in coded(conversation).items()}

    return next_token_logprobs


def test_letters_scores_are_shares_that_sum_to_one() -> None:
    backend = Counting(prefers({"War": 0.3, "Drama": 0.1, "History": 0.05}))
    (prediction,) = letters(backend, TMDB).classify(["a plot"], TMDB)
    assert sum(prediction.scores.values()) == pytest.approx(1)
    assert prediction.labels == ("War", "Drama", "History")
    assert list(prediction.scores)[:3] == ["War", "Drama", "History"]
    assert prediction.scores["War"] == pytest.approx(0.3 / (0.45 + 15e-4))


def test_letters_asks_once_for_a_taxonomy_within_the_codes() -> None:
    backend = Counting(prefers({"War": 0.9}))
    letters(backend, TMDB).classify(["a", "b", "c"], TMDB)
    ((conversations, codes),) = backend.batches
    assert len(conversations) == 3
    assert codes == list("ABCDEFGHIJKLMNOPQR")
    assert coded(conversations[0])["A"] == "Action"


def test_none_of_these_is_a_code_where_the_taxonomy_allows_it() -> None:
    backend = Counting(lambda conversation: {"0": 0.9, "A": 0.05, "B": 0.05})
    taxonomy = SENTIMENT.shaped(allow_none=True)
    (prediction,) = letters(backend, taxonomy).classify(["a text"], taxonomy)
    assert prediction.labels == ()
    assert prediction.problem is None
    assert sum(prediction.scores.values()) == pytest.approx(0.1)
    assert backend.batches[0][1] == ["A", "B", "0"]


@pytest.mark.parametrize("limit", [128, 20, 7, 2])
def test_a_taxonomy_beyond_the_codes_is_asked_in_heats_and_a_final(limit: int) -> None:
    backend = Counting(prefers({"label 299": 0.5, "label 150": 0.3, "label 001": 0.15}), code_limit=limit)
    (prediction,) = letters(backend, MANY, 0.1).classify(["a text"], MANY)
    assert prediction.labels[0] == "label 299"
    if limit >= 20:
        assert prediction.labels == ("label 299", "label 150", "label 001")
    assert set(prediction.scores) == set(MANY.names)
    assert all(len(codes) <= limit for _, codes in backend.batches)
    fallen = [score for name, score in prediction.scores.items() if name not in prediction.labels]
    assert max(fallen) < prediction.scores[prediction.labels[-1]]


def test_figures_as_low_as_vllms_floor_are_no_trouble() -> None:
    assert normalized({"A": -9999.0, "B": -9999.0}) == {"A": 0.5, "B": 0.5}
    assert normalized({"A": -0.1, "B": -9999.0})["A"] == 1


@given(st.dictionaries(st.sampled_from("ABCDEF"), st.floats(-9999, 0), min_size=1))
def test_shares_always_sum_to_one(logprobs: dict[str, float]) -> None:
    assert sum(normalized(logprobs).values()) == pytest.approx(1)


def test_what_none_has_stays_through_heats_and_final() -> None:
    taxonomy = replace(MANY, multi=False, allow_none=True)

    def next_token_logprobs(conversation: Conversation) -> dict[str, float]:
        return {code: 0.3 if label == "label 150" else 1e-4 for code, label in coded(conversation).items()} | {"0": 0.6}

    (prediction,) = letters(Counting(next_token_logprobs), taxonomy).classify(["x"], taxonomy)
    assert prediction.labels == ()
    assert sum(prediction.scores.values()) == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize(
    ("weights", "labels"),
    [
        ({"0": 0.85, "A": 0.12}, ()),
        ({"0": 0.4, "A": 0.35, "B": 0.2}, ()),
        ({"0": 0.97, "B": 0.02}, ()),
        ({"0": 0.3, "A": 0.31, "B": 0.3}, ("Billing",)),
        ({"0": 0.12, "A": 0.03, "B": 0.85}, ("Crash",)),
        ({"0": 0.0001, "A": 0.5, "B": 0.5}, ("Billing",)),
    ],
)
def test_none_of_these_competes_with_the_labels_and_wins_where_it_is_likeliest(
    weights: dict[str, float], labels: tuple[str, ...]
) -> None:
    tickets = Taxonomy("tickets", (Label("Billing"), Label("Crash")), multi=False, allow_none=True)
    (prediction,) = letters(FakeBackend(weights=lambda _: weights), tickets).classify(["a text"], tickets)
    assert (prediction.labels, prediction.problem, prediction.score_type) == (labels, None, "share")
    whole = sum(weights.values())
    assert prediction.scores["Billing"] == pytest.approx(weights.get("A", 0) / whole, abs=1e-4)
    assert prediction.scores["Crash"] == pytest.approx(weights.get("B", 0) / whole, abs=1e-4)


def test_several_labels_may_stand_against_none() -> None:
    several = Taxonomy("tickets", (Label("Billing"), Label("Crash")), allow_none=True)
    backend = FakeBackend(weights=lambda conversation: {"0": 0.34, "A": 0.33, "B": 0.33})
    assert letters(backend, several).classify(["x"], several)[0].labels == ()
    backend = FakeBackend(weights=lambda conversation: {"0": 0.3, "A": 0.36, "B": 0.34})
    assert letters(backend, several).classify(["x"], several)[0].labels == ("Billing", "Crash")


@pytest.mark.parametrize("taxonomy", [SENTIMENT, SENTIMENT.shaped(allow_none=True), TMDB], ids=["one", "none", "multi"])
@pytest.mark.parametrize("weights", [{}, {"A": 0.02}, {"A": 0.03, "B": 0.03, "0": 0.03}, {"Yes": 0.05, "No": 0.01}])
@pytest.mark.parametrize("strategy", [LabelTokens(), YesNo()])
def test_a_model_that_wants_to_say_something_else_is_unreadable_and_never_the_first_label(
    strategy: LabelTokens | YesNo, weights: dict[str, float], taxonomy: Taxonomy
) -> None:
    model = LanguageModel(FakeBackend(weights=lambda conversation: weights), strategy)
    (prediction,) = model.classify(["a text"], taxonomy)
    assert prediction.problem is not None
    assert (prediction.problem.kind, prediction.labels, prediction.scores) == ("unreadable", (), {})
    assert "reasoning model" in prediction.problem.detail
    assert "strategy json_list" in prediction.problem.detail


def test_one_unreadable_question_makes_the_text_unreadable() -> None:
    def next_token_logprobs(conversation: Conversation) -> dict[str, float]:
        return {} if '"War"' in conversation[1]["content"] else {"Yes": 0.1, "No": 0.9}

    (prediction,) = LanguageModel(FakeBackend(weights=next_token_logprobs), YesNo()).classify(["x"], TMDB)
    assert prediction.problem is not None


# --- yes_no ---


def says_yes_to(*labels: str) -> object:
    def next_token_logprobs(conversation: Conversation) -> dict[str, float]:
        question = re.search(r'Does the \w+ "(.*?)"', conversation[1]["content"])
        return {"Yes": 0.8, "No": 0.1} if question and question[1] in labels else {"Yes": 0.01, "No": 0.9}

    return next_token_logprobs


def test_yes_no_asks_about_every_label_of_every_text_and_scores_each_for_itself() -> None:
    backend = Counting(says_yes_to("War", "Drama"))
    predictions = LanguageModel(backend, YesNo()).classify(["a", "b", "c"], TMDB)
    assert [prediction.labels for prediction in predictions] == [("Drama", "War")] * 3
    assert predictions[0].scores["War"] == pytest.approx(8 / 9)
    assert predictions[0].scores["Action"] == pytest.approx(1 / 91)
    assert sum(len(conversations) for conversations, _ in backend.batches) == 3 * 18


def test_one_question_about_each_text_goes_ahead_so_that_the_others_find_it_computed() -> None:
    backend = Counting(says_yes_to())
    LanguageModel(backend, YesNo()).classify([f"text {n}" for n in range(40)], TMDB)
    sizes = [len(conversations) for conversations, _ in backend.batches]
    assert sizes == [32, 32 * 17, 8, 8 * 17]
    ahead = [conversation[1]["content"] for conversation in backend.batches[0][0]]
    assert len(set(ahead)) == 32


def test_all_questions_about_a_text_share_everything_up_to_the_question() -> None:
    backend = Counting(says_yes_to())
    LanguageModel(backend, YesNo()).classify(["a plot"], TMDB)
    asked = [conversation for conversations, _ in backend.batches for conversation in conversations]
    assert len({conversation[0]["content"] for conversation in asked}) == 1
    assert len({conversation[1]["content"].partition("Does the genre")[0] for conversation in asked}) == 1


def test_a_taxonomy_of_one_label_is_one_question() -> None:
    taxonomy = Taxonomy("own", (Label("War"),), allow_none=True)
    backend = Counting(says_yes_to("War"))
    assert LanguageModel(backend, YesNo()).classify(["x"], taxonomy)[0].labels == ("War",)
    assert LanguageModel(Counting(says_yes_to()), YesNo()).classify(["x"], taxonomy)[0].labels == ()


# --- both ---


class HalfDown(FakeBackend):
    """Weighs all but the texts that say "down"."""

    def next_token_logprobs(self, conversations: Sequence[Conversation], codes: Sequence[str]) -> list[TokenLogprobs]:
        down = Problem("busy", "later")
        figures = {code: math.log(1 / len(codes)) for code in codes}
        return [
            TokenLogprobs(problem=down)
            if "down" in conversation[1]["content"]
            else TokenLogprobs(figures, usage=Usage(10, 5, 1))
            for conversation in conversations
        ]


@pytest.mark.parametrize("strategy", [LabelTokens(), YesNo()])
def test_a_failing_text_does_not_fail_its_batch(strategy: LabelTokens | YesNo) -> None:
    model = LanguageModel(HalfDown(weights=lambda conversation: {}), strategy)
    first, second, third = model.classify(["up", "down", "up"], TMDB)
    assert (first.problem, third.problem) == (None, None)
    assert second.problem == Problem("busy", "later")
    assert (second.labels, second.scores) == ((), {})


def test_tokens_of_all_requests_about_a_text_are_counted() -> None:
    model = LanguageModel(HalfDown(weights=lambda conversation: {}), YesNo())
    assert model.classify(["up"], TMDB)[0].usage == Usage(180, 90, 18)


@pytest.mark.parametrize("strategy", [LabelTokens(), YesNo()])
def test_an_engine_that_tells_no_probabilities_is_a_problem_that_names_the_way_out(
    strategy: LabelTokens | YesNo,
) -> None:
    (prediction,) = LanguageModel(FakeBackend(), strategy).classify(["x"], TMDB)
    assert prediction.problem is not None
    assert "choose the strategy json_list" in prediction.problem.detail


# --- list ---


class Writing(FakeBackend):
    """Writes the same tokens for every text."""

    def __init__(self, *tokens: Token) -> None:
        super().__init__()
        self._tokens = tokens

    def generate(self, conversations: Sequence[Conversation], constraint: Constraint) -> list[Completion]:
        text = "".join(token.text for token in self._tokens)
        return [Completion(text, tokens=self._tokens) for _ in conversations]


def test_a_list_is_scored_by_the_probability_of_each_labels_words() -> None:
    said = [('["', 1), ("Science", 0.5), (" Fiction", 0.8), ('","', 1), ("War", 0.25), ('"]', 1)]
    backend = Writing(*(Token(text, math.log(probability)) for text, probability in said))
    (prediction,) = LanguageModel(backend, JSONList()).classify(["x"], TMDB)
    assert prediction.labels == ("Science Fiction", "War")
    assert prediction.scores == pytest.approx({"Science Fiction": 0.4, "War": 0.25})
    assert prediction.score_type == "probability"


@pytest.mark.parametrize(
    ("said", "labels"),
    [
        ([('["', 1), ("Drama", 0.39), ('", "', 1), ("War", 0.64), ('"]', 1)], ("War", "Drama")),
        ([('["', 1), ("War", 0.2), ('","', 1), ("Crime", 0.6), ('","', 1), ("Action", 0.4), ('"]', 1)],
         ("Crime", "Action", "War")),
        ([('<think>"Drama"</think>["', 0.1), ("Drama", 0.9), ('", "', 1), ("War", 0.64), ('"]', 1)], ("Drama", "War")),
        ([("[", 1), ('"SF"', 0.9), (', "', 1), ("War", 0.2), ('"]', 1)], ("War", "Science Fiction")),
    ],
)  # fmt: skip
def test_listed_labels_come_best_first_and_only_they_have_scores(
    said: list[tuple[str, float]], labels: tuple[str, ...]
) -> None:
    backend = Writing(*(Token(text, math.log(probability)) for text, probability in said))
    (prediction,) = LanguageModel(backend, JSONList()).classify(["x"], TMDB)
    assert prediction.labels == labels
    assert set(prediction.scores) <= set(labels)
    assert list(prediction.scores.values()) == sorted(prediction.scores.values(), reverse=True)


def test_a_list_without_token_probabilities_keeps_taxonomy_order_and_has_no_scores() -> None:
    (prediction,) = LanguageModel(FakeBackend(lambda conversation: '["War", "Crime"]')).classify(["x"], TMDB)
    assert (prediction.labels, prediction.scores, prediction.score_type) == (("Crime", "War"), {}, None)


# --- auto ---


def test_auto_scores_the_names_and_takes_the_list_or_what_remains_otherwise() -> None:
    scoring, weighing, silent = Scoring({}), FakeBackend(weights=lambda conversation: {}), FakeBackend()
    assert [choice.best(scoring, taxonomy).name for taxonomy in (SENTIMENT, TMDB)] == ["label_likelihood"] * 2
    assert [choice.best(backend, TMDB).name for backend in (weighing, silent)] == ["json_list"] * 2
    assert [choice.best(backend, SENTIMENT).name for backend in (weighing, silent)] == ["json_list"] * 2
    weighing.enforces_schema = silent.enforces_schema = False
    assert choice.best(weighing, SENTIMENT).name == "label_tokens"
    assert choice.best(weighing, TMDB).name == "yes_no"
    assert choice.best(silent, TMDB).name == "json_list"
    assert (
        LanguageModel(FakeBackend(lambda conversation: '["War"]')).classify(["x"], TMDB)[0].source.strategy
        == "json_list"
    )


def test_auto_reads_the_list_of_a_text_whose_scores_are_unreadable() -> None:
    backend = Scoring({"positive": -0.1}, reply='<think>hm</think>["negative"]', unreadable="think")
    plain, thinking = LanguageModel(backend).classify(["plain", "think"], SENTIMENT)
    assert (plain.labels, plain.source.strategy, plain.score_type) == (("positive",), "label_likelihood", "share")
    assert (thinking.labels, thinking.source.strategy, thinking.problem) == (("negative",), "json_list", None)


@pytest.mark.parametrize(
    ("start", "holds", "taxonomy", "strategy"),
    [
        ("<think>", True, SENTIMENT, "json_list"),
        ("Okay", True, SENTIMENT, "json_list"),
        ("Okay", False, SENTIMENT, "json_list"),
        ("<think>", False, TMDB, "json_list"),
        ("B", False, SENTIMENT, "label_tokens"),
        ("B", True, SENTIMENT, "json_list"),
        ("B", False, TMDB, "yes_no"),
        ("B", True, TMDB, "json_list"),
    ],
)
def test_auto_reads_a_reasoning_model_as_a_list_from_its_first_text(
    start: str, holds: bool, taxonomy: Taxonomy, strategy: str
) -> None:
    found = [{"token": start, "logprob": -0.1}, {"token": "The", "logprob": -3.0}]
    content = [{"token": start, "logprob": -0.1, "top_logprobs": found}]
    said = '{"labels": ["zqx-7"]}' if holds else "Hello!"
    completion = {"choices": [{"message": {"content": said}, "logprobs": {"content": content}}]}
    with endpoint(follows(serves("/chat/completions", body(200, completion)))) as server:
        transport = HTTPTransport(server.url, "", 5, 0, 4)
        backend = OpenAICompatible(transport, "m", CapabilityProbe(transport, "m"))
        assert choice.best(backend, taxonomy).name == strategy
        LanguageModel(backend).classify(["An odd text."], taxonomy)
    if strategy == "json_list":
        about_it = [asked for asked in server.requests if "An odd text." in str(asked)]
        assert [asked["max_tokens"] > 1 for asked in about_it] == [True]


def test_an_unknown_strategy_is_told() -> None:
    with pytest.raises(UnknownName, match="did you mean 'label_tokens'"):
        choice.named("label_token")


# --- decisions ---


@pytest.mark.parametrize(
    ("taxonomy", "shares", "labels"),
    [
        (SENTIMENT, {"positive": 0.45, "negative": 0.55}, ("negative",)),
        (TMDB.shaped(multi=False), dict.fromkeys(TMDB.names, 0.04) | {"War": 0.32}, ("War",)),
        (SENTIMENT.shaped(allow_none=True), {"positive": 0.4, "negative": 0.2, "none of these": 0.4}, ("positive",)),
        (SENTIMENT.shaped(allow_none=True), {"positive": 0.3, "negative": 0.1, "none of these": 0.6}, ()),
        (TMDB.shaped(multi=False, allow_none=True),
         dict.fromkeys(TMDB.names, 0.02) | {"War": 0.4, "none of these": 0.26}, ("War",)),
    ],
)  # fmt: skip
def test_the_options_of_a_choice_compete_as_letters_do(
    taxonomy: Taxonomy, shares: dict[str, float], labels: tuple[str, ...]
) -> None:
    given = [{"value": value, "probability": share} for value, share in shares.items()]
    prediction, asked = decided(deciding({"type": "choice", "name": "label", "probabilities": given}), taxonomy)
    assert (prediction.labels, prediction.score_type) == (labels, "share")
    assert {choice["value"] for choice in asked[0]["questions"][0]["choices"]} == set(shares)
    strategy = DecisionsAPI()
    assert (strategy.mutually_exclusive(taxonomy), strategy.mutually_exclusive(TMDB)) == (True, False)
    assert LanguageModel(FakeBackend(), strategy).threshold(Text("x"), taxonomy).threshold == 0.05
    assert LanguageModel(FakeBackend(), strategy).threshold(Text("x"), TMDB).threshold == 0.5


def deciding(*answers: object, status: int = 200) -> Behaviour:
    usage = {"input_tokens": 30, "input_tokens_details": {"cached_tokens": 20}, "output_tokens": 0}
    return body(status, {"model": "m", "answers": list(answers), "usage": usage})


def decided(behaviour: Behaviour, taxonomy: Taxonomy) -> tuple[Prediction, list[Any]]:
    with endpoint(behaviour) as server:
        backend = OpenAICompatible(HTTPTransport(server.url, "", 5, 0, 4), "m", UNPROBED)
        (prediction,) = LanguageModel(backend, DecisionsAPI()).classify(["a plot"], taxonomy)
    return prediction, server.requests


PREDICATES = [{"type": "predicate", "name": name, "probability": 0.9 if name == "War" else 0.1} for name in TMDB.names]


def test_decisions_asks_one_predicate_per_label_in_one_request() -> None:
    prediction, asked = decided(deciding(*PREDICATES), TMDB)
    assert prediction.labels == ("War",)
    assert prediction.scores["War"] == 0.9
    assert prediction.usage == Usage(30, 20, 0)
    assert [question["type"] for question in asked[0]["questions"]] == ["predicate"] * 18
    assert asked[0]["questions"][0]["name"] == "Action"
    (message,) = asked[0]["input"]  # without the instructions of a prompt: the questions have the labels
    assert (message["role"], "a plot" in message["content"]) == ("user", True)


def test_decisions_asks_a_choice_where_one_label_is_wanted() -> None:
    probabilities = [{"value": "positive", "probability": 0.2}, {"value": "negative", "probability": 0.8}]
    answer = {
        "type": "choice",
        "name": "label",
        "choice": "negative",
        "confidence": 0.8,
        "probabilities": probabilities,
    }
    prediction, asked = decided(deciding(answer), SENTIMENT)
    assert prediction.labels == ("negative",)
    assert [choice["value"] for choice in asked[0]["questions"][0]["choices"]] == ["positive", "negative"]


def test_decisions_asks_a_large_taxonomy_in_parts() -> None:
    large = Taxonomy("large", tuple(Label(f"label {number:03}") for number in range(900)), allow_none=True)
    behaviour = deciding(*({"type": "predicate", "name": name, "probability": 0.1} for name in large.names))
    _, asked = decided(behaviour, large)
    assert [len(request["questions"]) for request in asked] == [400, 400, 100]


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (deciding(*PREDICATES[:-1]), "unreadable"),
        (deciding(*PREDICATES[:-1], {"type": "refusal", "name": "Western"}), "unreadable"),
        (deciding(*PREDICATES[:-1], {"type": "predicate", "name": "Western"}), "unreadable"),
        (body(200, {"choices": []}), "unreadable"),
        (body(501, {"error": "not for this model"}), "misconfigured"),
        (body(404, {"detail": "Not Found"}), "misconfigured"),
        (body(503, {}), "busy"),
    ],
)
def test_a_decision_that_was_not_made_is_a_problem(behaviour: Behaviour, kind: str) -> None:
    prediction, _ = decided(behaviour, TMDB)
    assert prediction.problem is not None
    assert (prediction.problem.kind, prediction.labels, prediction.scores) == (kind, (), {})


def test_an_engine_that_answers_no_decisions_is_told() -> None:
    (prediction,) = LanguageModel(FakeBackend(), DecisionsAPI()).classify(["x"], TMDB)
    assert prediction.problem is not None
    assert "answers no decisions" in prediction.problem.detail


# --- label_likelihood ---


def by_name(backend: FakeBackend, taxonomy: Taxonomy) -> Prediction:
    (prediction,) = LanguageModel(backend, LabelLikelihood(), thresholds=ThresholdStore()).classify(["a"], taxonomy)
    return prediction


def test_label_likelihood_scores_are_shares_of_the_labels_probability() -> None:
    backend = Scoring({"positive": math.log(0.6), "negative": math.log(0.2)})
    prediction = by_name(backend, SENTIMENT)
    assert prediction.labels == ("positive",)
    assert prediction.scores["positive"] == pytest.approx(0.75)
    assert sum(prediction.scores.values()) == pytest.approx(1)
    assert prediction.score_type == "share"
    assert backend.offered == [list(SENTIMENT.names)]


def test_label_likelihood_offers_none_by_a_name_that_no_label_has() -> None:
    taxonomy = Taxonomy("t", (Label("none of these"), Label("rain")), multi=False, max_labels=1, allow_none=True)
    backend = Scoring({"none of these labels": math.log(0.7), "rain": math.log(0.2)})
    prediction = by_name(backend, taxonomy)
    assert backend.offered == [["none of these", "rain", "none of these labels"]]
    assert prediction.labels == ()
    assert prediction.problem is None
    assert "none of these labels" in backend.seen[0][0]["content"], "the prompt names this answer"


def test_label_likelihood_of_a_model_that_says_something_else_is_unreadable() -> None:
    prediction = by_name(Scoring({"positive": math.log(0.01), "negative": math.log(0.01)}, "<think>"), SENTIMENT)
    assert prediction.problem is not None
    assert prediction.problem.kind == "unreadable"
    assert "'<think>'" in prediction.problem.detail
    assert "2.0%" in prediction.problem.detail


def test_label_likelihood_needs_a_backend_that_scores_labels() -> None:
    prediction = by_name(FakeBackend(), SENTIMENT)
    assert prediction.problem is not None
    assert prediction.problem.kind == "misconfigured"


def test_examples_answer_label_likelihood_with_the_first_label() -> None:
    backend = Scoring({"War": -0.1})
    examples = StaticExamples((FewShotExample(Text("Tanks."), ("War", "Drama")),), TMDB.name)
    LanguageModel(backend, LabelLikelihood(), examples=examples).classify(["a"], TMDB)
    assert [message["content"] for message in backend.seen[0] if message["role"] == "assistant"] == ["War"]
