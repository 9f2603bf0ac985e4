"""A causal language model in this process, through ``transformers``: for weights without a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.backends.backend import Completion, Constraint, Conversation, TokenLogprobs
from llm.backends.codes import CodeTokens, by_code, encoded
from llm.backends.label_trie import LabelTrie, spelled
from llm.backends.list_grammar import ListGrammar, ListWriter
from llm.backends.lora_adapter import check_base, load_adapter
from llm.backends.prefix_sharing import PrefixCache, PrefixGroup, batches, cached_tokens, group_by_prefix
from llm.backends.token_tree import TokenTree, single_tree, token_trees
from llm.classifier import Problem, Usage, total_usage
from prompts.errors import InvalidSetting
from prompts.files import digest_of
from similarity.native import native

if TYPE_CHECKING:
    from llm.backends.causal_lm import CausalLM, Prefix

_NO_MEMORY = Problem("rejected", "the device has no memory left for this text; give a smaller batch_tokens")


@dataclass(frozen=True)
class _Batch:
    """Conversations to compute together, and their tokens after the common prefix, one tree a row.

    Attributes:
        indices: the conversations, in the order of the trees' members.
    """

    prefix: Prefix
    trees: list[TokenTree]
    indices: list[int]
    usages: list[Usage]


class LocalBackend:
    """A model loaded in this process; may be shared by threads and computes one call at a time.

    A common prefix of the conversations of a call is computed once. The part before their last message, equal for all
    texts of a taxonomy, is kept between calls. ``name`` is that of the model or its folder; with an adapter, both names
    and the adapter's digest.

    Args:
        model: a folder as ``save_pretrained`` writes it, or a name in Hugging Face's cache or hub.
        device: ``cuda``, ``cpu`` and the like; by default ``cuda`` if there is one.
        dtype: ``bfloat16``, ``float16`` or ``float32``; ``auto`` is chosen by ``similarity.encoders.precision``.
        batch_tokens: tokens of one batch, counting the common prefix for each conversation. A longer conversation is
            computed alone.
        adapter: folder of a LoRA adapter for this model; it is merged into the weights.

    Raises:
        InvalidSetting: the model cannot be loaded, has no chat template, or the adapter is for another model.
    """

    name: str
    decoding: Mapping[str, Any]
    code_limit = 1_000
    enforces_schema = True
    answers_directly = True
    scores_labels = True
    shares_prefixes = True

    def __init__(
        self,
        model: str,
        device: str | None = None,
        dtype: str = "auto",
        batch_tokens: int = 16_384,
        adapter: Path | None = None,
    ) -> None:
        from llm.backends.causal_lm_loading import load  # imports torch

        if batch_tokens < 1:
            raise InvalidSetting(f"batch_tokens is {batch_tokens}; give 1 or more")
        tuned = load_adapter(adapter) if adapter else None
        if tuned:
            check_base(tuned, model)
        self._use(load(model, device, dtype, adapter), model, batch_tokens)
        folder = Path(model)
        weights = _files_digest(folder) if folder.is_dir() else self._causal.network.config._commit_hash
        self.decoding = {"greedy": True, "dtype": self._causal.dtype, "weights": weights}
        if tuned:
            self.name = tuned.name_on(self.name)
            self.decoding = {**self.decoding, "adapter": tuned.digest}

    @classmethod
    def from_loaded(cls, causal: CausalLM, name: str, batch_tokens: int = 16_384) -> LocalBackend:
        """A backend for a loaded model. Do not cache its answers: nothing identifies the state of its weights."""
        backend = cls.__new__(cls)
        backend._use(causal, name, batch_tokens)
        backend.decoding = {"greedy": True}
        return backend

    def _use(self, causal: CausalLM, model: str, batch_tokens: int) -> None:
        from llm.backends import causal_lm

        folder = Path(model)
        self.name = folder.resolve().name if folder.is_dir() else model
        self._torch, self._causal, self._batch_tokens = causal_lm, causal, batch_tokens
        self._code_tokens = CodeTokens(partial(encoded, causal.tokenizer))
        self._lock = threading.Lock()
        self._prefixes = PrefixCache(causal.extend, causal_lm.Prefix(), causal_lm.OutOfMemory)

    def check(self) -> Problem | None:
        return None  # a loaded model can always answer

    def prepare(self) -> None:
        pass  # the model is loaded already

    @native
    def next_token_logprobs(self, conversations: Sequence[Conversation], codes: Sequence[str]) -> list[TokenLogprobs]:
        """See ``Backend.next_token_logprobs``. Every code gets its exact value: the sum over the tokens that spell it.

        ``usage.cached_tokens`` were computed for another conversation or an earlier call.

        Raises:
            InvalidSetting: a code is not a single token of this model.
        """
        with self._lock:
            code_by_id = self._code_tokens.of(codes, self.name)
            prompts = self._causal.tokens(conversations)
            results = [TokenLogprobs(problem=self._problem(prompt, 0)) for prompt in prompts]
            for index, usage, row in self._next_tokens(conversations, prompts, list(code_by_id)):
                logprobs = by_code(row, code_by_id)
                results[index] = TokenLogprobs({code: logprobs[code] for code in codes}, usage=usage)
            return results

    @native
    def label_logprobs(self, conversations: Sequence[Conversation], names: Sequence[str]) -> list[TokenLogprobs]:
        """See ``LabelScoringBackend.label_logprobs``; the branches of a text share its computed tokens."""
        with self._lock:
            trie = LabelTrie(spelled(names, partial(encoded, self._causal.tokenizer)))
            begun = [one for one in conversations for _ in trie.branches]
            prompts = [
                [*prompt, *branch.written] for prompt in self._causal.tokens(conversations) for branch in trie.branches
            ]
            problems = [TokenLogprobs(problem=self._problem(prompt, 0)) for prompt in prompts]
            rows = {index: (usage, row) for index, usage, row in self._next_tokens(begun, prompts, trie.tokens)}
            starts = range(0, len(prompts), len(trie.branches))
            return [
                _label_result(
                    names,
                    trie,
                    [rows.get(start + place, problems[start + place]) for place in range(len(trie.branches))],
                )
                for start in starts
            ]

    def _next_tokens(
        self, conversations: Sequence[Conversation], prompts: list[list[int]], tokens: Sequence[int]
    ) -> Iterator[tuple[int, Usage, dict[int, float]]]:
        """Index, usage and the log-probabilities of some next tokens, of each prompt that the device can compute."""
        for batch in self._batches(conversations, prompts, 0, len(prompts)):
            with suppress(self._torch.OutOfMemory):
                rows = self._causal.next_token_logprobs(batch.prefix, batch.trees, tokens)
                for index, usage, row in zip(batch.indices, batch.usages, rows, strict=True):
                    yield index, usage, dict(zip(tokens, row, strict=True))

    @native
    def generate(self, conversations: Sequence[Conversation], constraint: Constraint) -> list[Completion]:
        """See ``Backend.generate``. Greedy decoding among the tokens that the schema permits; no label twice.

        A token's probability is relative to the permitted tokens: 1 if there was no choice. ``max_tokens`` is ignored,
        since the schema ends every answer.

        Raises:
            InvalidSetting: the schema is not that of the ``json_list`` strategy (see ``ListGrammar``).
        """
        with self._lock:
            grammar = ListGrammar(constraint.schema, self._causal.encode, self._causal.decode)
            prompts = self._causal.tokens(conversations)
            completions = [Completion(problem=self._problem(prompt, grammar.longest)) for prompt in prompts]
            max_rows = 1 if self._causal.windowed else len(prompts)  # padding inside a row would shorten its window
            for batch in self._batches(conversations, prompts, grammar.longest, max_rows):
                with suppress(self._torch.OutOfMemory):
                    writers = self._write(batch, grammar)
                    for index, usage, writer in zip(batch.indices, batch.usages, writers, strict=True):
                        usage = replace(usage, completion_tokens=writer.count)
                        completions[index] = Completion(writer.text, usage, tokens=tuple(writer.tokens))
            return completions

    def _write(self, batch: _Batch, grammar: ListGrammar) -> list[ListWriter]:
        writers = active = [ListWriter(grammar) for _ in batch.indices]
        rows = [[*tree.tokens, *writer.forced()] for tree, writer in zip(batch.trees, writers, strict=True)]
        generation = self._torch.Generation(self._causal, batch.prefix, len(writers))
        while active := [writer for writer in active if not writer.done]:
            chosen = generation.step(rows, [writer.allowed() for writer in active])
            rows = []
            for writer, (token, logprob) in zip(active, chosen, strict=True):
                writer.take(token, logprob)
                rows.append([token, *writer.forced()])
            unfinished = [row for row, writer in enumerate(active) if not writer.done]
            generation.keep(unfinished)
            rows = [rows[row] for row in unfinished]
        return writers

    def _batches(
        self, conversations: Sequence[Conversation], prompts: list[list[int]], answer_tokens: int, max_rows: int
    ) -> Iterator[_Batch]:
        """The conversations that fit into the context, in batches; prefixes are computed on the way."""
        fitting = [index for index, prompt in enumerate(prompts) if self._fits(prompt, answer_tokens)]
        if not fitting:
            return
        own = [prompts[index] for index in fitting]
        first = conversations[fitting[0]]
        (without_text,) = self._causal.tokens([[*first[:-1], {**first[-1], "content": ""}]])
        with suppress(self._torch.OutOfMemory):
            prefix, computed = self._prefixes.common(own, without_text)
            root = group_by_prefix(own, len(prefix.tokens), self._torch.PART)
            cached = cached_tokens(root, computed, len(own))
            for group_prefix, group in self._prefixes.groups(root, prefix, own):
                trees = self._trees(group, own, answers=bool(answer_tokens))
                sizes = [group.length + len(tree.tokens) + answer_tokens for tree in trees]
                for rows in batches(range(len(trees)), sizes, self._batch_tokens, max_rows, 1 + answer_tokens):
                    chosen = [trees[row] for row in rows]
                    members = [pair for tree in chosen for pair in zip(tree.members, tree.shared, strict=True)]
                    usages = [Usage(len(own[index]), cached[index] + shared) for index, shared in members]
                    yield _Batch(group_prefix, chosen, [fitting[index] for index, _ in members], usages)

    def _trees(self, group: PrefixGroup, prompts: list[list[int]], answers: bool) -> list[TokenTree]:
        """The rows of a group: trees of several conversations, or one each where they go on with different answers."""
        rests = [prompts[index][group.length :] for index in group.members]
        if answers or not self._causal.takes_trees:
            return [single_tree(index, rest) for index, rest in zip(group.members, rests, strict=True)]
        return list(token_trees(group.members, rests, self._torch.PART))

    def _problem(self, prompt: Sequence[int], answer_tokens: int) -> Problem:
        """Why a conversation has no answer, to be replaced by the answer."""
        if self._fits(prompt, answer_tokens):
            return _NO_MEMORY
        needed = f"{len(prompt)} tokens" + (f" and up to {answer_tokens} for the answer" if answer_tokens else "")
        return Problem("too_long", f"the text takes {needed}, and the model's context is {self._causal.context}")

    def _fits(self, prompt: Sequence[int], answer_tokens: int) -> bool:
        return len(prompt) + answer_tokens <= self._causal.context


def _label_result(
    names: Sequence[str], trie: LabelTrie, rows: Sequence[tuple[Usage, Mapping[int, float]] | TokenLogprobs]
) -> TokenLogprobs:
    """The labels' log-probabilities of one text, from those behind each branch, or why there are none."""
    found = {}
    for branch, row in zip(trie.branches, rows, strict=True):
        if isinstance(row, TokenLogprobs):
            return row
        found[branch.written] = row[1]
    usage = total_usage([row[0] for row in rows if not isinstance(row, TokenLogprobs)])
    return TokenLogprobs(dict(zip(names, trie.logprobs(found), strict=True)), usage=usage)


def _files_digest(folder: Path) -> str:
    """12 hex digits that change when a file of the model does."""
    files = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in folder.iterdir())
    return digest_of(repr(files), 12)
