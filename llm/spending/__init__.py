"""Tokens and prices: what an answer cost, what a run will cost, and where it stops."""
