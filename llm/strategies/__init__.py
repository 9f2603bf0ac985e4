"""Strategies: how labels are obtained from a language model. Their registry, and the choice of ``auto``."""

from __future__ import annotations

from collections.abc import Mapping

from llm.backends.backend import Backend
from llm.strategies.json_list import JSONList
from llm.strategies.label_likelihood import LabelLikelihood, scores_labels
from llm.strategies.scored import DecisionsAPI, LabelTokens, YesNo
from llm.strategies.strategy import Strategy
from prompts.errors import UnknownName
from prompts.taxonomy import Taxonomy

AUTO = "auto"


def named(name: str) -> Strategy | None:
    """The strategy of that name; None for ``auto``.

    Raises:
        UnknownName: there is none.
    """
    if name == AUTO:
        return None
    if name not in STRATEGIES:
        raise UnknownName("strategy", name, [AUTO, *STRATEGIES])
    return STRATEGIES[name]


def best(backend: Backend, taxonomy: Taxonomy) -> Strategy:
    """The strategy that ``auto`` chooses, by the measurements in ``docs/strategies.md``.

    ``label_likelihood`` where the backend can score labels, else ``json_list``. Where the endpoint cannot restrict a
    list to the taxonomy either: ``label_tokens`` or, for several labels, ``yes_no``. Models whose first token is not an
    answer (reasoning models): ``json_list``.
    """
    if backend.answers_directly and scores_labels(backend):
        return STRATEGIES["label_likelihood"]
    if not backend.enforces_schema and backend.code_limit >= 2 and backend.answers_directly:
        return STRATEGIES["yes_no" if taxonomy.multi else "label_tokens"]
    return STRATEGIES["json_list"]


STRATEGIES: Mapping[str, Strategy] = {
    strategy.name: strategy for strategy in (JSONList(), LabelLikelihood(), LabelTokens(), YesNo(), DecisionsAPI())
}
