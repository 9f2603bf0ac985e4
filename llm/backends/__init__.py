"""Backends: language models behind HTTP or in this process, one file each (``backend.Backend``)."""
