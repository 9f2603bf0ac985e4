"""Measures classifiers: data sets, baselines, resumable runs, metrics, comparisons, reports."""
