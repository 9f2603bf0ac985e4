"""`main.py refit`, `calibrate` and `fusion`: tune models, thresholds and combinations on labelled texts."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import PATH, OutputPath, command_line, json_option, model_settings, print_json, say, tracked
from cli.data import DataOptions, data_options
from cli.group import examples
from cli.names import complete_prompt, complete_strategy
from cli.train import refuse_test

if TYPE_CHECKING:
    from eval.calibration import Tuned
    from llm.calibration.thresholds import LabelThreshold
    from llm.language_model import LanguageModel
    from marquee.settings import Settings


@click.command(
    short_help="Train again on training and validation texts.",
    epilog=examples("refit var/models/tfidf-lr-imdb --data films.jsonl --out var/final"),
)
@click.argument("folder", type=PATH)
@data_options(split="train")
@click.option("--more-texts", type=PATH, help="The table of --more-texts of the training.")
@click.option("--validation-split", default="validation", help="Validation split of the training.")
@click.option("--out", required=True, type=OutputPath(folder=True), help="Folder to write to.")
@json_option
def refit(
    folder: Path, data: Path, options: DataOptions, out: Path, validation_split: str, more_texts: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Retrain the model in FOLDER on its training and validation texts together.

    Choices made on the validation texts (settings, epochs, thresholds, ensemble weights) are kept. Give the same data
    options as for `train`.
    """
    from eval.baselines.trained import Split
    from eval.baselines.training import Refit

    refuse_test(options.split, validation_split)
    training, validation = options.load(data), options.load(data, validation_split)
    trainings = [training]
    if more_texts:
        trainings.append(options.with_more_texts(training, data, more_texts))
    splits = [Split.of(loaded.examples, training.taxonomy) for loaded in (*trainings, validation)]
    refit_model = Refit(training.taxonomy, splits[:-1], splits[-1], command_line(), track=tracked)
    manifest = refit_model.run(folder, out).manifest
    if as_json:
        print_json({"folder": out, "texts": manifest["data"]["train"]["rows"]})
    say(f"trained on {manifest['data']['train']['rows']:,} texts; saved in {out}")


@click.command(
    short_help="Weigh a language model and the embedded classifier.",
    epilog=examples("fusion --data films.jsonl", "fusion --data films.jsonl --strategy yes_no --json"),
)
@data_options(split="validation", limit=200)
@click.option("--strategy", shell_complete=complete_strategy, help="Strategy of the language model.")
@click.option(
    "--prompt", shell_complete=complete_prompt, help="Prompt of the language model.  [default: that of each text]"
)
@json_option
def fusion(data: Path, options: DataOptions, strategy: str | None, prompt: str | None, as_json: bool) -> None:
    """Learn the weights of MARQUEE_FUSION from labelled texts: how much each of the two models counts."""
    from eval.calibration import labels_at_once
    from llm.few_shot import examples_kind
    from llm.wrappers.fusion import FusionStore, fit_fusion
    from marquee.factory import RequestOptions, create
    from marquee.few_shot import example_selector
    from prompts.files import check_output
    from similarity.encoders.minilm import MiniLM

    settings = model_settings(cascade_margin=0.0, fallback=False, fusion=False)
    store = FusionStore(path := check_output(settings.fusion_path))
    loaded = options.load(data)
    taxonomy = labels_at_once(loaded.taxonomy, settings.hierarchy_beam)
    shown = example_selector(settings, MiniLM(), taxonomy)
    models = create(settings, examples=shown)
    llm, embedded = models.classifier_for(RequestOptions.of(prompt, strategy)), models.embedded
    texts, labels = [one.text for one in loaded.examples], [one.labels for one in loaded.examples]
    answers = llm.classify(texts, taxonomy)
    others = embedded.classify(texts, taxonomy)
    fitted = fit_fusion(answers, others, labels, taxonomy)
    kind, pairs = examples_kind(shown, taxonomy), zip(answers, others, strict=True)
    keys = {store.key(one.source, other.source.model, kind) for one, other in pairs if not one.problem}
    store.put(dict.fromkeys(keys, fitted.weights))
    if as_json:
        return print_json({**asdict(fitted), "path": path})
    click.echo(
        f"weights {fitted.weights.llm:.3f} for {llm.name} and {fitted.weights.embedded:.3f} for {embedded.name}; "
        f"saved in {path}"
    )
    say(
        f"micro-F1 on {fitted.texts} texts: {fitted.llm_f1:.3f} and {fitted.embedded_f1:.3f} alone, "
        f"{fitted.fusion_f1:.3f} together (cross-validated)"
    )
    return None


