"""A transformer encoder (MiniLM, DistilBERT or any other) with a linear classification head."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eval.baselines.losses import Keep
from eval.baselines.mlp import to_probabilities
from eval.baselines.trained import MANIFEST, Probabilities, Scorer, Split, Track, read_manifest
from prompts.errors import InvalidSetting
from similarity.encoders.precision import autocast, default_device
from similarity.native import native

_BATCH = 32
# BERT's and DistilBERT's names of attention dropout, which is disabled: it triples the time of a step on a CPU and
# needs most of its memory, because the weights of all pairs of tokens are materialised.
_ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")
_ENCODER, _HEAD, _WINDOW = "encoder", "head.safetensors", "reading.json"
_PROBE_BATCH = 64
_PROBE_STEPS = 100  # maximum L-BFGS iterations over all texts
_PROBE_PENALTY = 0.05  # L2 penalty for vectors of length 1, relative to the sum of all losses (C = 10)

Row = dict[str, Any]  # tokens, their number before truncation, labels and known labels of a text
BatchLoss = Callable[[Tensor, Mapping[str, Tensor]], Tensor]  # logits and the other tensors of a batch; a scalar


@dataclass(frozen=True)
class TokenWindow:
    """Truncation to ``max_tokens``, special tokens included: to the head, or to half from each end.

    Sun et al. 2019, arXiv 1905.05583: the end of a review says more than its middle.
    """

    max_tokens: int = 256
    keep: Keep = "head"

    def cut(self, tokens: Sequence[int]) -> list[int]:
        """Truncate; the first and the last token are special and always kept."""
        if len(tokens) <= self.max_tokens:
            return list(tokens)
        tail = self.max_tokens // 2 if self.keep == "head-tail" else 1
        return [*tokens[: self.max_tokens - tail], *tokens[-tail:]]


class EncoderClassifier(nn.Module):
    """An encoder, mean pooling of its last layer, and a linear layer to the logits of the labels."""

    def __init__(self, encoder: nn.Module, labels: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(int(encoder.config.hidden_size), labels)  # type: ignore[union-attr, arg-type]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of shape (texts, labels); both arguments have shape (texts, tokens)."""
        logits: Tensor = self.head(self.dropout(self.pooled(input_ids, attention_mask)))
        return logits

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Pooled vectors, the input of the head, shape (texts, dimension)."""
        last = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(last.dtype)
        mean: Tensor = (last * mask).sum(dim=1) / mask.sum(dim=1)
        return mean

    def layers(self) -> nn.ModuleList:
        """The encoder's layers, first to last; raises ``InvalidSetting`` if it has no list of layers as BERT has."""
        count = getattr(self.encoder.config, "num_hidden_layers", 0)
        found = [one for one in self.encoder.modules() if isinstance(one, nn.ModuleList) and len(one) == count]
        if not found:
            raise InvalidSetting("this encoder has no separate layers; leave last_layers out")
        return found[0]


@dataclass(frozen=True)
class Transformer(Scorer):
    """A fine-tuned encoder: texts to probabilities; ``info`` has facts about the training, for the manifest."""

    model: EncoderClassifier
    tokeniser: Any
    window: TokenWindow
    multi: bool
    info: Mapping[str, object]
    lock: threading.Lock

    @classmethod
    def restore(cls, folder: Path, labels: int, multi: bool) -> Transformer:
        window = TokenWindow(**json.loads((folder / _WINDOW).read_text(encoding="utf-8")))
        encoder, tokeniser = pretrained(str(folder / _ENCODER))
        model = EncoderClassifier(encoder, labels, 0.0)
        model.head.load_state_dict(load_file(folder / _HEAD))
        return cls(model.to(device()), tokeniser, window, multi, {}, threading.Lock())

    @native
    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        with self.lock:  # the tokeniser is not thread-safe, and parallel passes would share the same cores
            rows = tokens_of(self.tokeniser, texts)
            order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
            found = np.empty((len(rows), self.model.head.out_features), dtype=np.float32)
            for start in range(0, len(order), _BATCH):
                batch = order[start : start + _BATCH]
                found[batch] = self._batch([rows[row] for row in batch])
        return found

    def save(self, folder: Path) -> None:
        self.model.encoder.save_pretrained(folder / _ENCODER)  # type: ignore[operator]
        self.tokeniser.save_pretrained(folder / _ENCODER)
        head = {name: value.detach().cpu().contiguous() for name, value in self.model.head.state_dict().items()}
        save_file(head, folder / _HEAD)
        (folder / _WINDOW).write_text(json.dumps(asdict(self.window)) + "\n", encoding="utf-8")

    def train_info(self) -> dict[str, object]:
        return dict(self.info)

    def _batch(self, rows: Sequence[Sequence[int]]) -> Probabilities:
        self.model.eval()
        device = next(self.model.parameters()).device
        tensors = padded([self.window.cut(row) for row in rows], self.tokeniser.pad_token_id)
        with torch.inference_mode(), autocast(device.type):  # the number format of the training
            return to_probabilities(self.model(*(one.to(device) for one in tensors)), self.multi)


