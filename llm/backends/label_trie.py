"""Labels as tokens: where their spellings part, and each label's probability from those of the tokens there.

The model chooses between labels only where their spellings part: at the first token, and after a common beginning such
as ``change`` of *change order* and *change address*. Only the probabilities at these places are needed, so the length
of a label does not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Tokens = tuple[int, ...]
# Log-probability of the possible next tokens, over all tokens of the model, after the tokens of a branch.
BranchLogprobs = Mapping[Tokens, Mapping[int, float]]

_LEAST_SHARE = 0.01  # of the labels' probability; labels behind a branch with less are not distinguished
_LEAST_END = 1e-6  # minimum probability that a label ends where a longer one goes on
_FLOOR = -9999.0  # of log-probabilities
_LINE_BREAK = "\n"


@dataclass(frozen=True)
class Branch:
    """A place where spellings part.

    Attributes:
        written: the tokens before it; none at the root.
        choices: by next token, the positions of the labels that go on with it.
        ending: position of the label that ends here, if one does.
    """

    written: Tokens
    choices: Mapping[int, tuple[int, ...]]
    ending: int | None = None

    @property
    def labels(self) -> tuple[int, ...]:
        """Positions of the labels that reach this place."""
        longer = tuple(place for places in self.choices.values() for place in places)
        return longer if self.ending is None else (self.ending, *longer)


class LabelTrie:
    """The places where the spellings of labels part.

    Attributes:
        branches: all of them, the root first.
    """

    def __init__(self, spelled: Sequence[Sequence[int]]) -> None:
        """``spelled`` has the tokens of each label, at least one."""
        self._spelled = [tuple(tokens) for tokens in spelled]
        everything = tuple(range(len(self._spelled)))
        self._by_written: dict[Tokens, Branch] = {(): self._branch((), everything)}
        pending = [places for places in self.root.choices.values() if len(places) > 1]
        while pending:
            places = pending.pop(0)
            branch = self._branch(_common([self._spelled[place] for place in places]), places)
            self._by_written[branch.written] = branch
            pending += [deeper for deeper in branch.choices.values() if len(deeper) > 1]

    @property
    def root(self) -> Branch:
        return self._by_written[()]

    @property
    def branches(self) -> tuple[Branch, ...]:
        return tuple(self._by_written.values())

    @property
    def tokens(self) -> list[int]:
        """The possible next tokens of all branches."""
        return list(dict.fromkeys(token for branch in self.branches for token in branch.choices))

    def logprobs(self, found: BranchLogprobs) -> list[float]:
        """Log-probability of each label.

        At the root it is that of the label's first token over all tokens of the model. Behind it, the choices of a
        branch share what led to the branch, in proportion to their probabilities; evenly at a branch that is not in
        ``found``, or that has too little of the labels' probability to matter.
        """
        result = [_FLOOR] * len(self._spelled)
        total = sum(math.exp(found[()][token]) for token in self.root.choices)
        pending = [(places, found[()][token]) for token, places in self.root.choices.items()]
        while pending:
            places, logprob = pending.pop()
            if len(places) == 1:
                result[places[0]] = max(_FLOOR, logprob)
                continue
            branch = self._by_written[_common([self._spelled[place] for place in places])]
            matters = math.exp(logprob) >= _LEAST_SHARE * total
            shares = _shares(branch, found.get(branch.written) if matters else None)
            pending += [(deeper, logprob + share) for deeper, share in shares]
        return result

    def matters(self, branch: Branch, found: BranchLogprobs) -> bool:
        """Whether the labels behind a branch have enough probability for a request that tells them apart."""
        logprobs = self.logprobs(found)
        mass = sum(math.exp(logprobs[place]) for place in branch.labels)
        return mass >= _LEAST_SHARE * sum(map(math.exp, logprobs))

    def _branch(self, written: Tokens, places: Sequence[int]) -> Branch:
        choices: dict[int, tuple[int, ...]] = {}
        ending = None
        for place in places:
            rest = self._spelled[place][len(written) :]
            if rest:
                choices[rest[0]] = (*choices.get(rest[0], ()), place)
            else:
                ending = place
        return Branch(written, choices, ending)


def _common(spelled: Sequence[Tokens]) -> Tokens:
    """The longest common beginning."""
    first, last = min(spelled), max(spelled)
    length = next(
        (place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first)
    )
    return first[:length]


def _shares(branch: Branch, logprobs: Mapping[int, float] | None) -> list[tuple[tuple[int, ...], float]]:
    """The groups of labels that part at a branch, each with the logarithm of its share; by size if unknown."""
    groups = list(branch.choices.values())
    if logprobs is None:
        weights = [float(len(places)) for places in groups]
        end = 1.0
    else:
        weights = [math.exp(max(_FLOOR, logprobs[token])) for token in branch.choices]
        end = max(_LEAST_END, 1 - sum(weights))
    if branch.ending is not None:
        groups.append((branch.ending,))
        weights.append(end)
    total = sum(weights) or 1.0
    return [
        (places, math.log(weight / total) if weight else _FLOOR) for places, weight in zip(groups, weights, strict=True)
    ]


def spelled(names: Sequence[str], tokenize: Callable[[Sequence[str]], Sequence[Sequence[int]]]) -> list[Tokens]:
    """The tokens of each name at the start of an answer.

    SentencePiece puts a space before the first word of a text, but none after a line break, where an answer starts.
    """
    line_break, *lines = tokenize([_LINE_BREAK, *(_LINE_BREAK + name for name in names)])
    plain = tokenize(names)
    size = len(line_break)
    return [
        tuple(line[size:] if list(line[:size]) == list(line_break) and len(line) > size else alone)
        for line, alone in zip(lines, plain, strict=True)
    ]
