"""Prompts: versioned Jinja templates that render a text, a taxonomy and few-shot examples to chat messages."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from prompts.errors import InvalidPrompt
from prompts.files import digest_of
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text

TEMPLATES = Path(__file__).parent / "templates"
Message = Mapping[str, str]

_SECTIONS = re.compile(r"\A(?:.*\n)?--- system ---\n(?P<system>.*?)\n--- user ---\n(?P<user>.*)\Z", re.DOTALL)
# "<" before a letter, a slash or a bar begins every control token in use (<|im_end|>, </s>, <think>, <<SYS>>,
# DeepSeek's full-width bar) and every fence; a space after it keeps the words and disables the token.
_OPENING = re.compile(r"<(?=[A-Za-z/!|\uff5c])")
_CLOSING = re.compile(r"(?<=[|\uff5c])>")
_BRACKETED = re.compile(r"\[(?=/?(?:INST|SYS|AVAILABLE_TOOLS|TOOL_)[A-Z_]*\])", re.IGNORECASE)
# C0 controls but tab and line feed, and DEL: no tokenizer needs them, NUL breaks some.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_DECISION_DEFAULT = "decision.v1"
# Single characters are single tokens in every tokenizer in use; label words are not ("Drama" starts as "D" in Qwen's).
CODES = string.ascii_uppercase + string.ascii_lowercase
NONE_CODE = "0"


@dataclass(frozen=True)
class AnswerFormat:
    """The form of the answer.

    Attributes:
        strategy: ``json_list`` a JSON list of labels; ``label_likelihood`` the name of the best label; ``label_tokens``
            its code; ``yes_no`` Yes or No about one label.
        label: the label of a ``yes_no`` question.
        none_code: code of "none of these labels".
    """

    strategy: Literal["json_list", "label_likelihood", "label_tokens", "yes_no"]
    label: Label | None = None
    none_code: str = NONE_CODE

    def labels_with_codes(self, taxonomy: Taxonomy) -> Iterator[tuple[str, Label]]:
        """The predictable labels with their codes; codes are empty for strategies without codes."""
        for place, label in enumerate(taxonomy.predictable):
            yield CODES[place] if self.strategy == "label_tokens" else "", label


JSON_LIST = AnswerFormat("json_list")
LABEL_TOKENS = AnswerFormat("label_tokens")
LABEL_NAME = AnswerFormat("label_likelihood")
STRATEGY_FORMATS = (JSON_LIST, LABEL_TOKENS, LABEL_NAME, AnswerFormat("yes_no", Label("a", "first")))


@dataclass(frozen=True)
class FewShotExample:
    """A labelled example for the model, and why it has these labels, where that is known."""

    text: Text
    labels: tuple[str, ...]
    explanation: str = ""


class Turn(NamedTuple):
    """One example: the user's text and question, and the assistant's answer."""

    text: Text
    question: AnswerFormat
    answer: str
    explanation: str = ""


def example_turns(examples: Sequence[FewShotExample], taxonomy: Taxonomy, question: AnswerFormat) -> Iterator[Turn]:
    """The examples as turns, in their order, with answers in the format of the question.

    Examples without a label of the taxonomy are left out where "none" is not an answer. ``yes_no`` has one question
    about a label of each example and one about another label, whatever the label of the question: all questions about
    a text then share the same beginning.
    """
    for place, example in enumerate(examples):
        labels = tuple(name for name in example.labels if name in taxonomy.names)
        if question.strategy == "yes_no":
            yield from _yes_no_turns(place, replace(example, labels=labels), taxonomy, question)
        elif labels or taxonomy.allow_none:
            yield Turn(example.text, question, _answer(labels, taxonomy, question), example.explanation)


def _answer(labels: Sequence[str], taxonomy: Taxonomy, question: AnswerFormat) -> str:
    """The whole answer: a list of labels, or the first label or its code."""
    if question.strategy == "json_list":
        return json.dumps(labels[: taxonomy.max_labels], ensure_ascii=False)
    if question.strategy == "label_likelihood":
        return labels[0] if labels else taxonomy.none_name
    codes = {label.name: code for code, label in question.labels_with_codes(taxonomy)}
    return codes[labels[0]] if labels else question.none_code


def _yes_no_turns(place: int, example: FewShotExample, taxonomy: Taxonomy, question: AnswerFormat) -> Iterator[Turn]:
    """One Yes and one No; their order alternates, so that the model does not learn an order."""
    others = tuple(name for name in taxonomy.names if name not in example.labels)
    pairs = [(example.labels, "Yes"), (others, "No")]
    for names, answer in pairs if place % 2 == 0 else pairs[::-1]:
        if names:
            name = names[place % len(names)]
            label = next(label for label in taxonomy.predictable if label.name == name)
            yield Turn(example.text, replace(question, label=label), answer, example.explanation)


def neutralise(value: Any) -> Any:
    """Escape control tokens and fences in a value, so that a text cannot end its block; words stay readable.

    The environment applies it to every value that a template prints. The template's own text is not changed.
    """
    if not isinstance(value, str):
        return value
    value = _CONTROLS.sub(" ", value.replace("\r\n", "\n"))
    return _BRACKETED.sub("[ ", _CLOSING.sub(" >", _OPENING.sub("< ", value)))


@dataclass(frozen=True)
class Prompt:
    """One version of a prompt template.

    A template has two sections. ``--- system ---`` depends on the taxonomy only, so that its tokens are the same for
    every text and servers with prefix caching compute them once. ``--- user ---`` has the text in a fence; it is
    rendered for every few-shot example too (``prompts.template.example_turns``).

    Attributes:
        name: kind and version, e.g. ``"plot.v1"``.
        source: the template's text.

    Raises:
        InvalidPrompt: a section is missing or the template does not parse.
    """

    name: str
    source: str

    def __post_init__(self) -> None:
        self._templates  # noqa: B018  (compiles the template, so that an invalid one is an error at load)

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
        """What the template is for: the comment before its first section."""
        comment = re.match(r"\{#\s*(.*?)\s*#\}", self.source, re.DOTALL)
        return comment[1] if comment else ""

    @cached_property
    def digest(self) -> str:
        """12 hex digits of the template's text and of every part that it includes."""
        from prompts.sandbox import included

        sources = [(TEMPLATES / "parts" / name).read_text(encoding="utf-8") for name in included(self.source)]
        return digest_of("\0".join([self.source, *sources]), 12)

    @property
    def versioned_name(self) -> str:
        """Name and digest, such as ``plot.v1@0f3a…``."""
        return f"{self.name}@{self.digest}"

    def render(
        self,
        text: Text,
        taxonomy: Taxonomy,
        question: AnswerFormat = JSON_LIST,
        examples: Sequence[FewShotExample] = (),
    ) -> tuple[Message, ...]:
        """The messages: ``system``, the same for all texts; ``user`` and ``assistant`` per example; ``user``.

        Raises:
            InvalidPrompt: the template has an unknown variable, or leaves its sandbox.
        """
        # The part before the text must not depend on the label: yes_no has many questions about one text.
        without_label = replace(question, label=None)
        return (
            {"role": "system", "content": _system(self, taxonomy, without_label)},
            *(_examples(self, taxonomy, without_label, tuple(examples)) if examples else ()),
            {"role": "user", "content": self.user(text, taxonomy, question)},
        )

    def user(self, text: Text, taxonomy: Taxonomy, question: AnswerFormat, why: str = "") -> str:
        """The user section about one text, and why its answer is right: the answer itself has labels only."""
        # Published templates of version 1 read a variable for examples; examples are turns of their own.
        about = {"taxonomy": taxonomy, "question": question}
        filled = self.fill("user", text=text.body.strip(), title=text.title.strip(), shots=(), **about)
        return f"{filled}\n\nWhy: {neutralise(why)}" if why else filled

    def fill(self, section: str, **values: object) -> str:
        """Render one section."""
        from jinja2 import TemplateError, TemplateNotFound

        try:
            filled: str = self._templates[section].render(values)
            return filled.strip()
        except TemplateNotFound as error:
            parts = ", ".join(sorted(path.name for path in (TEMPLATES / "parts").iterdir()))
            raise InvalidPrompt(f"prompt {self.name!r} includes {error.name!r}; there is: {parts}") from None
        except TemplateError as error:
            raise InvalidPrompt(f"prompt {self.name!r}, section {section}: {error.message}") from error

    @cached_property
    def _templates(self) -> Mapping[str, Any]:
        from jinja2 import TemplateSyntaxError

        from prompts.sandbox import environment  # with Jinja: the embedded classifier renders no prompt

        sections = _SECTIONS.match(self.source)
        if not sections:
            raise InvalidPrompt(
                f"prompt {self.name!r} needs the lines '--- system ---' and '--- user ---', in this order"
            )
        try:
            parts = environment(TEMPLATES / "parts", neutralise)
            return {name: parts.from_string(source) for name, source in sections.groupdict().items()}
        except TemplateSyntaxError as error:
            raise InvalidPrompt(f"prompt {self.name!r} does not parse: {error.message}") from error


