"""The ``json_list`` strategy: the model writes a JSON list of labels; a schema restricts it to the taxonomy.

The order of the list is not used as a ranking: constrained decoding favours the front of the taxonomy (arXiv
2505.17510). Labels are ordered by their scores, or by the taxonomy where there are none.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llm.backends.backend import Backend, Completion, Constraint
from llm.backends.reasoning import without_reasoning
from llm.classifier import Problem
from llm.strategies.json_repair import ParsedValue, json_values
from llm.strategies.label_values import as_requested, from_value, is_one_label
from llm.strategies.plain_words import known, listed, means_nothing, negates, refuses, said_with_more
from llm.strategies.strategy import PromptBuilder, Strategy, StrategyAnswer
from prompts.taxonomy import Taxonomy
from prompts.template import JSON_LIST
from prompts.text import without_lone_surrogates

_FENCE = re.compile(r"```[\w-]*")
_ENTITY = re.compile(r"&(?:#\d{1,6}|#x[\da-fA-F]{1,5}|[a-zA-Z]{2,8});")
_BARE_QUOTE = re.compile(r'(?<!\\)"')
_INLINE_TAG = re.compile(r"(?i)</?(?:b|i|u|em|strong|span|code|mark)>")
_BLOCK_TAG = re.compile(
    r"(?i)</?(?:ul|ol|li|p|div|br|items?|tr|td|table|tbody|\w*(?:label|genre|tag|categor|class)\w*)\s*/?>"
)
_SAID_OF_VALUE = re.compile(r"(?i)\W{0,3}(?:was|were|is|are|would|does|did|do|has|have|had|might|could|can|but)\b")
# Between two answers: nothing that makes the second one final, or another turn of a conversation that goes on.
_BESIDE = re.compile(r"(?i)(?:[ \t,;&|/.]|and|or)*")
_NEXT_TURN = re.compile(
    r"(?i)(?:\A|\n)[^\w\n]{0,8}(?:user|human|assistant|model|instruction|input|text|plot)\b[^\w\n]{0,8}[:\n]"
)
_SAID_AROUND = 60  # characters in front of a value, and behind it, that may negate it
_DEPTH = 4  # of JSON inside of strings
_LONGEST_ANSWER = 20_000  # characters after the reasoning; reading takes quadratic time in hostile text


class JSONList(Strategy):
    """One constrained JSON list per text; the backend may wrap it into an object where its endpoint requires one.

    Where the backend returns token probabilities, a label's score is the probability of its tokens. Labels that were
    not written have no score.
    """

    name = "json_list"
    answer_format = JSON_LIST
    returns_labels = True

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        constraint = self.constraint(taxonomy)
        return [constraint.schema, constraint.max_tokens]

    def output_tokens(self, taxonomy: Taxonomy) -> int:
        """See ``Strategy.output_tokens``; a label is some four tokens with its quotes and comma."""
        return 4 + 4 * min(taxonomy.max_labels, len(taxonomy.names))

    def constraint(self, taxonomy: Taxonomy) -> Constraint:
        """The schema of the answer: up to ``max_labels`` names of the taxonomy.

        ``uniqueItems`` is missing: no server enforces it and vLLM refuses it; the parser removes repeated labels.
        """
        labels: dict[str, Any] = {
            "type": "array",
            "items": {"type": "string", "enum": list(taxonomy.names)},
            "minItems": 0 if taxonomy.allow_none else 1,
            "maxItems": min(taxonomy.max_labels, len(taxonomy.names)),
        }
        return Constraint(labels, _max_tokens(taxonomy))

    def ask(self, backend: Backend, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        conversations = [prompt(taxonomy, JSON_LIST) for prompt in prompts]
        completions = backend.generate(conversations, self.constraint(taxonomy))
        return [_parsed(completion, taxonomy) for completion in completions]


def _parsed(completion: Completion, taxonomy: Taxonomy) -> StrategyAnswer:
    if completion.problem:
        return StrategyAnswer(usage=completion.usage, problem=completion.problem)
    answer = read_answer(completion.text, taxonomy, completion.truncated)
    scores = _scores(completion, answer.labels)
    # A label in another spelling than the taxonomy's has no score and comes last.
    labels = tuple(sorted(answer.labels, key=lambda name: -scores.get(name, 0.0)))
    return replace(answer, labels=labels, scores=scores, usage=completion.usage)


def _max_tokens(taxonomy: Taxonomy) -> int:
    """Maximum length of a well-formed answer; in the worst case every byte is a token."""
    sizes = sorted((len(name.encode()) + 4 for name in taxonomy.names), reverse=True)
    return 16 + sum(sizes[: taxonomy.max_labels])


def _scores(completion: Completion, labels: Sequence[str]) -> Mapping[str, float]:
    """The probability of each label's tokens, for labels that are found in the text, best first."""
    text = "".join(token.text for token in completion.tokens)
    scores = {}
    for label in labels:
        written = json.dumps(label, ensure_ascii=False)
        start = text.rfind(written)  # reasoning before the answer may name labels too
        if start >= 0:
            scores[label] = math.exp(min(0.0, _logprob_between(completion, start + 1, start + len(written) - 1)))
    return dict(sorted(scores.items(), key=lambda pair: -pair[1]))


