"""llama.cpp's HTTP server of the package ``xllamacpp``, with the few arguments of ``llama-server`` that we pass.

A program of its own: ``llama_server.py`` runs this file where there is no ``llama-server``. It imports nothing of this
project.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading

import xllamacpp  # type: ignore[import-not-found]  # of the extra gguf


def main(arguments: list[str]) -> None:
    """Serve one model until the process is ended."""
    given = _parser().parse_args(arguments)
    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = given.model, {given.alias}
    params.hostnames, params.port = [given.host], given.port
    params.n_parallel, params.n_ctx, params.kv_unified = given.parallel, given.ctx_size, given.kv_unified
    params.cpuparams.n_threads = given.threads
    params.use_jinja, params.ui = given.jinja, not given.no_webui
    if given.lora:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(given.lora, 1.0)]
    params.api_keys = [os.environ["LLAMA_API_KEY"]]
    params.verbosity = int(os.environ["LLAMA_ARG_LOG_VERBOSITY"])
    params.cache_ram_mib = int(os.environ["LLAMA_ARG_CACHE_RAM"])
    try:
        server = xllamacpp.Server(params)  # an object without a name would be destroyed, and the server with it
    except RuntimeError as error:  # the log above says why
        sys.exit(f"xllamacpp: {error}")
    print("listening on", server.listening_address, flush=True)
    threading.Event().wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("--model", "--alias", "--host"):
        parser.add_argument(name, required=True)
    for name in ("--port", "--threads", "--parallel", "--ctx-size"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--lora")
    for name in ("--kv-unified", "--jinja", "--no-webui"):
        parser.add_argument(name, action="store_true")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
