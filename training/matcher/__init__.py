"""Teaches the embedded matcher how texts and labels match, and measures what it was taught for."""