@dataclass(frozen=True)
class DecisionPrompt(Prompt):
    """A prompt for typed questions: whether a condition holds for a text, or which option fits it best.

    The system section has neither text nor question, and the text comes before the question: all questions about one
    text share its part of a prefix cache. In the taxonomy, the description of a label is a condition, a label is an
    option.

    Attributes:
        instructions: the question about the options; empty for conditions.
    """

    instructions: str = ""

    def render(
        self,
        text: Text,
        taxonomy: Taxonomy,
        question: AnswerFormat = JSON_LIST,
        examples: Sequence[FewShotExample] = (),
    ) -> tuple[Message, ...]:
        """See ``Prompt.render``; ``examples`` are ignored."""
        values = {"text": text.body.strip(), "question": question, "taxonomy": taxonomy}
        return (
            {"role": "system", "content": self.fill("system")},
            {"role": "user", "content": self.fill("user", **values, instructions=self.instructions)},
        )


def decision_prompt(instructions: str = "", name: str = _DECISION_DEFAULT) -> DecisionPrompt:
    """The prompt of that name for conditions or, with instructions, for options."""
    return replace(_decision_template(name), instructions=instructions)


@cache
def _decision_template(name: str) -> DecisionPrompt:
    return DecisionPrompt(name, (TEMPLATES / "decisions" / f"{name}.jinja").read_text(encoding="utf-8"))


@lru_cache(maxsize=64)
def _system(prompt: Prompt, taxonomy: Taxonomy, question: AnswerFormat) -> str:
    """The system section, rendered once for all texts: it takes most of the rendering time."""
    return prompt.fill("system", taxonomy=taxonomy, question=question)


@lru_cache(maxsize=64)
def _examples(
    prompt: Prompt, taxonomy: Taxonomy, question: AnswerFormat, examples: tuple[FewShotExample, ...]
) -> tuple[Message, ...]:
    """The turns of the examples; those that are the same for every text are rendered once."""
    return tuple(
        message
        for turn in example_turns(examples, taxonomy, question)
        for message in (
            {"role": "user", "content": prompt.user(turn.text, taxonomy, turn.question, turn.explanation)},
            {"role": "assistant", "content": neutralise(turn.answer)},
        )
    )
