"""`main.py bulk`: files of texts labelled, however many there are, whatever happens on the way."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import OutputPath, decorated, dialect_options
from cli.group import examples

if TYPE_CHECKING:
    from bulk.batch_api import OfflineTransport
    from bulk.job import Job
    from bulk.run import Summary
    from bulk.runners import Runner
    from eval.run import System
    from llm.backends.request_adapter import RequestAdapter
    from llm.classifier import Classifier
    from prompts.taxonomy import Taxonomy
    from prompts.text import Text

_SEEN = 200  # first texts, which decide the prompts that a system is told by
_FORMATS = "CSV, TSV, JSON lines, JSON (each also .gz) or Parquet"

_strategy = decorated(
    click.option(
        "--system",
        help="Whom to ask: embedded, llm[:STRATEGY][:PROMPT], service:URL, a trained model NAME[:PATH]."
        "  [default: whoever answers under the settings]",
    ),
    click.option("--taxonomy", help="Taxonomy: a name, or a YAML file.  [default: the settings']"),
    click.option("--text-field", help="Column of the texts.  [default: guessed by its name, and told]"),
    click.option("--title-field", help="Column of titles; '' for none.  [default: guessed, and told]"),
    click.option("--id-field", help="Column of ids, for telling of problems.  [default: guessed, and told]"),
    dialect_options,
    click.option("--prefix", default="", help="Stands before the names of the columns that are added."),
    click.option("--batch", type=click.IntRange(1), default=512, show_default=True, help="Texts asked about at once."),
    click.option(
        "--patience",
        type=click.FloatRange(0),
        default=60,
        show_default=True,
        help="Seconds for which an endpoint that is down is waited for.",
    ),
)
_files = decorated(
    click.option("--batch-file", type=OutputPath(), help="Write requests for a Batch API; send nothing."),
    click.option(
        "--read-results",
        type=click.Path(path_type=Path),
        multiple=True,
        help="File of a Batch API's results to take the answers from; may be given several times.",
    ),
)
_cluster = decorated(
    click.option(
        "--runner",
        type=click.Choice(["here", "ray"]),
        default="here",
        show_default=True,
        help="Where the work is done.",
    ),
    click.option("--address", help="Of the Ray cluster, or auto.  [default: a cluster of this machine alone]"),
    click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Actors on the cluster."),
    click.option("--worker-cpus", type=float, default=1, show_default=True, help="Processor cores of each."),
    click.option("--worker-gpus", type=float, default=0, show_default=True, help="GPUs of each."),
    click.option(
        "--ray-backend",
        type=click.Choice(["actors", "http", "vllm"]),
        default="actors",
        show_default=True,
        help="Who asks a language model: our actors, or ray.data.llm with an endpoint or with vLLM in its own workers.",
    ),
)


@click.command(
    short_help="Label every text of a table.",
    epilog=examples(
        "bulk films.csv --out labelled.csv --text-field plot",
        'bulk "parts/*.parquet" --out labelled.parquet --taxonomy imdb',
        "bulk films.csv --dry-run",
    ),
)
@click.argument("source", metavar="IN")
@click.option("--out", type=OutputPath(), help=f"File to write: {_FORMATS}, by its name.")
@_strategy
@click.option("--retry-failed", is_flag=True, help="Ask again about the rows of a finished OUT that have a problem.")
@click.option("--overwrite", is_flag=True, help="Start over, and replace an OUT that is there.")
@click.option("--dry-run", is_flag=True, help="Tell rows, tokens, price and time; write nothing, pay for nothing.")
@_files
@_cluster
def bulk(source: str, **options: Any) -> None:
    """Label the texts of IN: a file, a folder or a quoted pattern of CSV, TSV, JSON lines (each also .gz) or Parquet.

    Each row is written with its labels, their scores, who answered, and the problem if there was one. The same command
    again goes on where the last one was ended, even by kill -9, and asks about no finished text a second time.
    """
    asked = _Options(source, **options)
    try:
        asked.do()
    except KeyboardInterrupt:
        click.echo("ended; the same command goes on from here", err=True)
        sys.exit(130)


@dataclass(frozen=True)
class _Options:
    """The command's options as they were given."""

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
    batch: int
    patience: float
    retry_failed: bool
    overwrite: bool
    dry_run: bool
    batch_file: Path | None
    read_results: Sequence[Path]
    runner: str
    address: str | None
    workers: int
    worker_cpus: float
    worker_gpus: float
    ray_backend: str

    def do(self) -> None:
        """What they ask for."""
        if self.out is None and not (self.dry_run or self.batch_file):
            raise click.UsageError("give --out with the file to write")
        if self.dry_run:
            _forecast(self)
        elif self.batch_file:
            _write_requests(self, self.batch_file)
        else:
            _label(self)

    @property
    def carried(self) -> bool:
        """Whether a language model's requests are carried by others."""
        return bool(self.batch_file or self.read_results or (self.runner == "ray" and self.ray_backend != "actors"))

    def job(self) -> Job:
        """What is to be done, by nobody yet; the columns that are read are told."""
        from bulk.columns import columns_of
        from bulk.job import ClassifierSpec, Job, done_of
        from bulk.source import source_of
        from marquee.settings import read_settings
        from prompts import registry
        from tabular import TableDialect

        out = self.out or Path("nowhere.jsonl")
        found = source_of(self.source, [out, done_of(out)], TableDialect(self.encoding, self.separator))
        columns = columns_of(found, self.text_field, self.title_field, self.id_field)
        click.echo(_columns_told(columns.as_json(), len(found.files)), err=True)
        taxonomy = registry.taxonomy_at(self.taxonomy or read_settings().taxonomy)
        nobody = ClassifierSpec("", {}, partial(opened, "", taxonomy, ()))
        return Job(found, columns, taxonomy, nobody, out, self.batch, self.prefix)


