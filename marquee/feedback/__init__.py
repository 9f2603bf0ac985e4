"""Feedback on answers: recorded answers, stored corrections, and what is learned from them."""
