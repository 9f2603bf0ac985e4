"""The model that the benchmark serves: a tiny Qwen2 of random weights, in Qwen2's own tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks import qwen_tokenizer, skllm
from benchmarks.texts import Plots, vocabulary
from llm.readings.yes_no import CODES
from prompts import shelf
from prompts.question import LETTERS, LIST, Question
from prompts.text import Text
from tests.tiny_qwen2 import CHAT_TEMPLATE, build


def model(folder: Path, given: Plots) -> float:
    """Write the model to a folder, as ``from_pretrained`` reads it.

    Returns:
        How many tokens the true answers to the plots take on average in ``list``, the closing one included.
    """
    whole = qwen_tokenizer.tokenizer(CHAT_TEMPLATE)
    answers = given.answers()
    build(folder, tokenizer=qwen_tokenizer.cut_down(whole, [*_sent(given), *answers]))
    return 1 + sum(len(whole.encode(answer)) for answer in answers) / len(answers)


def _sent(given: Plots) -> Iterator[str]:
    """The words of all that will be sent, marks and surroundings of the plots included, and the codes of answers."""
    taxonomy = vocabulary()
    prompt = shelf.prompt_for(Text("film"), taxonomy)
    for question in (LIST, LETTERS, *(Question("yes_no", label) for label in taxonomy.predictable)):
        for text in [Text("film")] if question.label else given.marked(f"a0{question.reading}"):
            yield from (message["content"] for message in prompt.render(text, taxonomy, question))
    yield from (text.body for text in given.marked("a0yes_no"))
    yield from CODES
    yield skllm.wording()
    yield from (f"```{text.body}```\n\n" for text in given.marked("s0"))
