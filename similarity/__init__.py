"""Sentence vectors and nearest neighbours: encoders, the vector index, a map, micro-batching."""
