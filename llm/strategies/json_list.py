"""The ``json_list`` strategy: the model writes a JSON list of labels; a schema restricts it to the taxonomy.

The order of the list is not used as a ranking: constrained decoding favours the front of the taxonomy (arXiv
2505.17510). Labels are ordered by their scores, or by the taxonomy where there are none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llm.backends.backend import Backend, Completion, Constraint
from llm.strategies.answer_parser import read_answer
from llm.strategies.strategy import PromptBuilder, Strategy, StrategyAnswer
from prompts.answer_format import JSON_LIST
from prompts.taxonomy import Taxonomy


class JSONList(Strategy):
    """One constrained JSON list per text; the backend may wrap it into an object where its endpoint requires one.

    Where the backend returns token probabilities, a label's score is the probability of its tokens. Labels that were
    not written have no score.
    """

    name = "json_list"
    answer_format = JSON_LIST
    returns_labels = True

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        constraint = self.constraint(taxonomy)
        return [constraint.schema, constraint.max_tokens]

    def output_tokens(self, taxonomy: Taxonomy) -> int:
        """See ``Strategy.output_tokens``; a label is some four tokens with its quotes and comma."""
        return 4 + 4 * min(taxonomy.max_labels, len(taxonomy.names))

    def constraint(self, taxonomy: Taxonomy) -> Constraint:
        """The schema of the answer: up to ``max_labels`` names of the taxonomy.

        ``uniqueItems`` is missing: no server enforces it and vLLM refuses it; the parser removes repeated labels.
        """
        labels: dict[str, Any] = {
            "type": "array",
            "items": {"type": "string", "enum": list(taxonomy.names)},
            "minItems": 0 if taxonomy.allow_none else 1,
            "maxItems": min(taxonomy.max_labels, len(taxonomy.names)),
        }
        return Constraint(labels, _max_tokens(taxonomy))

    def ask(self, backend: Backend, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        conversations = [prompt(taxonomy, JSON_LIST) for prompt in prompts]
        return [
            _parsed(completion, taxonomy) for completion in backend.generate(conversations, self.constraint(taxonomy))
        ]


def _parsed(completion: Completion, taxonomy: Taxonomy) -> StrategyAnswer:
    if completion.problem:
        return StrategyAnswer(usage=completion.usage, problem=completion.problem)
    answer = read_answer(completion.text, taxonomy, completion.truncated)
    scores = _scores(completion, answer.labels)
    # A label in another spelling than the taxonomy's has no score and comes last.
    labels = tuple(sorted(answer.labels, key=lambda name: -scores.get(name, 0.0)))
    return replace(answer, labels=labels, scores=scores, usage=completion.usage)


def _max_tokens(taxonomy: Taxonomy) -> int:
    """Maximum length of a well-formed answer; in the worst case every byte is a token."""
    sizes = sorted((len(name.encode()) + 4 for name in taxonomy.names), reverse=True)
    return 16 + sum(sizes[: taxonomy.max_labels])


def _scores(completion: Completion, labels: Sequence[str]) -> Mapping[str, float]:
    """The probability of each label's tokens, for labels that are found in the text, best first."""
    text = "".join(token.text for token in completion.tokens)
    scores = {}
    for label in labels:
        written = json.dumps(label, ensure_ascii=False)
        start = text.rfind(written)  # reasoning before the answer may name labels too
        if start >= 0:
            scores[label] = math.exp(min(0.0, _logprob_between(completion, start + 1, start + len(written) - 1)))
    return dict(sorted(scores.items(), key=lambda pair: -pair[1]))


def _logprob_between(completion: Completion, start: int, end: int) -> float:
    """Log-probability of the tokens that overlap a part of the text."""
    total, place = 0.0, 0
    for token in completion.tokens:
        if place < end and place + len(token.text) > start:
            total += token.logprob
        place += len(token.text)
    return total
