"""Training examples of a LoRA adapter: the messages and answers of each strategy as tokens, as in use.

With ``json_list`` the answer is the JSON that the constraint allows, in the tokens that the in-process backend
generates. Its labels are in taxonomy order, because the order has no meaning: one right answer per text is easier to
learn than many. (The order of the data is no better: IMDb sorts genres alphabetically.) With ``label_tokens`` the code
of every true label is a right answer at the one position that is read. With ``label_likelihood`` these are the tokens
at which labels' names part, with a training example for each place that a true label passes: one where no two names
begin alike. With ``yes_no`` a text has a question for each true label and for as many others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import NamedTuple

from eval.datasets import Example
from llm.backends.causal_lm import CausalLM
from llm.backends.codes import encoded
from llm.backends.label_trie import LabelTrie, spelled
from llm.backends.list_grammar import ListGrammar
from llm.strategies.json_list import JSONList
from llm.strategies.scored import YES_NO_CODES
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Taxonomy
from prompts.template import CODES, JSON_LIST, LABEL_NAME, LABEL_TOKENS, NONE_CODE, AnswerFormat
from training.lora.config import Form, PromptSetup

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
class LoraDataset:
    """Training examples, and counts of the examples that were skipped or changed, by reason."""

    examples: list[TrainingExample]
    counts: Counter[str] = field(default_factory=Counter)


def tokenised(
    causal: CausalLM, setup: PromptSetup, examples: Sequence[Example], max_tokens: int, incomplete: bool = False
) -> LoraDataset:
    """Tokenise examples for a model.

    Examples of more than ``max_tokens`` are skipped: a truncated text may not support its labels. Those with incomplete
    labels are skipped unless ``incomplete`` is set, because they teach the model to omit labels.

    Raises:
        InvalidSetting: too many labels for the strategy, or codes that are not single tokens.
        InvalidDataset: no example remains.
    """
    counts: Counter[str] = Counter()
    usable = [one for one in examples if one.complete or incomplete]
    counts[INCOMPLETE] += len(examples) - len(usable)
    frequency = Counter(label for one in usable for label in one.labels)
    answers = _ANSWERS[setup.form](causal, setup.taxonomy)
    kept = []
    for one in usable:
        labels: Sequence[str] = one.labels
        if setup.form == "json_list":
            rarest = sorted(one.labels, key=frequency.__getitem__)[: setup.taxonomy.max_labels]
            labels = setup.taxonomy.in_order(rarest)
            counts[SHORTENED] += len(labels) < len(one.labels)
        pairs = answers(one.id, labels)
        conversations = [setup.prompt_of(one).render(one.text, setup.taxonomy, lesson.question) for lesson in pairs]
        found = [
            TrainingExample([*prompt_ids, *lesson.begun], lesson.targets)
            for prompt_ids, lesson in zip(causal.tokens(conversations), pairs, strict=True)
        ]
        fits = all(len(row.prompt_ids) + len(row.target_ids) <= max_tokens for row in found)
        counts[TOO_LONG] += not fits
        kept += found if fits else []
    if not kept:
        reasons = "; ".join(f"{count} {reason}" for reason, count in (+counts).items())
        raise InvalidDataset(f"no training example remains: {reasons} (see --incomplete keep and --max-tokens)")
    return LoraDataset(kept, +counts)


class Lesson(NamedTuple):
    """A question about a text, the part of the answer that is given, and the right tokens after it."""

    question: AnswerFormat
    targets: TargetIds
    begun: tuple[int, ...] = ()


Answers = Callable[[str, Sequence[str]], list[Lesson]]  # from the id and the true labels of a text


def _list_answers(causal: CausalLM, taxonomy: Taxonomy) -> Answers:
    grammar = ListGrammar(JSONList().constraint(taxonomy).schema, causal.encode, causal.decode)
    end = causal.tokenizer.eos_token_id  # an endpoint without constrained decoding needs the end token
    return lambda name, labels: [Lesson(JSON_LIST, tuple((token,) for token in (*grammar.spelling(labels), end)))]


def _code_answers(causal: CausalLM, taxonomy: Taxonomy) -> Answers:
    names = taxonomy.names
    if len(names) > len(CODES):
        raise InvalidSetting(f"label_tokens supports {len(CODES)} labels at most, and {taxonomy.name} has {len(names)}")
    ids = {name: _token(causal, code) for name, code in zip(names, CODES, strict=False)}
    none = (_token(causal, NONE_CODE),) if taxonomy.allow_none else ()
    return lambda name, labels: [Lesson(LABEL_TOKENS, (tuple(ids[label] for label in labels) or none,))]


def _name_answers(causal: CausalLM, taxonomy: Taxonomy) -> Answers:
    """The tokens at which names part; a name that ends where a longer one goes on is taught the end of the answer."""
    names = [*taxonomy.names, *([taxonomy.none_name] if taxonomy.allow_none else [])]
    spellings = spelled(names, partial(encoded, causal.tokenizer))
    branches = LabelTrie(spellings).branches
    end = causal.tokenizer.eos_token_id

    def answers(name: str, labels: Sequence[str]) -> list[Lesson]:
        true = [names.index(label) for label in (labels or names[len(taxonomy.names) :])]
        found = []
        for branch in branches:
            passing = [spellings[place] for place in true if place in branch.labels]
            if passing:
                at = len(branch.written)
                targets = tuple(tokens[at] if len(tokens) > at else end for tokens in passing)
                found.append(Lesson(LABEL_NAME, (targets,), branch.written))
        return found

    return answers


def _yes_no_answers(causal: CausalLM, taxonomy: Taxonomy) -> Answers:
    """All true labels, and as many others (one at least), chosen by the id: 18 questions about a text cost too much."""
    yes, no = (_token(causal, code) for code in YES_NO_CODES)

    def answers(name: str, labels: Sequence[str]) -> list[Lesson]:
        others = [label for label in taxonomy.predictable if label.name not in labels]
        chosen = Random(name).sample(others, min(len(others), max(1, len(labels))))
        true = [label for label in taxonomy.predictable if label.name in labels]
        return [
            Lesson(AnswerFormat("yes_no", label), ((token,),))
            for token, some in ((yes, true), (no, chosen))
            for label in some
        ]

    return answers


_ANSWERS: Mapping[Form, Callable[[CausalLM, Taxonomy], Answers]] = {
    "json_list": _list_answers,
    "label_likelihood": _name_answers,
    "label_tokens": _code_answers,
    "yes_no": _yes_no_answers,
}


def _token(causal: CausalLM, code: str) -> int:
    if (token := causal.code(code)) is None:
        raise InvalidSetting(f"the code {code!r} is not a single token of this model; train the strategy json_list")
    return token
