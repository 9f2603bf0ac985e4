"""Falling back: only from an outage, and never in disguise."""

from pathlib import Path

import pytest

from llm.backends.backend import FakeBackend
from llm.classifier import Problem, ProblemKind
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from llm.wrappers.cache import AnswerStore, Cached
from llm.wrappers.combined import Fallback
from prompts import registry

TMDB = registry.taxonomy("tmdb")


def scripted(name: str, answer: str = '["War"]', down: ProblemKind | None = None) -> LanguageModel:
    def reply(conversation: object) -> str | Problem:
        return Problem(down, "down") if down and "fine" not in str(conversation) else answer

    return LanguageModel(FakeBackend(reply, name), JSONList())


@pytest.mark.parametrize("kind", ["unreachable", "busy"])
def test_an_outage_is_bridged_by_the_second_who_says_so(kind: ProblemKind) -> None:
    both = Fallback(scripted("large", down=kind), scripted("small", '["Drama"]'))
    lost, fine = both.classify(["a plot", "fine"], TMDB)
    assert (lost.labels, lost.source.model) == (("Drama",), "small")
    assert (fine.labels, fine.source.model) == (("War",), "large")


@pytest.mark.parametrize("kind", ["misconfigured", "rejected", "too_long", "unreadable"])
def test_other_problems_stay_problems(kind: ProblemKind) -> None:
    (prediction,) = Fallback(scripted("large", down=kind), scripted("small")).classify(["a plot"], TMDB)
    assert prediction.problem == Problem(kind, "down")


def test_an_outages_answers_are_not_remembered_as_the_models(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "c")
    small = scripted("small", '["Drama"]')
    Fallback(Cached(scripted("large", down="unreachable"), store), small).classify(["a plot"], TMDB)
    (back,) = Fallback(Cached(scripted("large"), store), small).classify(["a plot"], TMDB)
    assert (back.labels, back.source.model, back.cached) == (("War",), "large", False)
