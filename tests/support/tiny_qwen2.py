"""A Qwen2 of a few hundred thousand random weights, with a tokenizer and chat template of Qwen's form.

Its words are noise, and that is its use: whatever a model says, answers must come out inside the taxonomy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "films.jsonl"
CONTROL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def build(
    folder: Path, context: int = 32_768, seed: int = 0, width: int = 64, tokenizer: Any = None, tied: bool = True
) -> Path:
    """Write weights, configuration and tokenizer to a folder, as ``from_pretrained`` reads them.

    Args:
        folder: made if missing.
        context: tokens that the model can take; Qwen2-7B-Instruct's own by default.
        seed: of the random weights.
        width: hidden size, a multiple of 64.
        tokenizer: of the model; None trains a tiny one on the sample.
        tied: whether words are written by the vectors that they are read by.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = tokenizer or tiny_tokenizer()
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=width // 32,  # head dimension 32, the least that vLLM's CPU attention takes
        num_key_value_heads=width // 64,
        max_position_embeddings=context,
        tie_word_embeddings=tied,
        bos_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
    )
    folder.mkdir(parents=True, exist_ok=True)
    model: Any = Qwen2ForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_tokenizer(size: int = 2_000, texts: Iterable[str] | None = None) -> Any:
    """A byte-level BPE tokenizer of so many tokens, trained on the sample or on other texts; it can write any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=CONTROL_TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(_sample_texts() if texts is None else texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )


def _sample_texts() -> Iterator[str]:
    yield from ["Yes", "No"] * 1_000  # so frequent that each becomes a token, as in Qwen's own taxonomy
    for line in SAMPLE.read_text(encoding="utf-8").splitlines():
        film = json.loads(line)
        yield f"{film['title']}: {film['plot']} {json.dumps({'labels': film['tmdb_genres']})}"
