"""A prompt: a versioned Jinja template that puts a text and a taxonomy to a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.meta import find_referenced_templates
from jinja2.sandbox import ImmutableSandboxedEnvironment

from prompts.answer_format import LIST, AnswerFormat, FewShotExample, turns
from prompts.errors import InvalidPrompt
from prompts.files import digest_of
from prompts.taxonomy import Taxonomy
from prompts.text import Text

TEMPLATES = Path(__file__).parent / "templates"
Message = Mapping[str, str]

_SECTIONS = re.compile(r"\A(?:.*\n)?--- system ---\n(?P<system>.*?)\n--- user ---\n(?P<user>.*)\Z", re.DOTALL)
# "<" before a letter, a slash or a bar opens every control token in use (<|im_end|>, </s>, <think>, <<SYS>>,
# DeepSeek's full-width bar) and every fence of ours; a blank after it leaves the words and takes the power.
_OPENING = re.compile(r"<(?=[A-Za-z/!|\uff5c])")
_CLOSING = re.compile(r"(?<=[|\uff5c])>")
_BRACKETED = re.compile(r"\[(?=/?(?:INST|SYS|AVAILABLE_TOOLS|TOOL_)[A-Z_]*\])", re.IGNORECASE)
# C0 controls but tab and line feed, and DEL: no tokenizer needs them, NUL breaks some.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def neutralise(value: Any) -> Any:
    """Take the power from whatever a tokenizer or a fence would read as a command; words stay readable.

    Applied by the environment to every value that a template prints, so that no template can forget it. The
    template's own text is not touched.
    """
    if not isinstance(value, str):
        return value
    value = _CONTROLS.sub(" ", value.replace("\r\n", "\n"))
    return _BRACKETED.sub("[ ", _CLOSING.sub(" >", _OPENING.sub("< ", value)))


@dataclass(frozen=True)
class Prompt:
    """One version of a prompt template.

    A template has two sections, ``--- system ---`` and ``--- user ---``. The first sees the taxonomy only, never
    the text, which makes it byte-identical for every text of a vocabulary: servers with prefix caching compute it
    once. The second holds the text, fenced; it is rendered for every few-shot example too (``prompts.answer_format``).

    Attributes:
        name: kind and version, e.g. ``"plot.v1"``.
        source: the template's text.

    Raises:
        InvalidPrompt: a section is missing or the template does not parse.
    """

    name: str
    source: str

    def __post_init__(self) -> None:
        self._templates  # noqa: B018  (compiled now, so that a broken template is refused at load)

    @property
    def kind(self) -> str:
        """The name without its version: ``"plot"``."""
        return self.name.rpartition(".v")[0]

    @property
    def version(self) -> int:
        """The number after ``.v``."""
        return int(self.name.rpartition(".v")[2])

    @property
    def about(self) -> str:
        """What the template is for: the comment in front of its first section."""
        comment = re.match(r"\{#\s*(.*?)\s*#\}", self.source, re.DOTALL)
        return comment[1] if comment else ""

    @cached_property
    def digest(self) -> str:
        """12 hex digits of the template's text and of every part that it includes."""
        named = find_referenced_templates(_environment().parse(self.source))
        parts = sorted({name for name in named if name})
        whole = [self.source, *((TEMPLATES / "parts" / name).read_text(encoding="utf-8") for name in parts)]
        return digest_of("\0".join(whole), 12)

    @property
    def versioned_name(self) -> str:
        """Name and digest, such as ``plot.v1@0f3a…``."""
        return f"{self.name}@{self.digest}"

    def render(
        self, text: Text, taxonomy: Taxonomy, question: AnswerFormat = LIST, shots: Sequence[FewShotExample] = ()
    ) -> tuple[Message, ...]:
        """The messages to send.

        One of role ``system``, the same for all texts; one of ``user`` and one of ``assistant`` per example; one of
        ``user``.

        Args:
            text: what is to be labelled.
            taxonomy: the taxonomy.
            question: in which form the answer is asked for.
            shots: labelled examples to show before the text.

        Raises:
            InvalidPrompt: the template names a variable that it is not given, or reaches out of its sandbox.
        """
        # The system part must not change from label to label either: yes_no asks about many labels of one text.
        asked = replace(question, label=None)
        return (
            {"role": "system", "content": _system(self, taxonomy, asked)},
            *(_examples(self, taxonomy, asked, tuple(shots)) if shots else ()),
            {"role": "user", "content": self.user(text, question)},
        )

    def user(self, text: Text, question: AnswerFormat) -> str:
        """The user section about one text; ``shots`` is empty there, since examples are turns of their own."""
        given = {"text": text.body.strip(), "title": text.title.strip(), "shots": (), "question": question}
        return self.fill("user", **given)

    def fill(self, section: str, **values: object) -> str:
        """One section with its values put in."""
        try:
            filled: str = self._templates[section].render(values)
            return filled.strip()
        except TemplateError as error:
            raise InvalidPrompt(f"prompt {self.name!r}, section {section}: {error.message}") from error

    @cached_property
    def _templates(self) -> Mapping[str, Any]:
        sections = _SECTIONS.match(self.source)
        if not sections:
            raise InvalidPrompt(
                f"prompt {self.name!r} needs the lines '--- system ---' and '--- user ---', in this order"
            )
        try:
            return {name: _environment().from_string(source) for name, source in sections.groupdict().items()}
        except TemplateSyntaxError as error:
            raise InvalidPrompt(f"prompt {self.name!r} does not parse: {error.message}") from error


@lru_cache(maxsize=64)
def _system(prompt: Prompt, taxonomy: Taxonomy, question: AnswerFormat) -> str:
    """The system section, filled in once for all texts: it takes most of the time that a prompt takes."""
    return prompt.fill("system", taxonomy=taxonomy, question=question)


@lru_cache(maxsize=64)
def _examples(
    prompt: Prompt, taxonomy: Taxonomy, question: AnswerFormat, shots: tuple[FewShotExample, ...]
) -> tuple[Message, ...]:
    """The turns of the examples; those that are the same for every text are rendered once."""
    return tuple(
        message
        for turn in turns(shots, taxonomy, question)
        for message in (
            {"role": "user", "content": prompt.user(turn.text, turn.question)},
            {"role": "assistant", "content": neutralise(turn.answer)},
        )
    )


def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(TEMPLATES / "parts"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=neutralise,
    )


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
