"""A language model as a classifier: prompt, few-shot examples, backend, strategy and thresholds together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from llm.backends.backend import Backend, Conversation
from llm.calibration.bias import BIAS_VERSION, LEAST_LABELS, NEUTRAL_TEXTS, BiasEstimates
from llm.calibration.thresholds import LabelThreshold, ThresholdStore
from llm.classifier import AnswerSource, Prediction, Problem, ScoreType, no_text, total_usage
from llm.few_shot import ExampleSelector, examples_digest, examples_kind, no_examples
from llm.strategies import STRATEGIES, best
from llm.strategies.strategy import PromptBuilder, Strategy, StrategyAnswer
from prompts.files import digest_of
from prompts.instructions import instructed
from prompts.registry import prompt_for
from prompts.taxonomy import Taxonomy
from prompts.template import AnswerFormat, FewShotExample, Prompt
from prompts.text import Text, checked_texts
from prompts.variants import Candidates, Variant

# Part of every fingerprint. Raise it when the same inputs give other messages, or the same reply other labels.
_VERSION = 9


@dataclass(frozen=True)
class LanguageModel:
    """Classifies texts with a language model."""

    backend: Backend  # the model
    # How its output becomes labels and scores; None takes the best that the backend supports
    # (``llm.strategies.best``).
    strategy: Strategy | None = None
    prompt: Prompt | None = None  # the prompt; None chooses one per text (``prompts.registry.prompt_for``)
    # From scores to labels, for strategies that return scores only.
    thresholds: ThresholdStore = field(default_factory=ThresholdStore)
    examples: ExampleSelector = no_examples  # few-shot examples of each text
    # Corrects the model's bias towards labels where no threshold is learned; None does not.
    bias: BiasEstimates | None = None
    instructions: str = ""  # of the request; they follow those of the prompt

    @property
    def name(self) -> str:
        return self.backend.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels come best first where there are scores, else in taxonomy order."""
        originals = checked_texts(texts)
        readable = [text for text in originals if not text.empty]
        empty = (
            (StrategyAnswer(problem=no_text(text)), self.strategy_for(taxonomy)) for text in originals if text.empty
        )
        selected = self.examples(readable, taxonomy)
        prompts = [self._prompt_builder(text, examples) for text, examples in zip(readable, selected, strict=True)]
        answers = iter(self._answers(prompts, taxonomy))
        return [self._prediction(text, *next(empty if text.empty else answers), taxonomy) for text in originals]

    def fingerprint(self, text: Text, taxonomy: Taxonomy) -> str:
        """Digest of model, prompt, text, examples, taxonomy, strategy, decoding and threshold; renders no message."""
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
            self.threshold(text, taxonomy).parts,
            BIAS_VERSION if self._corrects_bias(text, taxonomy) else 0,
        ]
        return digest_of(json.dumps(everything, sort_keys=True))

    def threshold(self, text: Text, taxonomy: Taxonomy) -> LabelThreshold:
        """How the scores of this text become labels."""
        return self.thresholds.get(self.threshold_key(text, taxonomy), self.mutually_exclusive(taxonomy))

    def threshold_key(self, text: Text, taxonomy: Taxonomy) -> str:
        """Key of a learned threshold: model, strategy, prompt, kind of examples, and taxonomy.

        A shortlist offers a part of the taxonomy, and ``OrderEnsemble`` another order.
        """
        prompt = " ".join([self._prompt(text, taxonomy).name, *examples_kind(self.examples, taxonomy)])
        labels = taxonomy.whole if isinstance(taxonomy, Variant) else taxonomy.versioned_name
        return " ".join((self.name, self.strategy_for(taxonomy).name, prompt, labels))

    def bias_offsets(self, text: Text, taxonomy: Taxonomy) -> Mapping[str, float] | Problem:
        """Offsets that correct the bias towards labels for this text, or why there are none; empty: not corrected."""
        return self._bias(text, taxonomy) if self._corrects_bias(text, taxonomy) else {}

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

    def source(self, text: Text, taxonomy: Taxonomy) -> AnswerSource:
        """The source of an answer about this text."""
        return self._source(text, self.strategy_for(taxonomy), taxonomy)

    def decode_rule(self, text: Text, taxonomy: Taxonomy) -> str:
        """How an answer about this text becomes labels, in words."""
        strategy = self.strategy_for(taxonomy)
        if strategy.returns_labels:
            return f"{strategy.name}: the labels written, at most {taxonomy.max_labels}"
        corrected = ", bias corrected by neutral texts" if self._corrects_bias(text, taxonomy) else ""
        rule = self.threshold(text, taxonomy).rule(taxonomy, self.mutually_exclusive(taxonomy))
        return f"{strategy.name}: {rule}{corrected}"

    def _answers(self, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[tuple[StrategyAnswer, Strategy]]:
        """The answers, each with the strategy that read it.

        A model whose first token is not a code (a reasoning model) is unreadable to the strategy that ``auto`` chose.
        Those texts are sent again with ``json_list``.
        """
        strategy = self.strategy_for(taxonomy)
        answers = [(answer, strategy) for answer in (strategy.ask(self.backend, prompts, taxonomy) if prompts else [])]
        unreadable = [i for i, (one, _) in enumerate(answers) if one.problem and one.problem.kind == "unreadable"]
        if self.strategy or strategy.returns_labels or not unreadable:
            return answers
        json_list = STRATEGIES["json_list"]
        second = json_list.ask(self.backend, [prompts[place] for place in unreadable], taxonomy)
        for place, answer in zip(unreadable, second, strict=True):
            usage = total_usage([answers[place][0].usage, answer.usage])
            answers[place] = replace(answer, usage=usage), json_list
        return answers

    def _prompt_builder(self, text: Text, examples: Sequence[FewShotExample]) -> PromptBuilder:
        def build(taxonomy: Taxonomy, answer_format: AnswerFormat) -> Conversation:
            return self._prompt(text, taxonomy).render(text, taxonomy, answer_format, examples)

        return build

    def _prediction(self, text: Text, answer: StrategyAnswer, strategy: Strategy, taxonomy: Taxonomy) -> Prediction:
        source = self._source(text, strategy, taxonomy)
        mutually_exclusive = strategy.mutually_exclusive(taxonomy)
        score_type: ScoreType | None = ("share" if mutually_exclusive else "probability") if answer.scores else None
        known = (answer.problem, answer.dropped, answer.usage)
        prediction = Prediction(answer.labels, source, answer.scores, *known, score_type=score_type)
        if strategy.returns_labels or answer.problem:
            return prediction
        threshold, offsets = self.threshold(text, taxonomy), self.bias_offsets(text, taxonomy)
        if isinstance(offsets, Problem):
            return replace(prediction, scores={}, score_type=None, problem=offsets)
        if offsets:
            threshold = replace(threshold, logit_offsets=offsets)
        scores = threshold.adjusted(answer.scores, mutually_exclusive)
        labels = threshold.choose(scores, taxonomy, mutually_exclusive)
        score_type = "probability" if threshold.separate else score_type
        return replace(prediction, labels=labels, scores=scores, score_type=score_type)

    def _source(self, text: Text, strategy: Strategy, taxonomy: Taxonomy) -> AnswerSource:
        prompt = self._prompt(text, taxonomy).versioned_name
        return AnswerSource(self.name, taxonomy.versioned_name, prompt, strategy.name)

    def _corrects_bias(self, text: Text, taxonomy: Taxonomy) -> bool:
        """Whether the bias is estimated: for one of three or more labels, nothing learned, no shortlist."""
        if (
            self.bias is None
            or taxonomy.multi
            or isinstance(taxonomy, Candidates)
            or len(taxonomy.names) < LEAST_LABELS
        ):
            return False
        return self.strategy_for(taxonomy).corrects_bias and not self.threshold(text, taxonomy).logit_offsets

    def _bias(self, text: Text, taxonomy: Taxonomy) -> Mapping[str, float] | Problem:
        """The offsets against the bias under the prompt of a text; the model answers about neutral texts once."""
        strategy, prompt = self.strategy_for(taxonomy), self._prompt(text, taxonomy)
        model = replace(self, strategy=strategy, prompt=prompt, bias=None, instructions="")
        key = model.fingerprint(NEUTRAL_TEXTS[0], taxonomy)

        def ask() -> list[StrategyAnswer]:
            examples = self.examples(NEUTRAL_TEXTS, taxonomy)
            pairs = zip(NEUTRAL_TEXTS, examples, strict=True)
            return strategy.ask(self.backend, [model._prompt_builder(one, shown) for one, shown in pairs], taxonomy)

        assert self.bias is not None
        return self.bias.offsets(key, ask, taxonomy)

    def _prompt(self, text: Text, taxonomy: Taxonomy) -> Prompt:
        prompt = self.prompt or prompt_for(text, taxonomy)
        return instructed(prompt, self.instructions) if self.instructions else prompt
