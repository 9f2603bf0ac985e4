"""How good a classifier is: examples, a run over them, and metrics."""
