"""Texts as vectors, and the nearest of them."""
