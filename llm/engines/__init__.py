"""Engines: language models behind a wire or in this process, each one file, each of one shape (``engine.Engine``)."""
