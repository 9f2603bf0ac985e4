"""What the model is taught: the messages that it will be asked with, and the answer that will be read, as tokens.

Messages come from the prompt, as in use. A list's answer is the JSON that the constraint allows, in the tokens that the
engine in this process writes it in, and its labels stand in taxonomy order: the reader takes no ranking from a list,
so that one right answer a text is taught rather than one of many orders. (The data's own order would be no better: IMDb
gives genres by the alphabet.) Under ``label_tokens`` every true label's code is right at the one place that is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from eval.datasets import Example
from llm.backends.list_grammar import ListGrammar
from llm.strategies.json_list import JSONList
from prompts.answer_format import CODES, JSON_LIST, LABEL_TOKENS, NONE_CODE, AnswerFormat
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.registry import prompt_for
from prompts.taxonomy import Taxonomy
from prompts.template import Prompt

if TYPE_CHECKING:
    from llm.backends.causal_lm import CausalLM

Form = Literal["json_list", "label_tokens"]
Said = tuple[tuple[int, ...], ...]  # for each place of the answer the tokens that are right there

SHORTENED = "with more labels than an answer may have: the rarest were kept"
INCOMPLETE = "whose labels are incomplete"
TOO_LONG = "whose messages and answer take too many tokens"


@dataclass(frozen=True)
class TrainingExample:
    """A text and its answer.

    Attributes:
        asked: tokens of the messages, up to where the model's turn begins.
        said: right tokens at each place of the answer; where several are, the first is what the next place follows.
    """

    asked: list[int]
    said: Said


@dataclass(frozen=True)
class PromptSetup:
    """How a model is asked, in training as in use.

    Attributes:
        taxonomy: the taxonomy.
        form: the strategy.
        prompt: None takes the one that suits each text.
    """

    taxonomy: Taxonomy
    form: Form
    prompt: Prompt | None = None

    @property
    def question(self) -> AnswerFormat:
        """The form of the question."""
        return JSON_LIST if self.form == "json_list" else LABEL_TOKENS

    def prompt_of(self, example: Example) -> Prompt:
        """The prompt that an example is asked with."""
        return self.prompt or prompt_for(example.text, self.taxonomy)

    def prompts(self, examples: Sequence[Example]) -> list[str]:
        """Names and digests of all prompts that examples are asked with."""
        used = {self.prompt_of(example) for example in examples}
        return sorted(prompt.versioned_name for prompt in used)


@dataclass(frozen=True)
class LoraDataset:
    """Lessons, and what became of the examples that made none, or made one in another form.

    Attributes:
        lessons: in the order of their examples.
        counts: examples by what was done with them.
    """

    lessons: list[TrainingExample]
    counts: Counter[str] = field(default_factory=Counter)


def lessons(
    causal: CausalLM, asking: PromptSetup, examples: Sequence[Example], max_tokens: int, incomplete: bool = False
) -> LoraDataset:
    """Examples as lessons.

    Args:
        causal: whose tokens are used.
        asking: how it is asked.
        examples: texts with their true labels.
        max_tokens: longer lessons are left out: half a text teaches answers that nothing in it supports.
        incomplete: take examples whose missing labels are unknown all the same; else they are left out, since they
            teach to leave labels away.

    Raises:
        InvalidSetting: a taxonomy that the form cannot ask about, or codes that are no single tokens.
        InvalidDataset: nothing is left.
    """
    counts: Counter[str] = Counter()
    wanted = [one for one in examples if one.complete or incomplete]
    counts[INCOMPLETE] += len(examples) - len(wanted)
    answer, rarity = _FORMS[asking.form](causal, asking.taxonomy), _rarity(wanted)
    asked = causal.tokens([asking.prompt_of(one).render(one.text, asking.taxonomy, asking.question) for one in wanted])
    made = []
    for one, tokens in zip(wanted, asked, strict=True):
        labels = asking.taxonomy.in_order(sorted(one.labels, key=rarity.__getitem__)[: asking.taxonomy.max_labels])
        counts[SHORTENED] += asking.form == "json_list" and len(labels) < len(one.labels)
        made.append(TrainingExample(tokens, answer(labels if asking.form == "json_list" else one.labels)))
    kept = [lesson for lesson in made if len(lesson.asked) + len(lesson.said) <= max_tokens]
    counts[TOO_LONG] += len(made) - len(kept)
    if not kept:
        raise InvalidDataset(f"no example is left to learn from: {_told(counts)}")
    return LoraDataset(kept, +counts)


def _told(counts: Counter[str]) -> str:
    told = "; ".join(f"{count} {what}" for what, count in (+counts).items())
    return f"{told} (--incomplete keep takes incomplete ones, --max-tokens says how long they may be)"


def _rarity(examples: Sequence[Example]) -> Counter[str]:
    return Counter(label for one in examples for label in one.labels)


Answer = Callable[[Sequence[str]], Said]


def _list(causal: CausalLM, taxonomy: Taxonomy) -> Answer:
    grammar = ListGrammar(JSONList().constraint(taxonomy).schema, causal.encode, causal.decode)
    end = causal.tokenizer.eos_token_id  # an endpoint that holds no schema must be told when the list is over
    return lambda labels: tuple((token,) for token in (*grammar.spelling(labels), end))


def _letters(causal: CausalLM, taxonomy: Taxonomy) -> Answer:
    names = taxonomy.names
    if len(names) > len(CODES):
        raise InvalidSetting(f"letters can teach {len(CODES)} labels at most, and {taxonomy.name} has {len(names)}")
    ids = {name: _token(causal, code) for name, code in zip(names, CODES, strict=False)}
    none = _token(causal, NONE_CODE) if taxonomy.allow_none else None
    return lambda labels: (tuple(ids[name] for name in labels) or ((none,) if none is not None else ()),)


def _token(causal: CausalLM, code: str) -> int:
    if (token := causal.code(code)) is None:
        raise InvalidSetting(f"the code {code!r} is not a single token of this model; train the strategy json_list")
    return token


_FORMS: dict[str, Callable[[CausalLM, Taxonomy], Answer]] = {"json_list": _list, "label_tokens": _letters}
