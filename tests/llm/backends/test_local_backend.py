"""A model in this process: its figures are those of the bare model, its words stay inside the taxonomy."""

import json
import math
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llm.backends.backend import Constraint
from llm.backends.local_backend import LocalBackend
from llm.strategies.json_list import JSONList
from llm.strategies.scored import LabelTokens, YesNo, normalized
from prompts import registry
from prompts.errors import InvalidSetting
from prompts.registry import prompt_for
from prompts.taxonomy import Label, Taxonomy
from prompts.template import CODES, JSON_LIST, LABEL_NAME, LABEL_TOKENS, FewShotExample
from prompts.text import Text
from tests.support.bare_model import (
    TMDB,
    assert_same_as_bare,
    bare,
    opinionated,
    render,
    rendered,
    schema,
    short_sighted,
    tokens_seen,
    yes_no,
)
from tests.support.tiny_qwen2 import build
from tests.support.ugly import ugly_texts

LETTER_CODES = CODES[: len(TMDB.names)]
AWKWARD = ("Sci", "Sci-Fi", "Sci-Fi Horror", 'the "best"', "back\\slash", "café 鬼", "🎬", "🎭 stage", "]}")
# A0, B0, B1, C0, ...: after its first letter, each text of a batch has another number of ways to go on.
UNEVEN = [f"{letter}{count}" for place, letter in enumerate("ABCDEFGHIJKL") for count in range(place + 1)]
# Short and long ones in no order, one twice, and one beyond the part of a text that is computed at once.
TEXTS = ["A baker.", "Fog. " * 90, "A baker.", "鬼", *ugly_texts()[40:300:20], "A ghost sings. " * 700, "Rain"]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Qwen2, taught to write Yes and No as one token each, as Qwen's own tokenizer does."""
    return opinionated(build(tmp_path_factory.mktemp("weights") / "tiny-qwen2"))


@pytest.fixture(scope="session")
def backend(weights: Path) -> LocalBackend:
    return LocalBackend(str(weights), device="cpu", dtype="float32")


@pytest.fixture
def fresh(weights: Path) -> LocalBackend:
    """A backend that has computed nothing yet."""
    return LocalBackend(str(weights), device="cpu", dtype="float32")


# --- weigh ---


@pytest.mark.parametrize("batch_tokens", [1, 3_000, 1_000_000])
def test_probabilities_are_those_of_the_bare_model_however_texts_are_batched(weights: Path, batch_tokens: int) -> None:
    backend = LocalBackend(str(weights), device="cpu", dtype="float32", batch_tokens=batch_tokens)
    assert_same_as_bare(backend, rendered(TEXTS), LETTER_CODES)


def test_questions_about_the_same_text_get_the_figures_of_the_bare_model(fresh: LocalBackend) -> None:
    assert_same_as_bare(fresh, yes_no(["A baker.", "Fog. " * 90, "The lift stops. " * 20]), ("Yes", "No"))


def test_labels_have_the_probability_of_the_tokens_at_which_they_part(fresh: LocalBackend) -> None:
    """By the bare model: the first token's, shared behind a common beginning by the tokens that follow there."""
    names = ["Sci", "Sci-Fi", "Drama", "café 鬼"]
    conversations = rendered(TEXTS[:4], LABEL_NAME)
    spelling = [fresh._causal.encode(name) for name in names]
    assert spelling[1][: len(spelling[0])] == spelling[0], "one name begins another"
    for conversation, scored in zip(conversations, fresh.label_logprobs(conversations, names), strict=True):
        first, after = bare(fresh, conversation), bare(fresh, conversation, "Sci")
        longer = float(after[spelling[1][len(spelling[0])]].exp())
        sci = float(first[spelling[0][0]])
        expected = [sci + math.log(1 - longer), sci + math.log(longer), *(float(first[one[0]]) for one in spelling[2:])]
        assert list(scored.logprobs) == names
        assert list(scored.logprobs.values()) == pytest.approx(expected, abs=1e-3)


