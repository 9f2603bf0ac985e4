"""The probability of every label as an endpoint's answer: one request per text, and one per branch that matters.

It takes an endpoint that turns words into tokens and back, returns the probabilities of many next tokens, and goes on
with a begun answer, as vLLM and llama.cpp do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm.backends.backend import Conversation, TokenLogprobs
from llm.backends.capability_checks import CONTINUE, MANY_TOKENS
from llm.backends.codes import bound_below
from llm.backends.label_trie import Branch, LabelTrie, Tokens
from llm.backends.replies import Choice, ReplyReader, content_of, token_ids, usage_of
from llm.classifier import Problem, Usage, total_usage

ID_LIMIT = 128  # token ids per request; vLLM's own limit
Send = Callable[[Sequence[Conversation], Mapping[str, Any]], list[Any]]


@dataclass
class _TextScores:
    """What is known about the labels of one text."""

    conversation: Conversation
    trie: LabelTrie
    found: dict[Tokens, dict[int, float]] = field(default_factory=dict)
    bounds: set[int] = field(default_factory=set)  # positions of labels whose first token has only an upper bound
    top_token: str = ""
    usages: list[Usage] = field(default_factory=list)
    problem: Problem | None = None

    def needs(self, branch: Branch) -> bool:
        return self.problem is None and (not branch.written or self.trie.matters(branch, self.found))

    def take(self, branch: Branch, tokens: Mapping[int, float], text: str) -> None:
        """Note the probabilities of a branch's choices; a missing one gets an upper bound."""
        known = self.found.setdefault(branch.written, {})
        known.update(tokens)
        bound = bound_below(known.values())
        for token, places in branch.choices.items():
            if token not in known:
                known[token] = bound
                self.bounds.update(() if branch.written else places)
        self.top_token = self.top_token or text

    def result(self, names: Sequence[str]) -> TokenLogprobs:
        usage = total_usage(self.usages)
        if self.problem:
            return TokenLogprobs(usage=usage, problem=self.problem)
        logprobs = dict(zip(names, self.trie.logprobs(self.found), strict=True))
        bounds = frozenset(names[place] for place in self.bounds)
        return TokenLogprobs(logprobs, bounds, self.top_token, usage)


def score_labels(
    conversations: Sequence[Conversation], names: Sequence[str], trie: LabelTrie, written: Mapping[Tokens, str],
    by_id: bool, send: Send, reader: ReplyReader,
) -> list[TokenLogprobs]:  # fmt: skip
    """Log-probability of each label as the answer to each conversation; see ``LabelTrie.logprobs``.

    ``written`` has the text of each branch's tokens. ``by_id`` requests token ids, otherwise the most probable tokens
    are read. ``send`` sends one request per conversation, with more fields.
    """
    scored = [_TextScores(conversation, trie) for conversation in conversations]
    for branch in trie.branches:  # a branch comes after those that lead to it
        pending = [one for one in scored if one.needs(branch)]
        for ids in _portions(branch) if by_id else [()]:
            replies = send([_begun(one.conversation, written[branch.written]) for one in pending], _fields(branch, ids))
            for one, reply in zip(pending, replies, strict=True):
                _take(one, branch, reader.choice(reply), usage_of(reply))
    return [one.result(names) for one in scored]


def _portions(branch: Branch) -> list[Sequence[int]]:
    ids = list(branch.choices)
    return [ids[start : start + ID_LIMIT] for start in range(0, len(ids), ID_LIMIT)]


def _fields(branch: Branch, ids: Sequence[int]) -> Mapping[str, Any]:
    tokens = {"logprob_token_ids": list(ids), "return_tokens_as_token_ids": True} if ids else MANY_TOKENS
    return {"max_tokens": 1, "logprobs": True, **tokens, **(CONTINUE if branch.written else {})}


def _begun(conversation: Conversation, written: str) -> Conversation:
    return [*conversation, {"role": "assistant", "content": written}] if written else conversation


def _take(one: _TextScores, branch: Branch, choice: Choice | Problem, usage: Usage) -> None:
    one.usages.append(usage)
    if isinstance(choice, Problem):
        one.problem = one.problem or choice
    elif tokens := token_ids(choice):
        one.take(branch, tokens, content_of(choice) or "")
    else:
        one.problem = one.problem or Problem("unreadable", "the endpoint returned no probabilities")
