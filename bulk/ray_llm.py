"""A language model's requests carried by ``ray.data.llm``: to an endpoint, or to vLLM in Ray's own workers.

The requests are those of the strategy (``bulk.batch_api``); what comes back is kept beside the answers, so that a
second run sends none of them again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bulk.answer_store import JobStore
from bulk.batch_api import OfflineTransport
from bulk.job import writing
from bulk.ray_cluster import Cluster, told_as_ours
from bulk.runners import Answered, Batches, answers_of
from llm.backends.endpoint import Address
from llm.backends.request_forms import Body
from llm.backends.transport import CHAT
from llm.classifier import Classifier, Prediction
from prompts.errors import InvalidSetting
from prompts.taxonomy import Taxonomy
from tabular.writing import write_table

REQUESTS = "requests"
# More labels than codes are scored in chunks, and the winners once more; a request that is refused
# for a field is sent again in another form.
_ROUNDS = 12
_ROWS_AT_ONCE = 64


class RayTransport(Protocol):
    """Brings requests to a model and replies back."""

    def processor(self, cluster: Cluster) -> Any:
        """What ``ray.data.llm`` makes of a data set with the columns ``key`` and ``body``."""

    def reply(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """A row of what came out, as a line of a Batch API's results."""


class RayRunner:
    """Answers batches of a language model through a carrier.

    Args:
        open: the classifier whose requests go through the transport.
        taxonomy: the taxonomy.
        wire: notes requests down and hands replies over.
        carrier: brings them to the model.
        folder: for requests that wait, on a disk that every node reads under the same path.
        cluster: where.
    """

    def __init__(
        self, open: Callable[[], Classifier], taxonomy: Taxonomy, transport: OfflineTransport, carrier: RayTransport,
        folder: Path, cluster: Cluster,
    ) -> None:  # fmt: skip
        self._open, self._taxonomy, self._transport, self._carrier = open, taxonomy, transport, carrier
        self._folder, self._cluster = folder.absolute() / REQUESTS, cluster

    def answered(self, batches: Batches, store: JobStore) -> Iterator[list[Answered]]:
        """See ``Runner.answered``.

        Requests are sent in rounds, because some depend on the answers to others; all texts are then parsed from the
        replies.
        """
        classifier = self._open()
        for _ in range(_ROUNDS):
            if not self._lay_out(classifier, batches, store):
                break
            self._send()
        for batch in batches(lambda keys: set(keys) - store.known(keys)):
            predictions: Sequence[Prediction] = classifier.classify(batch.texts, self._taxonomy)
            yield answers_of(batch.digests, predictions, self._taxonomy)

    def _lay_out(self, classifier: Classifier, batches: Batches, store: JobStore) -> int:
        """Write the requests that have no reply; returns how many."""
        self._transport.taken()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        planned, count = JobStore("", self._taxonomy), 0
        for number, batch in enumerate(batches(lambda keys: planned.plan(list(set(keys) - store.known(keys))))):
            classifier.classify(batch.texts, self._taxonomy)
            wanted = self._transport.taken()
            count += len(wanted)
            _write(self._folder / f"{number:09}.parquet", wanted)
        planned.close()
        return count

    def _send(self) -> None:
        with self._cluster.joined() as ray, told_as_ours(ray):
            waiting = ray.data.read_parquet(str(self._folder), file_extensions=["parquet"])
            done = self._carrier.processor(self._cluster)(waiting)
            for rows in done.iter_batches(batch_size=None, batch_format="pyarrow"):
                self._transport.receive([(row["key"], self._carrier.reply(row)) for row in rows.to_pylist()])


def _write(path: Path, wanted: Mapping[str, Body]) -> None:
    if wanted:
        rows = [{"key": key, "body": json.dumps(body, ensure_ascii=False)} for key, body in wanted.items()]
        with writing(path):
            write_table(path, rows)


