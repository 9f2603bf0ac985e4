"""Pretrained zero-shot classifiers of Hugging Face's libraries, in this process: ``hf:NAME_OR_PATH``."""
