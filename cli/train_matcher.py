"""`main.py train matcher`: the weights of the embedded classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import PATH, ProgressLine, command_line, json_option, print_json, print_table, say
from cli.data import DataOptions
from cli.group import examples

if TYPE_CHECKING:
    from eval.datasets import Example

_EPILOG = examples(
    "train matcher --data films.jsonl --reviews aclImdb/ --general suite/",
)


@click.command("matcher", short_help="Weights of the embedded classifier.", epilog=_EPILOG)
@click.option("--data", required=True, type=PATH, help="Films with genres: file or folder.")
@click.option("--reviews", required=True, type=PATH, help="Reviews: folder or tarball of aclImdb.")
@click.option("--general", type=PATH, help="Families of texts for the general branch: folder, as for evaluate --suite.")
@click.option("--without", default="", help="Families to leave out, with commas between.")
@click.option("--film-branch", type=PATH, help="Weights whose film branch is kept; only the general one is trained.")
@click.option("--out", type=PATH, default=Path("var/models/matcher.safetensors"), help="File to write.")
@click.option("--limit", type=click.IntRange(1), help="Maximum number of films, and of reviews.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of the film branch's first cycle.  [default: 2]")
@click.option("--steps", type=click.IntRange(1), help="Steps of the general branch, and of each fold.  [default: 300]")
@click.option("--seed", type=int, default=0, help="Seed of everything random.")
@json_option
def matcher(
    data: Path, reviews: Path, general: Path | None, without: str, film_branch: Path | None, out: Path,
    limit: int | None, epochs: int | None, steps: int | None, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Train the weights of the embedded classifier on ``train`` splits.

    The film branch learns from films and reviews, the general branch from the families of --general. An interrupted
    training is resumed by the same command.
    """
    from prompts import registry
    from prompts.files import check_output
    from training.matcher.train import MatcherSchedule, train_matcher

    if film_branch and not general:
        raise click.UsageError("--film-branch keeps the film branch; give the families of the other with --general")
    path = check_output(out)
    films = DataOptions(registry.taxonomy("imdb"), title_field="title", limit=limit).load(data).examples
    opinions = DataOptions(registry.taxonomy("sentiment"), limit=limit).load(reviews).examples
    base = film_branch or (path.with_suffix(".films.safetensors") if general else path)
    if not film_branch and not (general and base.exists()):
        schedule = MatcherSchedule(epochs=epochs or MatcherSchedule.epochs, seed=seed)
        train_matcher(films, opinions, base, schedule, command_line(), _progress("film branch:", "steps"))
    found: dict[str, Any] = {"file": path}
    if general:
        names = [name.strip() for name in without.split(",") if name.strip()]
        found |= _train_general(base, films, opinions, general, names, path, steps, seed)
    if as_json:
        counts = {name: sum(one.split == "train" for one in every) for name, every in _named(films, opinions)}
        print_json({**found, **counts})
    elif general:
        _print_folds(found["left out by fold"])
    say(f"saved in {path}; try it with `main.py evaluate --systems embedded:{path} ...`")


def _train_general(
    base: Path, films: Sequence[Example], reviews: Sequence[Example], folder: Path, without: Sequence[str],
    out: Path, steps: int | None, seed: int,
) -> dict[str, Any]:  # fmt: skip
    from llm.embedded.weights import load
    from training.matcher.dataset import concepts, held_out
    from training.matcher.general import GeneralSchedule
    from training.matcher.general_data import film_sets, general_sets
    from training.matcher.general_run import GeneralPlan, train_general

    labels = concepts(held_out([film.extra for film in films]))
    seen, opinions = ([one for one in every if one.split == "train"] for every in (films, reviews))
    training = [*general_sets(folder, "train", without), *film_sets(seen, opinions, labels)]
    validation = general_sets(folder, "validation", without)
    schedule = GeneralSchedule(steps=steps or GeneralSchedule.steps, seed=seed)
    plan = GeneralPlan(load(base), training, validation, schedule)
    lines: dict[str, ProgressLine] = {}

    def on_progress(stage: str, done: int, total: int) -> None:
        lines.setdefault(stage, ProgressLine("", unit=stage))(done, total)

    return train_general(plan, out, command_line(), on_progress)


def _progress(heading: str, unit: str) -> Any:
    progress = ProgressLine(heading, unit=unit)

    def on_step(step: int, steps: int, loss: float) -> None:
        progress.total = steps
        progress.reach(step, f", loss {loss:.3f}")

    return on_step


def _named(films: Sequence[Example], reviews: Sequence[Example]) -> Sequence[tuple[str, Sequence[Example]]]:
    return ("films", films), ("reviews", reviews)


def _print_folds(table: dict[str, dict[str, Any]]) -> None:
    """Print the quality on families that a fold left out of its training."""
    rows = [
        (name, "macro-AP" if one["several"] else "first label right", f"{one['plain']:.3f}", f"{one['trained']:.3f}",
         f"{one['scope AUROC']:.3f}")
        for name, one in table.items()
    ]  # fmt: skip
    print_table(("left out of training", "metric", "plain MiniLM", "trained", "scope AUROC"), rows)