def _kept(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a later stage gives back, as JSON: the model's answer, or why there is none."""
    return {"key": row["key"], "reply": row.get("reply"), "error": row.get("__inference_error__") or ""}


@dataclass(frozen=True)
class RayEndpoint:
    """An OpenAI-compatible endpoint, asked by Ray's HTTP processor.

    The processor tells no status, so what an endpoint refuses is known by its error body alone; an endpoint that stays
    down ends the run, as it does everywhere.

    Attributes:
        base_url: root of the endpoint.
        key: where it asks for one.
        retries: further attempts after the first.
    """

    base_url: str
    key: str = field(repr=False)
    retries: int = 2

    @property
    def url(self) -> str:
        """Where requests go, with the query of the base URL."""
        return Address.parse(self.base_url).url(CHAT)

    @property
    def headers(self) -> dict[str, str]:
        """The key as the endpoint takes it."""
        return Address.parse(self.base_url).headers(self.key)

    def processor(self, cluster: Cluster) -> Any:
        """See ``RayTransport.processor``."""
        from ray.data.llm import HttpRequestProcessorConfig, build_processor

        config = HttpRequestProcessorConfig(
            url=self.url,
            headers=self.headers,
            concurrency=cluster.workers,
            batch_size=_ROWS_AT_ONCE,
            max_retries=self.retries,
        )
        return build_processor(
            config,
            preprocess=lambda row: {"key": row["key"], "payload": json.loads(row["body"])},
            postprocess=lambda row: _kept({**row, "reply": json.dumps(_plain(row.get("http_response")))}),
        )

    def reply(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """See ``RayTransport.reply``."""
        body = json.loads(row["reply"] or "null")
        if row["error"] or not isinstance(body, dict) or "choices" not in body:
            return {"response": None, "error": _error(row["error"], body)}
        return {"response": {"status_code": 200, "body": body}, "error": None}


def _error(said: str, body: Any) -> Mapping[str, Any]:
    if said:
        return {"message": said}
    on_progress = body.get("error") if isinstance(body, dict) else None
    if isinstance(on_progress, dict):
        return on_progress
    return body if isinstance(body, dict) else {"message": str(body)}


def _plain(value: Any) -> Any:
    """JSON again of what Arrow has made arrays and gaps of."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if one is not None}
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [_plain(one) for one in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class InProcessVLLM:
    """vLLM in Ray's own workers, on the cluster's GPUs. Serves the strategy ``json_list``, whose answers are words.

    Attributes:
        model: folder or hub name of the weights.
        gpus: of one backend; more than one splits the model over them.
        length: tokens of a prompt and its answer.
    """

    model: str
    gpus: float = 1
    length: int = 8_192

    def processor(self, cluster: Cluster) -> Any:
        """See ``RayTransport.processor``."""
        from ray.data.llm import build_processor, vLLMEngineProcessorConfig

        config = vLLMEngineProcessorConfig(
            model_source=self.model,
            engine_kwargs={
                "max_model_len": self.length,
                "tensor_parallel_size": max(1, int(self.gpus)),
                "enable_prefix_caching": True,
                "generation_config": "vllm",
            },
            concurrency=cluster.workers,
            batch_size=_ROWS_AT_ONCE,
            should_continue_on_error=True,
        )
        return build_processor(
            config, preprocess=_vllm_row, postprocess=lambda row: _kept({**row, "reply": _said(row)})
        )

    def reply(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """See ``RayTransport.reply``."""
        if row["error"] or not row["reply"]:
            return {"response": None, "error": {"message": row["error"] or "the backend said nothing"}}
        return {"response": {"status_code": 200, "body": json.loads(row["reply"])}, "error": None}


def _vllm_row(row: Mapping[str, Any]) -> dict[str, Any]:
    body = json.loads(row["body"])
    if "logprobs" in body:
        raise InvalidSetting(
            "vLLM in Ray's workers tells no probabilities; choose --system llm:json_list or another --ray-backend"
        )
    described = body["response_format"]["json_schema"]["schema"]
    asked = {"temperature": body["temperature"], "max_tokens": body["max_tokens"]}
    return {
        "key": row["key"],
        "messages": body["messages"],
        "sampling_params": {**asked, "structured_outputs": {"json": json.dumps(described)}},
    }


def _said(row: Mapping[str, Any]) -> str:
    """What the backend wrote, as a chat completion."""
    usage = {
        "prompt_tokens": int(row.get("num_input_tokens") or 0),
        "completion_tokens": int(row.get("num_generated_tokens") or 0),
    }
    message = {"role": "assistant", "content": row.get("generated_text")}
    return json.dumps({"choices": [{"index": 0, "message": message}], "usage": usage})
