"""What a request chose and an answer did not use: said in the answer, so that nothing is ignored silently."""

from __future__ import annotations

from llm.classifier import Prediction
from llm.strategies.registry import AUTO
from marquee.factory import RequestOptions

_EMBEDDED = "embedded/"


def notes_of(choice: RequestOptions, prediction: Prediction) -> list[str]:
    """One sentence for each choice that had no effect on an answer.

    Only a language model has a strategy and a prompt; the embedded classifier and trained ones answer without, also
    where they replace one.
    """
    source = prediction.source
    if prediction.problem is not None:
        return []
    who = "the embedded classifier" if source.model.startswith(_EMBEDDED) else source.model
    ignored = []
    if choice.strategy not in (None, AUTO) and source.strategy is None:
        ignored.append(f"strategy {choice.strategy!r} is ignored: {who} answers")
    if choice.prompt is not None and source.prompt is None:
        ignored.append(f"prompt {choice.prompt.name!r} is ignored: {who} answers")
    return ignored