def _logprob_between(completion: Completion, start: int, end: int) -> float:
    """Log-probability of the tokens that overlap a part of the text."""
    total, place = 0.0, 0
    for token in completion.tokens:
        if place < end and place + len(token.text) > start:
            total += token.logprob
        place += len(token.text)
    return total


def read_answer(written: str | None, taxonomy: Taxonomy, cut: bool = False) -> StrategyAnswer:
    """Read the labels, or a problem, out of whatever a language model wrote; never raises.

    In this order:

    1. The whole text is a label: it is the answer.
    2. Reasoning is removed (``llm.backends.reasoning``); reasoning that never ends is unreadable.
    3. JSON (``json_repair``): the last value in the requested shape counts, else the last one in another shape that
       models use (``label_values``). JSON that cannot be repaired is unreadable, and so are two answers that differ
       where nothing makes the second one final.
    4. Plain words that list labels (``plain_words``), where there is no JSON.

    The taxonomy is consulted first everywhere: "None", "no" and "0" may be labels. JSON that was cut off keeps its
    whole labels, and the part in which it was cut counts as dropped. An answer of more than 20,000 characters is
    unreadable unless the taxonomy itself is that long: a model that repeats itself gives no answer.

    Args:
        written: the completion's text; None where the endpoint gave no content.
        taxonomy: the labels of the request.
        cut: whether the text may be without its end, as the token limit and interrupted endpoints leave it.
    """
    text = written or ""
    if (exact := _exactly(text, taxonomy)) is not None:
        return _judge(exact, taxonomy)
    if not text.strip():
        return _unreadable("the model wrote nothing")
    fits = len(text) <= _LONGEST_ANSWER
    if fits and not cut and (label := known(text, taxonomy)) is not None:
        return StrategyAnswer((label,))
    words = without_reasoning(text)
    if words is None:
        return _unreadable(f"the model's reasoning has no end, so no answer follows it: {_excerpt(text)}")
    if not words:
        return _unreadable(f"the model wrote nothing after its reasoning: {_excerpt(text)}")
    longest = max(_LONGEST_ANSWER, 2 * sum(len(name) + 4 for name in taxonomy.names))  # twice all labels
    if not fits and len(words) > longest:
        return _unreadable(f"the answer is longer than {longest:,} characters: {_excerpt(words)}")
    last = next(reversed(list(json_values(words))), None) if cut else None
    if cut and (last is None or last.broken or not last.closed):
        return _unreadable(f"the answer was cut off before its end: {_excerpt(words)}")
    return _read(words, taxonomy, 0)


def _exactly(text: str, taxonomy: Taxonomy) -> list[str] | None:
    """The labels of a reply in exactly the requested form, as most replies are."""
    value = _decoded(text)
    if isinstance(value, dict) and value.keys() == {"labels"} and text.count("labels") == 1:
        value = value["labels"]
    plain = isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
    return value if plain and set(value) <= set(taxonomy.names) else None


