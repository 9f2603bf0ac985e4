"""Bulk labelling on a real Ray cluster of two nodes, one of which is killed during the run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bulk.answer_store import LocalRunner
from bulk.batch_api import OfflineTransport
from bulk.job import ClassifierSpec, Job
from bulk.progress import Progress
from bulk.ray_cluster import Cluster, RayRunner
from bulk.ray_llm import RayEndpoint, RayRequestRunner
from bulk.run import run
from llm.backends.endpoint import Address
from llm.backends.request_adapter import RequestAdapter
from llm.classifier import Prediction, Problem
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from prompts import registry
from prompts.errors import Interrupted, InvalidSetting
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tests.bulk.words import TAXONOMY, ByWords, job_of, label, read_lines, rows, write_lines
from tests.engines.ray_nodes import Nodes
from tests.support.misbehaving import endpoint, like_gpt_5, says

pytestmark = pytest.mark.filterwarnings("default")  # Ray calls its own deprecated functions

_MEETING_SECONDS = 300


@dataclass
class OnANode(ByWords):
    """A slow classifier that names its node as the source and waits until both nodes run.

    Attributes:
        meeting: folder with a file for every node that runs.
    """

    meeting: Path = Path()
    seconds: float = 0.3

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        (self.meeting / node).touch()
        deadline = time.monotonic() + _MEETING_SECONDS
        while len(list(self.meeting.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(self.seconds)
        self.name = f"on-{node}"
        return super().classify(texts, taxonomy)


@dataclass
class Down(ByWords):
    """An endpoint that answers some batches and then fails."""

    problems: dict[str, Problem] = field(
        default_factory=lambda: {f"Plot {n} ": Problem("unreachable", "no connection") for n in range(8, 99)}
    )


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    pytest.importorskip("ray")
    running = Nodes()
    try:
        yield running
    finally:
        running.stop()


def on_ray(job: Job, nodes: Nodes, classifier: Any, workers: int = 1) -> RayRunner:
    return RayRunner(classifier, TAXONOMY, job.folder, nodes.cluster(workers), patience=0)


def test_the_output_is_the_same_as_without_ray(nodes: Nodes, tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", [*rows(200, different=60), {"id": "none"}])
    job = job_of(given, tmp_path / "ray.jsonl")
    summary = run(job, on_ray(job, nodes, ByWords))
    assert summary is not None
    assert (summary.rows, summary.texts, summary.problems) == (201, 60, {"empty": 1})
    label(given, tmp_path / "here.jsonl")
    assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "here.jsonl").read_bytes()
    assert not job.folder.exists()


def test_an_endpoint_that_is_down_stops_the_cluster_and_one_machine_goes_on(nodes: Nodes, tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(40))
    job = job_of(given, tmp_path / "o.jsonl")
    with pytest.raises(Interrupted, match="no connection"):
        run(job, on_ray(job, nodes, Down))
    classifier = ByWords()
    assert run(job, LocalRunner(lambda: classifier, TAXONOMY)) is not None
    assert sum(map(len, classifier.requests)) in (32, 40)  # answers that were in flight at the failure may be lost
    assert all(row["problem"] is None for row in read_lines(tmp_path / "o.jsonl"))


def test_requests_go_through_rays_http_processor_and_are_sent_once(nodes: Nodes, tmp_path: Path) -> None:
    taxonomy, transport = registry.taxonomy("tmdb"), OfflineTransport("the cluster", tmp_path / "replies.sqlite")
    given = write_lines(tmp_path / "i.jsonl", rows(20, different=10))
    spec = ClassifierSpec("llm", {}, lambda: LanguageModel(transport.backend("tiny"), STRATEGIES["json_list"]))
    plan = job_of(given, tmp_path / "o.jsonl")
    job = Job(plan.source, plan.columns, taxonomy, spec, plan.out, batch=4)
    with endpoint(says('{"labels": ["War"]}')) as server:
        ray_endpoint = RayEndpoint(server.url, "sk-for-the-tests")
        run(job, RayRequestRunner(spec.open, taxonomy, transport, ray_endpoint, job.folder, nodes.cluster(1)))
        assert len(server.requests) == 10
        assert {headers["authorization"] for headers in server.headers} == {"Bearer sk-for-the-tests"}
        bodies = [json.dumps(body, sort_keys=True) for body in server.requests]
    noted = OfflineTransport()
    LanguageModel(noted.backend("tiny"), STRATEGIES["json_list"]).classify([row["plot"] for row in rows(10)], taxonomy)
    assert sorted(bodies) == sorted(json.dumps(body, sort_keys=True) for body in noted.take_requests().values())
    found = read_lines(tmp_path / "o.jsonl")
    assert [(row["labels"], row["problem"]) for row in found] == [(["War"], None)] * 20


def test_requests_rejected_for_fields_are_sent_again_without_them(nodes: Nodes, tmp_path: Path) -> None:
    taxonomy, given = registry.taxonomy("tmdb"), write_lines(tmp_path / "i.jsonl", rows(10))
    plan = job_of(given, tmp_path / "o.jsonl")
    with endpoint(like_gpt_5('{"labels": ["War"]}')) as server:
        url = f"{server.url}?api-version=1"
        adapting = RequestAdapter(Address.parse(url), extra={"reasoning_effort": "low"})
        transport = OfflineTransport("the cluster", tmp_path / "replies.sqlite", adapting)
        spec = ClassifierSpec("llm", {}, lambda: LanguageModel(transport.backend("m"), STRATEGIES["json_list"]))
        job = Job(plan.source, plan.columns, taxonomy, spec, plan.out, batch=4)
        run(job, RayRequestRunner(spec.open, taxonomy, transport, RayEndpoint(url, ""), job.folder, nodes.cluster(1)))
        assert len(server.requests) == 4 * 10  # max_tokens, temperature, tokens spent on reasoning, the answer
        assert all(body["reasoning_effort"] == "low" for body in server.requests)
        last = server.requests[-1]
    assert last["max_completion_tokens"] > 2_048
    assert {"max_tokens", "temperature"}.isdisjoint(last)
    found = read_lines(tmp_path / "o.jsonl")
    assert [(row["labels"], row["problem"]) for row in found] == [(["War"], None)] * 10


def test_a_killed_node_loses_no_row(nodes: Nodes, tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(320))
    job = job_of(given, tmp_path / "ray.jsonl")
    stages: list[Progress] = []

    def on_progress(progress: Progress) -> None:
        both = len({row["source"] for row in _answered(job)}) == 2 if progress.texts >= 24 and not stages else False
        if both:
            stages.append(progress)
            nodes.kill_second()

    (meeting := tmp_path / "nodes").mkdir()
    summary = run(job, on_ray(job, nodes, partial(OnANode, meeting=meeting), workers=2), on_progress)
    assert stages
    assert stages[0].texts < 320
    assert summary is not None
    assert (summary.rows, summary.texts, summary.problems) == (320, 320, {})
    found = read_lines(tmp_path / "ray.jsonl")
    assert len({row["source"] for row in found}) == 2
    label(given, tmp_path / "here.jsonl")
    whole = read_lines(tmp_path / "here.jsonl")
    assert [{**row, "source": ""} for row in found] == [{**row, "source": ""} for row in whole]


def _answered(job: Job) -> list[dict[str, str]]:
    """The sources of the stored answers."""
    import sqlite3

    with sqlite3.connect(job.folder / "answers.sqlite") as store:
        return [{"source": words} for (words,) in store.execute("SELECT words FROM sources")]


def test_a_missing_cluster_is_an_error(tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(4))
    job = job_of(given, tmp_path / "o.jsonl")
    with pytest.raises(InvalidSetting, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        run(job, RayRunner(ByWords, TAXONOMY, job.folder, Cluster("127.0.0.1:1")))
