"""Which strategy to use: the one named, or the best that the model allows for a taxonomy."""

from __future__ import annotations

from collections.abc import Mapping

from llm.backends.backend import Backend
from llm.strategies.decisions_api import DecisionsAPI
from llm.strategies.json_list import JSONList
from llm.strategies.label_tokens import LabelTokens
from llm.strategies.strategy import Strategy
from llm.strategies.yes_no import YesNo
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

    Few labels of which one applies: its probability in one token. Several labels: the list, whose length the model
    chooses, or single questions where the endpoint cannot constrain the list to the taxonomy. A model whose first token
    is no answer (a reasoning model) is read as a list.
    """
    is_read_by_code = not taxonomy.multi or not backend.enforces_schema
    if is_read_by_code and backend.code_limit >= 2 and backend.answers_directly:
        return STRATEGIES["yes_no" if taxonomy.multi else "label_tokens"]
    return STRATEGIES["json_list"]


STRATEGIES: Mapping[str, Strategy] = {
    strategy.name: strategy for strategy in (JSONList(), LabelTokens(), YesNo(), DecisionsAPI())
}
