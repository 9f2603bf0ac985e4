"""The HTTP face of the house, its settings and its client."""