def _columns_told(columns: dict[str, str | None], files: int) -> str:
    named = ", ".join(f"{what} from {column!r}" for what, column in columns.items() if column)
    return f"{files:,} file{'s' * (files > 1)}; {named}"


# --- who is asked ---


def first_texts(job: Job) -> tuple[Text, ...]:
    """The first texts that can be read."""
    from bulk.reader import read

    texts = (one.text for window in read(job) for one in window if one.key is not None)
    return tuple(islice(texts, _SEEN))


def opened(spec: str | None, taxonomy: Taxonomy, texts: tuple[Text, ...]) -> Classifier:
    """The classifier of a spec, ready to answer; on this machine or on another one."""
    classifier: Classifier = _system(spec, taxonomy, texts).open().classifier
    return classifier


def _system(spec: str | None, taxonomy: Taxonomy, texts: tuple[Text, ...]) -> System:
    from llm.backends.batch_transport import BATCH_SIZE
    from marquee.systems import SystemContext, from_settings, from_spec

    # A run keeps its own answers; the service's cache would be flushed.
    setting = SystemContext(taxonomy, texts, cache=False, texts_per_request=BATCH_SIZE)
    return from_spec(spec, setting) if spec else from_settings(setting)


def _with_system(job: Job, spec: str | None) -> tuple[Job, System]:
    from bulk.job import ClassifierSpec

    texts = first_texts(job)
    system = _system(spec, job.taxonomy, texts)
    return replace(
        job, asked=ClassifierSpec(system.spec, system.setup, partial(opened, spec, job.taxonomy, texts))
    ), system


def _with_wire(job: Job, spec: str | None, transport: OfflineTransport, **endpoint: Any) -> Job:
    """The job of a language model whose requests go through a transport; ``endpoint`` is that of ``offline``."""
    from bulk.job import ClassifierSpec
    from marquee.systems import SystemContext, offline

    system = offline(
        spec or "llm", SystemContext(job.taxonomy, first_texts(job), cache=False), transport.backend, **endpoint
    )
    return replace(job, asked=ClassifierSpec(system.spec, system.setup, lambda: system.open().classifier))


# --- what is done ---


def _forecast(asked: _Options) -> None:
    from bulk.preview import forecast, forecast_lines

    job, system = _with_system(asked.job(), asked.system)
    timed = system.preview is None and not system.spec.startswith("service:")
    for line in forecast_lines(forecast(job, system.preview, timed)):
        click.echo(line)


