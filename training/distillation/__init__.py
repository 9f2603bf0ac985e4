"""Knowledge distillation: a small model is trained on the labels of a language model."""
