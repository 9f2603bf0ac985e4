"""The prompt for typed questions: whether a condition holds for a text, or which of some options fits it best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from prompts.answer_format import LIST, AnswerFormat, FewShotExample
from prompts.taxonomy import Taxonomy
from prompts.template import TEMPLATES, Message, Prompt
from prompts.text import Text

_NAME = "decision.v1"


@dataclass(frozen=True)
class DecisionPrompt(Prompt):
    """A prompt that asks what its caller wants to know, and not which labels apply.

    The system section holds neither text nor question, and the text stands before the question: all questions about
    one text share everything up to its end in a server's prefix cache. In the taxonomy, a condition is the
    description of a label, an option is a label.

    Attributes:
        instructions: what is asked about the options; conditions need none.
    """

    instructions: str = ""

    def render(
        self, text: Text, taxonomy: Taxonomy, question: AnswerFormat = LIST, shots: Sequence[FewShotExample] = ()
    ) -> tuple[Message, ...]:
        """See ``Prompt.render``; examples have no place here."""
        given = {"text": text.body.strip(), "question": question, "taxonomy": taxonomy}
        return (
            {"role": "system", "content": self.fill("system")},
            {"role": "user", "content": self.fill("user", **given, instructions=self.instructions)},
        )


def asking(instructions: str = "") -> DecisionPrompt:
    """The prompt for conditions or, with instructions, for options."""
    return replace(_plain(), instructions=instructions)


@cache
def _plain() -> DecisionPrompt:
    path = TEMPLATES / "decisions" / f"{_NAME}.jinja"
    return DecisionPrompt(_NAME, path.read_text(encoding="utf-8"))
