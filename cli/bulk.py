"""`main.py bulk`: label every text of a table; resumable."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import PATH, OutputPath, collected, decorated, dialect_options, json_option, print_json, say
from cli.group import examples
from cli.names import SYSTEMS_HELP, complete_systems, complete_taxonomy
from cli.spending import SpendOptions, covered_line, covered_texts, spend_options

if TYPE_CHECKING:
    from bulk.job import Job
    from bulk.progress import Forecast, Summary
    from llm.spending.spend_cap import SpendCap, SpendMeter
    from marquee.bulk_jobs import BulkRequest
    from marquee.optimised_bulk import Optimised, OptimisedJob, OptimisePlan

_FORMATS = "CSV, TSV, JSON lines, JSON (each also .gz) or Parquet"

_task = decorated(
    click.option(
        "--system",
        shell_complete=complete_systems,
        help=f"{SYSTEMS_HELP}.  [default: the classifier of the settings]",
    ),
    click.option(
        "--taxonomy",
        shell_complete=complete_taxonomy,
        help="Taxonomy: a name, or a YAML file.  [default: the settings']",
    ),
    click.option("--text-field", help="Column of the texts.  [default: detected by its name, and reported]"),
    click.option("--title-field", help="Column of titles; '' for none.  [default: detected, and reported]"),
    click.option("--id-field", help="Column of ids, for reports of problems.  [default: detected, and reported]"),
    dialect_options,
    click.option("--prefix", default="", show_default=False, help="Prefix of the names of the added columns."),
    click.option("--explain", is_flag=True, help="Add columns with the evidence for the labels."),
    click.option("--batch", type=click.IntRange(1), default=512, help="Texts per batch."),
    click.option(
        "--patience", type=click.FloatRange(0), default=60, help="Seconds to wait for an endpoint that is down."
    ),
)
_files = decorated(
    click.option("--batch-file", type=OutputPath(), help="Write requests for a Batch API; send nothing."),
    click.option(
        "--read-results",
        type=PATH,
        multiple=True,
        help="File of a Batch API's results to take the answers from; repeatable.",
    ),
)
_cluster = decorated(
    click.option(
        "--runner",
        type=click.Choice(["local", "ray"]),
        default="local",
        help="Where batches are classified: in this process, or on a Ray cluster.",
    ),
    click.option("--address", help="Address of the Ray cluster, or auto.  [default: a cluster of this machine alone]"),
    click.option("--workers", type=click.IntRange(1), default=1, help="Actors on the cluster."),
    click.option("--worker-cpus", type=float, default=1, help="Processor cores of each actor."),
    click.option("--worker-gpus", type=float, default=0, help="GPUs of each actor."),
    click.option(
        "--ray-backend",
        type=click.Choice(["actors", "http", "vllm"]),
        default="actors",
        help="What sends a language model's requests: the actors, or ray.data.llm to an endpoint (http) or to vLLM in "
        "Ray's own workers (vllm).",
    ),
)


@dataclass(frozen=True)
class OptimizeOptions:
    """The options of a run that trains its own small model."""

    optimize: bool
    max_error: float | None
    delta: float | None
    budget: int | None

    def check(self) -> None:
        """Refuse options that would have no effect."""
        if not self.optimize and (self.max_error, self.delta, self.budget) != (None, None, None):
            raise click.UsageError("--max-error, --delta and --budget need --optimize")

    def plan(self) -> OptimisePlan:
        """What to certify."""
        from marquee.optimised_bulk import OptimisePlan

        given = {"max_error": self.max_error, "delta": self.delta, "budget": self.budget}
        return OptimisePlan(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)
_optimize = decorated(
    click.option(
        "--optimize", is_flag=True, help="Train a small model on the language model's labels; it answers most."
    ),
    click.option(
        "--max-error", type=_SHARE, help="Share of rows that differ from the language model's.  [default: 0.05]"
    ),
    click.option("--delta", type=_SHARE, help="Risk that the share is higher.  [default: 0.05]"),
    click.option(
        "--budget",
        type=click.IntRange(200),
        help="Maximum number of labels for training and certification.  [default: 1000]",
    ),
)


@click.command(
    short_help="Label every text of a table.",
    epilog=examples(
        "bulk films.csv --out labelled.csv --text-field plot",
        'bulk "parts/*.parquet" --out labelled.parquet --taxonomy imdb',
        "bulk films.csv --dry-run",
        "bulk tickets.csv --out labelled.csv --optimize --max-error 0.05",
    ),
)
@click.argument("source", metavar="IN")
@click.option("--out", type=OutputPath(), help=f"File to write: {_FORMATS}, by its suffix.")
@_task
@click.option("--retry-failed", is_flag=True, help="Classify again the rows of a finished OUT that have a problem.")
@click.option("--overwrite", is_flag=True, help="Start over, and replace an existing OUT.")
@click.option("--dry-run", is_flag=True, help="Report rows, tokens, price and time; write nothing, cost nothing.")
@spend_options
@collected(OptimizeOptions, "optimizing", _optimize)
@_files
@_cluster
@json_option
def bulk(
    out: Path | None, batch_file: Path | None, retry_failed: bool, overwrite: bool, dry_run: bool,
    spending: SpendOptions, optimizing: OptimizeOptions, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Label the texts of IN: a file, a folder or a quoted pattern of CSV, TSV, JSON lines (each also .gz) or Parquet.

    Each row is written with its labels, their scores, the source of the answer, and the problem if there was one. Runs
    are resumable: run the same command again after a crash; finished texts are skipped.
    """
    from marquee.bulk_jobs import BulkRequest

    if out is None and not (dry_run or batch_file):
        raise click.UsageError("give --out with the file to write")
    request = BulkRequest(out=out, **options)
    optimizing.check()
    if optimizing.optimize and (request.explain or request.runner != "local" or request.read_results or retry_failed):
        raise click.UsageError(
            "--optimize: not with --explain, --runner ray, --read-results, nor --retry-failed; leave it out"
        )
    if request.explain and (batch_file or request.read_results or request.ray_backend != "actors"):
        raise click.UsageError(
            "--explain: not with --batch-file, --read-results, nor with --ray-backend http or vllm; leave it out"
        )
    try:
        if dry_run:
            _forecast(request, spending.cap(), optimizing, as_json)
        elif batch_file:
            _write_requests(request, batch_file, as_json)
        elif optimizing.optimize:
            from eval.shared_vectors import sharing

            with sharing():  # the small model learns from a growing part of the texts that it answers later
                _label(request, overwrite, retry_failed, spending.cap(), optimizing, as_json)
        else:
            _label(request, overwrite, retry_failed, spending.cap(), optimizing, as_json)
    except KeyboardInterrupt:
        say("interrupted; the same command resumes here")
        sys.exit(130)


