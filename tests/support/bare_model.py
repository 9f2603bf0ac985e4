"""What the tests of a model in this process measure it by: the bare model, without caches, batches or padding."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm.backends.backend import Conversation
from llm.backends.local_backend import LocalBackend
from llm.strategies.strategy import PromptBuilder
from prompts import registry
from prompts.template import LABEL_TOKENS, AnswerFormat
from prompts.text import Text
from tests.support.tiny_qwen2 import CHAT_TEMPLATE

TMDB = registry.taxonomy("tmdb")
PLOT = registry.prompt("plot")


def opinionated(folder: Path) -> Path:
    """Weights large enough for every token to count: as initialised, all texts would get nearly the same answer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["Yes", "No"])
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.mul_(5 if "embed" in name else 10)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def short_sighted(folder: Path, other: Path) -> Path:
    """A tiny Mistral whose layers see the last 50 tokens only, with the tokenizer of another model."""
    from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(other)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=50,
    )
    MistralForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def mistral_tokenizer(words: Sequence[str], prefix: bool = True) -> Any:
    """A SentencePiece tokenizer, as Mistral and Gemma have one: each word is a token, with and without a space before.

    Args:
        words: its tokens, beside single characters.
        prefix: whether a text gets a space before its first word (Mistral), or not (Gemma).
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    characters = ["\u2581", "\n", *map(chr, range(33, 127))]
    spelt = [*words, *(f"\u2581{word}" for word in words)]
    scores = {"<unk>": 0.0, **dict.fromkeys(characters, -10.0), **dict.fromkeys(spelt, -2.0)}
    tokenizer = Tokenizer(models.Unigram(list(scores.items()), unk_id=0, byte_fallback=False))
    scheme = "first" if prefix else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", chat_template=CHAT_TEMPLATE)  # type: ignore[no-untyped-call]


def schema(names: Sequence[str], least: int, most: int) -> dict[str, Any]:
    items = {"type": "string", "enum": list(names)}
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def render(text: str) -> PromptBuilder:
    return lambda taxonomy, question: PLOT.render(Text(text), taxonomy, question)


def rendered(texts: Sequence[str], question: AnswerFormat = LABEL_TOKENS) -> list[Conversation]:
    return [render(text)(TMDB, question) for text in texts]


def yes_no(texts: Sequence[str]) -> list[Conversation]:
    return [render(text)(TMDB, AnswerFormat("yes_no", label)) for text in texts for label in TMDB.predictable]


def bare(backend: LocalBackend, conversation: Conversation, answer: str = "") -> Any:
    """Log-probabilities of the next token after a conversation, by one forward pass without any cache."""
    import torch

    tokenizer, network = backend._causal.tokenizer, backend._causal.network
    messages = [dict(message) for message in conversation]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False) + answer
    with torch.no_grad():
        scores = network(torch.tensor([tokenizer.encode(text, add_special_tokens=False)]), use_cache=False).logits
    return scores[0, -1].float().log_softmax(-1)


def spellings(tokenizer: Any, codes: Sequence[str]) -> list[list[int]]:
    """The ids of each code's tokens in a byte-level vocabulary: with and without a space, in any case of its own."""
    folded = [code.casefold() for code in codes]
    forms = [
        {code, *([code.lower(), code.upper(), code.capitalize()] if folded.count(code.casefold()) == 1 else [])}
        for code in codes
    ]
    found = [
        [tokenizer.encode(before + form, add_special_tokens=False) for form in some for before in ("", " ")]
        for some in forms
    ]
    return [[ids[0] for ids in some if len(ids) == 1] for some in found]


def assert_same_as_bare(
    backend: LocalBackend, conversations: Sequence[Conversation], codes: Sequence[str], tolerance: float = 1e-4
) -> None:
    spelt = spellings(backend._causal.tokenizer, codes)
    rows = [bare(backend, conversation) for conversation in conversations]
    expected = [[float(row[ids].logsumexp(-1)) for ids in spelt] for row in rows]
    found = [
        [weighing.logprobs[code] for code in codes] for weighing in backend.next_token_logprobs(conversations, codes)
    ]
    assert (
        max(abs(a - b) for one, other in zip(found, expected, strict=True) for a, b in zip(one, other, strict=True))
        < tolerance
    )
    assert any(max(each) - min(each) > 0.2 for each in zip(*expected, strict=True)), (
        "texts make no difference, so this test sees nothing"
    )


@contextmanager
def tokens_seen(backend: LocalBackend) -> Iterator[Callable[[], int]]:
    """Counts the tokens, padding included, that go through the model."""
    seen: list[int] = []
    embedding = backend._causal.network.get_input_embeddings()
    handle = embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numel()))
    yield lambda: sum(seen)
    handle.remove()
