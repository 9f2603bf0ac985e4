"""Strategies: how labels are obtained from a language model, and the parser of its answers."""
