"""llama.cpp's own HTTP server out of ``xllamacpp``, which ships it as a library and not as a program.

Run by the Python of llama.cpp's environment: ``python tests/engines/serve_gguf.py MODEL.gguf NAME PORT KEY``.
"""

from __future__ import annotations

import sys

import xllamacpp  # type: ignore[import-not-found]  # lives in var/llama only


def serve(model: str, name: str, port: int, api_key: str) -> None:
    """Serve one model on loopback, set as ``llama-server`` sets itself by default, until standard input ends.

    That end comes when whoever holds the other side of the pipe is gone, however it went, so no server is left over.
    """
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {name}
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], port, [api_key]
    params.n_parallel, params.kv_unified = 4, True  # four requests at once, out of one common context
    params.cpuparams.n_threads = 1  # several wait for one another by spinning: a busy machine makes that very slow
    server = xllamacpp.Server(params)
    print("serving on", server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