def test_branches_of_a_text_share_its_computed_tokens(fresh: LocalBackend) -> None:
    conversations = rendered(["Fog. " * 90], LABEL_NAME)
    (prompt,) = fresh._causal.tokens(conversations)
    with tokens_seen(fresh) as seen:
        (scored,) = fresh.label_logprobs(conversations, ["Sci", "Sci-Fi", "Sci-Fi Horror", "Drama"])
        computed = seen()
    assert scored.usage.prompt_tokens > 2 * len(prompt), "every branch is one request"
    assert computed < 1.2 * len(prompt)


def test_a_text_beyond_the_context_has_no_label_scores(weights: Path) -> None:
    backend = LocalBackend(str(weights), device="cpu", dtype="float32")
    long = rendered(["word " * 40_000, "A baker."], LABEL_NAME)
    without, scored = backend.label_logprobs(long, ["ab", "ac"])
    assert without.problem is not None
    assert without.problem.kind == "too_long"
    assert scored.problem is None


def test_bfloat16_comes_as_close_as_it_can(weights: Path) -> None:
    assert_same_as_bare(
        LocalBackend(str(weights), device="cpu", dtype="bfloat16"), rendered(TEXTS[:9]), LETTER_CODES, tolerance=0.2
    )


@pytest.mark.parametrize("chosen", ["bfloat16", "float32"])
def test_the_number_format_is_the_process_s_and_part_of_what_answers_depend_on(
    chosen: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("similarity.encoders.precision._process_choice", chosen)
    backend = LocalBackend(str(weights), device="cpu")
    assert (backend._causal.dtype, backend.decoding["dtype"]) == (chosen, chosen)


@pytest.mark.parametrize("dtype", ["bf16", "int8", ""])
def test_an_unknown_dtype_is_refused_with_the_known_ones(weights: Path, dtype: str) -> None:
    with pytest.raises(InvalidSetting, match=f"'{dtype}'.*auto, bfloat16, float32, float16"):
        LocalBackend(str(weights), dtype=dtype)


def test_what_was_computed_before_does_not_change_the_figures(backend: LocalBackend, fresh: LocalBackend) -> None:
    backend.next_token_logprobs(yes_no(["A ship."]), ("Yes", "No"))
    backend.next_token_logprobs(rendered(["A ship."], JSON_LIST), LETTER_CODES)
    for _ in range(2):
        assert_same_as_bare(backend, rendered(TEXTS[-1:] + TEXTS[:3]), LETTER_CODES)


def test_figures_come_in_the_order_of_the_conversations(backend: LocalBackend) -> None:
    conversations = rendered(TEXTS[:-2])
    order = random.Random(1).sample(range(len(conversations)), len(conversations))
    straight = backend.next_token_logprobs(conversations, LETTER_CODES)
    for place, result in zip(
        order, backend.next_token_logprobs([conversations[place] for place in order], LETTER_CODES), strict=True
    ):
        assert result.logprobs == pytest.approx(straight[place].logprobs, abs=1e-4)
        assert result.usage.prompt_tokens == straight[place].usage.prompt_tokens


def test_the_system_part_is_computed_once_and_kept(fresh: LocalBackend) -> None:
    conversations = rendered([f"{name} rides to town." for name in ("Ann", "Bob", "Eve")])
    first, again = [], []
    with tokens_seen(fresh) as seen:
        first = fresh.next_token_logprobs(conversations, LETTER_CODES)
        cold = seen()
        again = fresh.next_token_logprobs(conversations[:1], LETTER_CODES)
        warm = seen() - cold
    whole = [result.usage.prompt_tokens for result in first]
    assert min(whole) > 500
    assert cold < whole[0] + 2 * 60
    assert warm == again[0].usage.prompt_tokens - again[0].usage.cached_tokens < 60
    assert sum(whole) - sum(result.usage.cached_tokens for result in first) <= cold


def test_a_text_is_computed_once_for_all_questions_about_it(fresh: LocalBackend) -> None:
    texts = ["A baker inherits a haunted lighthouse. " * 12, "The lift stops between two floors. " * 15]
    with tokens_seen(fresh) as seen:
        results = fresh.next_token_logprobs(yes_no(texts), ("Yes", "No"))
        computed = seen()
    whole = results[0].usage.prompt_tokens + results[len(TMDB.names)].usage.prompt_tokens
    assert computed < whole + len(results) * 60
    assert computed < sum(result.usage.prompt_tokens for result in results) / 8


@pytest.mark.parametrize("labels", [3, 18])  # in one row; behind a prefix of the text
def test_yes_no_computes_a_text_once_with_the_scores_of_separate_questions(
    fresh: LocalBackend, labels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm.backends.codes.LEAST_MASS", 0.0)
    some, text = replace(TMDB, labels=TMDB.labels[:labels]), render("The lift stops between two floors. " * 8)
    questions = YesNo().conversations(fresh, text, some)
    alone = [fresh.next_token_logprobs([one], ("Yes", "No"))[0] for one in questions]
    with tokens_seen(fresh) as seen:
        (answer,) = YesNo().ask(fresh, [text], some)
        computed = seen()
    assert computed < alone[0].usage.prompt_tokens - alone[1].usage.cached_tokens + labels * 60
    assert answer.problem is None
    for name, separate in zip(some.names, alone, strict=True):
        assert answer.scores[name] == pytest.approx(normalized(separate.logprobs)["Yes"], abs=1e-4)


def test_only_a_few_prefixes_are_kept(fresh: LocalBackend) -> None:
    for name in ("tmdb", "imdb", "sentiment"):
        for question in (JSON_LIST, LABEL_TOKENS):
            fresh.next_token_logprobs([render("A baker.")(registry.taxonomy(name), question)], "AB")
    assert len(fresh._prefixes._kept) == 4


def test_a_code_of_several_tokens_is_refused_by_name(backend: LocalBackend) -> None:
    with pytest.raises(InvalidSetting, match="'Zwölfe' is not a single token of tiny-qwen2"):
        backend.next_token_logprobs(rendered(["A baker."]), ("A", "Zwölfe"))


# --- write ---


def test_every_ugly_text_gets_labels_of_the_taxonomy_none_twice(backend: LocalBackend) -> None:
    constraint = JSONList().constraint(TMDB)
    completions = backend.generate(rendered(ugly_texts(1_500), JSON_LIST), constraint)  # a longer one is among TEXTS
    assert len({completion.text for completion in completions}) > 20
    for completion in completions:
        labels = json.loads(str(completion.text))
        assert completion.problem is None
        assert 1 <= len(labels) <= TMDB.max_labels
        assert len(set(labels)) == len(labels)
        assert set(labels) <= set(TMDB.names)
        assert 3 <= completion.usage.completion_tokens < constraint.max_tokens


@pytest.mark.parametrize(("least", "most"), [(0, 1), (0, 9), (1, 1), (2, 3), (9, 9)])
def test_awkward_labels_come_out_whole_and_in_the_number_asked_for(
    backend: LocalBackend, least: int, most: int
) -> None:
    constraint = Constraint(schema(AWKWARD, least, most), 500)
    for completion in backend.generate(rendered(TEXTS[:12], JSON_LIST), constraint):
        labels = json.loads(str(completion.text))
        assert least <= len(labels) <= most
        assert len(set(labels)) == len(labels)
        assert set(labels) <= set(AWKWARD)
        assert "".join(token.text for token in completion.tokens) == completion.text


@pytest.mark.parametrize("names", [TMDB.names, AWKWARD, UNEVEN])
def test_a_batch_writes_what_its_conversations_write_alone(
    backend: LocalBackend, fresh: LocalBackend, names: list[str]
) -> None:
    conversations, constraint = rendered(TEXTS[:-2], JSON_LIST), Constraint(schema(names, 1, 5), 500)
    together = backend.generate(conversations, constraint)
    assert len({completion.text for completion in together}) > 3
    for conversation, completion in zip(conversations, together, strict=True):
        (alone,) = fresh.generate([conversation], constraint)
        assert alone.text == completion.text
        assert [token.text for token in alone.tokens] == [token.text for token in completion.tokens]
        assert [token.logprob for token in alone.tokens] == pytest.approx(
            [token.logprob for token in completion.tokens], abs=1e-3
        )


def test_the_likeliest_allowed_token_is_written_with_its_share_among_the_allowed(backend: LocalBackend) -> None:
    names = ["Drama", "Comedy", "Horror"]
    conversations = rendered(TEXTS[:8], JSON_LIST)
    ids = backend._causal.tokenizer.convert_tokens_to_ids(names)
    written = backend.generate(conversations, Constraint(schema(names, 1, 1), 50))
    for conversation, completion in zip(conversations, written, strict=True):
        among = bare(backend, conversation, '["')[ids].log_softmax(-1)
        (label,) = json.loads(str(completion.text))
        assert label == names[int(among.argmax())]
        shares = [token.logprob for token in completion.tokens if token.text == label]
        assert shares == pytest.approx([float(among.max())], abs=1e-4)
        assert sum(token.logprob for token in completion.tokens) == pytest.approx(shares[0])


def test_writing_reuses_the_beginning_and_counts_what_it_wrote(fresh: LocalBackend) -> None:
    first, second = fresh.generate(rendered(["A baker.", "A sailor."], JSON_LIST), JSONList().constraint(TMDB))
    assert first.usage.cached_tokens == 0
    assert second.usage.prompt_tokens - second.usage.cached_tokens < 60
    assert second.usage.completion_tokens == len(second.tokens)


# --- strategies, limits, threads ---


def test_the_strategies_get_answers_through_it(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.backends.codes.LEAST_MASS", 0.0)  # random weights give codes no more than other tokens
    texts = [render("A baker."), render("Fog. " * 20)]
    for answer in LabelTokens().ask(backend, texts, TMDB):
        assert answer.problem is None
        assert sum(answer.scores.values()) == pytest.approx(1)
    for answer in YesNo().ask(backend, texts, TMDB):
        assert answer.problem is None
        assert set(answer.scores) == set(TMDB.names)
    marks = Taxonomy("marks", (Label("🎬"), Label("🎭"), Label("Sci-Fi")))
    for answer in JSONList().ask(backend, texts, marks):
        assert set(answer.scores) == set(answer.labels) != set()


def test_random_weights_say_nothing_that_could_be_read_as_a_code(backend: LocalBackend) -> None:
    for strategy in (LabelTokens(), YesNo()):
        for answer in strategy.ask(backend, [render("A baker."), render("Fog.")], TMDB):
            assert answer.problem is not None
            assert answer.problem.kind == "unreadable"


def test_a_text_beyond_the_context_is_a_problem_of_its_own(
    backend: LocalBackend, fresh: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversations = rendered(["A baker.", "Fog. " * 400, "Rain."])
    monkeypatch.setattr(
        fresh._causal, "context", fresh.next_token_logprobs(conversations[:1], "A")[0].usage.prompt_tokens
    )
    one, two, three = fresh.next_token_logprobs(conversations, LETTER_CODES)
    assert two.problem is not None
    assert (two.problem.kind, two.logprobs) == ("too_long", {})
    assert one.problem is three.problem is None
    assert three.logprobs == pytest.approx(
        backend.next_token_logprobs(conversations[2:], LETTER_CODES)[0].logprobs, abs=1e-4
    )
    too_long = [completion.problem for completion in fresh.generate(conversations, JSONList().constraint(TMDB))]
    assert [problem and problem.kind for problem in too_long] == ["too_long"] * 3, "there is no room for the answer"


def test_no_memory_for_a_batch_is_a_problem_of_its_texts(fresh: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise fresh._torch.OutOfMemory

    monkeypatch.setattr(fresh._causal, "next_token_logprobs", fails)
    (result,) = fresh.next_token_logprobs(rendered(["A baker."]), LETTER_CODES)
    assert result.problem is not None
    assert result.problem.kind == "rejected"


def test_nothing_asked_is_nothing_answered(backend: LocalBackend) -> None:
    assert backend.next_token_logprobs([], ("A", "B")) == []
    assert backend.generate([], JSONList().constraint(TMDB)) == []
    assert backend.check() is None


def test_threads_share_it(fresh: LocalBackend) -> None:
    jobs = [rendered([text]) for text in TEXTS[:6]] * 3
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda job: fresh.next_token_logprobs(job, LETTER_CODES)[0].logprobs, jobs))
        written = list(pool.map(lambda job: fresh.generate(job, JSONList().constraint(TMDB))[0].text, jobs))
    for place, job in enumerate(jobs[:6]):
        expected = fresh.next_token_logprobs(job, LETTER_CODES)[0].logprobs
        assert all(logprobs == pytest.approx(expected, abs=1e-4) for logprobs in found[place::6])
        assert len(set(written[place::6])) == 1


def test_a_model_that_sees_only_the_last_tokens_answers_the_same(weights: Path, tmp_path: Path) -> None:
    backend = LocalBackend(str(opinionated(short_sighted(tmp_path, weights))), device="cpu", dtype="float32")
    assert_same_as_bare(backend, rendered(TEXTS[:8]), LETTER_CODES)
    conversations, constraint = rendered(TEXTS[:8], JSON_LIST), JSONList().constraint(TMDB)
    alone = [backend.generate([conversation], constraint)[0].text for conversation in conversations]
    assert [completion.text for completion in backend.generate(conversations, constraint)] == alone


# --- loading ---


def test_it_goes_by_the_name_of_its_folder_and_its_decoding_tells_weights_apart(
    backend: LocalBackend, weights: Path
) -> None:
    assert backend.name == "tiny-qwen2"
    half = LocalBackend(str(weights), device="cpu", dtype="bfloat16")
    assert backend.decoding["weights"] == half.decoding["weights"]
    assert backend.decoding != half.decoding
    assert backend.code_limit > len(CODES)


@pytest.mark.parametrize("model", ["no/such-model", "nowhere", "/no/such/folder"])
def test_a_model_that_is_not_there_is_refused_by_name(model: str) -> None:
    with pytest.raises(InvalidSetting, match=f"the model '{model}' cannot be loaded"):
        LocalBackend(model)


def test_a_folder_without_a_model_or_chat_template_is_refused(weights: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    with pytest.raises(InvalidSetting, match="cannot be loaded"):
        LocalBackend(str(tmp_path))
    for file in weights.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.chat_template = None
    (tmp_path / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InvalidSetting, match="has no chat template"):
        LocalBackend(str(tmp_path), device="cpu")


@pytest.mark.parametrize("wrong", [{"dtype": "float7"}, {"dtype": "int8"}, {"device": "abacus"}, {"batch_tokens": 0}])
def test_a_setting_that_cannot_work_is_refused(weights: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        LocalBackend(str(weights), **wrong)


def test_texts_with_examples_of_their_own_share_the_system_part(fresh: LocalBackend) -> None:
    prompt = prompt_for(Text("x"), TMDB)
    shown = [(FewShotExample(Text(f"{name} finds a ship."), ("War",)),) for name in ("Ann", "Bob", "Eve")]
    conversations = [prompt.render(Text("A baker."), TMDB, LABEL_TOKENS, examples) for examples in shown]
    (system,) = fresh._causal.tokens([conversations[0][:1]])
    together = fresh.next_token_logprobs(conversations[:2], LETTER_CODES)
    alone = fresh.next_token_logprobs(conversations[2:], LETTER_CODES)
    for result in (together[1], *alone):
        assert result.usage.cached_tokens > 0.95 * len(system)
        assert result.usage.cached_tokens < result.usage.prompt_tokens - 20
