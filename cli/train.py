"""`main.py train`, `refit`, `calibrate` and `cascade`: train models, and tune thresholds, on labelled texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import PATH, OutputPath, ProgressLine, command_line, decorated, model_settings, say, tracked
from cli.data import DataOptions, data_options
from cli.group import examples

if TYPE_CHECKING:
    from training.lora.run import Form, LoraConfig


_METRICS = ("micro-F1", "macro-F1", "Jaccard", "subset accuracy")

_lora_options = decorated(
    click.option(
        "--strategy",
        type=click.Choice(["json_list", "label_tokens"]),
        help="lora: answer to learn.  [default: label_tokens for one label per text, else json_list]",
    ),
    click.option("--prompt", help="lora: prompt of the texts.  [default: the one that suits each text]"),
    click.option(
        "--incomplete", type=click.Choice(["drop", "keep"]), help="lora: texts with incomplete labels.  [default: drop]"
    ),
    click.option("--rank", type=click.IntRange(1), help="lora: rank of the adapter.  [default: 16]"),
    click.option("--alpha", type=click.IntRange(1), help="lora: scale; updates count alpha / rank.  [default: 32]"),
    click.option("--micro-batch", type=click.IntRange(1), help="lora: texts per forward pass.  [default: 4]"),
    click.option("--four-bit", is_flag=True, default=None, help="lora: base model in 4 bits (GPU, bitsandbytes)."),
    click.option(
        "--checkpointing/--no-checkpointing",
        default=None,
        help="lora: recompute activations to save memory.  [default: --checkpointing]",
    ),
    click.option(
        "--judged",
        type=click.IntRange(0),
        help="lora: validation texts to label before and after the training.  [default: 200]",
    ),
)


@click.command(
    short_help="Train a baseline, an adapter or the embedded classifier.",
    epilog=examples(
        "train tfidf-lr --data films.jsonl --taxonomy imdb", "train lora --data films.jsonl --taxonomy imdb"
    ),
)
@click.argument("name")
@data_options(split="train")
@click.option("--more-texts", type=PATH, help="Another table of the same films (title, year); its texts are added.")
@click.option("--reviews", type=PATH, help="matcher: folder or tarball of aclImdb.")
@click.option("--out", type=PATH, help="Folder to write to.  [default: var/models/NAME-TAXONOMY]")
@click.option("--validation-split", default="validation", help="Split for choices and thresholds.")
@click.option("--decode", type=click.Choice(["global", "per-label", "top-k"]), help="How scores become labels.")
@click.option(
    "--objective", type=click.Choice(["micro", "macro", "both"]), default="macro", help="F1 that thresholds maximise."
)
@click.option("--seed", type=int, default=0, help="Seed of everything random.")
@click.option("--ngrams", type=click.IntRange(1), help="tfidf-*: longest n-gram, in words.")
@click.option("--min-count", type=click.IntRange(1), help="tfidf-*: minimum number of texts with a term.")
@click.option("--c", type=click.FloatRange(0, min_open=True), help="tfidf-svm, tfidf-lr: inverse of regularisation.")
@click.option("--trials", type=click.IntRange(1), help="minilm-mlp, hybrid: trials of the random search.")
@click.option("--epochs", type=click.IntRange(1), help="minilm*, hybrid, distilbert, lora: maximum epochs.")
@click.option("--encoder", help="minilm-mlp, hybrid: minilm (original) or matcher (fine-tuned by the matcher).")
@click.option("--patience", type=click.IntRange(1), help="... epochs without gain before training stops.")
@click.option(
    "--base", help="minilm, distilbert, lora: start from a folder, a name, an earlier training, or (minilm) matcher."
)
@click.option(
    "--loss", type=click.Choice(["bce", "two-valued", "log-weights", "focal"]), help="... for several labels."
)
@click.option("--length-weight", type=click.FloatRange(0), help="... for one label per text: weight of the length.")
@click.option("--last-layers", type=click.IntRange(1), help="... train only the last layers, and the head.")
@click.option("--linear-probe", is_flag=True, default=None, help="... train the head on the frozen encoder first.")
@click.option("--oversample", is_flag=True, default=None, help="... repeat texts of rare labels (ML-ROS).")
@click.option("--max-tokens", type=click.IntRange(4), help="... tokens read of a text.  [default: 256]")
@click.option("--keep", type=click.Choice(["head", "head-tail"]), help="... the part of a longer text that is read.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="... learning rate.  [default: 1e-4, 5e-5]")
@click.option("--batch-size", type=click.IntRange(1), help="... texts per step.  [default: 32]")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), help="... number format of the training.")
@click.option("--part", "parts", multiple=True, help="blend: folder of an earlier training; repeat it for each part.")
@click.option("--neighbours", type=click.IntRange(1), help="tfidf-knn: number of neighbours.")
@_lora_options
def train(
    name: str, data: Path, options: DataOptions, out: Path | None, validation_split: str,
    reviews: Path | None, more_texts: Path | None, **settings: Any,
) -> None:  # fmt: skip
    """Train the model NAME.

    Baselines: prior, random, embedded-tuned, tfidf-nb, tfidf-svm, tfidf-knn, tfidf-lr, minilm-mlp, hybrid, minilm,
    distilbert, and blend of several of these. Own models: lora (an adapter for the language model) and matcher (weights
    of the embedded classifier).
    """
    if more_texts and name in ("matcher", "lora", "blend"):
        raise click.UsageError(f"--more-texts is for baselines that learn from texts; {name} does without")
    if name == "matcher":
        return _train_matcher(data, options.limit, reviews, out, settings)
    if reviews is not None:
        raise click.UsageError("--reviews is for the matcher")
    _refuse_test(options.split, validation_split)
    if name == "lora":
        return _train_lora(data, options, validation_split, out, settings)
    return _train_baseline(name, data, options, validation_split, out, more_texts, settings)


def _train_baseline(
    name: str, data: Path, options: DataOptions, validation_split: str, out: Path | None, more_texts: Path | None,
    settings: dict[str, Any],
) -> None:  # fmt: skip
    from eval.baselines import TrainingPlan
    from eval.baselines import train as fit
    from prompts.files import check_output

    folder = check_output(out or Path("var/models") / f"{name}-{options.taxonomy.name}", folder=True)
    how = {key: settings.pop(key) for key in ("decode", "objective", "seed")}
    sources = " and ".join(path.name for path in (data, more_texts) if path)
    plan = TrainingPlan(name, _without_unset(settings), **how, data=sources, command=command_line())
    training, validation = options.load(data), options.load(data, validation_split)
    if more_texts:
        training = options.with_more_texts(training, data, more_texts)
    trained = fit(plan, training.taxonomy, training.examples, validation.examples, folder, tracked)
    for metric, value in trained.manifest["validation"].items():
        click.echo(f"{metric:16} {value:8.3f}")
    say(f"on {len(validation.examples)} validation texts, after tuning on them; saved in {folder}")


def _train_lora(
    data: Path, options: DataOptions, validation_split: str, out: Path | None, settings: dict[str, Any]
) -> None:  # fmt: skip
    """Train an adapter of the language model, and print the metrics before and after."""
    from prompts import registry
    from prompts.files import check_output
    from training.lora.run import LoraPlan, PromptSetup, train_adapter

    if settings.pop("decode") is not None:
        raise click.UsageError("--decode is for baselines; the strategy decodes the answers of an adapter")
    settings.pop("objective")
    folder = check_output(out or Path("var/models") / f"lora-{options.taxonomy.name}", folder=True)
    strategy: Form = settings.pop("strategy") or ("json_list" if options.taxonomy.multi else "label_tokens")
    prompt = registry.prompt(name) if (name := settings.pop("prompt")) else None
    seed, keep_incomplete = settings.pop("seed"), settings.pop("incomplete") == "keep"
    config = _lora_config(_without_unset(settings))
    training, validation = options.load(data), options.load(data, validation_split)
    setup = PromptSetup(training.taxonomy, strategy, prompt)
    plan = LoraPlan(setup, config, keep_incomplete, seed, data.name, command_line())
    _print_lora(train_adapter(plan, training.examples, validation.examples, folder, tracked), folder)


def _lora_config(settings: Mapping[str, Any]) -> LoraConfig:
    from prompts.errors import InvalidSetting
    from training.lora.run import LoraConfig

    known = {field.name for field in fields(LoraConfig)}
    if unknown := sorted(settings.keys() - known):
        raise InvalidSetting(f"lora has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return LoraConfig(**settings)


def _print_lora(manifest: Mapping[str, Any], folder: Path) -> None:
    for side in ("train", "validation"):
        for what, count in manifest["data"][side]["counts"].items():
            say(f"{side}: {count} texts {what}")
    before, after = manifest["validation"]["before"], manifest["validation"]["after"]
    for metric in _METRICS if after else ():
        click.echo(f"{metric:16} {before[metric]:8.3f} before {after[metric]:8.3f} after")
    losses = ", ".join(f"{loss:.3f}" for loss in manifest["notes"]["losses"])
    say(f"on {manifest['validation']['texts']} validation texts; validation loss by epoch: {losses}")
    say(f"saved in {folder}; serve it with `main.py serve --vllm {manifest['base']['name']} --adapter {folder}`")


def _train_matcher(
    data: Path, limit: int | None, reviews: Path | None, out: Path | None, settings: Mapping[str, Any]
) -> None:  # fmt: skip
    """Train the weights of the embedded classifier on the ``train`` splits of films and reviews."""
    from prompts import registry
    from prompts.files import check_output
    from training.matcher.train import MatcherSchedule, train_matcher

    if reviews is None:
        raise click.UsageError("the matcher learns from reviews too; give --reviews, aclImdb's folder or tarball")
    path = check_output(out or Path("var/models/matcher.safetensors"))
    films = DataOptions(registry.taxonomy("imdb"), title_field="title", limit=limit).load(data)
    opinions = DataOptions(registry.taxonomy("sentiment"), limit=limit).load(reviews)
    schedule = MatcherSchedule(epochs=settings["epochs"] or MatcherSchedule.epochs, seed=settings["seed"])
    progress = ProgressLine("matcher:", unit="steps")

    def on_step(step: int, steps: int, loss: float) -> None:
        progress.total = steps
        progress.reach(step, f", loss {loss:.3f}")

    train_matcher(films.examples, opinions.examples, path, schedule, command_line(), on_step)
    say(f"saved in {path}; try it with `main.py evaluate --systems embedded:{path} ...`")


@click.command(short_help="Train again on training and validation texts.")
@click.argument("folder", type=PATH)
@data_options(split="train")
@click.option("--more-texts", type=PATH, help="The table of --more-texts of the training.")
@click.option("--validation-split", default="validation", help="Validation split of the training.")
@click.option("--out", required=True, type=OutputPath(folder=True), help="Folder to write to.")
def refit(
    folder: Path, data: Path, options: DataOptions, out: Path, validation_split: str, more_texts: Path | None
) -> None:  # fmt: skip
    """Retrain the model in FOLDER on its training and validation texts together.

    Choices made on the validation texts (settings, epochs, thresholds, ensemble weights) are kept. Give the same data
    options as for `train`.
    """
    from eval.baselines.trained import Split
    from eval.baselines.training import Refit

    _refuse_test(options.split, validation_split)
    training, validation = options.load(data), options.load(data, validation_split)
    trainings = [training]
    if more_texts:
        trainings.append(options.with_more_texts(training, data, more_texts))
    splits = [Split.of(loaded.examples, training.taxonomy) for loaded in (*trainings, validation)]
    refit_model = Refit(training.taxonomy, splits[:-1], splits[-1], command_line(), track=tracked)
    manifest = refit_model.run(folder, out).manifest
    say(f"trained on {manifest['data']['train']['rows']:,} texts; saved in {out}")


def _without_unset(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value not in (None, ())}


def _refuse_test(*splits: str | None) -> None:
    if "test" in splits:
        raise click.UsageError("the test split is for reporting; train on others")
    if len(set(splits)) < len(splits):
        raise click.UsageError("training and validation need different splits")


@click.command(short_help="Find the margin below which the language model labels.")
@data_options(split="validation", limit=500)
@click.option("--loss", type=click.FloatRange(0, 1), default=0.01, help="Loss of micro-F1 to accept.")
def cascade(data: Path, options: DataOptions, loss: float) -> None:
    """Find the margin of the cascade: the embedded classifier labels as many texts as the accepted loss allows."""
    from eval.calibration import fit_cascade
    from marquee.factory import classifier_of
    from marquee.settings import read_settings

    settings = model_settings(cascade_margin=0.0, fallback=False)
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

    settings = model_settings()
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
