"""Metrics of labels, rankings, calibration and differences between runs."""