def _forecast(request: BulkRequest, cap: SpendCap | None, optimizing: OptimizeOptions, as_json: bool) -> None:
    from bulk.progress import forecast, forecast_lines

    job, system = request.with_system(_job(request))
    timed = system.preview is None and not system.spec.startswith("service:")
    result = forecast(job, system.preview, timed)
    if cap:
        system.meter(cap, ())  # refuses what cannot be capped
    if as_json:
        covered = {"covered": covered_texts(cap, result.preview, result.texts)} if cap else {}
        return print_json(vars(result) | covered)
    for line in forecast_lines(result):
        click.echo(line)
    if optimizing.optimize and result.texts:
        click.echo(_least_and_most(result, optimizing.plan().budget))
    if cap:
        click.echo(covered_line(cap, result.preview, result.texts))
    return None


def _least_and_most(result: Forecast, budget: int) -> str:
    """What a run with --optimize sends, before anything is certified."""
    most = min(budget, result.texts)
    price = ""
    if result.preview and result.preview.usd is not None:
        price = f", up to {result.preview.usd * most / result.texts:,.4f} USD"
    return (
        f"--optimize: up to {most:,} texts are labelled for training and certification{price}; then the small model "
        f"answers what is certified, and the system the rest of the {result.texts:,} texts"
    )


