"""Classifiers around a classifier: cache, cascade, fallback, shortlist, label orders, batching, limits."""
