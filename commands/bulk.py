"""`main.py bulk`: files of texts labelled, however many there are, whatever happens on the way."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bulk.job import Asked, Job
    from bulk.run import Summary
    from llm.classifier import Classifier
    from prompts.taxonomy import Taxonomy
    from prompts.text import Text

_SEEN = 200  # first texts, which decide the prompts that a system is told by
_FORMATS = "CSV, TSV, JSON lines (each also .gz) or Parquet"


@click.command()
@click.argument("source", metavar="IN")
@click.option("--out", type=click.Path(path_type=Path), help=f"File to write: {_FORMATS}, by its name.")
@click.option(
    "--system",
    help="Whom to ask: embedded, llm[:READING][:PROMPT], service:URL, a trained model NAME[:PATH]."
    "  [default: whoever answers under the settings]",
)
@click.option("--taxonomy", help="Vocabulary.  [default: the settings']")
@click.option("--text-field", help="Column of the texts.  [default: guessed by its name, and told]")
@click.option("--title-field", help="Column of titles; '' for none.  [default: guessed, and told]")
@click.option("--id-field", help="Column of ids, for telling of problems.  [default: guessed, and told]")
@click.option("--prefix", default="", help="Stands before the names of the columns that are added.")
@click.option("--batch", type=click.IntRange(1), default=512, show_default=True, help="Texts asked about at once.")
@click.option(
    "--patience", type=click.FloatRange(0), default=60, show_default=True,
    help="Seconds for which an endpoint that is down is waited for.",
)  # fmt: skip
@click.option("--retry-failed", is_flag=True, help="Ask again about the rows of a finished OUT that have a problem.")
@click.option("--anew", is_flag=True, help="Start over, and replace an OUT that is there.")
def bulk(source: str, **options: Any) -> None:
    """Label the texts of IN: a file, a folder or a quoted pattern of CSV, TSV, JSON lines (each also .gz) or Parquet.

    Each row is written with its labels, their scores, who answered, and the problem if there was one. The same command
    again goes on where the last one was ended, even by kill -9, and asks about no finished text a second time.
    """
    asked = _Options(source, **options)
    job = asked.job()
    _label(job, asked)


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
    prefix: str
    batch: int
    patience: float
    retry_failed: bool
    anew: bool

    def job(self) -> Job:
        """What is to be done; the columns that are read are told."""
        from bulk.columns import columns_of
        from bulk.job import Job, done_of
        from bulk.source import source_of
        from prompts import shelf
        from service.settings import read_settings

        if self.out is None:
            raise click.UsageError("give --out with the file to write")
        found = source_of(self.source, [self.out, done_of(self.out)])
        columns = columns_of(found, self.text_field, self.title_field, self.id_field)
        click.echo(_columns_told(columns.as_json(), len(found.files)), err=True)
        taxonomy = shelf.taxonomy(self.taxonomy or read_settings().taxonomy)
        job = Job(found, columns, taxonomy, _nobody(), self.out, self.batch, self.prefix)
        return Job(found, columns, taxonomy, asked_of(self.system, job), self.out, self.batch, self.prefix)


def _columns_told(columns: dict[str, str | None], files: int) -> str:
    named = ", ".join(f"{what} from {column!r}" for what, column in columns.items() if column)
    return f"{files:,} file{'s' * (files > 1)}; {named}"


def _nobody() -> Asked:
    from bulk.job import Asked

    return Asked("", {}, lambda: None)  # type: ignore[arg-type,return-value]


def asked_of(spec: str | None, job: Job) -> Asked:
    """The system of a spec, put together for the first texts of a job."""
    from bulk.job import Asked

    texts = first_texts(job)
    system = _system(spec, job.taxonomy, texts)
    return Asked(system.spec, system.setup, partial(opened, spec, job.taxonomy, texts))


def first_texts(job: Job) -> tuple[Text, ...]:
    """The first texts that can be read."""
    from bulk.scan import read

    texts = (one.text for window in read(job) for one in window if one.key is not None)
    return tuple(islice(texts, _SEEN))


def opened(spec: str | None, taxonomy: Taxonomy, texts: tuple[Text, ...]) -> Classifier:
    """The classifier of a spec, ready to answer."""
    classifier: Classifier = _system(spec, taxonomy, texts).open().classifier
    return classifier


def _system(spec: str | None, taxonomy: Taxonomy, texts: tuple[Text, ...]) -> Any:
    from commands.systems import Setting, configured, named

    setting = Setting(taxonomy, texts, cache=False)  # a run keeps its own answers; the service's cache would be flushed
    return named(spec, setting) if spec else configured(setting)


def _label(job: Job, asked: _Options) -> None:
    from bulk.engine import InProcess
    from bulk.progress import Progress
    from bulk.retry import answered_before
    from bulk.run import run

    engine = InProcess(job.asked.open, job.taxonomy, asked.patience)
    progress = Progress(lambda line: click.echo(line, err=True), str(job.asked.setup.get("model", "")))
    seed = answered_before if asked.retry_failed else None
    try:
        _tell(job, run(job, engine, progress, anew=asked.anew, seed=seed))
    except KeyboardInterrupt:
        click.echo("ended; the same command goes on from here", err=True)
        sys.exit(130)


def _tell(job: Job, summary: Summary | None) -> None:
    from bulk.progress import summary_lines

    if summary is None:
        click.echo(f"{job.out} is finished; --retry-failed asks about its failed rows, --anew replaces it", err=True)
        return
    for line in summary_lines(summary, str(job.asked.setup.get("model", ""))):
        click.echo(line, err=True)
    click.echo(f"written: {job.out}", err=True)