@click.command(
    short_help="Calibrate scores, or prediction sets, with labels.",
    epilog=examples(
        "calibrate --coverage 0.9 --data tickets.csv --taxonomy tickets",
        "calibrate --data films.jsonl --strategy label_tokens",
        "calibrate --data texts.jsonl --strategy yes_no --unlabelled",
    ),
)
@data_options(split="validation", limit=500)
@click.option(
    "--strategy",
    type=click.Choice(["label_likelihood", "label_tokens", "yes_no", "decisions_api"]),
    help="Strategy to calibrate.  [default with --coverage: that of the settings]",
)
@click.option(
    "--prompt", shell_complete=complete_prompt, help="Prompt to calibrate.  [default: the one that suits each text]"
)
@click.option("--unlabelled", is_flag=True, help="The texts have no labels: only correct the bias of the model.")
@click.option(
    "--coverage",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Learn prediction sets that contain the right labels with this probability.",
)
@click.option("--learned", is_flag=True, help="With --coverage: for answers as learned from feedback.")
@click.option("--check-split", help="With --coverage: measure the coverage on this split.")
@json_option
def calibrate(
    data: Path, options: DataOptions, strategy: str | None, prompt: str | None, unlabelled: bool,
    coverage: float | None, learned: bool, check_split: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Learn how scores become labels, or with --coverage prediction sets.

    From labelled texts: a line per label in the log-odds, or one threshold where lines do not raise the quality. From
    unlabelled texts: a correction of the bias. With --coverage: sets of labels, for the classifier of the settings.
    """
    if coverage is not None:
        from cli.coverage import calibrate_coverage

        if unlabelled:
            raise click.UsageError("--coverage needs labelled texts; leave --unlabelled out")
        return calibrate_coverage(data, options, coverage, strategy, prompt, learned, check_split, as_json)
    if learned or check_split:
        raise click.UsageError("--learned and --check-split are for --coverage; give it, or leave them out")
    if strategy is None:
        raise click.UsageError("give --strategy to calibrate the scores of a language model, or --coverage")
    from llm.calibration.thresholds import ThresholdStore
    from marquee.backends import backend_of
    from marquee.factory import RequestOptions, language_model
    from marquee.few_shot import example_selector
    from prompts import registry
    from prompts.files import check_output
    from similarity.encoders.minilm import MiniLM

    settings = model_settings()
    request = RequestOptions(registry.prompt_at(prompt) if prompt else None, strategy)
    examples = example_selector(settings, MiniLM(), options.taxonomy)
    model = language_model(backend_of(settings), settings, request, ThresholdStore(), examples)
    path = check_output(settings.thresholds_path)
    if unlabelled:
        found, tuned = _bias_corrected(model, settings, data, options, path), None
    else:
        tuned = _threshold_tuned(model, settings, data, options, path)
        found = tuned.threshold
    if as_json:
        quality = {"texts": tuned.texts, "before": tuned.before, "after": tuned.after} if tuned else {}
        return print_json({**asdict(found), **quality, "path": path})
    verb = "calibrated" if found.slopes else "corrected"
    click.echo(f"threshold {found.threshold:.3f}, {len(found.logit_offsets)} labels {verb}; saved in {path}")
    if tuned:
        numbers = [f"{name} {tuned.before[name]:.3f} before, {tuned.after[name]:.3f} after" for name in tuned.after]
        say(f"on {tuned.texts} texts, cross-validated: {'; '.join(numbers)}")
        if not found.slopes:
            say("a line per label gains nothing on these texts; one threshold was learned")
    return None


def _bias_corrected(
    model: LanguageModel, settings: Settings, data: Path, options: DataOptions, path: Path
) -> LabelThreshold:
    """Correct the bias of the model by texts without labels; stored in ``path``."""
    from eval.calibration import correct_bias, labels_at_once
    from eval.datasets import texts_of
    from marquee.wrappers import candidates_of

    taxonomy = labels_at_once(options.taxonomy, settings.hierarchy_beam)
    if offered := candidates_of(settings, taxonomy):
        raise click.UsageError(
            f"--unlabelled compares how often the model gives each label, and a prompt has the {offered} best of "
            f"the {len(taxonomy.names)} labels; give labelled texts, or set MARQUEE_MAX_CANDIDATE_LABELS=0"
        )
    texts = texts_of(
        data, options.text_field, options.limit or 500, options.data_format, options.title_field, options.dialect
    )
    return correct_bias(model, taxonomy, path, texts, data.name)


def _threshold_tuned(model: LanguageModel, settings: Settings, data: Path, options: DataOptions, path: Path) -> Tuned:
    """Learn from labelled texts how the scores of the model become labels; stored in ``path``."""
    from eval.calibration import labels_at_once, tune_threshold
    from llm.wrappers.combined import Shortlist
    from marquee.factory import in_process
    from marquee.wrappers import candidates_of
    from similarity.encoders.minilm import MiniLM

    loaded = options.load(data)
    taxonomy = labels_at_once(loaded.taxonomy, settings.hierarchy_beam)
    offered = candidates_of(settings, taxonomy)
    around = partial(Shortlist, in_process(settings, MiniLM()), candidates=offered) if offered else None
    return tune_threshold(model, taxonomy, path, loaded.examples, data.name, around)
