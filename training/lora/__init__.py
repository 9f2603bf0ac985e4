"""Fine-tuning of the language model itself: a LoRA adapter from labelled texts, asked and read as in use."""
