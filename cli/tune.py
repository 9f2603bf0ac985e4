"""`main.py calibrate` and `main.py cascade`: what can be learnt from a few hundred validation texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.data import data_options, loaded_of

if TYPE_CHECKING:
    from prompts.text import Text


@click.command(short_help="Find the margin below which the language model labels.")
@data_options(split="validation", limit=500)
@click.option("--loss", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Micro-F1 that may be lost.")
def cascade(data: Path, loss: float, taxonomy: str | None, **choice: Any) -> None:
    """Find the margin at which MiniLM's answers may stand, so that the language model is asked least often."""
    from eval.calibration import fit_cascade
    from marquee.factory import RequestOptions, create
    from marquee.settings import read_settings
    from prompts import registry

    settings = read_settings(cascade_margin=0.0, fallback=False)
    if not settings.asks_a_model:
        raise click.ClickException("no language model is set; set OPENAI_BASE_URL or OPENAI_API_KEY")
    vocabulary = registry.taxonomy_at(taxonomy or settings.taxonomy)
    small = create(read_settings(classifier="embedded")).classifier_for(RequestOptions())
    large = create(settings).classifier_for(RequestOptions())
    loaded = loaded_of(data, vocabulary, **choice)
    fitted = fit_cascade(small, large, loaded.taxonomy, loaded.examples, loss)
    click.echo(f"MARQUEE_CASCADE_MARGIN={fitted.margin:.4f}")
    click.echo(f"{fitted.share:.1%} of the texts go to {large.name}; micro-F1 {fitted.micro_f1:.3f}", err=True)


@click.command(short_help="Learn thresholds from labelled texts.")
@data_options(split="validation", limit=500)
@click.option(
    "--strategy",
    type=click.Choice(["label_tokens", "yes_no", "decisions_api"]),
    required=True,
    help="Strategy to calibrate.",
)
@click.option("--prompt", help="Prompt to calibrate.  [default: the one that suits each text]")
@click.option("--unlabelled", is_flag=True, help="The texts have no labels: correct the model's bias only.")
def calibrate(
    data: Path, taxonomy: str | None, strategy: str, prompt: str | None, unlabelled: bool, **choice: Any
) -> None:
    """Learn how a strategy's scores become labels: a threshold from labelled texts, or a correction from unlabelled."""
    from eval.calibration import correct_bias, tune_threshold
    from llm.thresholds import ThresholdStore
    from marquee.factory import RequestOptions, backend_of, language_model
    from marquee.settings import read_settings
    from prompts import registry
    from prompts.files import check_output

    settings = read_settings()
    if not settings.asks_a_model:
        raise click.ClickException("no endpoint is set; set OPENAI_BASE_URL or OPENAI_API_KEY")
    asked = RequestOptions(registry.prompt(prompt) if prompt else None, strategy)
    model = language_model(backend_of(settings), settings, asked, ThresholdStore())
    vocabulary = registry.taxonomy_at(taxonomy or settings.taxonomy)
    check_output(settings.thresholds_path)
    if unlabelled:
        learnt = correct_bias(model, vocabulary, settings.thresholds_path, _texts(data, **choice), data.name)
    else:
        loaded = loaded_of(data, vocabulary, **choice)
        learnt = tune_threshold(model, loaded.taxonomy, settings.thresholds_path, loaded.examples, data.name)
    click.echo(
        f"threshold {learnt.threshold:.3f}, {len(learnt.logit_offsets)} labels corrected; "
        f"kept in {settings.thresholds_path}"
    )


def _texts(
    data: Path, text_field: str | None, title_field: str | None, limit: int, data_format: str | None,
    encoding: str | None, separator: str | None, **_: Any,
) -> list[Text]:  # fmt: skip
    from eval.datasets import texts_of
    from tabular import TableDialect

    return texts_of(data, text_field, limit, data_format, title_field, TableDialect(encoding, separator))