def _write_requests(asked: _Options, path: Path) -> None:
    from bulk.batch_file import write_requests

    transport = _answered_wire(asked)
    found = write_requests(_with_wire(asked.job(), asked.system, transport), transport, path)
    click.echo(f"{found.requests:,} requests about {found.texts:,} different texts", err=True)
    for file in found.files:
        click.echo(f"written: {file}", err=True)


def _answered_wire(asked: _Options) -> OfflineTransport:
    from bulk.batch_api import OfflineTransport, read_results

    transport = OfflineTransport(adapting=_adapting())
    for path in dict.fromkeys(asked.read_results):
        click.echo(f"{path}: {transport.receive(read_results(path)):,} results", err=True)
    return transport


def _adapting() -> RequestAdapter:
    """How the models of the settings' endpoint take requests; OpenAI's where none is set."""
    from marquee.factory import endpoint_settings
    from marquee.settings import read_settings

    return endpoint_settings(read_settings()).adapter()


def _label(asked: _Options) -> None:
    from bulk.progress import Progress
    from bulk.retry import answered_before
    from bulk.run import run

    job, runner = _job_and_runner(asked)
    progress = Progress(lambda line: click.echo(line, err=True), str(job.asked.setup.get("model", "")))
    seed = answered_before if asked.retry_failed else None
    _tell(job, run(job, runner, progress, overwrite=asked.overwrite, seed=seed))


def _job_and_runner(asked: _Options) -> tuple[Job, Runner]:
    from bulk.runners import InProcess

    if asked.read_results:
        transport = _answered_wire(asked)
        job = _with_wire(asked.job(), asked.system, transport)
        return job, InProcess(job.asked.open, job.taxonomy, patience=None)
    if asked.carried:
        return _through_ray_data_llm(asked)
    job, _ = _with_system(asked.job(), asked.system)
    if asked.runner == "here":
        return job, InProcess(job.asked.open, job.taxonomy, asked.patience)
    from bulk.ray_cluster import OnRay

    return job, OnRay(job.asked.open, job.taxonomy, job.folder, _cluster_of(asked), asked.patience)


def _through_ray_data_llm(asked: _Options) -> tuple[Job, Runner]:
    from bulk.batch_api import OfflineTransport
    from bulk.ray_llm import InProcessVLLM, RayEndpoint, RayRunner
    from marquee.settings import read_settings
    from prompts.errors import InvalidSetting

    settings = read_settings()
    if asked.ray_backend == "vllm" and settings.extra_fields:
        raise InvalidSetting(
            "MARQUEE_EXTRA_BODY is for endpoints, and --ray-backend vllm has none: unset it, or use --ray-backend http"
        )
    plan = asked.job()
    adapting = _adapting() if asked.ray_backend == "http" else None
    key, replies = settings.openai_api_key.get_secret_value(), plan.folder / "replies.sqlite"
    transport = OfflineTransport("the cluster", replies, adapting, "use --retry-failed", resends=False, secrets=(key,))
    named = {"endpoint": adapting.fingerprint_parts} if adapting else {}
    job = _with_wire(plan, asked.system, transport, **named)
    endpoint, own = (
        RayEndpoint(settings.base_url, key, settings.retries),
        InProcessVLLM(settings.model, asked.worker_gpus),
    )
    carrier = endpoint if asked.ray_backend == "http" else own
    return job, RayRunner(job.asked.open, job.taxonomy, transport, carrier, job.folder, _cluster_of(asked))


def _cluster_of(asked: _Options) -> Any:
    from bulk.ray_cluster import Cluster
    from marquee.settings import given_settings

    return Cluster(asked.address, asked.workers, asked.worker_cpus, asked.worker_gpus, given_settings())


def _tell(job: Job, summary: Summary | None) -> None:
    from bulk.progress import summary_lines

    if summary is None:
        click.echo(
            f"{job.out} is finished; --retry-failed asks about its failed rows, --overwrite replaces it", err=True
        )
        return
    for line in summary_lines(summary, str(job.asked.setup.get("model", ""))):
        click.echo(line, err=True)
    click.echo(f"written: {job.out}", err=True)
