"""Benchmark model: a tiny Qwen2 with Qwen2's tokenizer and random weights.

It is trained for one thing: to answer `json_list` with three genres of about as many tokens as real answers have.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import qwen_tokenizer, skllm
from benchmarks.texts import Plots, vocabulary
from llm.strategies.yes_no import CODES
from prompts import registry
from prompts.answer_format import JSON_LIST, LABEL_TOKENS, AnswerFormat
from prompts.text import Text
from tests.support.tiny_qwen2 import CHAT_TEMPLATE, build
from tests.support.trained_qwen2 import teach

# Left to itself, random weights spell labels in odd pieces and go on to the last label allowed: twice a true answer.
_TYPICAL = '["Drama","Action","Crime"]'
_SHOWN, _STEPS, _BATCH = 16, 300, 4


def model(folder: Path, given: Plots) -> float:
    """Write the model to a folder, as ``from_pretrained`` reads it.

    Returns:
        How many tokens the true answers to the plots take on average in ``json_list``, the closing one included.
    """
    whole = qwen_tokenizer.tokenizer(CHAT_TEMPLATE)
    answers = given.answers()
    build(folder, tokenizer=qwen_tokenizer.cut_down(whole, [*_sent(given), *answers, _TYPICAL]))
    teach(folder, [(conversation, _TYPICAL) for conversation in _lists(given)], _STEPS, _BATCH)
    return 1 + sum(len(whole.encode(answer)) for answer in answers) / len(answers)


def _lists(given: Plots) -> list[Any]:
    """Some of the questions for a list."""
    taxonomy = vocabulary()
    prompt = registry.prompt_for(Text("film"), taxonomy)
    return [prompt.render(text, taxonomy, JSON_LIST) for text in given.marked("w", _SHOWN)]


def _sent(given: Plots) -> Iterator[str]:
    """The words of all that will be sent, marks and surroundings of the plots included, and the codes of answers."""
    taxonomy = vocabulary()
    prompt = registry.prompt_for(Text("film"), taxonomy)
    for question in (JSON_LIST, LABEL_TOKENS, *(AnswerFormat("yes_no", label) for label in taxonomy.predictable)):
        for text in [Text("film")] if question.label else given.marked(f"a0{question.strategy}"):
            yield from (message["content"] for message in prompt.render(text, taxonomy, question))
    yield from (text.body for text in given.marked("a0yes_no"))
    yield from CODES
    yield skllm.wording()
    yield from (f"```{text.body}```\n\n" for text in given.marked("s0"))
