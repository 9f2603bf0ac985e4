"""A language model as a classifier: prompt, backend, strategy and thresholds together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from llm.backends.backend import Backend, Conversation
from llm.classifier import AnswerSource, Prediction, no_text, total_usage
from llm.few_shot import ExampleSelector, examples_digest, no_examples
from llm.strategies import STRATEGIES, best
from llm.strategies.strategy import PromptBuilder, Strategy, StrategyAnswer
from llm.thresholds import LabelThreshold, ThresholdStore
from prompts.answer_format import AnswerFormat, FewShotExample
from prompts.files import digest_of
from prompts.registry import prompt_for
from prompts.taxonomy import Taxonomy
from prompts.template import Prompt
from prompts.text import Text, checked_texts

# Part of every fingerprint. Raise it when the same inputs give other messages, or the same reply other labels.
_VERSION = 7


@dataclass(frozen=True)
class LanguageModel:
    """Classifies texts with a language model.

    Attributes:
        backend: the model.
        strategy: how its output becomes labels and scores; None takes the best that the backend supports
            (``llm.strategies.best``).
        prompt: the prompt; None chooses one per text (``prompts.registry.prompt_for``).
        thresholds: from scores to labels, for strategies that return scores only.
        examples: few-shot examples of each text.
    """

    backend: Backend
    strategy: Strategy | None = None
    prompt: Prompt | None = None
    thresholds: ThresholdStore = field(default_factory=ThresholdStore)
    examples: ExampleSelector = no_examples

    @property
    def name(self) -> str:
        """The model's name."""
        return self.backend.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels come best first where there are scores, else in taxonomy order."""
        originals = checked_texts(texts)
        readable = [text for text in originals if not text.empty]
        strategy = self.strategy_for(taxonomy)
        selected = self.examples(readable, taxonomy)
        prompts = [self._prompt_builder(text, examples) for text, examples in zip(readable, selected, strict=True)]
        answers = iter(self._answers(prompts, taxonomy))
        return [
            self._prediction(
                text, *((StrategyAnswer(problem=no_text(text)), strategy) if text.empty else next(answers)), taxonomy
            )
            for text in originals
        ]

    def fingerprint(self, text: Text, taxonomy: Taxonomy) -> str:
        """Digest of model, prompt, text, few-shot examples, taxonomy, strategy, decoding and threshold.

        No message is rendered.
        """
        strategy, prompt = self.strategy_for(taxonomy), self._prompt(text, taxonomy)
        decoding = dict(self.backend.decoding)  # queries the endpoint for its model, on which the name depends
        everything = [
            _VERSION,
            self.backend.name,
            [asdict(prompt), prompt.digest, text.body.strip(), text.title.strip()],
            examples_digest(self.examples, text, taxonomy),
            asdict(strategy.answer_format),
            taxonomy.digest,
            strategy.name,
            strategy.fingerprint_parts(taxonomy),
            decoding,
            asdict(self.threshold(text, taxonomy)),
        ]
        return digest_of(json.dumps(everything, sort_keys=True))

    def threshold(self, text: Text, taxonomy: Taxonomy) -> LabelThreshold:
        """How the scores of this text become labels."""
        return self.thresholds.get(self.threshold_key(text, taxonomy), self.mutually_exclusive(taxonomy))

    def threshold_key(self, text: Text, taxonomy: Taxonomy) -> str:
        """Key of a learned threshold: model, strategy, prompt and taxonomy."""
        prompt = self._prompt(text, taxonomy)
        return " ".join((self.name, self.strategy_for(taxonomy).name, prompt.name, taxonomy.versioned_name))

    def mutually_exclusive(self, taxonomy: Taxonomy) -> bool:
        """Whether the labels' scores, and that of "none", sum to 1."""
        return self.strategy_for(taxonomy).mutually_exclusive(taxonomy)

    def strategy_for(self, taxonomy: Taxonomy) -> Strategy:
        """The strategy for a taxonomy; checks the backend's capabilities where none is set."""
        return self.strategy or best(self.backend, taxonomy)

    def conversations(self, text: Text, taxonomy: Taxonomy) -> list[Conversation]:
        """Messages that would be sent for a text, one conversation per request, for cost estimates."""
        prompt = self._prompt_builder(text, self.examples([text], taxonomy)[0])
        return self.strategy_for(taxonomy).conversations(self.backend, prompt, taxonomy)

    def decode_rule(self, text: Text, taxonomy: Taxonomy) -> str:
        """How an answer about this text becomes labels, in words."""
        strategy = self.strategy_for(taxonomy)
        if strategy.returns_labels:
            return f"{strategy.name}: the labels written, at most {taxonomy.max_labels}"
        return f"{strategy.name}: {self.threshold(text, taxonomy).rule(taxonomy, self.mutually_exclusive(taxonomy))}"

    def _answers(self, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[tuple[StrategyAnswer, Strategy]]:
        """The answers, each with the strategy that read it.

        A model whose first token is not a code (a reasoning model) is unreadable to the strategy that ``auto`` chose.
        Those texts are sent again with ``json_list``.
        """
        strategy = self.strategy_for(taxonomy)
        answers = [(answer, strategy) for answer in (strategy.ask(self.backend, prompts, taxonomy) if prompts else [])]
        failed_predictions = [
            place
            for place, (answer, _) in enumerate(answers)
            if answer.problem is not None and answer.problem.kind == "unreadable"
        ]
        if self.strategy or strategy.returns_labels or not failed_predictions:
            return answers
        json_list = STRATEGIES["json_list"]
        second = json_list.ask(self.backend, [prompts[place] for place in failed_predictions], taxonomy)
        for place, answer in zip(failed_predictions, second, strict=True):
            usage = total_usage([answers[place][0].usage, answer.usage])
            answers[place] = replace(answer, usage=usage), json_list
        return answers

    def _prompt_builder(self, text: Text, examples: Sequence[FewShotExample]) -> PromptBuilder:
        def build(taxonomy: Taxonomy, answer_format: AnswerFormat) -> Conversation:
            return self._prompt(text, taxonomy).render(text, taxonomy, answer_format, examples)

        return build

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
        threshold = self.threshold(text, taxonomy)
        scores = threshold.adjusted(answer.scores, mutually_exclusive)
        return replace(prediction, labels=threshold.choose(scores, taxonomy, mutually_exclusive), scores=scores)

    def _prompt(self, text: Text, taxonomy: Taxonomy) -> Prompt:
        return self.prompt or prompt_for(text, taxonomy)
