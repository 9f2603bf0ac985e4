"""Codes as next tokens: every spelling of a code, token ids, and codes with too little probability."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from llm.backends.backend import TokenLogprobs
from llm.backends.causal_lm import CausalLM
from llm.backends.codes import CodeTokens, code_of, encoded, from_top_tokens, probability_mass, unreadable
from llm.backends.local_backend import LocalBackend
from llm.language_model import LanguageModel
from llm.strategies.scored import LabelTokens, YesNo
from prompts import registry
from prompts.errors import InvalidSetting
from prompts.template import CODES
from tests.support.bare_model import mistral_tokenizer
from tests.support.tiny_qwen2 import tiny_tokenizer

BEFORE = ("", " ", "\n", "\u2581", "\u0120", "\u010a", "\u010a ", '"', "**", "(")
UPPER, BOTH, ANSWERS = "ABCI0", "ABab0", ("Yes", "No")


@pytest.mark.parametrize(
    ("token", "codes", "code"),
    [
        *((f"{before}A{after}", UPPER, "A") for before in BEFORE for after in ("", ".", ")", ":", '"')),
        ("a", UPPER, "A"), ("\u0120b", UPPER, "B"), ("\uff21", UPPER, "A"), (" 0", UPPER, "0"), ("\uff10", UPPER, "0"),
        ("a", BOTH, "a"), (" B", BOTH, "B"),
        *((f"{before}{word}", ANSWERS, "Yes") for before in BEFORE for word in ("Yes", "yes", "YES", "Yes,")),
        ("\u2581NO", ANSWERS, "No"), ("no.", ANSWERS, "No"),
    ],
)  # fmt: skip
def test_the_same_code_in_many_tokens(token: str, codes: str | tuple[str, ...], code: str) -> None:
    assert code_of(token, list(codes)) == code


@pytest.mark.parametrize(
    "token", ["Okay", "The", "AB", "Action", "<think>", "", " ", "\n", "1", "Not", "Yesterday", "Y"]
)
def test_other_tokens_are_no_codes(token: str) -> None:
    assert code_of(token, list(UPPER)) is None
    assert code_of(token, ANSWERS) is None


def test_the_tokens_of_one_code_are_added_up() -> None:
    top_tokens = [("A", 0.3), (" A", 0.2), ("\u2581A", 0.1), ("B", 0.25), ("b", 0.05)]
    found = from_top_tokens([(token, math.log(share)) for token, share in top_tokens], "ABC")
    assert {code: math.exp(logprob) for code, logprob in found.logprobs.items()} == pytest.approx(
        {"A": 0.6, "B": 0.3, "C": 0.05}
    )
    assert found.bounds == {"C"}
    assert found.top_token == "A"
    assert probability_mass(found) == pytest.approx(0.9)


def test_a_missing_code_has_no_more_than_the_tokens_leave() -> None:
    found = from_top_tokens([("A", math.log(0.9)), ("B", math.log(0.09))], "ABC")
    assert math.exp(found.logprobs["C"]) == pytest.approx(0.01)
    certain = from_top_tokens([("A", 0.0)], "AB")
    assert certain.logprobs == {"A": 0.0, "B": -9999.0}


def test_a_token_given_twice_counts_once() -> None:
    assert math.exp(from_top_tokens([("A", math.log(0.4)), ("A", math.log(0.4))], "AB").logprobs["A"]) == pytest.approx(
        0.4
    )


@pytest.mark.parametrize(
    ("top_tokens", "said"),
    [
        ([("Okay", 0.9), ("The", 0.05)], "'Okay'"),
        ([("<think>", 0.999)], "'<think>'"),
        ([("Okay", 0.5), ("Let", 0.3), ("A", 0.02)], "'Okay'"),
        ([("\n\n", 0.8), ("A", 0.05), (" B", 0.04)], "'\\n\\n'"),
    ],
)
def test_codes_without_probability_are_unreadable_and_the_detail_has_the_top_token(
    top_tokens: list[tuple[str, float]], said: str
) -> None:
    problem = unreadable(from_top_tokens([(token, math.log(share)) for token, share in top_tokens], UPPER))
    assert problem is not None
    assert problem.kind == "unreadable"
    assert said in problem.detail


def test_bounds_are_no_probability() -> None:
    assert unreadable(TokenLogprobs(dict.fromkeys("ABCDEFGHIJ", math.log(0.1)), bounds=frozenset("ABCDEFGHIJ")))
    assert unreadable(TokenLogprobs({"A": math.log(0.05), "B": math.log(0.4)}, bounds=frozenset("B")))
    assert not unreadable(TokenLogprobs({"A": math.log(0.4), "B": math.log(0.4)}, bounds=frozenset("B")))


@pytest.mark.parametrize(
    ("top_tokens", "readable"),
    [
        ([("A", 0.7), ("B", 0.2)], True),
        ([("The", 0.5), ("A", 0.2), ("B", 0.15)], True),
        ([("Label", 0.3), ("Based", 0.28), ("The", 0.15), ("A", 0.12), ("I", 0.05)], False),
        ([("Let", 0.6), ("A", 0.25)], False),
        ([("I", 0.11), ("will", 0.8)], False),
    ],
)
def test_codes_with_a_small_part_of_the_probability_are_no_answer(
    top_tokens: list[tuple[str, float]], readable: bool
) -> None:
    result = from_top_tokens([(token, math.log(share)) for token, share in top_tokens], UPPER)
    assert (unreadable(result) is None) == readable


SENTIMENT = registry.taxonomy("sentiment")
MESSAGES = ({"role": "system", "content": "s"}, {"role": "user", "content": "u"})
WORDS = ["Yes", "No", "yes", "no", *CODES, "0"]


def qwen_like() -> Any:
    """Byte-level BPE: a word is one token with and without a leading space."""
    return tiny_tokenizer(texts=[word for word in WORDS for _ in range(9)] + [f"x {word}" for word in WORDS] * 9)


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "byte-level BPE": qwen_like,
    "SentencePiece, space before the first word": lambda: mistral_tokenizer(WORDS),
    "SentencePiece, no space before the first word": lambda: mistral_tokenizer(WORDS, prefix=False),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


# --- which tokens ---


@pytest.mark.parametrize("codes", [("A", "B"), ("A", "B", "0"), ("Yes", "No"), tuple(CODES)])
def test_a_code_is_its_token_with_and_without_a_space(tokenizer: Any, codes: tuple[str, ...]) -> None:
    found = tokens(tokenizer, codes)
    for code in codes:
        assert {code, f"\u2581{code}"} <= found[code], code


@pytest.mark.parametrize(
    ("codes", "code", "other", "read"),
    [("AB", "A", "a", True), ("ABab", "A", "a", False), ("ABab", "a", "A", False), (("Yes", "No"), "No", "no", True)],
)
def test_another_case_counts_where_it_is_no_other_code(
    tokenizer: Any, codes: Sequence[str], code: str, other: str, read: bool
) -> None:
    assert ({other, f"\u2581{other}"} <= tokens(tokenizer, codes)[code]) == read


def tokens(tokenizer: Any, codes: Sequence[str]) -> dict[str, set[str]]:
    """The tokens of each code as the taxonomy writes them, with SentencePiece's sign for every leading space."""
    found: dict[str, set[str]] = {code: set() for code in codes}
    for one, code in code_tokens(tokenizer).of(codes, "m").items():
        found[code].add(tokenizer.convert_ids_to_tokens(one).replace("\u0120", "\u2581"))
    return found


