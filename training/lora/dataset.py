"""Training examples of an adapter: the tokens of the messages and of the answer, the same as in use.

With ``json_list`` the answer is the JSON that the constraint allows, in the tokens that the in-process backend
generates. Its labels are in taxonomy order, because the order has no meaning: one right answer per text is easier to
learn than many. (The order of the data is no better: IMDb sorts genres alphabetically.) With ``label_tokens`` the code
of every true label is a right answer at the one position that is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from eval.datasets import Example
from llm.backends.list_grammar import ListGrammar
from llm.strategies.json_list import JSONList
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.registry import prompt_for
from prompts.taxonomy import Taxonomy
from prompts.template import CODES, JSON_LIST, LABEL_TOKENS, NONE_CODE, AnswerFormat, Prompt

if TYPE_CHECKING:
    from llm.backends.causal_lm import CausalLM

Form = Literal["json_list", "label_tokens"]
TargetIds = tuple[tuple[int, ...], ...]  # the right tokens at each position of the answer

SHORTENED = "with more labels than an answer may have: only the rarest were used"
INCOMPLETE = "with incomplete labels"
TOO_LONG = "with too many tokens in messages and answer"


@dataclass(frozen=True)
class TrainingExample:
    """A text and its answer.

    Attributes:
        prompt_ids: tokens of the messages up to the start of the answer.
        target_ids: right tokens at each position of the answer; the first of them is the input of the next position.
    """

    prompt_ids: list[int]
    target_ids: TargetIds


@dataclass(frozen=True)
class PromptSetup:
    """Taxonomy, strategy and prompt, in training as in use; without a prompt, one is selected for each text."""

    taxonomy: Taxonomy
    form: Form
    prompt: Prompt | None = None

    @property
    def answer_format(self) -> AnswerFormat:
        """The answer format of the strategy."""
        return JSON_LIST if self.form == "json_list" else LABEL_TOKENS

    def prompt_of(self, example: Example) -> Prompt:
        """The prompt of an example."""
        return self.prompt or prompt_for(example.text, self.taxonomy)

    def prompts(self, examples: Sequence[Example]) -> list[str]:
        """Names and digests of the prompts of all examples."""
        return sorted({self.prompt_of(example).versioned_name for example in examples})


@dataclass(frozen=True)
class LoraDataset:
    """Training examples, and counts of the examples that were skipped or changed, by reason."""

    examples: list[TrainingExample]
    counts: Counter[str] = field(default_factory=Counter)


def tokenised(
    causal: CausalLM, setup: PromptSetup, examples: Sequence[Example], max_tokens: int, incomplete: bool = False
) -> LoraDataset:
    """Tokenise examples for a model.

    Args:
        causal: the model.
        setup: taxonomy, strategy and prompt.
        examples: texts with their true labels.
        max_tokens: longer examples are skipped: a truncated text may not support its labels.
        incomplete: use examples with incomplete labels; by default they are skipped, because they teach the model to
            omit labels.

    Raises:
        InvalidSetting: too many labels for the strategy, or codes that are not single tokens.
        InvalidDataset: no example remains.
    """
    counts: Counter[str] = Counter()
    usable = [one for one in examples if one.complete or incomplete]
    counts[INCOMPLETE] += len(examples) - len(usable)
    frequency = Counter(label for one in usable for label in one.labels)
    answer = (_list_answer if setup.form == "json_list" else _code_answer)(causal, setup.taxonomy)
    form = setup.answer_format
    prompts = causal.tokens([setup.prompt_of(one).render(one.text, setup.taxonomy, form) for one in usable])
    found = []
    for one, prompt_ids in zip(usable, prompts, strict=True):
        labels = setup.taxonomy.in_order(sorted(one.labels, key=frequency.__getitem__)[: setup.taxonomy.max_labels])
        counts[SHORTENED] += setup.form == "json_list" and len(labels) < len(one.labels)
        found.append(TrainingExample(prompt_ids, answer(labels if setup.form == "json_list" else one.labels)))
    kept = [one for one in found if len(one.prompt_ids) + len(one.target_ids) <= max_tokens]
    counts[TOO_LONG] += len(found) - len(kept)
    if not kept:
        reasons = "; ".join(f"{count} {reason}" for reason, count in (+counts).items())
        raise InvalidDataset(f"no training example remains: {reasons} (see --incomplete keep and --max-tokens)")
    return LoraDataset(kept, +counts)


def _list_answer(causal: CausalLM, taxonomy: Taxonomy) -> Callable[[Sequence[str]], TargetIds]:
    grammar = ListGrammar(JSONList().constraint(taxonomy).schema, causal.encode, causal.decode)
    end = causal.tokenizer.eos_token_id  # an endpoint without constrained decoding needs the end token
    return lambda labels: tuple((token,) for token in (*grammar.spelling(labels), end))


def _code_answer(causal: CausalLM, taxonomy: Taxonomy) -> Callable[[Sequence[str]], TargetIds]:
    names = taxonomy.names
    if len(names) > len(CODES):
        raise InvalidSetting(f"label_tokens supports {len(CODES)} labels at most, and {taxonomy.name} has {len(names)}")
    ids = {name: _token(causal, code) for name, code in zip(names, CODES, strict=False)}
    none = _token(causal, NONE_CODE) if taxonomy.allow_none else None
    return lambda labels: (tuple(ids[name] for name in labels) or ((none,) if none is not None else ()),)


def _token(causal: CausalLM, code: str) -> int:
    if (token := causal.code(code)) is None:
        raise InvalidSetting(f"the code {code!r} is not a single token of this model; train the strategy json_list")
    return token