def pretrained(base: str) -> tuple[nn.Module, Any]:
    """Encoder (float32, without attention dropout) and tokeniser from a folder or a name on the Hugging Face Hub.

    Raises:
        InvalidSetting: neither exists.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # it warns of a missing head, which is not used
    try:
        tokeniser = AutoTokenizer.from_pretrained(base)
        config = AutoConfig.from_pretrained(base)
        for name in _ATTENTION_DROPOUT:
            if hasattr(config, name):
                setattr(config, name, 0.0)
        # On a CPU the backward pass of PyTorch's fused attention is slow in bfloat16.
        attention = "eager" if device().type == "cpu" else None
        model = AutoModel.from_pretrained(base, config=config, dtype=torch.float32, attn_implementation=attention)
        return model, tokeniser
    except (OSError, ValueError) as error:
        raise InvalidSetting(
            f"no encoder can be loaded from {base!r}: {str(error).splitlines()[0]}; give a folder with its config, "
            "weights and tokeniser, or a name if the Hugging Face Hub can be reached"
        ) from None


def checkpoint(base: str, labels: Sequence[str]) -> tuple[str, dict[str, Tensor] | None]:
    """Folder of the encoder of a base, and its head if it is an earlier training for the same labels.

    Raises:
        InvalidSetting: the base is a trained baseline without an encoder.
    """
    folder = Path(base)
    if not (folder / MANIFEST).exists():
        return base, None
    if not (folder / _HEAD).exists():
        raise InvalidSetting(f"{base} is a trained baseline without an encoder; start from minilm or distilbert")
    same = read_manifest(folder)[1].names == tuple(labels)
    return str(folder / _ENCODER), load_file(folder / _HEAD) if same else None


def tokens_of(tokeniser: Any, texts: Sequence[str]) -> list[list[int]]:
    """All tokens of each text without truncation, with special tokens at both ends."""
    found: list[list[int]] = tokeniser(list(texts), truncation=False, verbose=False)["input_ids"]
    return found


def padded(rows: Sequence[Sequence[int]], fill: int) -> tuple[Tensor, Tensor]:
    """Padded tokens and attention mask, both of shape (texts, tokens)."""
    longest = max(map(len, rows))
    tokens = torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return tokens, mask


def device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device(default_device())


@dataclass(frozen=True)
class TrainingSet:
    """Training texts, the function that makes batches of them, and the loss of a batch."""

    rows: Sequence[Row]
    collate: Callable[[Sequence[Row]], Mapping[str, Tensor]]
    loss: BatchLoss


def rows_of(split: Split, tokeniser: Any, window: TokenWindow) -> list[Row]:
    """One row a text; ``length`` is the number of tokens before truncation."""
    return [
        {"input_ids": window.cut(tokens), "length": len(tokens), "labels": truth, "known": known}
        for tokens, truth, known in zip(tokens_of(tokeniser, split.texts), split.truth, split.known, strict=True)
    ]


def collated(rows: Sequence[Row], fill: int) -> dict[str, Tensor]:
    """Rows as a batch, padded with the token ``fill``.

    Returns:
        ``input_ids`` and ``attention_mask`` of shape (texts, tokens), ``labels`` and ``known`` of shape (texts,
        labels), ``lengths`` of shape (texts,).
    """
    tokens, mask = padded([row["input_ids"] for row in rows], fill)
    targets = {name: torch.from_numpy(np.stack([row[name] for row in rows])).float() for name in ("labels", "known")}
    lengths = torch.tensor([float(row["length"]) for row in rows])
    return {"input_ids": tokens, "attention_mask": mask, "lengths": lengths, **targets}


def fit_head(model: EncoderClassifier, training: TrainingSet, track: Track) -> None:
    """Train ``model.head`` in place over the frozen encoder (linear probing).

    Fine-tuning after that distorts the encoder less than with a random head (Kumar et al. 2022, arXiv 2202.10054).
    """
    vectors, targets = _pooled(model, training, track)
    penalty = _PROBE_PENALTY * vectors.square().sum(dim=1).mean() / targets["labels"].numel()
    optimiser = torch.optim.LBFGS(list(model.head.parameters()), max_iter=_PROBE_STEPS, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimiser.zero_grad()
        loss = training.loss(model.head(vectors), targets) + penalty * model.head.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(step)  # type: ignore[no-untyped-call]


def _pooled(model: EncoderClassifier, training: TrainingSet, track: Track) -> tuple[Tensor, dict[str, Tensor]]:
    """Pooled vectors of all texts, shape (texts, dimension), and the other tensors in the same order."""
    device = next(model.parameters()).device
    order = sorted(training.rows, key=lambda row: len(row["input_ids"]))
    vectors, targets = list[Tensor](), list[Mapping[str, Tensor]]()
    model.eval()
    with torch.no_grad(), autocast(device.type):
        for start in track(range(0, len(order), _PROBE_BATCH), "batches encoded"):
            rows = order[start : start + _PROBE_BATCH]
            batch = {name: tensor.to(device) for name, tensor in training.collate(rows).items()}
            vectors.append(model.pooled(batch.pop("input_ids"), batch.pop("attention_mask")).float())
            targets.append(batch)
    return torch.cat(vectors), {name: torch.cat([batch[name] for batch in targets]) for name in targets[0]}