def _write_requests(request: BulkRequest, path: Path, as_json: bool) -> None:
    from bulk.batch_api import write_requests

    transport = request.results_transport(say)
    written = write_requests(request.with_transport(_job(request), transport), transport, path)
    say(f"{written.requests:,} requests about {written.texts:,} different texts")
    for file in written.files:
        say(f"written: {file}")
    if as_json:
        print_json({"requests": written.requests, "texts": written.texts, "files": written.files})


def _label(
    request: BulkRequest, overwrite: bool, retry_failed: bool, cap: SpendCap | None, optimizing: OptimizeOptions,
    as_json: bool,
) -> None:  # fmt: skip
    from bulk.answer_store import LocalRunner, Runner
    from bulk.progress import ProgressLog, summary_lines
    from bulk.run import run

    if cap and (request.read_results or request.ray_backend != "actors"):
        raise click.UsageError(f"{cap}: not with --read-results, nor with --ray-backend http or vllm; leave it out")
    made: OptimisedJob | None = None
    runner: Runner
    if optimizing.optimize:
        job = request.with_teacher(_job(request), say)
        meter = _meter(request, job, cap) if cap else None
        made = _optimised(request, job, optimizing, meter, overwrite)
        job, runner = made.job, LocalRunner(made.job.classifier.open, job.taxonomy, request.patience)
    else:
        job, runner = request.with_runner(_job(request), say)
        meter = _meter(request, job, cap) if cap else None
    model = str(job.classifier.setup.get("model", ""))
    log, known = ProgressLog(say, model), made.known if made else ()
    summary = run(job, runner, log, overwrite=overwrite, retry_failed=retry_failed, meter=meter, known=known)
    if as_json:
        found = {"optimized": made.found} if made else {}
        print_json({"file": job.out, "finished_before": summary is None, **(vars(summary) if summary else {}), **found})
    if summary is None:
        say(f"{job.out} is finished; --retry-failed classifies its failed rows again, --overwrite replaces it")
        return
    for line in summary_lines(summary, model):
        say(line)
    if made:
        for line in _optimised_lines(made.found, optimizing.plan(), summary):
            say(line)
    say(f"written: {job.out}")


def _optimised(
    request: BulkRequest, job: Job, optimizing: OptimizeOptions, meter: SpendMeter | None, overwrite: bool
) -> OptimisedJob:
    from marquee.optimised_bulk import forget, optimised

    if overwrite:
        forget(job)
    return optimised(job, optimizing.plan(), request.patience, meter, say)


def _optimised_lines(found: Optimised, plan: OptimisePlan, summary: Summary) -> list[str]:
    from marquee.optimised_bulk import SMALL

    if found.margin is None:
        return [f"nothing was certified ({found.stopped}): the system answered every text"]
    small = sum(count for name, count in summary.answered.items() if name == SMALL)
    rest = sum(summary.answered.values()) - small
    return [
        f"labels for training: {found.trained:,}; for training and certification: {found.labelled:,}",
        f"at most {plan.max_error:.1%} of the different texts have other labels than the system's, with a probability "
        f"of {1 - plan.delta:.0%}",
        f"{small:,} rows by the small model; {rest:,} by the system",
    ]


def _meter(request: BulkRequest, job: Job, cap: SpendCap) -> SpendMeter | None:
    from marquee.bulk_jobs import first_texts

    _, system = request.with_system(job)
    return system.meter(cap, first_texts(job))


def _job(request: BulkRequest) -> Job:
    """The job of a request; reports the columns that are read."""
    job = request.job()
    columns = ", ".join(f"{role} from {column!r}" for role, column in asdict(job.columns).items() if column)
    files = len(job.source.files)
    say(f"{files:,} file{'s' * (files > 1)}; {columns}")
    return job
