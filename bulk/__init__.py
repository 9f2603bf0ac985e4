"""Resumable labelling of files: rows in, the same rows with labels out; in process, by Batch APIs, on Ray."""
