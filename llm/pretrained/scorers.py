"""Three kinds of pretrained models, each through its library: NLI, GLiClass, rerankers.

This module imports torch; import it inside the function that needs a model. All models are read from a folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from llm.pretrained.model_files import Kind, PretrainedFiles, entailment_index, label_names
from prompts.errors import InvalidSetting
from prompts.installation import missing
from similarity.encoders.precision import default_device, torch_dtype

Logits = NDArray[np.float32]

_HYPOTHESIS = "This example is {}."  # as in transformers' zero-shot pipeline
_BATCH = 32  # pairs of a text and a label in one forward pass; texts, of GLiClass
_GLICLASS_TOKENS = 1_024  # the default of its library
_GLICLASS_CONTROL = ("<<LABEL>>", "<<SEP>>", "<<EXAMPLE>>")
_GLICLASS_MARKS = 8  # tokens kept free for those marks and the ends of a text
_NO_LIMIT = 100_000  # tokenizers without a limit state a huge number
_FEWEST_TOKENS = 512  # of a model that states no limit
_RESERVED = 2  # positions that RoBERTa's models leave unused


@dataclass(frozen=True)
class LabelLogits:
    """Logits of texts and labels, both of shape (texts, labels).

    Attributes:
        applies: log-odds that a label applies, whatever the other labels are.
        competing: logits of the labels as alternatives to each other.
    """

    applies: Logits
    competing: Logits


class LabelScorer(Protocol):
    """Scores labels for texts; not thread-safe."""

    def logits(self, texts: Sequence[str], labels: Sequence[str]) -> LabelLogits:
        """The logits of one or more texts and labels; the end of a long text is not read."""


class EntailmentScorer:
    """An NLI model: does the text entail "This example is LABEL."? Yin et al. 2019, arXiv 1909.00161."""

    def __init__(self, files: PretrainedFiles) -> None:
        device = default_device()
        self._tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True)
        network: Any = AutoModelForSequenceClassification.from_pretrained(
            files.folder, dtype=torch_dtype(device), local_files_only=True
        )
        self._network = network.to(device).eval()
        self._entailment = entailment_index(label_names(files.config)) or 0
        self._contradiction = -1 if self._entailment == 0 else 0  # as in transformers' zero-shot pipeline
        stated = self._tokenizer.model_max_length
        self._tokens = stated if stated < _NO_LIMIT else _positions(files.config)
        self._plain = _without_control(self._tokenizer)

    def logits(self, texts: Sequence[str], labels: Sequence[str]) -> LabelLogits:
        """See ``LabelScorer.logits``."""
        hypotheses = [_HYPOTHESIS.format(self._plain(label)) for label in labels]
        pairs = [(text, hypothesis) for text in map(self._plain, texts) for hypothesis in hypotheses]
        order = sorted(range(len(pairs)), key=lambda place: sum(map(len, pairs[place])))
        found = np.zeros((len(pairs), 2), np.float32)
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            found[places] = self._forward([pairs[place] for place in places])
        of_each = found.reshape(len(texts), len(labels), 2)
        return LabelLogits(of_each[..., 0] - of_each[..., 1], of_each[..., 0])

    @torch.inference_mode()
    def _forward(self, pairs: Sequence[tuple[str, str]]) -> Logits:
        """Logits of entailment and contradiction, shape (pairs, 2)."""
        premises, hypotheses = ([pair[side] for pair in pairs] for side in (0, 1))
        tokens = self._tokenizer(
            premises, hypotheses, truncation=True, max_length=self._tokens, padding=True, return_tensors="pt"
        )
        logits = self._network(**tokens.to(self._network.device)).logits.float().cpu().numpy()
        return np.asarray(logits[:, [self._entailment, self._contradiction]], np.float32)


class GLiClassScorer:
    """A GLiClass model, which reads a text and many labels in one pass. Stepanov et al. 2025, arXiv 2508.07662.

    It computes in float32: its library converts the logits to numpy, which has no bfloat16.
    """

    def __init__(self, files: PretrainedFiles) -> None:
        from gliclass import GLiClassModel, ZeroShotClassificationPipeline

        device, config = default_device(), files.config
        self._tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True)
        network: Any = GLiClassModel.from_pretrained(files.folder, dtype=torch.float32, local_files_only=True)
        self._tokens = min(_GLICLASS_TOKENS, _positions(config.get("encoder_config") or {}))
        self._pipeline = ZeroShotClassificationPipeline(
            network, self._tokenizer, max_length=self._tokens, device=device, progress_bar=False
        )
        allocated = config.get("max_labels_alloc", "dynamic")
        self._most_labels = {"dynamic": _NO_LIMIT, "fixed": config.get("max_num_classes", 25)}.get(allocated, allocated)
        self._plain = _without_control(self._tokenizer, _GLICLASS_CONTROL)

    def logits(self, texts: Sequence[str], labels: Sequence[str]) -> LabelLogits:
        """See ``LabelScorer.logits``; the labels of a pass take half of the tokens at most, the text has the rest."""
        half = self._tokens // 2
        names = [self._cut(self._plain(label), half - _GLICLASS_MARKS) for label in labels]
        sizes = [len(self._ids(name)) + 1 for name in names]
        parts = []
        for part in _chunks(sizes, half, self._most_labels):
            left = self._tokens - _GLICLASS_MARKS - sum(sizes[place] for place in part)
            read = [self._cut(self._plain(text), left) for text in texts]
            # Of the pipeline's methods, only this one returns logits; probabilities near 1 are equal in float32.
            rows = self._pipeline.get_embeddings(read, [names[place] for place in part], batch_size=_BATCH)
            parts.append(np.stack([row["logits"][: len(part)] for row in rows]))
        logits = np.concatenate(parts, axis=1).astype(np.float32)
        return LabelLogits(logits, logits)

    def _cut(self, words: str, tokens: int) -> str:
        """The beginning of a text: the library would cut the labels where they come behind the text."""
        ids = self._ids(words)
        return words if len(ids) <= tokens else str(self._tokenizer.decode(ids[:tokens]))

    def _ids(self, words: str) -> list[int]:
        return list(self._tokenizer.encode(words, add_special_tokens=False))


class RerankerScorer:
    """A reranker (cross-encoder): how relevant is the text to the label as a query?"""

    def __init__(self, files: PretrainedFiles) -> None:
        from sentence_transformers import CrossEncoder

        device = default_device()
        self._model = CrossEncoder(
            str(files.folder), device=device, local_files_only=True, model_kwargs={"dtype": torch_dtype(device)}
        )
        self._plain = _without_control(self._model.tokenizer)

    def logits(self, texts: Sequence[str], labels: Sequence[str]) -> LabelLogits:
        """See ``LabelScorer.logits``."""
        queries = [self._plain(label) for label in labels]
        pairs = [(query, text) for text in map(self._plain, texts) for query in queries]
        found = self._model.predict(
            pairs, batch_size=_BATCH, show_progress_bar=False, activation_fn=torch.nn.Identity()
        )
        logits = np.asarray(found, np.float32).reshape(len(texts), len(labels))
        return LabelLogits(logits, logits)


_SCORERS: Mapping[Kind, Callable[[PretrainedFiles], LabelScorer]] = {
    "entailment": EntailmentScorer,
    "gliclass": GLiClassScorer,
    "reranker": RerankerScorer,
}


def load(files: PretrainedFiles) -> LabelScorer:
    """Load a model from its folder.

    Raises:
        InvalidSetting: it cannot be loaded.
        MissingExtra: its library is not installed.
    """
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if "TRANSFORMERS_VERBOSITY" not in os.environ:
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # GLiClass's type is unknown to transformers
    try:
        return _SCORERS[files.kind](files)
    except ModuleNotFoundError as error:
        raise missing(files.spec, "hf") from error
    except Exception as error:  # a folder may contain anything, and every reader has its own errors
        reason = str(error).strip().partition("\n")[0]
        raise InvalidSetting(f"{files.spec!r} cannot be loaded ({reason}); download the model again") from error


def _positions(config: Mapping[str, Any]) -> int:
    """The most tokens that an encoder reads; relative positions have no limit of their own."""
    if config.get("relative_attention"):
        return _NO_LIMIT
    stated = config.get("max_position_embeddings")
    return stated - _RESERVED if isinstance(stated, int) and stated > _RESERVED else _FEWEST_TOKENS


def _without_control(tokenizer: Any, more: Sequence[str] = ()) -> Callable[[str], str]:
    """A function that takes the tokenizer's control tokens out of a text: they would end it and begin the next part."""
    pattern = re.compile(
        "|".join(map(re.escape, sorted({*tokenizer.all_special_tokens, *more}, key=len, reverse=True)))
    )
    return lambda text: pattern.sub(" ", text)


def _chunks(sizes: Sequence[int], tokens: int, most: int) -> Iterator[list[int]]:
    """Indices of labels that share a pass, in order: at most so many tokens and labels."""
    part: list[int] = []
    for place, size in enumerate(sizes):
        if part and (len(part) == most or sum(sizes[one] for one in part) + size > tokens):
            yield part
            part = []
        part.append(place)
    yield part
