"""`main.py train` and `main.py refit`: train a model on labelled texts, and retrain it on all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import OutputPath, ProgressLine, command_line, decorated, say, tracked
from cli.data import DataOptions, data_options
from cli.group import examples

if TYPE_CHECKING:
    from training.lora.config import LoraConfig
    from training.lora.dataset import Form

_METRICS = ("micro-F1", "macro-F1", "Jaccard", "subset accuracy")

_lora_options = decorated(
    click.option(
        "--strategy",
        type=click.Choice(["json_list", "label_tokens"]),
        help="lora: answer to learn.  [default: label_tokens for one label per text, else json_list]",
    ),
    click.option("--prompt", help="lora: prompt of the texts.  [default: the one that suits each text]"),
    click.option(
        "--incomplete",
        type=click.Choice(["drop", "keep"]),
        help="lora: texts with incomplete labels.  [default: drop]",
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
@click.option("--more-texts", type=click.Path(path_type=Path),
              help="Another table of the same films (title, year); its texts are added.")  # fmt: skip
@click.option("--reviews", type=click.Path(path_type=Path), help="matcher: folder or tarball of aclImdb.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to.  [default: var/models/NAME-TAXONOMY]")
@click.option("--validation-split", default="validation", show_default=True, help="Split for choices and thresholds.")
@click.option("--decode", type=click.Choice(["global", "per-label", "top-k"]), help="How scores become labels.")
@click.option("--objective", type=click.Choice(["micro", "macro", "both"]), default="macro", show_default=True,
              help="F1 that thresholds maximise.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of everything random.")
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
@click.option("--part", "parts", multiple=True, callback=lambda context, option, values: values or None,
              help="blend: folder of an earlier training; repeat it for each part.")  # fmt: skip
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
    plan = TrainingPlan(name, _given(settings), **how, data=sources, command=command_line())
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
    from training.lora.dataset import PromptSetup
    from training.lora.run import LoraPlan, train_adapter

    if settings.pop("decode") is not None:
        raise click.UsageError("--decode is for baselines; the strategy decodes the answers of an adapter")
    settings.pop("objective")
    folder = check_output(out or Path("var/models") / f"lora-{options.taxonomy.name}", folder=True)
    strategy: Form = settings.pop("strategy") or ("json_list" if options.taxonomy.multi else "label_tokens")
    prompt = registry.prompt(name) if (name := settings.pop("prompt")) else None
    seed, keep_incomplete = settings.pop("seed"), settings.pop("incomplete") == "keep"
    config = _lora_config(_given(settings))
    training, validation = options.load(data), options.load(data, validation_split)
    setup = PromptSetup(training.taxonomy, strategy, prompt)
    plan = LoraPlan(setup, config, keep_incomplete, seed, data.name, command_line())
    _print_lora(train_adapter(plan, training.examples, validation.examples, folder, tracked), folder)


def _lora_config(settings: Mapping[str, Any]) -> LoraConfig:
    from prompts.errors import InvalidSetting
    from training.lora.config import LoraConfig

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
@click.argument("folder", type=click.Path(path_type=Path))
@data_options(split="train")
@click.option("--more-texts", type=click.Path(path_type=Path),
              help="The table of --more-texts of the training.")  # fmt: skip
@click.option("--validation-split", default="validation", show_default=True, help="Validation split of the training.")
@click.option("--out", required=True, type=OutputPath(folder=True), help="Folder to write to.")
def refit(
    folder: Path, data: Path, options: DataOptions, out: Path, validation_split: str, more_texts: Path | None
) -> None:  # fmt: skip
    """Retrain the model in FOLDER on its training and validation texts together.

    Choices made on the validation texts (settings, epochs, thresholds, ensemble weights) are kept. Give the same data
    options as for `train`.
    """
    from eval.baselines.data import Split
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


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _refuse_test(*splits: str | None) -> None:
    """Check the splits of a training.

    Raises:
        UsageError: one of them is the test split, or two are the same.
    """
    if "test" in splits:
        raise click.UsageError("the test split is for reporting; train on others")
    if len(set(splits)) < len(splits):
        raise click.UsageError("training and validation need different splits")
