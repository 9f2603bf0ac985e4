"""Classifiers of texts by a closed set of labels: backends, strategies, wrappers, the embedded classifier."""
