"""Taxonomies, prompt templates and texts; also errors, files and names that all packages share."""
