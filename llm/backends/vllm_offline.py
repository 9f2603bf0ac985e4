"""vLLM inside this process, for bulk work on a machine of its own: no HTTP between, whole batches at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from llm.backends.backend import Completion, Constraint, Conversation, Token, TokenLogprobs
from llm.backends.code_tokens import CodeTokens, encoded
from llm.backends.codes import by_code
from llm.classifier import Problem, Usage

_TOKEN_ID_LIMIT = 128  # token ids of one request, vLLM's own bound
_TOO_LONG = Problem("too_long", "the text is longer than the model's context")


class VLLMOffline:
    """A model in this process, at temperature 0; loaded at first use.

    A model that cannot be loaded is a setting that cannot work, so vLLM's own error passes on; a model that is lost
    later is a problem of each text that it was asked about.

    Args:
        model: folder of the weights, or their name on the hub.
        name: how the model calls itself; the model's own where it is empty.
        max_model_len: tokens of prompt and answer together.
        options: further arguments of ``vllm.LLM``, e.g. ``gpu_memory_utilization``.
    """

    decoding: Mapping[str, Any] = {"temperature": 0}
    code_limit = _TOKEN_ID_LIMIT
    holds_schema = True
    answers_directly = True

    def __init__(self, model: str, name: str = "", max_model_len: int = 8192, **options: Any) -> None:
        self.name = name or model
        self._model, self._max_model_len, self._options = model, max_model_len, options
        self._loaded: Any = None
        self._lost: Problem | None = None
        self._code_tokens = CodeTokens(self._encode, _TOKEN_ID_LIMIT)
        self._lock = threading.RLock()  # vllm.LLM serves one caller at a time

    def __repr__(self) -> str:
        return f"VLLMOffline({self.name!r})"

    def generate(self, conversations: Sequence[Conversation], constraint: Constraint) -> list[Completion]:
        """See ``Backend.generate``."""
        from vllm.sampling_params import StructuredOutputsParams

        outputs = self._generate(
            conversations,
            constraint.max_tokens,
            structured_outputs=StructuredOutputsParams(json=dict(constraint.schema)),
            logprobs=0,  # of the tokens written, and no others
        )
        return [
            Completion(problem=output) if isinstance(output, Problem) else _completion(output, constraint)
            for output in outputs
        ]

    def next_token_logprobs(self, conversations: Sequence[Conversation], codes: Sequence[str]) -> list[TokenLogprobs]:
        """See ``Backend.next_token_logprobs``.

        Raises:
            InvalidSetting: a code is not a single token of this model.
        """
        code_by_id = self._code_tokens.of(codes, self.name)
        outputs = self._generate(conversations, 1, logprob_token_ids=list(code_by_id))
        return [
            TokenLogprobs(problem=output) if isinstance(output, Problem) else _weighing(output, codes, code_by_id)
            for output in outputs
        ]

    def check(self) -> Problem | None:
        """See ``Backend.check``: whether vLLM is there to be loaded, and was not lost since."""
        from importlib.util import find_spec

        if find_spec("vllm") is None:
            return Problem("misconfigured", "vLLM is not installed here: pip install -r requirements-vllm.txt")
        return self._lost

    def _llm(self) -> Any:
        with self._lock:
            if self._loaded is None:
                from vllm import LLM

                fixed: dict[str, Any] = {
                    "generation_config": "vllm",  # the model's own sampling defaults would change answers
                    "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
                }
                self._loaded = LLM(self._model, max_model_len=self._max_model_len, **fixed | self._options)
            return self._loaded

    def _generate(self, conversations: Sequence[Conversation], max_tokens: int, **sampling: Any) -> list[Any]:
        """vLLM's output per conversation, or the ``Problem`` that stood against it."""
        prompts = [self._token_ids(conversation) for conversation in conversations]
        fitting = [prompt for prompt in prompts if len(prompt) < self._max_model_len]
        answers = iter(self._ask(fitting, max_tokens, sampling) if fitting else [])
        return [next(answers) if len(prompt) < self._max_model_len else _TOO_LONG for prompt in prompts]

    def _ask(self, prompts: Sequence[list[int]], max_tokens: int, sampling: Mapping[str, Any]) -> Sequence[Any]:
        from vllm import SamplingParams
        from vllm.v1.backend.exceptions import EngineDeadError

        params = [
            SamplingParams(temperature=0, max_tokens=min(max_tokens, self._max_model_len - len(prompt)), **sampling)
            for prompt in prompts
        ]
        given = [{"prompt_token_ids": prompt} for prompt in prompts]
        with self._lock:
            try:
                return list(self._llm().generate(given, params, use_tqdm=False))
            except EngineDeadError as error:
                self._lost = Problem("unreachable", f"vLLM was lost in this process: {error}")
                return [self._lost] * len(prompts)

    def _token_ids(self, conversation: Conversation) -> list[int]:
        """As vLLM's server does it: the template writes the control tokens, the tokenizer adds none."""
        tokenizer = self._llm().get_tokenizer()
        text = tokenizer.apply_chat_template(list(conversation), add_generation_prompt=True, tokenize=False)
        return list(tokenizer.encode(text, add_special_tokens=False))

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return encoded(self._llm().get_tokenizer(), texts)


def _completion(output: Any, constraint: Constraint) -> Completion:
    (written,) = output.outputs
    usage = _usage(output)
    if written.finish_reason == "length" and usage.completion_tokens < constraint.max_tokens:
        return Completion(problem=_TOO_LONG, usage=usage)  # the context ended before the answer did
    steps = zip(written.token_ids, written.logprobs or [], strict=False)
    told = [step[token_id] for token_id, step in steps]
    # The token that ends the answer is no part of its text.
    words = told[:-1] if written.finish_reason == "stop" else told
    tokens = tuple(Token(token.decoded_token or "", float(token.logprob)) for token in words)
    return Completion(written.text, usage, tokens=tokens, cut=written.finish_reason == "length")


def _weighing(output: Any, codes: Sequence[str], code_by_id: Mapping[int, str]) -> TokenLogprobs:
    step = output.outputs[0].logprobs[0]
    given = by_code({token_id: float(step[token_id].logprob) for token_id in code_by_id}, code_by_id)
    return TokenLogprobs({code: given[code] for code in codes}, usage=_usage(output))


def _usage(output: Any) -> Usage:
    prompt, written = len(output.prompt_token_ids), len(output.outputs[0].token_ids)
    return Usage(prompt, output.num_cached_tokens or 0, written)
