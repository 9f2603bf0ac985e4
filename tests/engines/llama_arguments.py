"""The argument parser of ``llama-server`` itself, which ``xllamacpp`` contains without the program around it.

Run by the Python of llama.cpp's environment: ``python tests/engines/llama_arguments.py ARGUMENT…`` prints what the
parser made of them as JSON, or its error. Position and number below are of the pinned version.
"""

from __future__ import annotations

import ctypes
import json
import sys

import xllamacpp  # type: ignore[import-not-found]  # lives in var/llama only

_PARSE = "_Z19common_params_parseiPPcR13common_params13llama_examplePFviS0_E"
_PARAMS_AT = 16  # bytes from a CommonParams object to its C++ structure
_SERVER = 12  # LLAMA_EXAMPLE_SERVER


def parsed(arguments: list[str]) -> dict[str, object]:
    """The values that our flags set; exits where the parser refuses an argument."""
    parse = getattr(ctypes.CDLL(xllamacpp.xllamacpp.__file__), _PARSE)
    parse.restype = ctypes.c_bool
    words = [argument.encode() for argument in ["llama-server", *arguments]]
    params = xllamacpp.CommonParams()
    array = (ctypes.c_char_p * (len(words) + 1))(*words, None)
    if not parse(len(words), array, ctypes.c_void_p(id(params) + _PARAMS_AT), _SERVER, None):
        sys.exit(1)
    return {
        "model": params.model.path,
        "alias": sorted(params.model_alias),
        "address": [params.hostnames, params.port],
        "keys": params.api_keys,
        "threads": params.cpuparams.n_threads,
        "slots": params.n_parallel,
        "context": params.n_ctx,
        "unified": params.kv_unified,
        "jinja": params.use_jinja,
        "page": params.ui,
        "prompt caching": params.cache_prompt,
        "cached megabytes": params.cache_ram_mib,
        "log level": params.verbosity,
        "adapters": [[adapter.path, adapter.scale] for adapter in params.lora_adapters],
    }


if __name__ == "__main__":
    print(json.dumps(parsed(sys.argv[1:])))
