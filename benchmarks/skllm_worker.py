"""Run by the Python of scikit-llm's own environment: labels the texts on standard input, prints what it took."""

import json
import sys
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

from openai.resources.chat.completions import Completions
from skllm.config import SKLLMConfig
from skllm.models.gpt.classification.zero_shot import MultiLabelZeroShotGPTClassifier


def main() -> None:
    """Label, then print seconds and tokens as one line of JSON."""
    asked = json.load(sys.stdin)
    SKLLMConfig.set_gpt_url(asked["base_url"])
    usages = _counting(asked["max_tokens"])
    classifier = MultiLabelZeroShotGPTClassifier(
        model=f"custom_url::{asked['model']}", max_labels=asked["max_labels"], key=asked["api_key"], org="none"
    )
    classifier.fit(None, [asked["labels"]])
    wall, cpu = time.perf_counter(), time.process_time()
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _predict(classifier, asked["texts"], asked["workers"])
    taken = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    print(json.dumps(taken | {"usages": usages}))


def _predict(classifier: Any, texts: list[str], workers: int) -> None:
    """``num_workers`` is named only where it is not the default: naming it is deprecated."""
    if workers == 1:
        classifier.predict(texts)
    else:
        classifier.predict(texts, num_workers=workers)


def _counting(max_tokens: int) -> list[list[int]]:
    """Bound and count what is written: scikit-llm does neither."""
    usages: list[list[int]] = []
    plain = Completions.create

    def create(self: Any, **fields: Any) -> Any:
        reply = plain(self, max_tokens=max_tokens, **fields)
        details = reply.usage.prompt_tokens_details
        cached = details.cached_tokens if details else 0
        usages.append([reply.usage.prompt_tokens, cached or 0, reply.usage.completion_tokens])
        return reply

    Completions.create = create  # type: ignore[method-assign]
    return usages


if __name__ == "__main__":
    main()
