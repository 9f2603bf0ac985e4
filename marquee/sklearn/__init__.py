"""Marquee as a scikit-learn classifier of texts."""

from marquee.sklearn.classifier import EXPECTED_FAILED_CHECKS, MarqueeClassifier

__all__ = ["EXPECTED_FAILED_CHECKS", "MarqueeClassifier"]
