"""Millions of texts: files of rows in, the same rows with their labels out, whatever happens on the way."""
