"""TypeSafe's System One API (``/v1/systemone``) for endpoints that have it in place of OpenAI's Decisions API.

Questions and answers are translated from and to the shapes of the Decisions API. Source: the package ``typesafe-sdk``
and vLLM's ``entrypoints/generate/structured_decisions``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llm.backends.backend import Conversation

Fields = Mapping[str, Any]

_ROUNDING = 1e-6  # sums of probabilities in float32


def request_fields(conversation: Conversation, questions: Sequence[Fields]) -> dict[str, Any]:
    """The members ``state`` and ``questions`` of a request; questions are named by their position."""
    return {
        "state": _state(conversation),
        "questions": {_name(place): _question(question) for place, question in enumerate(questions)},
    }


def as_decisions(reply: Any, questions: Sequence[Fields]) -> Any:
    """A reply in the shape of the Decisions API; a question without an answer is refused.

    Anything that is not a reply is returned unchanged.
    """
    answers = reply.get("answers") if isinstance(reply, Mapping) else None
    if not isinstance(answers, Mapping):
        return reply
    found = [_answer(question, answers.get(_name(place))) for place, question in enumerate(questions)]
    return {**reply, "answers": found}


def confidence(probabilities: Iterable[float]) -> float:
    """1 less the normalised entropy: 0 if all options are equally probable, 1 if one is certain."""
    shares = list(probabilities)
    entropy = -sum(one * math.log(one) for one in shares if one > 0)
    return min(1.0, max(0.0, 1 - entropy / math.log(len(shares)))) if len(shares) > 1 else 1.0


def share(value: Any) -> float:
    """A probability as an endpoint sends it, without the rounding error of its sums.

    Raises:
        ValueError: it is no number from 0 to 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_ROUNDING <= value <= 1 + _ROUNDING:
        raise ValueError(f"{value!r} is no probability")
    return min(1.0, max(0.0, float(value)))


def _name(place: int) -> str:
    return f"q{place}"


def _state(conversation: Conversation) -> str:
    """The messages as one text; each of several starts with its role."""
    if len(conversation) == 1:
        return conversation[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in conversation)


def _question(question: Fields) -> Fields:
    instructions = _text(question["instructions"])
    if question["type"] == "choice":
        criteria: Any = {_key(one["value"]): one.get("description") or None for one in question["choices"]}
        return {"type": "choice", "instructions": instructions, "criteria": criteria}
    if question["type"] == "score":
        criteria = [": ".join(filter(None, (one["label"], one.get("description")))) for one in question["levels"]]
        return {"type": "score", "instructions": instructions, "criteria": criteria}
    return {"type": "noul", "instructions": instructions}


def _text(instructions: str | Sequence[Fields]) -> str:
    if isinstance(instructions, str):
        return instructions
    return "\n".join(
        json.dumps(part["data"], ensure_ascii=False) if part["type"] == "input_json" else part["text"]
        for part in instructions
    )


def _key(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _answer(question: Fields, answer: Any) -> Fields:
    """The answer in the shape of the Decisions API; values that cannot be read make it a refusal."""
    name = {"name": question.get("name")}
    try:
        if question["type"] == "predicate":
            return {"type": "predicate", "probability": share(answer["noul"]), **name}
        shares = {str(key): share(value) for key, value in answer["probabilities"].items()}
        certainty = share(answer["confidence"]) if answer.get("confidence") is not None else confidence(shares.values())
        found = _choice(question, answer, shares) if question["type"] == "choice" else _score(question, answer, shares)
    except (KeyError, TypeError, ValueError, AttributeError):
        return {"type": "refusal", **name}
    return {"type": question["type"], "confidence": certainty, **found, **name}


def _choice(question: Fields, answer: Fields, shares: Mapping[str, float]) -> Fields:
    values = {_key(one["value"]): one["value"] for one in question["choices"]}
    probabilities = [{"value": value, "probability": shares[key]} for key, value in values.items()]
    return {"choice": values[answer["choice"]], "probabilities": probabilities}


def _score(question: Fields, answer: Fields, shares: Mapping[str, float]) -> Fields:
    probabilities = [
        {"label": level["label"], "value": place, "probability": shares[str(place)]}
        for place, level in enumerate(question["levels"])
    ]
    return {"score": float(answer["score"]), "probabilities": probabilities}
