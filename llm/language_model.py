"""A language model as a classifier: prompt, engine, reading and decision put together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from llm.backends.backend import Backend, Conversation
from llm.classifier import AnswerSource, Prediction, label_source, no_text
from llm.few_shot import Shots, no_shots, shots_digest
from llm.strategies.label_tokens import divided, most_codes
from llm.strategies.registry import READINGS, best
from llm.strategies.strategy import Render, Strategy, StrategyAnswer, add_usage
from llm.thresholds import LabelThreshold, ThresholdStore
from prompts.answer_format import AnswerFormat, FewShotExample
from prompts.files import digest_of
from prompts.registry import prompt_for
from prompts.taxonomy import Taxonomy
from prompts.template import Prompt
from prompts.text import Text, checked_texts

# In every fingerprint. Raise it where the same inputs come to other messages, or the same reply to other labels.
_VERSION = 6


@dataclass(frozen=True)
class LanguageModel:
    """Asks an engine about texts.

    Attributes:
        engine: the model.
        reading: how its words or probabilities become labels and scores; None takes the best that the engine allows
            (``readings.choice.best``).
        prompt: the prompt to use; None chooses per text by what it is (``prompts.registry.prompt_for``).
        decisions: how scores become labels, for readings that leave it open.
        shots: labelled examples to show before each text.
    """

    engine: Backend
    reading: Strategy | None = None
    prompt: Prompt | None = None
    decisions: ThresholdStore = field(default_factory=ThresholdStore)
    shots: Shots = no_shots

    @property
    def name(self) -> str:
        """The model's name."""
        return self.engine.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels come best first where there are scores, else in vocabulary order."""
        originals = checked_texts(texts)
        readable = [text for text in originals if not text.empty]
        reading = self._reading(taxonomy)
        renders = [
            self._render(text, shots) for text, shots in zip(readable, self.shots(readable, taxonomy), strict=True)
        ]
        answers = iter(self._ask(renders, taxonomy))
        return [
            self._prediction(
                text, *((StrategyAnswer(problem=no_text(text)), reading) if text.empty else next(answers)), taxonomy
            )
            for text in originals
        ]

    def fingerprint(self, text: Text, taxonomy: Taxonomy) -> str:
        """Digest of all that the messages and the answer are made from: model, prompt, text, few-shot examples,
        vocabulary, reading, decoding and decision. No message is rendered for it."""
        reading, prompt = self._reading(taxonomy), self._prompt(text, taxonomy)
        decoding = dict(self.engine.decoding)  # finds out which model answers, on which the name depends
        everything = [
            _VERSION,
            self.engine.name,
            [asdict(prompt), prompt.digest, text.body.strip(), text.title.strip()],
            shots_digest(self.shots, text, taxonomy),
            asdict(reading.question()),
            taxonomy.digest,
            reading.name,
            reading.essence(taxonomy),
            decoding,
            asdict(self.decision(text, taxonomy)),
        ]
        return digest_of(json.dumps(everything, sort_keys=True))

    def decision(self, text: Text, taxonomy: Taxonomy) -> LabelThreshold:
        """How scores of this text become labels."""
        return self.decisions.of(self.decision_key(text, taxonomy), self.competing(taxonomy))

    def competing(self, taxonomy: Taxonomy) -> bool:
        """Whether the labels' scores, and what "none" has, sum to 1."""
        return self._reading(taxonomy).competing(taxonomy)

    def decision_key(self, text: Text, taxonomy: Taxonomy) -> str:
        """Under which name a learnt decision is kept."""
        reading, prompt = self._reading(taxonomy), self._prompt(text, taxonomy)
        return " ".join((self.name, reading.name, prompt.name, label_source(taxonomy)))

    def reading_name(self, taxonomy: Taxonomy) -> str:
        """Name of the reading that is used for a vocabulary; finds out what the engine allows where none is set."""
        return self._reading(taxonomy).name

    def conversations(self, text: Text, taxonomy: Taxonomy) -> list[Conversation]:
        """What would be sent for a text, one conversation per request, for telling in advance what asking costs; of
        ``letters`` over more labels than there are codes, the heats, since their answers make the final."""
        reading, render = self._reading(taxonomy), self._render(text, self.shots([text], taxonomy)[0])
        if reading.name == "letters":
            limit = max(2, most_codes(self.engine, taxonomy))
            return [render(heat, reading.question()) for heat in divided(taxonomy, limit)]
        if reading.name == "yes_no":
            return [render(taxonomy, replace(reading.question(), label=label)) for label in taxonomy.predictable]
        return [render(taxonomy, reading.question())]

    def decode_rule(self, text: Text, taxonomy: Taxonomy) -> str:
        """How an answer about this text becomes labels, in words."""
        reading = self._reading(taxonomy)
        if reading.decides:
            return f"{reading.name}: the labels written, at most {taxonomy.max_labels}"
        return f"{reading.name}: {self.decision(text, taxonomy).rule(taxonomy, self.competing(taxonomy))}"

    def _reading(self, taxonomy: Taxonomy) -> Strategy:
        return self.reading or best(self.engine, taxonomy)

    def _ask(self, renders: Sequence[Render], taxonomy: Taxonomy) -> list[tuple[StrategyAnswer, Strategy]]:
        """The answers, each with the reading that gave it.

        A model that starts with other words than codes (a reasoning model) is unreadable to the reading that ``auto``
        chose; its words are then read as a list, text by text.
        """
        reading = self._reading(taxonomy)
        answers = [(answer, reading) for answer in (reading.ask(self.engine, renders, taxonomy) if renders else [])]
        again = [place for place, (answer, _) in enumerate(answers) if _unreadable(answer)]
        if self.reading or reading.decides or not again:
            return answers
        written = READINGS["list"]
        listed = written.ask(self.engine, [renders[place] for place in again], taxonomy)
        for place, answer in zip(again, listed, strict=True):
            usage = add_usage([answers[place][0].usage, answer.usage])
            answers[place] = replace(answer, usage=usage), written
        return answers

    def _render(self, text: Text, shots: Sequence[FewShotExample]) -> Render:
        def render(taxonomy: Taxonomy, question: AnswerFormat) -> Conversation:
            return self._prompt(text, taxonomy).render(text, taxonomy, question, shots)

        return render

    def _prediction(self, text: Text, answer: StrategyAnswer, reading: Strategy, taxonomy: Taxonomy) -> Prediction:
        prompt = self._prompt(text, taxonomy)
        source = AnswerSource(self.name, label_source(taxonomy), f"{prompt.name}@{prompt.digest}", reading.name)
        competing = reading.competing(taxonomy)
        prediction = Prediction(
            answer.labels,
            source,
            answer.scores,
            answer.problem,
            answer.dropped,
            answer.usage,
            answer.label_mass,
            score_type=("share" if competing else "probability") if answer.scores else None,
        )
        if reading.decides or answer.problem:
            return prediction
        decision = self.decision(text, taxonomy)
        scores = decision.adjusted(answer.scores, competing)
        return replace(prediction, labels=decision.choose(scores, taxonomy, competing), scores=scores)

    def _prompt(self, text: Text, taxonomy: Taxonomy) -> Prompt:
        return self.prompt or prompt_for(text, taxonomy)


def _unreadable(answer: StrategyAnswer) -> bool:
    return answer.problem is not None and answer.problem.kind == "unreadable"
