"""Typed questions about a text, answered by any model."""
