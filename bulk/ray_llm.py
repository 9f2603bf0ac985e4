"""Sends a language model's requests through ``ray.data.llm``: to an endpoint, or to vLLM in Ray's own workers.

The requests are those of the strategy (``bulk.batch_api``). Replies are stored with the answers, so a resumed run sends
no request twice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bulk.answer_store import Batches, JobStore, StoredAnswer
from bulk.batch_api import OfflineTransport
from bulk.job import write_errors
from bulk.ray_cluster import Cluster
from llm.backends.endpoint import Address
from llm.backends.transport import CHAT
from llm.classifier import Classifier
from prompts.errors import InvalidSetting
from prompts.taxonomy import Taxonomy
from tabular.writing import write_table

# Taxonomies with more labels than codes are scored in chunks, then the winners again; a request that is refused for a
# field is sent again in another form.
_MAX_ROUNDS = 12
_BATCH_ROWS = 64


class RayBackend(Protocol):
    """A processor of ``ray.data.llm``."""

    def processor(self, cluster: Cluster) -> Any:
        """Maps a data set with the columns ``key`` and ``body``, a request each, to replies."""

    def result(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """A row of the processor's output as a line of a Batch API's results."""


@dataclass(frozen=True)
class RayRequestRunner:
    """Classifies batches by a language model whose requests Ray sends.

    The classifier's requests go through the transport. The job's folder is on a disk that every node reads under the
    same path.
    """

    open: Callable[[], Classifier]
    taxonomy: Taxonomy
    transport: OfflineTransport
    backend: RayBackend
    folder: Path
    cluster: Cluster

    def answers(self, batches: Batches, store: JobStore) -> Iterator[list[StoredAnswer]]:
        """See ``Runner.answers``.

        Requests are sent in rounds, because some depend on the replies to others; then all texts are classified from
        the replies.
        """
        classifier, pending = self.open(), self.folder.absolute() / "requests"
        for _ in range(_MAX_ROUNDS):
            if not self._write_requests(classifier, batches, store, pending):
                break
            self._send(pending)
        for batch in batches(store.unknown):
            yield batch.answers(classifier.classify(batch.texts, self.taxonomy), self.taxonomy)

    def _write_requests(self, classifier: Classifier, batches: Batches, store: JobStore, pending: Path) -> int:
        """Write the requests that have no reply to a folder; returns their number."""
        self.transport.take_requests()
        shutil.rmtree(pending, ignore_errors=True)
        pending.mkdir(parents=True)
        count = 0
        with JobStore("", self.taxonomy) as planned:
            for number, batch in enumerate(batches(lambda keys: planned.plan(list(store.unknown(keys))))):
                classifier.classify(batch.texts, self.taxonomy)
                requests = self.transport.take_requests()
                rows = [{"key": key, "body": json.dumps(body, ensure_ascii=False)} for key, body in requests.items()]
                count += len(rows)
                if rows:
                    with write_errors(pending):
                        write_table(pending / f"{number:09}.parquet", rows)
        return count

    def _send(self, pending: Path) -> None:
        with self.cluster.connected() as ray:
            requests = ray.data.read_parquet(str(pending), file_extensions=["parquet"])
            replies = self.backend.processor(self.cluster)(requests)
            for rows in replies.iter_batches(batch_size=None, batch_format="pyarrow"):
                self.transport.add_results([(row["key"], self.backend.result(row)) for row in rows.to_pylist()])


def _output_row(row: Mapping[str, Any], reply: str) -> dict[str, Any]:
    """The columns that leave the processor: the reply as JSON, or the error."""
    return {"key": row["key"], "reply": reply, "error": row.get("__inference_error__") or ""}


@dataclass(frozen=True)
class RayEndpoint:
    """An OpenAI-compatible endpoint behind Ray's HTTP processor.

    The processor returns no status: a refusal is recognised by its error body, and an endpoint that stays down ends the
    run.

    Attributes:
        retries: further attempts after the first.
    """

    base_url: str
    key: str = field(repr=False)
    retries: int = 2

    @property
    def url(self) -> str:
        """The URL of chat completions, with the query of the base URL."""
        return Address.parse(self.base_url).url(CHAT)

    @property
    def headers(self) -> dict[str, str]:
        """The key in the endpoint's header."""
        return Address.parse(self.base_url).headers(self.key)

    def processor(self, cluster: Cluster) -> Any:
        """See ``RayBackend.processor``."""
        from ray.data.llm import HttpRequestProcessorConfig, build_processor

        config = HttpRequestProcessorConfig(
            url=self.url,
            headers=self.headers,
            concurrency=cluster.workers,
            batch_size=_BATCH_ROWS,
            max_retries=self.retries,
        )
        return build_processor(
            config,
            preprocess=lambda row: {"key": row["key"], "payload": json.loads(row["body"])},
            postprocess=lambda row: _output_row(row, json.dumps(_without_arrow(row.get("http_response")))),
        )

    def result(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """See ``RayBackend.result``."""
        body = json.loads(row["reply"] or "null")
        if row["error"]:
            return {"response": None, "error": {"message": row["error"]}}
        if isinstance(body, dict) and "choices" in body:
            return {"response": {"status_code": 200, "body": body}, "error": None}
        if not isinstance(body, dict):
            return {"response": None, "error": {"message": str(body)}}
        return {"response": None, "error": body["error"] if isinstance(body.get("error"), dict) else body}


def _without_arrow(value: Any) -> Any:
    """JSON again: Arrow has made arrays of lists and None of missing names."""
    if isinstance(value, dict):
        return {name: _without_arrow(item) for name, item in value.items() if item is not None}
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [_without_arrow(item) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class RayVLLM:
    """vLLM in Ray's own workers, on the cluster's GPUs. Supports the strategy ``json_list``, which needs no logprobs.

    Attributes:
        model: folder or hub name of the weights.
        gpus: of one worker; more than one splits the model over them.
        max_tokens: of a prompt and its reply.
    """

    model: str
    gpus: float = 1
    max_tokens: int = 8_192

    def processor(self, cluster: Cluster) -> Any:
        """See ``RayBackend.processor``."""
        from ray.data.llm import build_processor, vLLMEngineProcessorConfig

        config = vLLMEngineProcessorConfig(
            model_source=self.model,
            engine_kwargs={
                "max_model_len": self.max_tokens,
                "tensor_parallel_size": max(1, int(self.gpus)),
                "enable_prefix_caching": True,
                "generation_config": "vllm",
            },
            concurrency=cluster.workers,
            batch_size=_BATCH_ROWS,
            should_continue_on_error=True,
        )
        return build_processor(
            config, preprocess=_vllm_row, postprocess=lambda row: _output_row(row, _chat_completion(row))
        )

    def result(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """See ``RayBackend.result``."""
        if row["error"] or not row["reply"]:
            return {"response": None, "error": {"message": row["error"] or "vLLM returned nothing"}}
        return {"response": {"status_code": 200, "body": json.loads(row["reply"])}, "error": None}


def _vllm_row(row: Mapping[str, Any]) -> dict[str, Any]:
    body = json.loads(row["body"])
    if "logprobs" in body:
        raise InvalidSetting(
            "vLLM in Ray's workers returns no logprobs; choose --system llm:json_list or another --ray-backend"
        )
    schema = body["response_format"]["json_schema"]["schema"]
    return {
        "key": row["key"],
        "messages": body["messages"],
        "sampling_params": {
            "temperature": body["temperature"],
            "max_tokens": body["max_tokens"],
            "structured_outputs": {"json": json.dumps(schema)},
        },
    }


def _chat_completion(row: Mapping[str, Any]) -> str:
    """vLLM's output as a chat completion."""
    fields = {"prompt_tokens": "num_input_tokens", "completion_tokens": "num_generated_tokens"}
    usage = {name: int(row.get(field) or 0) for name, field in fields.items()}
    message = {"role": "assistant", "content": row.get("generated_text")}
    return json.dumps({"choices": [{"index": 0, "message": message}], "usage": usage})
