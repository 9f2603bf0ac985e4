"""Tiny pretrained classifiers of random weights, as their libraries save them: NLI, GLiClass, rerankers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = (
    "a about am an and app army bank battle billing card charged charges closes crash crashes death drama example "
    "fight fine for funny guns horse i in invoices is it joke kingdom laughed love map money more my of on park "
    "planet praise rain refunds save ship smith spaceship stops story sword support text that the this time to town "
    "train twice war was western when works"
).split()
CONTROL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GLICLASS_MARKS = ("<<LABEL>>", "<<SEP>>", "<<EXAMPLE>>")
ENTAILMENT = ("contradiction", "neutral", "entailment")
POSITIONS = 66


def entailment(folder: Path, labels: Sequence[str] = ENTAILMENT, seed: int = 0) -> Path:
    """An NLI model, or another sequence classifier with these labels."""
    import torch
    from transformers import BertForSequenceClassification

    torch.manual_seed(seed)
    config = _bert(id2label=dict(enumerate(labels)), label2id={name: place for place, name in enumerate(labels)})
    return _saved(BertForSequenceClassification(config), tokenizer(), folder)


def reranker(folder: Path, seed: int = 0) -> Path:
    """A cross-encoder with one score."""
    return entailment(folder, ["LABEL_0"], seed)


def gliclass(folder: Path, seed: int = 0, prompt_first: bool = True, **more: Any) -> Path:
    """A GLiClass uni-encoder; ``more`` are fields of its configuration."""
    import torch
    from gliclass import GLiClassModel
    from gliclass.config import GLiClassModelConfig

    torch.manual_seed(seed)
    words = tokenizer()
    words.add_tokens(list(GLICLASS_MARKS), special_tokens=True)
    label, separator, example = words.convert_tokens_to_ids(list(GLICLASS_MARKS))
    encoder = _bert(vocab_size=len(words)).to_dict()
    config = GLiClassModelConfig(
        encoder_config=encoder, encoder_model="tiny", class_token_index=label, text_token_index=separator,
        example_token_index=example, vocab_size=len(words), prompt_first=prompt_first,
        initializer_range=0.15, **more,
    )  # fmt: skip
    return _saved(GLiClassModel(config), words, folder)


def tokenizer() -> Any:
    """A tokenizer of whole words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: number for number, word in enumerate([*CONTROL, *WORDS, ".", ",", ":"])}
    words = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    words.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip


def _bert(**more: Any) -> Any:
    from transformers import BertConfig

    size = {"vocab_size": len(CONTROL) + len(WORDS) + 3, **more}
    return BertConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, initializer_range=0.6,
        max_position_embeddings=POSITIONS, pad_token_id=0, **size,
    )  # fmt: skip


def _saved(model: Any, words: Any, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model.eval().save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
