"""A first taxonomy from unlabelled texts: clusters of MiniLM vectors, named by keywords or by a language model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llm.backends.backend import Backend, Completion, Constraint, Conversation
from llm.backends.reasoning import without_reasoning
from llm.strategies.json_repair import json_values
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Label, Taxonomy
from prompts.taxonomy_file import DESCRIPTION_CHARS, NAME_CHARS
from prompts.template import neutralise
from prompts.text import spelling_key

if TYPE_CHECKING:
    from llm.embedded.cosine import TextEncoder

_FEWEST, _MOST = 3, 15  # numbers of labels that are tried
_TEXTS_PER_LABEL = 12  # on average, at least, where the number of labels is not given
_PER_LABEL = 4  # texts per label, at least
_FEW = 100  # texts below which the groups are rough
_KEYWORDS = 6
_EXAMPLES = 5
_EXAMPLE_CHARS = 240
_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "description": {"type": "string"}},
    "required": ["name", "description"],
    "additionalProperties": False,
}
_MAX_TOKENS = 200
_SYSTEM = (
    "You name the groups of a taxonomy. You get example texts and keywords of one group, and keywords of the other "
    "groups. Answer with a JSON object: name, of one to four words in the language of the texts, that distinguishes "
    "the group from the others; description, one line that states what belongs to the group."
)


@dataclass(frozen=True)
class SuggestedLabel:
    """A label and the group of texts behind it.

    Attributes:
        label: name and description.
        texts: number of texts of the group.
        keywords: terms that are frequent in the group and rare elsewhere, best first.
        examples: texts nearest to the centre of the group, the nearest first.
    """

    label: Label
    texts: int
    keywords: tuple[str, ...]
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Suggestion:
    """A suggested taxonomy.

    Attributes:
        taxonomy: one label per text; the largest group comes first.
        groups: its labels with their texts.
        separation: mean silhouette of the groups, from -1 to 1; below 0.2 they overlap.
        notes: few texts, and names that the language model did not give.
    """

    taxonomy: Taxonomy
    groups: tuple[SuggestedLabel, ...]
    separation: float
    notes: tuple[str, ...] = ()


def suggest(
    texts: Sequence[str],
    encoder: TextEncoder,
    labels: int | None = None,
    backend: Backend | None = None,
    name: str = "suggested",
) -> Suggestion:
    """Suggest a taxonomy for texts; the same texts give the same taxonomy.

    Args:
        texts: of any number; repeated texts count once.
        encoder: plain MiniLM.
        labels: number of labels; None: 3 to 15, by the separation of the groups.
        backend: names the groups; None: keywords do.
        name: of the taxonomy.

    Raises:
        InvalidDataset: fewer than four different texts per label.
        InvalidSetting: fewer than two labels.
    """
    from similarity.clustering import cluster
    from similarity.keywords import keywords

    if labels is not None and labels < 2:
        raise InvalidSetting(f"labels is {labels}; give 2 or more")
    different = list(dict.fromkeys(text for text in map(str.strip, texts) if text))
    least = labels or _FEWEST
    if len(different) < least * _PER_LABEL:
        raise InvalidDataset(
            f"{least} labels need {least * _PER_LABEL} different texts or more, and there are {len(different)}; give "
            "more texts" + (" or fewer labels" if labels else "")
        )
    most = labels or max(_FEWEST, min(_MOST, len(different) // _TEXTS_PER_LABEL))
    found = cluster(encoder.encode(different), range(least, most + 1))
    terms = keywords(different, found.members.tolist(), found.centres, encoder.encode, _KEYWORDS)
    groups = []
    for number in np.argsort(-np.bincount(found.members), kind="stable").tolist():
        own = np.flatnonzero(found.members == number)
        central = own[np.argsort(-found.similarity[own], kind="stable")][:_EXAMPLES].tolist()
        examples = tuple(different[place] for place in central)
        written = tuple(_as_written(term, [different[place] for place in own.tolist()]) for term in terms[number])
        groups.append(SuggestedLabel(_by_keywords(written, examples), len(own), written, examples))
    groups, notes = _named_by(backend, groups) if backend else (groups, [])
    if len(different) < _FEW:
        notes.append(f"{len(different)} different texts give rough groups; {_FEW} or more are better")
    groups = _distinct(groups)
    taxonomy = Taxonomy.of([group.label for group in groups], name=name, multi=False)
    return Suggestion(taxonomy, tuple(groups), found.separation, tuple(notes))


def _by_keywords(terms: Sequence[str], examples: Sequence[str]) -> Label:
    """The best keyword as the name; texts without keywords are named by the beginning of the most central one."""
    if not terms:
        return Label(" ".join(examples[0].split()[:4])[:40])
    return Label(terms[0][:1].upper() + terms[0][1:], f"texts about {', '.join(terms)}")


def _as_written(term: str, texts: Sequence[str]) -> str:
    """A term with the capitals that most texts give it, such as VPN."""
    pattern = re.compile(rf"\b{re.escape(term)}\b".replace("\\ ", r"\W+"), re.IGNORECASE)
    found = Counter(match for text in texts for match in pattern.findall(text.replace("\u2019", "'")))
    forms = sorted((form for form in found if form.casefold() == term), key=lambda form: (-found[form], form))
    return forms[0] if forms else term


def _distinct(groups: Sequence[SuggestedLabel]) -> list[SuggestedLabel]:
    """The groups with names that differ in more than case and punctuation; a repeated name gets a further keyword."""
    used: set[str] = set()
    result = []
    for number, group in enumerate(groups, 1):
        name = group.label.name
        others = [f"{name} ({term})" for term in group.keywords if term.casefold() != name.casefold()]
        name = next(one for one in (name, *others, f"{name} ({number})") if spelling_key(one) not in used)
        used.add(spelling_key(name))
        result.append(replace(group, label=replace(group.label, name=name)))
    return result


# --- names by a language model ---


def _named_by(backend: Backend, groups: Sequence[SuggestedLabel]) -> tuple[list[SuggestedLabel], list[str]]:
    """The groups with the model's names, and a note for each that keeps the name of its keywords."""
    conversations = [_conversation(group, groups) for group in groups]
    completions = backend.generate(conversations, Constraint(_SCHEMA, _MAX_TOKENS))
    result, notes = [], []
    for group, completion in zip(groups, completions, strict=True):
        label = _label(completion)
        if label is None:
            why = completion.problem.detail if completion.problem else "the answer has no name"
            notes.append(f"{group.label.name!r} is named by its keywords: {why}")
        result.append(replace(group, label=label or group.label))
    return result, notes


def _conversation(group: SuggestedLabel, groups: Sequence[SuggestedLabel]) -> Conversation:
    texts = "\n".join(f"- {' '.join(text.split())[:_EXAMPLE_CHARS]}" for text in group.examples)
    others = "\n".join(f"- {', '.join(one.keywords)}" for one in groups if one is not group)
    content = f"Keywords: {', '.join(group.keywords)}\nTexts:\n{texts}\n\nKeywords of the other groups:\n{others}"
    return ({"role": "system", "content": _SYSTEM}, {"role": "user", "content": str(neutralise(content))})


def _label(completion: Completion) -> Label | None:
    """The label that a model wrote; None where it wrote none."""
    for found in json_values(without_reasoning(completion.text or "") or ""):
        value = found.value
        if isinstance(value, dict) and "name" not in value:
            value = value.get("labels")  # backends wrap the schema for endpoints that require it
        if isinstance(value, dict) and isinstance(name := value.get("name"), str) and spelling_key(name):
            description = value.get("description")
            line = " ".join(description.split()) if isinstance(description, str) else ""
            return Label(" ".join(name.split())[:NAME_CHARS], line[:DESCRIPTION_CHARS])
    return None
