"""In which form a model is asked for labels; the templates word it."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text

# Single characters are single tokens in every tokenizer in use; label words are not ("Drama" starts as "D" in Qwen's).
CODES = string.ascii_uppercase + string.ascii_lowercase
NONE_CODE = "0"


@dataclass(frozen=True)
class AnswerFormat:
    """What the answer should look like.

    Attributes:
        strategy: ``json_list`` a JSON list of labels; ``label_tokens`` the code of the best label; ``yes_no`` Yes or No
            about one label.
        label: the label that ``yes_no`` asks about.
    """

    strategy: Literal["json_list", "label_tokens", "yes_no"]
    label: Label | None = None
    none_code: str = NONE_CODE

    def labels_with_codes(self, taxonomy: Taxonomy) -> Iterator[tuple[str, Label]]:
        """Every label that may be answered, with its code; the code is empty where the strategy uses none."""
        for place, label in enumerate(taxonomy.predictable):
            yield CODES[place] if self.strategy == "label_tokens" else "", label


LIST = AnswerFormat("json_list")
LETTERS = AnswerFormat("label_tokens")


@dataclass(frozen=True)
class FewShotExample:
    """A labelled example to show the model."""

    text: Text
    labels: tuple[str, ...]