def _decoded(text: str) -> Any:
    """The value of a text that is JSON; None for other texts."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _read(words: str, taxonomy: Taxonomy, depth: int) -> StrategyAnswer:
    words = _ENTITY.sub(lambda found: html.unescape(found[0]), _FENCE.sub("\n", words)).strip()
    if '\\"' in words and not _BARE_QUOTE.search(words):
        words = words.replace('\\"', '"')  # JSON that was quoted for a string and is in none
    inner = _decoded(words) if depth < _DEPTH and words.startswith('"') else None
    if isinstance(inner, str) and known(words, taxonomy) is None:
        return _read(inner, taxonomy, depth + 1)
    values = list(json_values(words))
    said, cut = _from_json(words, values, taxonomy)
    if (said is None and any(found.broken or found.cut for found in values)) or (cut and not said):
        return _unreadable(f"the model's JSON cannot be read as a whole: {_excerpt(words)}")
    if said is None and not (values and not words[: values[0].start].strip()):  # not for words that begin with JSON
        bare = _BLOCK_TAG.sub("\n", _INLINE_TAG.sub("", words))
        said = listed(words, taxonomy)
        said = listed(bare, taxonomy) if said is None and bare != words else said
    if said is None:
        return _unreadable(f"the model's words hold no list of labels: {_excerpt(words)}")
    answer = _judge(said, taxonomy)
    return replace(answer, dropped=answer.dropped + ((without_lone_surrogates(cut),) if cut else ()))


def _judge(said: list[str], taxonomy: Taxonomy) -> StrategyAnswer:
    """Hold what was said against the taxonomy."""
    names = set(taxonomy.names)
    resolved = [(word, word if word in names else known(word, taxonomy)) for word in said]
    given = list(dict.fromkeys(name for _, name in resolved if name))
    dropped = tuple(without_lone_surrogates(word) for word, name in resolved if not name and not means_nothing(word))
    if more := next((word for word in dropped if said_with_more(word, taxonomy)), None):
        return _unreadable(f"the model says more of a label than its name: {_excerpt(more)}", dropped)
    if given and taxonomy.max_labels == 1 and len(given) > 1:
        return _unreadable(f"one label was requested and {len(given)} were given: {', '.join(given)}", dropped)
    if given:
        kept = given[: taxonomy.max_labels]
        return StrategyAnswer(taxonomy.in_order(kept), dropped=dropped + tuple(given[taxonomy.max_labels :]))
    if dropped:
        return _unreadable(f"the model named only labels outside the taxonomy: {_excerpt(', '.join(dropped))}", dropped)
    if not taxonomy.allow_none:
        return _unreadable("the model chose no label where at least one is required")
    return StrategyAnswer()


def _unreadable(detail: str, dropped: tuple[str, ...] = ()) -> StrategyAnswer:
    return StrategyAnswer(dropped=dropped, problem=Problem("unreadable", detail))


def _excerpt(words: str) -> str:
    return repr(without_lone_surrogates(words if len(words) <= 120 else words[:117] + "..."))


def _from_json(words: str, values: Sequence[ParsedValue], taxonomy: Taxonomy) -> tuple[list[str] | None, str]:
    """The words given as labels in the value that counts, and what of it was cut off; None where there is no such."""
    candidates = [one for one in values if not one.broken and not _taken_back(words, one, values)]
    for read in (as_requested, from_value):
        for place in range(len(candidates) - 1, -1, -1):
            said = read(candidates[place].value, taxonomy)
            if said is not None:
                said = _in_lines(words, candidates, place, said, taxonomy)
                contradicted = place and _contradicts(words, candidates[place - 1], candidates[place], taxonomy)
                return (None, "") if contradicted else (said, candidates[place].cut)
    return None, ""


def _contradicts(words: str, first: ParsedValue, second: ParsedValue, taxonomy: Taxonomy) -> bool:
    """Whether two values are different answers, and nothing says that the second is the final one."""
    before, after = (as_requested(one.value, taxonomy) for one in (first, second))
    if before is None or after is None or set(before) == set(after):
        return False
    between = words[first.end : second.start]
    return not second.closed or bool(_BESIDE.fullmatch(between) or _NEXT_TURN.search(between))


def _taken_back(words: str, found: ParsedValue, values: Sequence[ParsedValue]) -> bool:
    """Whether the words around a value, on its line, negate it or refuse an answer."""
    start = max([0, *(one.end for one in values if one.end <= found.start)])
    before = words[max(start, found.start - _SAID_AROUND) : found.start].rpartition("\n")[2]
    end = min([len(words), *(one.start for one in values if one.start >= found.end)])
    behind = words[found.end : min(end, found.end + _SAID_AROUND)].partition("\n")[0]
    if _SAID_OF_VALUE.match(behind) and negates(behind):
        return True
    return refuses(before) or negates(" ".join(before.split()[-3:]))


def _in_lines(words: str, found: Sequence[ParsedValue], place: int, said: list[str], taxonomy: Taxonomy) -> list[str]:
    """Objects of one label each that follow one another (JSON Lines) are one answer together."""
    while place and is_one_label(found[place].value) and is_one_label(found[place - 1].value):
        if words[found[place - 1].end : found[place].start].strip(" \r\n\t,;"):
            break
        place -= 1
        said = [*(from_value(found[place].value, taxonomy) or []), *said]
    return said
