"""A language model as a classifier: prompt, backend, strategy and decision put together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from llm.backends.backend import Backend, Conversation
from llm.classifier import AnswerSource, Prediction, no_text
from llm.few_shot import Shots, no_shots, shots_digest
from llm.strategies.label_tokens import chunk_labels, most_codes
from llm.strategies.registry import STRATEGIES, best
from llm.strategies.strategy import Render, Strategy, StrategyAnswer, add_usage
from llm.thresholds import LabelThreshold, ThresholdStore
from prompts.answer_format import AnswerFormat, FewShotExample
from prompts.files import digest_of
from prompts.registry import prompt_for
from prompts.taxonomy import Taxonomy
from prompts.template import Prompt
from prompts.text import Text, checked_texts

# In every fingerprint. Raise it where the same inputs come to other messages, or the same reply to other labels.
_VERSION = 7


@dataclass(frozen=True)
class LanguageModel:
    """Asks a backend about texts.

    Attributes:
        backend: the model.
        strategy: how its words or probabilities become labels and scores; None takes the best that the backend allows
            (``strategies.choice.best``).
        prompt: the prompt to use; None chooses per text by what it is (``prompts.registry.prompt_for``).
        decisions: how scores become labels, for strategies that leave it open.
        shots: labelled examples to show before each text.
    """

    backend: Backend
    strategy: Strategy | None = None
    prompt: Prompt | None = None
    decisions: ThresholdStore = field(default_factory=ThresholdStore)
    shots: Shots = no_shots

    @property
    def name(self) -> str:
        """The model's name."""
        return self.backend.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels come best first where there are scores, else in taxonomy order."""
        originals = checked_texts(texts)
        readable = [text for text in originals if not text.empty]
        strategy = self._strategy(taxonomy)
        renders = [
            self._render(text, shots) for text, shots in zip(readable, self.shots(readable, taxonomy), strict=True)
        ]
        answers = iter(self._ask(renders, taxonomy))
        return [
            self._prediction(
                text, *((StrategyAnswer(problem=no_text(text)), strategy) if text.empty else next(answers)), taxonomy
            )
            for text in originals
        ]

    def fingerprint(self, text: Text, taxonomy: Taxonomy) -> str:
        """Digest of all that messages and answer depend on; no message is rendered.

        That is: model, prompt, text, few-shot examples, taxonomy, strategy, decoding and threshold.
        """
        strategy, prompt = self._strategy(taxonomy), self._prompt(text, taxonomy)
        decoding = dict(self.backend.decoding)  # finds out which model answers, on which the name depends
        everything = [
            _VERSION,
            self.backend.name,
            [asdict(prompt), prompt.digest, text.body.strip(), text.title.strip()],
            shots_digest(self.shots, text, taxonomy),
            asdict(strategy.question()),
            taxonomy.digest,
            strategy.name,
            strategy.fingerprint_parts(taxonomy),
            decoding,
            asdict(self.decision(text, taxonomy)),
        ]
        return digest_of(json.dumps(everything, sort_keys=True))

    def decision(self, text: Text, taxonomy: Taxonomy) -> LabelThreshold:
        """How scores of this text become labels."""
        return self.decisions.of(self.decision_key(text, taxonomy), self.mutually_exclusive(taxonomy))

    def mutually_exclusive(self, taxonomy: Taxonomy) -> bool:
        """Whether the labels' scores, and what "none" has, sum to 1."""
        return self._strategy(taxonomy).mutually_exclusive(taxonomy)

    def decision_key(self, text: Text, taxonomy: Taxonomy) -> str:
        """Under which name a learnt decision is kept."""
        strategy, prompt = self._strategy(taxonomy), self._prompt(text, taxonomy)
        return " ".join((self.name, strategy.name, prompt.name, taxonomy.versioned_name))

    def strategy_name(self, taxonomy: Taxonomy) -> str:
        """Name of the strategy that is used for a taxonomy; finds out what the backend allows where none is set."""
        return self._strategy(taxonomy).name

    def conversations(self, text: Text, taxonomy: Taxonomy) -> list[Conversation]:
        """Messages that would be sent for a text, one conversation per request, for cost estimates.

        For ``label_tokens`` over more labels than there are codes, the chunks only: their answers determine the final.
        """
        strategy, render = self._strategy(taxonomy), self._render(text, self.shots([text], taxonomy)[0])
        if strategy.name == "label_tokens":
            limit = max(2, most_codes(self.backend, taxonomy))
            return [render(chunk, strategy.question()) for chunk in chunk_labels(taxonomy, limit)]
        if strategy.name == "yes_no":
            return [render(taxonomy, replace(strategy.question(), label=label)) for label in taxonomy.predictable]
        return [render(taxonomy, strategy.question())]

    def decode_rule(self, text: Text, taxonomy: Taxonomy) -> str:
        """How an answer about this text becomes labels, in words."""
        strategy = self._strategy(taxonomy)
        if strategy.returns_labels:
            return f"{strategy.name}: the labels written, at most {taxonomy.max_labels}"
        return f"{strategy.name}: {self.decision(text, taxonomy).rule(taxonomy, self.mutually_exclusive(taxonomy))}"

    def _strategy(self, taxonomy: Taxonomy) -> Strategy:
        return self.strategy or best(self.backend, taxonomy)

    def _ask(self, renders: Sequence[Render], taxonomy: Taxonomy) -> list[tuple[StrategyAnswer, Strategy]]:
        """The answers, each with the strategy that gave it.

        A model that starts with other words than codes (a reasoning model) is unreadable to the strategy that ``auto``
        chose; its words are then read as a list, text by text.
        """
        strategy = self._strategy(taxonomy)
        answers = [(answer, strategy) for answer in (strategy.ask(self.backend, renders, taxonomy) if renders else [])]
        again = [place for place, (answer, _) in enumerate(answers) if _unreadable(answer)]
        if self.strategy or strategy.returns_labels or not again:
            return answers
        written = STRATEGIES["json_list"]
        listed = written.ask(self.backend, [renders[place] for place in again], taxonomy)
        for place, answer in zip(again, listed, strict=True):
            usage = add_usage([answers[place][0].usage, answer.usage])
            answers[place] = replace(answer, usage=usage), written
        return answers

    def _render(self, text: Text, shots: Sequence[FewShotExample]) -> Render:
        def render(taxonomy: Taxonomy, question: AnswerFormat) -> Conversation:
            return self._prompt(text, taxonomy).render(text, taxonomy, question, shots)

        return render

    def _prediction(self, text: Text, answer: StrategyAnswer, strategy: Strategy, taxonomy: Taxonomy) -> Prediction:
        prompt = self._prompt(text, taxonomy)
        source = AnswerSource(self.name, taxonomy.versioned_name, prompt.versioned_name, strategy.name)
        mutually_exclusive = strategy.mutually_exclusive(taxonomy)
        prediction = Prediction(
            answer.labels,
            source,
            answer.scores,
            answer.problem,
            answer.dropped,
            answer.usage,
            score_type=("share" if mutually_exclusive else "probability") if answer.scores else None,
        )
        if strategy.returns_labels or answer.problem:
            return prediction
        decision = self.decision(text, taxonomy)
        scores = decision.adjusted(answer.scores, mutually_exclusive)
        return replace(prediction, labels=decision.choose(scores, taxonomy, mutually_exclusive), scores=scores)

    def _prompt(self, text: Text, taxonomy: Taxonomy) -> Prompt:
        return self.prompt or prompt_for(text, taxonomy)


def _unreadable(answer: StrategyAnswer) -> bool:
    return answer.problem is not None and answer.problem.kind == "unreadable"
