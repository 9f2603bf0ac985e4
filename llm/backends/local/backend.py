"""A causal language model in this process, through ``transformers``: for weights without a server."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.backends.backend import Completion, Constraint, Conversation, TokenLogprobs
from llm.backends.code_tokens import CodeTokens, encoded
from llm.backends.codes import by_code
from llm.backends.local import prefix_sharing
from llm.backends.local.list_grammar import ListGrammar, Walk
from llm.classifier import Problem, Usage
from llm.lora_adapter import adapter_in, refuse_other_base
from prompts.errors import InvalidSetting
from prompts.files import digest_of
from similarity.native import native

if TYPE_CHECKING:
    from llm.backends.local.causal_lm import Beginning, CausalLM

_BEGINNINGS_KEPT = 4  # between calls; a taxonomy under a strategy makes one
_NO_MEMORY = Problem("rejected", "the device has no memory left for this text; give a smaller batch_tokens")


@dataclass(frozen=True)
class _Batch:
    """Conversations to compute together.

    Attributes:
        known: the beginning of all of them.
        places: which of the caller's conversations they are.
        rests: their tokens behind the beginning, at least one each.
        usages: what each of them costs.
    """

    known: Beginning
    places: list[int]
    rests: list[list[int]]
    usages: list[Usage]


class LocalBackend:
    """A model that this process holds, computing one call at a time; may be shared by threads.

    What the conversations of a call have in common from their start is computed once. What stands before their last
    message, the same for every text of a taxonomy, is kept between calls.

    Args:
        model: a folder as ``save_pretrained`` writes it, or a name that Hugging Face's cache or hub has.
        device: ``cuda``, ``cpu`` and the like; by default ``cuda`` where there is one.
        dtype: ``bfloat16``, ``float16`` or ``float32``; ``auto`` takes what ``similarity.encoders.precision`` chooses.
        batch_tokens: tokens of one batch, the common beginning counted for each of its conversations. A longer
            conversation goes by itself.
        adapter: folder of a LoRA adapter for this model; it is merged into the weights.

    Attributes:
        name: the model's name, or that of its folder; with an adapter, the two names and the adapter's digest.
        decoding: greedy; the dtype and the weights' state, since answers depend on them too.

    Raises:
        InvalidSetting: the model cannot be loaded, has no chat template, or is not the one that the adapter is for.
    """

    name: str
    decoding: Mapping[str, Any]
    code_limit = 1_000
    holds_schema = True
    answers_directly = True
    _causal: CausalLM

    def __init__(
        self,
        model: str,
        device: str | None = None,
        dtype: str = "auto",
        batch_tokens: int = 16_384,
        adapter: Path | None = None,
    ) -> None:
        from llm.backends.local import causal_lm as causal  # brings torch

        if batch_tokens < 1:
            raise InvalidSetting(f"batch_tokens is {batch_tokens}; give 1 or more")
        tuned = adapter_in(adapter) if adapter else None
        if tuned:
            refuse_other_base(tuned, model)
        self._hold(causal.load(model, device, dtype, adapter), model, batch_tokens)
        folder = Path(model)
        weights = _state(folder) if folder.is_dir() else self._causal.network.config._commit_hash
        self.decoding = {"greedy": True, "dtype": self._causal.dtype, "weights": weights}
        if tuned:
            self.name = tuned.name_on(self.name)
            self.decoding = {**self.decoding, "adapter": tuned.digest}

    @classmethod
    def holding(cls, causal: CausalLM, name: str, batch_tokens: int = 16_384) -> LocalBackend:
        """A backend around a model that is already loaded.

        Its answers should not be cached, because nothing distinguishes its weights from those of another state.
        """
        backend = cls.__new__(cls)
        backend._hold(causal, name, batch_tokens)
        backend.decoding = {"greedy": True}
        return backend

    def _hold(self, held: CausalLM, model: str, batch_tokens: int) -> None:
        from llm.backends.local import causal_lm as causal

        folder = Path(model)
        self.name = folder.resolve().name if folder.is_dir() else model
        self._torch, self._batch_tokens = causal, batch_tokens
        self._causal = held
        self._code_tokens = CodeTokens(partial(encoded, held.tokenizer))
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, ...], Beginning] = OrderedDict()

    def check(self) -> Problem | None:
        """Always there, once it is loaded."""
        return None

    @native
    def next_token_logprobs(self, conversations: Sequence[Conversation], codes: Sequence[str]) -> list[TokenLogprobs]:
        """See ``Backend.weigh``.

        Nothing is generated. Every code gets its probability, however small: the sum over the tokens that spell it.

        ``usage.cached_tokens`` are those that another conversation or an earlier call has borne the cost of.

        Raises:
            InvalidSetting: a code is not a single token of this model.
        """
        with self._lock:
            code_by_id = self._code_tokens.of(codes, self.name)
            prompts = self._causal.tokens(conversations)
            weighings = [TokenLogprobs(problem=self._problem(prompt, 0)) for prompt in prompts]
            for batch in self._batches(conversations, prompts, 0, len(prompts)):
                with suppress(self._torch.OutOfMemory):
                    found = self._causal.next_token_logprobs(batch.known, batch.rests, list(code_by_id))
                    for place, usage, logprobs in zip(batch.places, batch.usages, found, strict=True):
                        given = by_code(dict(zip(code_by_id, logprobs, strict=True)), code_by_id)
                        weighings[place] = TokenLogprobs({code: given[code] for code in codes}, usage=usage)
            return weighings

    @native
    def generate(self, conversations: Sequence[Conversation], constraint: Constraint) -> list[Completion]:
        """See ``Backend.generate``. Greedy decoding among the tokens that the schema allows, no label twice.

        The probability of a token is its share among the tokens that were allowed in its place: 1 where there was no
        choice. ``max_tokens`` is not needed, since the schema ends every answer.

        Raises:
            InvalidSetting: the schema is not that of the ``json_list`` strategy (see ``ListGrammar``).
        """
        with self._lock:
            grammar = ListGrammar(constraint.schema, self._causal.encode, self._causal.decode)
            prompts = self._causal.tokens(conversations)
            completions = [Completion(problem=self._problem(prompt, grammar.longest)) for prompt in prompts]
            rows = 1 if self._causal.windowed else len(prompts)  # padding inside a row would shorten its window
            for batch in self._batches(conversations, prompts, grammar.longest, rows):
                with suppress(self._torch.OutOfMemory):
                    walks = self._written(batch, grammar)
                    for place, usage, walk in zip(batch.places, batch.usages, walks, strict=True):
                        usage = replace(usage, completion_tokens=walk.count)
                        completions[place] = Completion(walk.text, usage, tokens=tuple(walk.tokens))
            return completions

    def _written(self, batch: _Batch, grammar: ListGrammar) -> list[Walk]:
        walks = [Walk(grammar) for _ in batch.places]
        rows = [[*rest, *walk.forced()] for rest, walk in zip(batch.rests, walks, strict=True)]
        writing = self._torch.Writing(self._causal, batch.known, len(walks))
        under_way = [walk for walk in walks if not walk.done]
        while under_way:
            chosen = writing.go_on(rows, [walk.allowed() for walk in under_way])
            rows = []
            for walk, (token, logprob) in zip(under_way, chosen, strict=True):
                walk.take(token, logprob)
                rows.append([token, *walk.forced()])
            left = [row for row, walk in enumerate(under_way) if not walk.done]
            writing.keep(left)
            under_way, rows = [under_way[row] for row in left], [rows[row] for row in left]
        return walks

    # --- batches ---

    def _batches(
        self, conversations: Sequence[Conversation], prompts: list[list[int]], room: int, rows: int
    ) -> Iterator[_Batch]:
        """The conversations that fit, in batches of at most so many rows; beginnings are computed on the way."""
        fitting = [place for place, prompt in enumerate(prompts) if self._fits(prompt, room)]
        if not fitting:
            return
        own = [prompts[place] for place in fitting]
        with suppress(self._torch.OutOfMemory):
            first, computed = self._beginning(conversations[fitting[0]], own)
            root = prefix_sharing.grouped(own, len(first.tokens), self._torch.PART)
            cached = prefix_sharing.reused(root, computed, len(own))
            for known, group in self._descent(root, first, own):
                sizes = [len(prompt) + room for prompt in own]
                for batch in prefix_sharing.packed(group.loose, sizes, self._batch_tokens, rows):
                    rests = [own[place][group.length :] for place in batch]
                    usages = [Usage(len(own[place]), cached[place]) for place in batch]
                    yield _Batch(known, [fitting[place] for place in batch], rests, usages)

    def _descent(
        self, group: prefix_sharing.PrefixGroup, known: Beginning, prompts: list[list[int]]
    ) -> Iterator[tuple[Beginning, prefix_sharing.PrefixGroup]]:
        """A group and those inside it, each with its beginning, which lives no longer than they need it."""
        yield known, group
        for child in group.children:
            with suppress(self._torch.OutOfMemory):
                more = prompts[child.sample][group.length : child.length]
                yield from self._descent(child, self._causal.begin(known, more), prompts)

    def _beginning(self, conversation: Conversation, prompts: list[list[int]]) -> tuple[Beginning, int]:
        """What all prompts begin with, and how many of its tokens had to be computed.

        At least what stands before the last message, so that the next call finds it, even after a single text.
        """
        shared = prefix_sharing.common_to_all(prompts)
        (wordless,) = self._causal.tokens([[*conversation[:-1], {**conversation[-1], "content": ""}]])
        fixed = min(shared, prefix_sharing.common(wordless, prompts[0]))
        known, computed = self._known(tuple(prompts[0][:fixed]))
        if len(prompts) == 1 or shared - fixed < prefix_sharing.SMALLEST_GAIN:
            return known, computed
        known, more = self._known(tuple(prompts[0][:shared]))
        return known, computed + more

    def _known(self, tokens: tuple[int, ...]) -> tuple[Beginning, int]:
        """The beginning of these tokens, from the closest one that was kept, and how many had to be computed."""
        known = self._torch.Beginning()
        if closest := max(self._kept, key=lambda kept: prefix_sharing.common(kept, tokens), default=None):
            known = self._kept[closest].cut(prefix_sharing.common(closest, tokens))
            self._kept.move_to_end(closest)
        more = tokens[len(known.tokens) :]
        if more:
            known = self._kept[tokens] = self._causal.begin(known, more)
            if len(self._kept) > _BEGINNINGS_KEPT:
                self._kept.popitem(last=False)
        return known, len(more)

    # --- tokens ---

    def _problem(self, prompt: Sequence[int], room: int) -> Problem:
        """Why a conversation gets no answer, unless it gets one."""
        if self._fits(prompt, room):
            return _NO_MEMORY
        takes = f"{len(prompt)} tokens" + (f" and up to {room} for the answer" if room else "")
        return Problem("too_long", f"the text takes {takes}, and the model holds {self._causal.context}")

    def _fits(self, prompt: Sequence[int], room: int) -> bool:
        return len(prompt) + room <= self._causal.context


def _state(folder: Path) -> str:
    """12 hex digits that change when a file of the model does, so that no answer of other weights is remembered."""
    files = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in folder.iterdir())
    return digest_of(repr(files), 12)
