"""`main.py train lora`: an adapter for the language model, from labelled texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.data import loaded_of

if TYPE_CHECKING:
    from training.lora.config import LoraConfig
    from training.lora.dataset import Form

Function = TypeVar("Function", bound=Callable[..., Any])
_TOLD = ("micro-F1", "macro-F1", "Jaccard", "subset accuracy")


def lora_options(function: Function) -> Function:
    """The options of `train` that only an adapter has; all are None where they are not given."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS = (
    click.option(
        "--strategy",
        type=click.Choice(["json_list", "label_tokens"]),
        help="lora: answer to teach.  [default: letters for one label a text, else list]",
    ),
    click.option("--prompt", help="lora: prompt to ask with.  [default: the one that suits each text]"),
    click.option(
        "--incomplete",
        type=click.Choice(["drop", "keep"]),
        help="lora: whether texts with incomplete labels are learnt from.  [default: drop]",
    ),
    click.option("--rank", type=click.IntRange(1), help="lora: of the adapter's matrices.  [default: 16]"),
    click.option(
        "--alpha", type=click.IntRange(1), help="lora: their product counts alpha / rank times.  [default: 32]"
    ),
    click.option("--micro-batch", type=click.IntRange(1), help="lora: texts computed at once.  [default: 4]"),
    click.option("--four-bit", is_flag=True, default=None, help="lora: hold the base in 4 bits (GPU, bitsandbytes)."),
    click.option(
        "--checkpointing/--no-checkpointing",
        default=None,
        help="lora: compute activations twice instead of keeping them.  [default: --checkpointing]",
    ),
    click.option(
        "--judged",
        type=click.IntRange(0),
        help="lora: validation texts to ask about before and after.  [default: 200]",
    ),
)


def train_lora(
    data: Path, out: Path | None, taxonomy: str | None, sides: tuple[str, str], columns: Mapping[str, Any],
    rest: dict[str, Any], command: str, track: Callable[..., Iterator[Any]],
) -> None:  # fmt: skip
    """Train an adapter from the rows of one split, stop by those of another, and say what it changed.

    Args:
        data: labelled texts.
        out: folder to write to.
        taxonomy: name of the taxonomy.
        sides: splits to learn from and to stop by.
        columns: what of the data is read, as ``loaded_of`` takes it.
        rest: the other options of `train`, None where they were not given.
        command: what was typed.
        track: shows progress.
    """
    from marquee.settings import read_settings
    from prompts import registry
    from prompts.files import check_output
    from training.lora.dataset import PromptSetup
    from training.lora.run import LoraPlan, train_adapter

    vocabulary = registry.taxonomy_at(taxonomy or read_settings().taxonomy)
    folder = check_output(out or Path("var/models") / f"lora-{vocabulary.name}", folder=True)
    form: Form = rest.pop("strategy") or ("json_list" if vocabulary.multi else "label_tokens")
    prompt = registry.prompt(name) if (name := rest.pop("prompt")) else None
    seed, incomplete = rest.pop("seed"), rest.pop("incomplete") == "keep"
    recipe = _recipe(rest)
    training, validation = (loaded_of(data, vocabulary, split=one, **columns) for one in sides)
    plan = LoraPlan(PromptSetup(training.taxonomy, form, prompt), recipe, incomplete, seed, data.name, command)
    _tell(train_adapter(plan, training.examples, validation.examples, folder, track), folder)


def _recipe(rest: Mapping[str, Any]) -> LoraConfig:
    from prompts.errors import InvalidSetting
    from training.lora.config import LoraConfig

    given = {name: value for name, value in rest.items() if value is not None}
    known = {one.name for one in fields(LoraConfig)}
    if unknown := sorted(given.keys() - known):
        raise InvalidSetting(f"lora has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return LoraConfig(**given)


def _tell(made: Mapping[str, Any], folder: Path) -> None:
    for side in ("train", "validation"):
        for what, count in made["data"][side]["counts"].items():
            click.echo(f"{side}: {count} texts {what}", err=True)
    before, after = made["validation"]["before"], made["validation"]["after"]
    for metric in _TOLD if after else ():
        click.echo(f"{metric:16} {before[metric]:8.3f} before {after[metric]:8.3f} after")
    losses = ", ".join(f"{loss:.3f}" for loss in made["notes"]["losses"])
    click.echo(f"on {made['validation']['texts']} validation texts; validation loss by round: {losses}", err=True)
    base = made["base"]["name"]
    click.echo(f"saved in {folder}; serve it with `main.py serve --vllm {base} --adapter {folder}`", err=True)
