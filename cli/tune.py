"""`main.py calibrate` and `main.py cascade`: thresholds and margins from a few hundred validation texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.data import DataOptions, data_options

if TYPE_CHECKING:
    from marquee.settings import Settings


@click.command(short_help="Find the margin below which the language model labels.")
@data_options(split="validation", limit=500)
@click.option(
    "--loss", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Loss of micro-F1 to accept."
)
def cascade(data: Path, options: DataOptions, loss: float) -> None:
    """Find the margin of the cascade: the embedded classifier labels as many texts as the accepted loss allows."""
    from eval.calibration import fit_cascade
    from marquee.factory import classifier_of
    from marquee.settings import read_settings

    settings = _with_language_model(cascade_margin=0.0, fallback=False)
    embedded, large = classifier_of(read_settings(classifier="embedded")), classifier_of(settings)
    loaded = options.load(data)
    fitted = fit_cascade(embedded, large, loaded.taxonomy, loaded.examples, loss)
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
@click.option("--unlabelled", is_flag=True, help="The texts have no labels: only correct the bias of the model.")
def calibrate(data: Path, options: DataOptions, strategy: str, prompt: str | None, unlabelled: bool) -> None:
    """Learn how the scores of a strategy become labels: a threshold, or a bias correction from unlabelled texts."""
    from eval.calibration import correct_bias, tune_threshold
    from eval.datasets import texts_of
    from llm.thresholds import ThresholdStore
    from marquee.factory import RequestOptions, backend_of, language_model
    from prompts import registry
    from prompts.files import check_output

    settings = _with_language_model()
    request = RequestOptions(registry.prompt(prompt) if prompt else None, strategy)
    model = language_model(backend_of(settings), settings, request, ThresholdStore())
    path = check_output(settings.thresholds_path)
    if unlabelled:
        texts = texts_of(
            data, options.text_field, options.limit or 500, options.data_format, options.title_field, options.dialect
        )
        fitted = correct_bias(model, options.taxonomy, path, texts, data.name)
    else:
        loaded = options.load(data)
        fitted = tune_threshold(model, loaded.taxonomy, path, loaded.examples, data.name)
    click.echo(f"threshold {fitted.threshold:.3f}, {len(fitted.logit_offsets)} labels corrected; saved in {path}")


def _with_language_model(**overrides: float) -> Settings:
    from marquee.settings import read_settings

    settings = read_settings(**overrides)
    if not settings.uses_language_model:
        raise click.ClickException("no endpoint is set; set OPENAI_BASE_URL or OPENAI_API_KEY")
    return settings
