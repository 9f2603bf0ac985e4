"""The ``label_likelihood`` strategy: the probability of every label's name as the model's answer is its score.

Small models often choose the right label by its name and the wrong one by its code (``label_tokens``): a 0.5B model
labels 12 of 12 easy sentences correctly by name, 2 of 12 by code (``tests/engines/test_real_model.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

from llm.backends.backend import Backend, LabelScoringBackend, TokenLogprobs
from llm.backends.codes import unreadable
from llm.strategies.scored import normalized
from llm.strategies.strategy import PromptBuilder, Strategy, StrategyAnswer, no_codes
from prompts.taxonomy import Taxonomy
from prompts.template import LABEL_NAME

# Minimum probability of the first tokens of all labels together; below it, the model starts another kind of answer.
LEAST_MASS = 0.05


class LabelLikelihood(Strategy):
    """The scores of a text sum to 1 over the labels and, where the taxonomy allows it, "none of these".

    The length of a name does not count: only the tokens at which names part (``llm.backends.label_trie``).
    """

    name = "label_likelihood"
    answer_format = LABEL_NAME
    corrects_bias = True

    def mutually_exclusive(self, taxonomy: Taxonomy) -> bool:
        return True

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        return _answers(taxonomy)

    def output_tokens(self, taxonomy: Taxonomy) -> int:
        return 1

    def ask(self, backend: Backend, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        if not scores_labels(backend):
            return [StrategyAnswer(problem=no_codes(backend))] * len(prompts)
        conversations = [prompt(taxonomy, LABEL_NAME) for prompt in prompts]
        replies = backend.label_logprobs(conversations, _answers(taxonomy))
        return [_shares(reply, taxonomy) for reply in replies]


def scores_labels(backend: Backend) -> TypeGuard[LabelScoringBackend]:
    """Whether a backend can tell the probability of every label."""
    return isinstance(backend, LabelScoringBackend) and backend.scores_labels


def _answers(taxonomy: Taxonomy) -> list[str]:
    return [*taxonomy.names, *([taxonomy.none_name] if taxonomy.allow_none else [])]


def _shares(logprobs: TokenLogprobs, taxonomy: Taxonomy) -> StrategyAnswer:
    if problem := logprobs.problem or unreadable(logprobs, LEAST_MASS):
        return StrategyAnswer(problem=problem, usage=logprobs.usage)
    shares = normalized(logprobs.logprobs)
    return StrategyAnswer(scores={name: shares[name] for name in taxonomy.names}, usage=logprobs.usage)
