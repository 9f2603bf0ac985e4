"""llama.cpp's HTTP server of ``xllamacpp``, which contains it as a library only.

Run by the Python of llama.cpp's environment: ``python tests/engines/serve_gguf.py MODEL.gguf NAME PORT KEY THREADS``.
"""

from __future__ import annotations

import sys

import xllamacpp  # type: ignore[import-not-found]  # lives in var/llama only


def serve(model: str, name: str, port: int, api_key: str, threads: int) -> None:
    """Serve one model on loopback with ``llama-server``'s defaults until standard input ends.

    Standard input ends when the parent process ends, also by a crash, so no server outlives it. ``threads`` above one
    spin while they wait, which is very slow on a loaded machine.
    """
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {name}
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], port, [api_key]
    params.n_parallel, params.kv_unified = 4, True  # four concurrent requests, which share one context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    print("serving on", server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
