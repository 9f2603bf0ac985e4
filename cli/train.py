"""`main.py train`: a baseline from labelled texts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.data import data_options, loaded_of, with_more_texts
from cli.group import examples
from cli.lora import lora_options, train_lora

Item = TypeVar("Item")
_LINES = 20  # that tell how far a training is where there is no terminal
COLUMNS = (
    "limit", "text_field", "title_field", "labels_field", "id_field", "data_format", "split_file", "unknown_labels",
    "min_label_count", "encoding", "separator",
)  # fmt: skip


@click.command(
    short_help="Train a baseline, an adapter or the embedded classifier.",
    epilog=examples(
        "train tfidf-lr --data films.jsonl --taxonomy imdb", "train lora --data films.jsonl --taxonomy imdb"
    ),
)
@click.argument("name")
@data_options(split="train")
@click.option("--more-texts", type=click.Path(path_type=Path),
              help="Another table of the same films (title, year): its texts are learnt, too.")  # fmt: skip
@click.option("--reviews", type=click.Path(path_type=Path), help="matcher: aclImdb's folder or tarball.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to.  [default: var/models/NAME-TAXONOMY]")
@click.option("--validation-split", default="validation", show_default=True, help="Rows to choose and tune by.")
@click.option("--decode", type=click.Choice(["global", "per-label", "top-k"]), help="How scores become labels.")
@click.option("--objective", type=click.Choice(["micro", "macro", "both"]), default="macro", show_default=True,
              help="F1 that thresholds are tuned for.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option("--ngrams", type=click.IntRange(1), help="tfidf-*: longest run of words that counts as a term.")
@click.option("--min-count", type=click.IntRange(1), help="tfidf-*: terms of fewer texts are left out.")
@click.option("--c", type=click.FloatRange(0, min_open=True), help="tfidf-svm, tfidf-lr: how little weights are held.")
@click.option("--trials", type=click.IntRange(1), help="minilm-mlp, hybrid: draws of the random search.")
@click.option("--epochs", type=click.IntRange(1), help="minilm*, hybrid, distilbert, lora: most rounds.")
@click.option("--encoder", help="minilm-mlp, hybrid: minilm as it comes, or matcher, as the matcher tuned it.")
@click.option("--patience", type=click.IntRange(1), help="... rounds without gain after which training stops.")
@click.option(
    "--base",
    help="minilm, distilbert, lora: start from a folder, a name, an earlier training, or (minilm) from matcher.",
)
@click.option(
    "--loss", type=click.Choice(["bce", "two-valued", "log-weights", "focal"]), help="... for several labels."
)
@click.option("--length-weight", type=click.FloatRange(0), help="... for one label a text: how much length counts.")
@click.option("--last-layers", type=click.IntRange(1), help="... train only so many layers, and the head.")
@click.option("--linear-probe", is_flag=True, default=None, help="... learn the head over the encoder as it is first.")
@click.option("--oversample", is_flag=True, default=None, help="... clone texts of rare labels (ML-ROS).")
@click.option("--max-tokens", type=click.IntRange(4), help="... how much of a text is read.  [default: 256]")
@click.option("--keep", type=click.Choice(["head", "head-tail"]), help="... which part of a longer text.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="... learning rate.  [default: 1e-4, 5e-5]")
@click.option("--batch-size", type=click.IntRange(1), help="... texts per step.  [default: 32]")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), help="... what to compute in.")
@click.option("--part", "parts", multiple=True, callback=lambda context, option, given: given or None,
              help="blend: folder of an earlier training; given for each part.")  # fmt: skip
@click.option("--neighbours", type=click.IntRange(1), help="tfidf-knn: how many texts vote.")
@lora_options
def train(
    name: str, data: Path, out: Path | None, taxonomy: str | None, split: str, validation_split: str,
    reviews: Path | None, more_texts: Path | None, **rest: Any,
) -> None:  # fmt: skip
    """Train the model NAME.

    Baselines: prior, random, embedded-tuned, tfidf-nb, tfidf-svm, tfidf-knn, tfidf-lr, minilm-mlp, hybrid, minilm,
    distilbert, and blend of several of these. Own models: lora (an adapter for the language model) and matcher (weights
    of the embedded classifier).
    """
    if more_texts and name in ("matcher", "lora", "blend"):
        raise click.UsageError(f"--more-texts is for baselines that learn from texts; {name} does without")
    if name == "matcher":
        return _matcher(data, reviews, out, rest)
    from eval.baselines import TrainingPlan
    from eval.baselines import train as fit
    from marquee.settings import read_settings
    from prompts import registry
    from prompts.files import check_output

    if reviews is not None:
        raise click.UsageError("--reviews is for the matcher")
    refuse_test(split, validation_split)
    if name == "lora":
        return _lora(data, out, taxonomy, (split, validation_split), rest)
    vocabulary = registry.taxonomy_at(taxonomy or read_settings().taxonomy)
    folder = check_output(out or Path("var/models") / f"{name}-{vocabulary.name}", folder=True)
    columns = {key: rest.pop(key) for key in COLUMNS}
    how = {key: rest.pop(key) for key in ("decode", "objective", "seed")}
    given = {key: value for key, value in rest.items() if value is not None}
    read_from = " and ".join(path.name for path in (data, more_texts) if path)
    plan = TrainingPlan(name, given, **how, data=read_from, command=typed())
    training, validation = (loaded_of(data, vocabulary, split=one, **columns) for one in (split, validation_split))
    if more_texts:
        training = with_more_texts(training, data, more_texts, vocabulary, **columns)
    trained = fit(plan, training.taxonomy, training.examples, validation.examples, folder, tracked)
    for metric, value in trained.manifest["validation"].items():
        click.echo(f"{metric:16} {value:8.3f}")
    click.echo(f"on {len(validation.examples)} validation texts, after tuning on them; saved in {folder}", err=True)
    return None


def _lora(data: Path, out: Path | None, taxonomy: str | None, sides: tuple[str, str], rest: dict[str, Any]) -> None:
    columns = {key: rest.pop(key) for key in COLUMNS}
    if rest.pop("decode") is not None:
        raise click.UsageError("--decode is for baselines; an adapter's answers are read as in use")
    rest.pop("objective")
    train_lora(data, out, taxonomy, sides, columns, rest, typed(), tracked)


def _matcher(data: Path, reviews: Path | None, out: Path | None, rest: Mapping[str, Any]) -> None:
    """The embedded classifier's weights, from films and reviews; only those of split ``train`` are learnt from."""
    from prompts import registry
    from prompts.files import check_output
    from training.matcher.train import MatcherSchedule, train_matcher

    if reviews is None:
        raise click.UsageError("the matcher learns from reviews too; give --reviews, aclImdb's folder or tarball")
    path = check_output(out or Path("var/models/matcher.safetensors"))
    films = loaded_of(data, registry.taxonomy("imdb"), title_field="title", limit=rest["limit"]).examples
    opinions = loaded_of(reviews, registry.taxonomy("sentiment"), limit=rest["limit"]).examples
    recipe = MatcherSchedule(epochs=rest["epochs"] or MatcherSchedule.epochs, seed=rest["seed"])
    with _shown() as told:
        train_matcher(films, opinions, path, recipe, typed(), told)
    click.echo(f"saved in {path}; try it with `main.py evaluate --systems embedded:{path} ...`", err=True)


@contextmanager
def _shown() -> Iterator[Callable[[int, int, float], None]]:
    """Shows the steps of an hour's training: as a bar, or as a line now and then where the output is kept."""
    if not sys.stderr.isatty():
        yield _line
        return
    with click.progressbar(length=1_000, label="matcher", file=sys.stderr) as bar:
        yield lambda step, steps, _: bar.update(1_000 * step // steps - bar.pos)


def _line(step: int, steps: int, loss: float) -> None:
    if step % max(1, steps // _LINES) == 0:
        click.echo(f"step {step:,} of {steps:,}, loss {loss:.3f}", err=True)


def refuse_test(*splits: str) -> None:
    """Let splits be learnt and chosen by only where none is the test split and each is another.

    Raises:
        UsageError: one is, or two are the same.
    """
    if "test" in splits:
        raise click.UsageError("the test split is for reporting; train on others")
    if len(set(splits)) < len(splits):
        raise click.UsageError("training and validation need different splits")


def tracked(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Pass items on while a progress bar shows how far they are."""
    with click.progressbar(items, label=label, length=total, file=sys.stderr) as bar:
        yield from bar


def typed() -> str:
    """What was typed, as far as the shell can be asked."""
    return shlex.join(["main.py", *sys.argv[1:]])
