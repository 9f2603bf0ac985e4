"""Evidence for labels: sentences and words of the embedded classifier, verified quotes of a language model."""
