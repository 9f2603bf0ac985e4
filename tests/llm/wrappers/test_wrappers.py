"""What stands around a language model: orders, candidates, cascades, examples and prices."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest

from llm.backends.backend import Conversation, FakeBackend
from llm.calibration.thresholds import LabelThreshold, ThresholdStore
from llm.classifier import AnswerSource, LabelsOffered, Prediction, Problem, Usage
from llm.embedded.matcher import Matcher
from llm.few_shot import NearestExamples, StaticExamples, no_examples
from llm.language_model import LanguageModel
from llm.spending.costs import cost, prices
from llm.strategies.json_list import JSONList
from llm.strategies.scored import LabelTokens
from llm.wrappers.cache import AnswerStore, Cached
from llm.wrappers.combined import (
    Cascade,
    FittedMargin,
    OrderEnsemble,
    Shortlist,
    fit_margin,
    label_permutations,
    margin,
    order_sensitivity,
)
from prompts import registry
from prompts.taxonomy import Label, Taxonomy
from prompts.template import FewShotExample
from prompts.text import Text
from similarity.encoders.minilm import MiniLM

TMDB = registry.taxonomy("tmdb")


class Fixed:
    """A classifier that gives one prediction per text, by the text."""

    def __init__(self, name: str, answers: dict[str, tuple[tuple[str, ...], dict[str, float]]]) -> None:
        self.name, self._answers = name, answers
        self.requests: list[tuple[str, tuple[str, ...]]] = []

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        bodies = [Text.of(text).body for text in texts]
        self.requests += [(body, taxonomy.names) for body in bodies]
        source = AnswerSource(self.name, taxonomy.versioned_name)
        return [Prediction(labels, source, scores) for labels, scores in (self._answers[body] for body in bodies)]


# --- order ---


def first_listed(conversation: Conversation) -> str:
    """A model that always takes the label that stands first: as biased by order as can be."""
    return json.dumps([conversation[0]["content"].partition(" are:\n- ")[2].partition(":")[0]])


def always_war(conversation: Conversation) -> str:
    return '["War"]'


def test_orders_start_with_the_taxonomys_own_and_are_the_same_every_time() -> None:
    some = label_permutations(TMDB, 20)
    assert some[0] == TMDB
    assert len({order.names for order in some}) == 20
    assert all(set(order.names) == set(TMDB.names) for order in some)
    assert some == label_permutations(TMDB, 20)


def test_flips_tell_a_model_that_follows_the_order_from_one_that_does_not() -> None:
    biased = order_sensitivity(LanguageModel(FakeBackend(first_listed), JSONList()), ["a", "b"], TMDB, 20)
    steady = order_sensitivity(LanguageModel(FakeBackend(always_war), JSONList()), ["a", "b"], TMDB, 20)
    assert biased.decisions == steady.decisions == 2 * 18
    assert biased.ever > 0.4
    assert (steady.ever, steady.minority) == (0, 0)


def test_an_average_over_orders_takes_the_majority_and_names_the_taxonomy_itself() -> None:
    def mostly_war(conversation: Conversation) -> str:
        return '["War", "Drama"]' if "- Action" in conversation[0]["content"].partition("- War")[0] else '["War"]'

    (prediction,) = OrderEnsemble(LanguageModel(FakeBackend(mostly_war), JSONList()), 9).classify(["a plot"], TMDB)
    assert prediction.labels[0] == "War"
    assert prediction.source.taxonomy == TMDB.versioned_name
    assert prediction.scores["War"] == 1
    assert 0 < prediction.scores["Drama"] < 1
    assert ("Drama" in prediction.labels) == (prediction.scores["Drama"] > 0.5)


def test_an_average_over_orders_averages_scores_and_undoes_a_preference_for_the_first_code() -> None:
    def likes_the_first(conversation: Conversation) -> dict[str, float]:
        return {"A": 0.9, **dict.fromkeys("BCDEFGHIJKLMNOPQR", 0.005)}

    single = TMDB.shaped(multi=False)
    model = LanguageModel(FakeBackend(weights=likes_the_first), LabelTokens())
    (alone,) = model.classify(["x"], single)
    (averaged,) = OrderEnsemble(model, 60).classify(["x"], single)
    assert alone.scores["Action"] > 0.85
    assert max(averaged.scores.values()) < 0.3


@pytest.mark.parametrize(
    ("written", "expected"),
    [(["War", "Drama", "Crime"], ("Crime",)), (["War", "", ""], ()), (["War", "War", ""], ("War",))],
)
def test_of_a_single_label_the_one_with_most_votes_wins_and_none_is_an_alternative(
    written: list[str], expected: tuple[str, ...]
) -> None:
    replies = iter(json.dumps([name] if name else []) for name in written)
    model = LanguageModel(FakeBackend(lambda conversation: next(replies)), JSONList())
    single = TMDB.shaped(multi=False, allow_none=True)
    (prediction,) = OrderEnsemble(model, len(written)).classify(["x"], single)
    assert prediction.labels == expected


def test_what_is_learned_for_a_taxonomy_applies_under_every_order_of_its_labels(tmp_path: Path) -> None:
    single = TMDB.shaped(multi=False, max_labels=1)
    backend = FakeBackend(weights=lambda conversation: {"A": 0.6, **dict.fromkeys("BCDEFGHIJKLMNOPQR", 0.02)})
    thresholds = ThresholdStore(tmp_path / "thresholds.json")
    model = LanguageModel(backend, LabelTokens(), thresholds=thresholds)
    thresholds.put(model.threshold_key(Text("x"), single), LabelThreshold(0.05, {"War": 50.0}))
    (prediction,) = OrderEnsemble(model, 3).classify(["x"], single)
    assert prediction.scores["War"] > 0.99


def test_an_average_over_cached_answers_is_cached(tmp_path: Path) -> None:
    model = Cached(LanguageModel(FakeBackend(always_war), JSONList()), AnswerStore(tmp_path / "answers"))
    found = [OrderEnsemble(model, 2).classify(["x"], TMDB)[0].cached for _ in range(2)]
    assert found == [False, True]


def test_a_text_that_fails_under_one_order_fails() -> None:
    calls = []

    def down_once(conversation: Conversation) -> str | Problem:
        calls.append(1)
        return Problem("busy", "later") if len(calls) == 2 else '["War"]'

    (prediction,) = OrderEnsemble(LanguageModel(FakeBackend(down_once), JSONList()), 3).classify(["x"], TMDB)
    assert prediction.problem == Problem("busy", "later")


# --- candidates ---


def test_a_large_taxonomy_is_narrowed_to_the_likeliest_and_answered_as_a_whole(embedded: Matcher) -> None:
    names = [
        "cooking",
        "football",
        "space travel",
        "gardening",
        "tax law",
        "sailing",
        "opera",
        "chess",
        "physics",
        "dogs",
    ]
    many = Taxonomy("many", tuple(Label(name) for name in names), max_labels=1)
    large = Fixed(
        "large", {"The rocket reached orbit.": (("space travel",), {}), "Stir the sauce.": (("cooking",), {})}
    )
    predictions = Shortlist(embedded, large, 3).classify(["The rocket reached orbit.", "Stir the sauce.", ""], many)
    assert [found.labels for found in predictions] == [("space travel",), ("cooking",), ()]
    assert all(len(shown) == 3 for _, shown in large.requests)
    assert dict(large.requests)["The rocket reached orbit."] != dict(large.requests)["Stir the sauce."]
    assert all(list(shown) == [name for name in names if name in shown] for _, shown in large.requests)
    assert {found.source.taxonomy for found in predictions} == {many.versioned_name}
    assert [found.shortlist for found in predictions] == [LabelsOffered(3, 10), LabelsOffered(3, 10), None]
    assert predictions[2].problem is not None


def test_a_taxonomy_small_enough_goes_through_whole(embedded: Matcher) -> None:
    large = Fixed("large", {"x": (("War",), {})})
    (found,) = Shortlist(embedded, large, 18).classify(["x"], TMDB)
    assert large.requests == [("x", TMDB.names)]
    assert found.shortlist is None


# --- cascade ---

AB = Taxonomy("ab", (Label("a"), Label("b")), multi=False)
SMALL = Fixed("small", {"sure": (("a",), {"a": 0.9, "b": 0.1}), "unsure": (("a",), {"a": 0.5, "b": 0.45})})
LARGE = Fixed("large", {"sure": (("a",), {}), "unsure": (("b",), {})})


def test_only_unsure_texts_reach_the_large_model_and_each_answer_says_whose_it_is() -> None:
    sure, unsure = Cascade(SMALL, LARGE, 0.2).classify(["sure", "unsure"], AB)
    assert (sure.labels, sure.source.model) == (("a",), "small")
    assert (unsure.labels, unsure.source.model) == (("b",), "large")
    assert [body for body, _ in LARGE.requests] == ["unsure"]


def test_the_margin_is_chosen_for_the_loss_that_is_stated() -> None:
    texts, truth = ["sure", "unsure"], [["a"], ["b"]]
    small, large = SMALL.classify(texts, AB), LARGE.classify(texts, AB)
    strict, lax = fit_margin(small, large, truth, loss=0.0), fit_margin(small, large, truth, loss=0.6)
    assert (strict.share, strict.micro_f1) == (0.5, 1.0)
    assert margin(small[1]) < strict.margin <= margin(small[0])
    assert (lax.share, lax.micro_f1) == (0.0, 0.5)


def by_definition(
    small: Sequence[Prediction], large: Sequence[Prediction], truth: Sequence[Sequence[str]], loss: float
) -> FittedMargin:
    """``fit_margin`` as its docstring defines it: micro-F1 of what ``Cascade`` answers at every margin there is."""
    target = f1_of(large, truth) - loss
    texts = [str(place) for place in range(len(small))]
    by_text = (dict(zip(texts, found, strict=True)) for found in (small, large))
    first, second = (Looked(answers) for answers in by_text)
    for edge in [*sorted({margin(found) for found in small} - {float("inf")}), float("inf")]:
        second.requests = 0
        found = f1_of(Cascade(first, second, edge).classify(texts, AB), truth)
        if found >= target or edge == float("inf"):
            return FittedMargin(edge, second.requests / max(1, len(small)), found)
    raise AssertionError("the last margin is infinite")


class Looked:
    """Gives answers that are known before, and counts the texts it is asked about."""

    name = "looked up"

    def __init__(self, answers: Mapping[str, Prediction]) -> None:
        self.answers, self.requests = answers, 0

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        self.requests += len(texts)
        return [self.answers[Text.of(text).body] for text in texts]


def f1_of(predictions: Sequence[Prediction], truth: Sequence[Sequence[str]]) -> float:
    hits = sum(len(set(found.labels) & set(names)) for found, names in zip(predictions, truth, strict=True))
    return 2 * hits / max(1, sum(len(found.labels) for found in predictions) + sum(map(len, truth)))


@pytest.mark.parametrize("seed", range(40))
def test_the_margin_is_the_one_that_counting_from_the_start_finds(seed: int) -> None:
    random = Random(seed)
    names, source = "abc", AnswerSource("m", "t")

    def prediction() -> Prediction:
        scores = {name: random.randint(0, 4) / 4 for name in names}  # few values, so that margins are often equal
        problem = Problem("busy", "x") if random.random() < 0.1 else None
        labels = () if problem else tuple(sorted(random.sample(names, random.randint(0, 3))))
        return Prediction(labels, source, {} if random.random() < 0.1 else scores, problem)

    texts = random.randint(0, 12)
    small, large = ([prediction() for _ in range(texts)] for _ in range(2))
    truth = [random.sample(names, random.randint(0, 3)) for _ in range(texts)]
    for loss in (0.0, 0.01, 0.2, 1.0):
        assert fit_margin(small, large, truth, loss) == by_definition(small, large, truth, loss)


def test_the_labels_of_a_text_are_counted_once_however_many_texts_are_sent_on() -> None:
    counts: Counter[str] = Counter()

    class Counted(tuple[str, ...]):
        def __iter__(self) -> Iterator[str]:
            counts["read"] += 1
            return super().__iter__()

    source, texts = AnswerSource("m", "t"), 300
    small = [Prediction(Counted("a"), source, {"a": 0.5 + place / 1_000, "b": 0.5}) for place in range(texts)]
    large = [Prediction(Counted("b"), source)] * texts
    assert fit_margin(small, large, [["b"]] * texts, loss=0.0).share == 1
    assert counts["read"] <= 10 * texts


def test_margins_of_odd_answers() -> None:
    source = AnswerSource("m", "t")
    assert margin(Prediction((), source, {"a": 0.9})) == 0
    assert margin(Prediction(("a",), source)) == 0
    assert margin(Prediction(("a", "b"), source, {"a": 0.9, "b": 0.8})) == float("inf")
    assert margin(Prediction((), source, problem=Problem("busy", "x"))) == 0


# --- examples ---

SHOTS = (
    FewShotExample(Text("Cowboys ride into town."), ("Western",)),
    FewShotExample(Text("A ghost haunts the attic."), ("Horror",)),
    FewShotExample(Text("Soldiers wait in the trench."), ("War",)),
)


def asked_with(shots: StaticExamples | NearestExamples, text: str, taxonomy: Taxonomy = TMDB) -> Conversation:
    seen: list[Conversation] = []

    def reply(conversation: Conversation) -> str:
        seen.append(conversation)
        return f'["{taxonomy.names[0]}"]'

    LanguageModel(FakeBackend(reply), JSONList(), examples=shots).classify([text], taxonomy)
    return seen[0]


def answers_in(conversation: Conversation) -> list[str]:
    return [message["content"] for message in conversation if message["role"] == "assistant"]


def words_of(conversation: Conversation) -> str:
    return "\n".join(message["content"] for message in conversation)


def test_fixed_examples_are_turns_between_the_static_part_and_the_text() -> None:
    sent = asked_with(StaticExamples(SHOTS, "tmdb"), "A plot.")
    assert [message["role"] for message in sent] == ["system", *["user", "assistant"] * 3, "user"]
    assert answers_in(sent) == ['["Western"]', '["Horror"]', '["War"]']
    assert "Cowboys" in sent[1]["content"]
    assert "A plot." in sent[-1]["content"]
    plain = asked_with(StaticExamples((), "tmdb"), "A plot.")
    assert (plain[0], plain[-1]) == (sent[0], sent[-1]), "what is asked is the same with and without examples"


def test_everything_before_the_text_is_the_same_for_every_text() -> None:
    first, second = (asked_with(StaticExamples(SHOTS, "tmdb"), text) for text in ("A plot.", "Another."))
    assert first[:-1] == second[:-1]


def test_the_nearest_examples_are_shown_the_nearest_last_and_never_the_text_itself() -> None:
    shots = NearestExamples(MiniLM(), SHOTS, "tmdb", 2)
    sent = asked_with(shots, "A phantom haunts an old house.")
    assert answers_in(sent)[-1] == '["Horror"]'
    assert len(answers_in(sent)) == 2
    assert sent[0] == asked_with(shots, "A rodeo.")[0], "what differs by text comes after the static part"
    assert words_of(asked_with(shots, "A ghost haunts the attic.")[1:]).count("ghost") == 1


def test_an_example_of_the_same_words_is_not_shown_and_equal_examples_count_once() -> None:
    again = (*SHOTS, FewShotExample(Text("a  GHOST haunts the attic."), ("Comedy",)))
    shots = NearestExamples(MiniLM(), again, "tmdb", 3)
    assert sorted(answers_in(asked_with(shots, "A phantom."))) == ['["Horror"]', '["War"]', '["Western"]']
    assert sorted(answers_in(asked_with(shots, "A ghost haunts\nthe Attic."))) == ['["War"]', '["Western"]']


def test_the_vectors_of_examples_are_computed_once_and_kept_for_the_next_start(tmp_path: Path) -> None:
    class Counted:
        name, dimension = "counted", 384
        seen: ClassVar[list[int]] = []

        def encode(self, texts: Sequence[str]) -> Any:
            self.seen.append(len(texts))
            return MiniLM().encode(texts)

    for _ in range(2):
        shots = NearestExamples(Counted(), SHOTS, "tmdb", 1, tmp_path / "cache")
        assert [shots([Text(text)], TMDB)[0][0].labels for text in ("A ghost.", "A soldier.")] == [
            ("Horror",),
            ("War",),
        ]
    assert Counted.seen == [1, 3, 1, 1, 1], "the examples at the first text only"
    NearestExamples(Counted(), SHOTS[:2], "tmdb", 1, tmp_path / "cache")([Text("A ghost.")], TMDB)
    assert Counted.seen[5:] == [1, 2], "other examples are computed"


@pytest.mark.parametrize("damage", [b"", b"no vectors", None])
def test_damaged_vectors_are_computed_again_and_a_folder_that_cannot_be_written_is_no_error(
    damage: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    if damage is None:
        folder.write_text("a file in place of the folder")
    else:
        NearestExamples(MiniLM(), SHOTS, "tmdb", 1, folder).vectors  # noqa: B018
        (kept,) = folder.glob("examples-*.npy")
        kept.write_bytes(damage)
    found = NearestExamples(MiniLM(), SHOTS, "tmdb", 1, folder)([Text("A ghost.")], TMDB)
    assert found[0][0].labels == ("Horror",)
    assert ("cannot be kept" in caplog.text) == (damage is None)


def test_thresholds_learned_with_examples_are_for_as_many_examples() -> None:
    backend = FakeBackend(always_war)
    selectors = (no_examples, StaticExamples(SHOTS, "tmdb"), NearestExamples(MiniLM(), SHOTS, "tmdb", 2))
    keys = [LanguageModel(backend, JSONList(), examples=one).threshold_key(Text("x"), TMDB) for one in selectors]
    assert len(set(keys)) == 3
    other = [LanguageModel(backend, JSONList(), examples=one).threshold_key(Text("x"), AB) for one in selectors]
    assert len(set(other)) == 1, "texts under another taxonomy get no examples"


def test_examples_of_another_taxonomy_are_not_shown() -> None:
    assert answers_in(asked_with(StaticExamples(SHOTS, "tmdb"), "x", AB)) == []
    assert answers_in(asked_with(NearestExamples(MiniLM(), SHOTS, "tmdb", 2), "x", AB)) == []


def test_examples_are_part_of_the_fingerprint() -> None:
    plain = LanguageModel(FakeBackend(always_war), JSONList())
    shown = LanguageModel(FakeBackend(always_war), JSONList(), examples=StaticExamples(SHOTS, "tmdb"))
    assert plain.fingerprint(Text("x"), TMDB) != shown.fingerprint(Text("x"), TMDB)


# --- prices ---


def test_cost_counts_fresh_cached_and_written_tokens() -> None:
    price = prices()["gpt-4o"]
    usage = Usage(prompt_tokens=1_000_000, cached_tokens=400_000, completion_tokens=100_000)
    assert cost("gpt-4o", usage) == pytest.approx(0.6 * price.prompt + 0.4 * price.cached + 0.1 * price.completion)
    assert cost("Qwen/Qwen2-7B-Instruct", usage) is None


@pytest.mark.parametrize(
    ("model", "priced"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("openai/gpt-4o", "gpt-4o"),
        ("openrouter/openai/gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("ft:gpt-4o-2024-08-06:my-org::id", None),
        ("gpt-4o-audio", None),
        ("my-gpt-4o", None),
        ("", None),
    ],
)
def test_a_version_by_date_and_a_prefix_of_a_provider_have_the_price_of_the_model(
    model: str, priced: str | None
) -> None:
    expected = prices()[priced].prompt if priced else None
    assert cost(model, Usage(1_000_000)) == expected
