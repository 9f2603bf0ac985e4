"""The small model taught by the large: what a language model said of texts, learnt by one that costs nothing to ask."""
