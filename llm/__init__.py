"""Classifiers: whoever turns texts and a closed vocabulary into labels, and what wraps around them."""