def code_tokens(tokenizer: Any) -> CodeTokens:
    return CodeTokens(lambda texts: encoded(tokenizer, texts))


@pytest.mark.parametrize(
    ("count", "limit", "kinds"),
    [(26, 128, 4), (52, 128, 2), (26, 103, 3), (26, 104, 4), (70, 128, 1), (128, 128, 1), (64, 128, 2), (65, 128, 1)],
)
def test_beyond_the_limit_a_kind_of_spelling_is_left_out_for_all_codes(count: int, limit: int, kinds: int) -> None:
    codes = list(CODES[:count]) if count <= len(CODES) else [f"{number:03}" for number in range(count)]
    found = CodeTokens(one_token_each, limit).of(codes, "m")
    assert len(found) <= limit
    assert {code: list(found.values()).count(code) for code in codes} == dict.fromkeys(codes, kinds)


def one_token_each(texts: Sequence[str]) -> list[list[int]]:
    """A tokenizer to which every word is a token, with and without a space before it."""
    known: dict[str, int] = {}
    words = [text.removeprefix("\n") for text in texts]
    ids = [[known.setdefault(word, len(known) + 1)] if word else [] for word in words]
    return [[0, *own] if text.startswith("\n") else own for text, own in zip(texts, ids, strict=True)]


@pytest.mark.parametrize("code", ["Zw\u00f6lfe", "AB CD", "\U0001f3ac"])
def test_a_code_of_several_tokens_is_refused_with_its_name_and_the_models(tokenizer: Any, code: str) -> None:
    with pytest.raises(
        InvalidSetting, match=f"'{code}' is not a single token of a-model; choose the strategy json_list"
    ):
        code_tokens(tokenizer).of(("A", code), "a-model")


