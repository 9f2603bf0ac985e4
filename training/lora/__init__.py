"""LoRA adapters of the language model, trained on labelled texts with the prompts and answers that are used later."""
