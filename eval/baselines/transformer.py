"""A transformer under a head of one layer: MiniLM, DistilBERT, or any encoder that transformers can read."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eval.baselines import manifest
from eval.baselines.data import Probabilities
from eval.baselines.mlp import to_probabilities
from prompts.errors import InvalidSetting
from similarity.encoders.precision import autocast, default_device
from similarity.native import native

Keep = Literal["head", "head-tail"]
_BATCH = 32
# What BERT and DistilBERT call the dropout of attention's weights. It is left out: with it the weights of all pairs of
# tokens are written out and drawn for, which on a processor makes a step three times as long and takes most memory.
_ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")
_ENCODER, _HEAD, _READING = "encoder", "head.safetensors", "reading.json"


@dataclass(frozen=True)
class TokenWindow:
    """How much of a text is read.

    Attributes:
        max_tokens: at most so many tokens, the special ones included.
        keep: of a longer text its ``head``, or half from the head and half from the tail (Sun et al. 2019,
            arXiv 1905.05583: how a review ends tells more than its middle).
    """

    max_tokens: int = 256
    keep: Keep = "head"

    def cut(self, tokens: Sequence[int]) -> list[int]:
        """The tokens that are read; the first and the last, which are special, always stay."""
        if len(tokens) <= self.max_tokens:
            return list(tokens)
        tail = self.max_tokens // 2 if self.keep == "head-tail" else 1
        return [*tokens[: self.max_tokens - tail], *tokens[-tail:]]


class Labeller(nn.Module):
    """An encoder, the mean of its last layer over the text's tokens, and one linear layer to the labels' logits."""

    def __init__(self, encoder: nn.Module, labels: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(int(encoder.config.hidden_size), labels)  # type: ignore[union-attr, arg-type]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of shape (texts, labels) from tokens and mask, both of shape (texts, tokens)."""
        logits: Tensor = self.head(self.dropout(self.pooled(input_ids, attention_mask)))
        return logits

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The head's input, shape (texts, dimension)."""
        last = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(last.dtype)
        mean: Tensor = (last * mask).sum(dim=1) / mask.sum(dim=1)
        return mean

    def layers(self) -> nn.ModuleList:
        """The encoder's layers, first to last.

        Raises:
            InvalidSetting: the encoder is built otherwise than BERT and its kin.
        """
        count = getattr(self.encoder.config, "num_hidden_layers", 0)
        found = [one for one in self.encoder.modules() if isinstance(one, nn.ModuleList) and len(one) == count]
        if not found:
            raise InvalidSetting("the layers of this encoder cannot be told apart; leave last_layers out")
        return found[0]


@dataclass(frozen=True)
class Transformer:
    """Texts to label scores by a fine-tuned encoder."""

    model: Labeller
    tokeniser: Any
    reading: TokenWindow
    multi: bool
    learnt: Mapping[str, object]
    lock: threading.Lock

    @native
    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """See ``Scorer.probabilities``."""
        with self.lock:  # the tokeniser may not be shared, and two passes would only share the same cores
            rows = tokens_of(self.tokeniser, texts)
            order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
            found = np.empty((len(rows), self.model.head.out_features), dtype=np.float32)
            for start in range(0, len(order), _BATCH):
                batch = order[start : start + _BATCH]
                found[batch] = self._batch([rows[row] for row in batch])
        return found

    def save(self, folder: Path) -> None:
        """See ``Scorer.save``."""
        self.model.encoder.save_pretrained(folder / _ENCODER)  # type: ignore[operator]
        self.tokeniser.save_pretrained(folder / _ENCODER)
        head = {name: value.detach().cpu().contiguous() for name, value in self.model.head.state_dict().items()}
        save_file(head, folder / _HEAD)
        (folder / _READING).write_text(json.dumps(asdict(self.reading)) + "\n", encoding="utf-8")

    def notes(self) -> dict[str, object]:
        """See ``Scorer.notes``."""
        return dict(self.learnt)

    def _batch(self, rows: Sequence[Sequence[int]]) -> Probabilities:
        self.model.eval()
        device = next(self.model.parameters()).device
        filled = padded([self.reading.cut(row) for row in rows], self.tokeniser.pad_token_id)
        with torch.inference_mode(), autocast(device.type):  # the same format as in training, which judges it so
            return to_probabilities(self.model(*(one.to(device) for one in filled)), self.multi)


def restore(folder: Path, labels: int, multi: bool) -> Transformer:
    """What ``Transformer.save`` wrote; on the GPU where there is one."""
    reading = TokenWindow(**json.loads((folder / _READING).read_text(encoding="utf-8")))
    encoder, tokeniser = pretrained(str(folder / _ENCODER))
    model = Labeller(encoder, labels, 0.0)
    model.head.load_state_dict(load_file(folder / _HEAD))
    return Transformer(model.to(device()), tokeniser, reading, multi, {}, threading.Lock())


def pretrained(base: str) -> tuple[nn.Module, Any]:
    """Encoder (float32, without dropout of attention) and tokeniser of a folder or of a name on the hub.

    Raises:
        InvalidSetting: there is neither.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # a head that we do not use is "missing" there
    try:
        tokeniser = AutoTokenizer.from_pretrained(base)
        config = AutoConfig.from_pretrained(base)
        for name in _ATTENTION_DROPOUT:
            if hasattr(config, name):
                setattr(config, name, 0.0)
        # Plain products beat PyTorch's fused attention on a processor, whose way back is slow in bfloat16 there.
        attention = "eager" if device().type == "cpu" else None
        model = AutoModel.from_pretrained(base, config=config, dtype=torch.float32, attn_implementation=attention)
        return model, tokeniser
    except (OSError, ValueError) as error:
        raise InvalidSetting(
            f"no encoder can be loaded from {base!r}: {str(error).splitlines()[0]}; give a folder with its config, "
            "weights and tokeniser, or a name where the hub can be reached"
        ) from None


def earlier(base: str, labels: Sequence[str]) -> tuple[str, dict[str, Tensor] | None]:
    """Where the encoder of a base lies, and its head, where a baseline of ours was trained for the same labels."""
    folder = Path(base)
    if not (folder / manifest.FILE).exists():
        return base, None
    if not (folder / _HEAD).exists():
        raise InvalidSetting(
            f"{base} holds a trained baseline without an encoder; start from one of minilm or distilbert"
        )
    same = manifest.parts_of(folder)[1].names == tuple(labels)
    return str(folder / _ENCODER), load_file(folder / _HEAD) if same else None


def tokens_of(tokeniser: Any, texts: Sequence[str]) -> list[list[int]]:
    """All tokens of each text, uncut, with the special ones at both ends."""
    found: list[list[int]] = tokeniser(list(texts), truncation=False, verbose=False)["input_ids"]
    return found


def padded(rows: Sequence[Sequence[int]], fill: int) -> tuple[Tensor, Tensor]:
    """Tokens and mask, as long as the longest row, both of shape (texts, tokens)."""
    longest = max(map(len, rows))
    tokens = torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return tokens, mask


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device(default_device())
