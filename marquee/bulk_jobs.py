"""Bulk jobs by settings: the job of a request, its classifier, and the runner of its batches."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulk.answer_store import LocalRunner, Runner
from bulk.inputs import input_files, text_columns
from bulk.job import ClassifierSpec, Job, final_manifest
from llm.classifier import Classifier
from marquee.prediction_sets import sets_of
from marquee.settings import read_settings, use_own_folders
from marquee.systems import SystemContext, from_settings, from_spec, offline
from prompts import registry
from prompts.errors import InvalidSetting
from prompts.taxonomy import Taxonomy
from prompts.taxonomy_places import Place, note, place_of
from prompts.text import Text
from tabular import TableDialect

if TYPE_CHECKING:
    from bulk.batch_api import OfflineTransport
    from bulk.ray_cluster import Cluster
    from eval.run import System
    from llm.backends.request_adapter import RequestAdapter

_FIRST_TEXTS = 200  # their languages decide which prompts identify a system


@dataclass(frozen=True)
class BulkRequest:
    """The options of ``marquee bulk``, which its help describes; ``out`` is None where no output is written."""

    source: str
    out: Path | None
    system: str | None
    taxonomy: str | None
    text_field: str | None
    title_field: str | None
    id_field: str | None
    encoding: str | None
    separator: str | None
    prefix: str
    explain: bool
    batch: int
    patience: float
    read_results: Sequence[Path]
    runner: str
    address: str | None
    workers: int
    worker_cpus: float
    worker_gpus: float
    ray_backend: str

    def job(self) -> Job:
        """The job, without a classifier.

        Raises:
            InvalidDataset: the input cannot be read, or has no text column.
        """
        out = self.out or Path("unused.jsonl")
        dialect = TableDialect(self.encoding, self.separator)
        source = input_files(self.source, [out, final_manifest(out)], dialect)
        columns = text_columns(source, self.text_field, self.title_field, self.id_field)
        use_own_folders()
        taxonomy = registry.taxonomy_at(self.taxonomy or read_settings().taxonomy)
        none = ClassifierSpec("", {}, partial(open_classifier, "", taxonomy, ()))
        return Job(source, columns, taxonomy, none, out, self.batch, self.prefix, self.explain)

    def with_system(self, job: Job) -> tuple[Job, System]:
        """The job with the classifier of the request, and its system."""
        texts = first_texts(job)
        system = _system(self.system, job.taxonomy, texts, self.explain)
        tuning = Tuning(place_of(job.taxonomy), system.setup.get("tuning"))
        open = partial(open_classifier, self.system, job.taxonomy, texts, self.explain, tuning)
        return replace(job, classifier=ClassifierSpec(system.spec, system.setup, open)), system

    def with_transport(self, job: Job, transport: OfflineTransport, **endpoint: Any) -> Job:
        """The job with a language model whose requests go through a transport; ``endpoint`` as in ``offline``."""
        context = SystemContext(job.taxonomy, first_texts(job), cache=False)
        system = offline(self.system or "llm", context, transport.backend, **endpoint)
        return replace(job, classifier=ClassifierSpec(system.spec, system.setup, lambda: system.open().classifier))

    def results_transport(self, log: Callable[[str], object]) -> OfflineTransport:
        """A transport with the results of Batch API files."""
        from bulk.batch_api import OfflineTransport, read_results

        transport = OfflineTransport(adapting=_request_adapter())
        for path in dict.fromkeys(self.read_results):
            log(f"{path}: {transport.add_results(read_results(path)):,} results")
        return transport

    def with_runner(self, job: Job, log: Callable[[str], object]) -> tuple[Job, Runner]:
        """The job with its classifier and prediction sets, and the runner of its batches."""
        job, runner = self._runner(job, log)
        return self._with_sets(job), runner

    def with_teacher(self, job: Job, log: Callable[[str], object]) -> Job:
        """The job with its classifier, for a run that trains a model on its answers (``marquee.optimised_bulk``).

        It has no prediction sets: a calibration is for the answers of one model to all texts, and here each of two
        models answers the texts that it is sure of, or the other one is not.
        """
        if sets_of(read_settings()).digest(job.taxonomy):
            log(
                f"--optimize: no row has a prediction set; the calibration in {read_settings().coverage_path} is for "
                "answers of one model to all texts. Leave --optimize out to get sets"
            )
        return self._runner(job, log)[0]

    def _with_sets(self, job: Job) -> Job:
        """The job with the calibrated sets of its taxonomy; rows with and without sets belong to different runs."""
        sets = sets_of(read_settings())
        if not (digest := sets.digest(job.taxonomy)) or (self.system or "").startswith("service:"):
            return job
        spec = replace(job.classifier, setup={**job.classifier.setup, "coverage": digest})
        return replace(job, classifier=spec, sets=sets)

    def _runner(self, job: Job, log: Callable[[str], object]) -> tuple[Job, Runner]:
        if self.read_results:
            job = self.with_transport(job, self.results_transport(log))
            return job, LocalRunner(job.classifier.open, job.taxonomy, patience=None)
        if self.runner == "ray" and self.ray_backend != "actors":
            return self._with_ray_backend(job)
        job, _ = self.with_system(job)
        if self.runner == "local":
            return job, LocalRunner(job.classifier.open, job.taxonomy, self.patience)
        from bulk.ray_cluster import RayRunner

        return job, RayRunner(job.classifier.open, job.taxonomy, job.folder, self._cluster(), self.patience)

    def _with_ray_backend(self, job: Job) -> tuple[Job, Runner]:
        from bulk.batch_api import OfflineTransport
        from bulk.ray_llm import RayBackend, RayEndpoint, RayRequestRunner, RayVLLM

        settings, key = read_settings(), read_settings().openai_api_key.get_secret_value()
        adapting, endpoint, remedy = None, {}, "use --retry-failed"
        backend: RayBackend = RayVLLM(settings.model, self.worker_gpus)
        if self.ray_backend == "http":
            adapting = _request_adapter()
            endpoint = {"endpoint": adapting.fingerprint_parts}
            backend = RayEndpoint(settings.base_url, key, settings.retries)
        elif settings.extra_fields:
            raise InvalidSetting(
                "MARQUEE_EXTRA_BODY is for endpoints, and --ray-backend vllm has none: unset it, or use "
                "--ray-backend http"
            )
        replies = job.folder / "replies.sqlite"
        transport = OfflineTransport("the cluster", replies, adapting, remedy, resends=False, secrets=(key,))
        job = self.with_transport(job, transport, **endpoint)
        open, taxonomy = job.classifier.open, job.taxonomy
        return job, RayRequestRunner(open, taxonomy, transport, backend, job.folder, self._cluster())

    def _cluster(self) -> Cluster:
        from bulk.ray_cluster import Cluster
        from marquee.settings import settings_variables

        return Cluster(self.address, self.workers, self.worker_cpus, self.worker_gpus, settings_variables())


@dataclass(frozen=True)
class Tuning:
    """What a worker, which has not read the taxonomy's file, needs to find its tuning.

    Attributes:
        place: of the file; None where the taxonomy has none.
        version: of the tuning that the job uses; None without one.
    """

    place: Place | None = None
    version: str | None = None


def open_classifier(
    spec: str | None, taxonomy: Taxonomy, texts: tuple[Text, ...], explain: bool = False, tuning: Tuning = Tuning()
) -> Classifier:
    """The classifier of a system's name, on this machine or on a worker; with ``explain``, it also finds evidence.

    Raises:
        InvalidSetting: this machine does not have the tuning.
    """
    if tuning.place:
        note(taxonomy, tuning.place)
    system = _system(spec, taxonomy, texts, explain)
    if tuning.place and system.setup.get("tuning") != tuning.version:
        raise InvalidSetting(
            f"{socket.gethostname()} has no tuning beside {tuning.place.path}, or another one than the machine of the "
            "job; copy the taxonomy's folder to all nodes, or use --runner local"
        )
    classifier: Classifier = system.open().classifier
    return classifier


def _system(spec: str | None, taxonomy: Taxonomy, texts: tuple[Text, ...], explain: bool) -> System:
    from llm.backends.batch_transport import BATCH_SIZE

    # A run stores its own answers; they would flush the service's cache.
    context = SystemContext(taxonomy, texts, cache=False, texts_per_request=BATCH_SIZE)
    found = from_spec(spec, context) if spec else from_settings(context)
    if not explain:
        return found
    from marquee.explained import explained

    return explained(found, taxonomy)


def first_texts(job: Job) -> tuple[Text, ...]:
    """The first texts of a job."""
    texts = (row.text for window in job.rows() for row in window if row.key is not None)
    return tuple(islice(texts, _FIRST_TEXTS))


def _request_adapter() -> RequestAdapter:
    """The adapter to the settings' endpoint; to OpenAI's where none is set."""
    from marquee.backends import endpoint_settings

    return endpoint_settings(read_settings()).adapter()