def test_codes_that_a_tokenizer_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="'a' is not a single token"):
        CodeTokens(lambda texts: [[ord(text.strip(" \n").upper() or "\n")] for text in texts]).of(("A", "a"), "m")


# --- models that write one of them ---


def causal(tokenizer: Any, shares: dict[str, float]) -> CausalLM:
    """A network that gives the tokens with these names these probabilities, whatever the text."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    size = len(tokenizer)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    network: Any = Qwen2ForCausalLM(
        Qwen2Config(vocab_size=size, num_attention_heads=1, num_key_value_heads=1, tie_word_embeddings=False, **sizes)
    )
    rest = (1 - sum(shares.values())) / size
    network.lm_head = torch.nn.Linear(32, size)
    with torch.no_grad():
        network.lm_head.weight.zero_()
        network.lm_head.bias.fill_(math.log(rest))
        for token, share in shares.items():
            network.lm_head.bias[spelt(tokenizer, token)] = math.log(share)
    return CausalLM(network.eval(), tokenizer)


def spelt(tokenizer: Any, token: str) -> int:
    """The id of a token, written with SentencePiece's sign for a leading space."""
    vocabulary = tokenizer.get_vocab()
    found: int = vocabulary[token if token in vocabulary else token.replace("\u2581", "\u0120")]
    return found


@pytest.mark.parametrize(
    ("shares", "label"),
    [
        ({"\u2581B": 0.8, "\u2581A": 0.1}, "negative"),
        ({"\u2581A": 0.8, "\u2581B": 0.1}, "positive"),
        ({"B": 0.8, "A": 0.1}, "negative"),
        ({"A": 0.35, "B": 0.25, "\u2581B": 0.25}, "negative"),
        ({"b": 0.8, "A": 0.1}, "negative"),
        ({"\u2581Yes": 0.5, "\u2581No": 0.4}, None),
        ({"yes": 0.95, "\u2581A": 0.03}, None),
    ],
)
def test_an_answer_in_any_spelling_is_read_as_its_code(
    tokenizer: Any, shares: dict[str, float], label: str | None
) -> None:
    model = LanguageModel(LocalBackend.from_loaded(causal(tokenizer, shares), "a-model"), LabelTokens())
    (prediction,) = model.classify(["I liked it."], SENTIMENT)
    if label is None:
        assert prediction.problem is not None
        assert (prediction.problem.kind, prediction.labels, prediction.scores) == ("unreadable", (), {})
        return
    assert (prediction.problem, prediction.labels[0]) == (None, label)
    spelt_so = [share for token, share in shares.items() if token[-1].upper() == "AB"[label == "negative"]]
    assert prediction.scores[label] == pytest.approx(sum(spelt_so) / sum(shares.values()), abs=0.02)


@pytest.mark.parametrize(
    ("shares", "labels"),
    [
        ({"\u2581Yes": 0.8, "\u2581No": 0.1}, ("positive", "negative")),
        ({"No": 0.2, "\u2581No": 0.4, "Yes": 0.3}, ()),
        ({"yes": 0.6, "\u2581no": 0.3}, ("positive", "negative")),
    ],
)
def test_yes_and_no_are_read_in_any_spelling(tokenizer: Any, shares: dict[str, float], labels: tuple[str, ...]) -> None:
    taxonomy = SENTIMENT.shaped(multi=True, allow_none=True)
    model = LanguageModel(LocalBackend.from_loaded(causal(tokenizer, shares), "a-model"), YesNo())
    (prediction,) = model.classify(["I liked it."], taxonomy)
    assert (prediction.problem, prediction.labels) == (None, labels)


def test_spellings_without_probability_change_no_figure(tokenizer: Any) -> None:
    own = "\u2581" if "\u2581A" in tokenizer.get_vocab() else ""
    shares = {f"{own}A": 0.7, f"{own}B": 0.29999}
    found = LocalBackend.from_loaded(causal(tokenizer, shares), "a-model").next_token_logprobs([MESSAGES], ["A", "B"])
    assert [math.exp(found[0].logprobs[code]) for code in "AB"] == pytest.approx([0.7, 0.29999], abs=1e-4)
