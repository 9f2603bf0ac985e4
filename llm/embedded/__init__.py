"""The embedded classifier: a fine-tuned MiniLM that answers without GPU or API key."""
