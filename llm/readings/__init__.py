"""Readings: how a language model is asked for labels, and how its words or probabilities become them."""
