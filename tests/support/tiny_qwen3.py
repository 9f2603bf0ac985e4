"""A Qwen3 of random weights: vLLM answers typed questions (``/v1/systemone``) for this architecture, not for Qwen2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.tiny_qwen2 import SAMPLE, tiny_tokenizer


def build(folder: Path) -> Path:
    """Write weights, configuration and tokenizer to a folder; ``yes`` and ``no`` are tokens."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    words = ["yes", "no", "Yes", "No"] * 1_000  # so frequent that each becomes a token, as in Qwen's own
    tokenizer = tiny_tokenizer(texts=[*words, *SAMPLE.read_text(encoding="utf-8").splitlines()])
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
    )
    folder.mkdir(parents=True, exist_ok=True)
    model: Any = Qwen3ForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
