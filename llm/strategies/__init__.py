"""Strategies: how labels are obtained from a language model. Their registry, and the choice of ``auto``."""

from __future__ import annotations

from collections.abc import Mapping

from llm.backends.backend import Backend
from llm.strategies.json_list import JSONList
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
    """The strategy that ``auto`` chooses.

    One label per text: ``label_tokens``. Several labels: ``json_list``, or ``yes_no`` where the endpoint cannot
    restrict a list to the taxonomy. Models whose first token is not an answer (reasoning models): ``json_list``.
    """
    uses_codes = not taxonomy.multi or not backend.enforces_schema
    if uses_codes and backend.code_limit >= 2 and backend.answers_directly:
        return STRATEGIES["yes_no" if taxonomy.multi else "label_tokens"]
    return STRATEGIES["json_list"]


STRATEGIES: Mapping[str, Strategy] = {
    strategy.name: strategy for strategy in (JSONList(), LabelTokens(), YesNo(), DecisionsAPI())
}
