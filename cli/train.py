"""`main.py train`: one subcommand per kind of model, each with its own options only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import NoSuchOption

from cli.arguments import PATH, command_line, decorated, json_option, print_json, say, tracked
from cli.data import DataOptions, data_options
from cli.group import SectionedGroup, examples
from cli.names import complete_prompt
from cli.train_matcher import matcher
from cli.training_kinds import KINDS, LORA, Kind, settings_options

if TYPE_CHECKING:
    from training.lora.config import Form

_METRICS = ("micro-F1", "macro-F1", "Jaccard", "subset accuracy")
_VALIDATION = click.option("--validation-split", default="validation", help="Split for choices and thresholds.")
_OUT = click.option("--out", type=PATH, help="Folder to write to.  [default: var/models/NAME-TAXONOMY]")
SEED = click.option("--seed", type=int, default=0, help="Seed of everything random.")
_MORE_TEXTS = click.option(
    "--more-texts", type=PATH, help="Another table of the same films (title, year); its texts are added."
)
DECODING = decorated(
    click.option("--decode", type=click.Choice(["global", "per-label", "top-k"]), help="How scores become labels."),
    click.option(
        "--objective",
        type=click.Choice(["micro", "macro", "both"]),
        default="macro",
        help="F1 that thresholds maximise.",
    ),
)


class TrainCommand(click.Command):
    """A kind of model; an option of other kinds is an error that names them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        try:
            return super().parse_args(ctx, args)
        except NoSuchOption as error:
            flag = error.option_name
            others = [
                name
                for name, other in train.commands.items()
                if any(flag in (*one.opts, *one.secondary_opts) for one in other.params)
            ]
            if not others:
                raise
            raise click.UsageError(f"{self.name} has no option {flag}; it is for {', '.join(others)}", ctx) from None


@click.group(
    cls=SectionedGroup,
    short_help="Train a baseline, an adapter or the matcher.",
    epilog=examples(
        "train tfidf-lr --data films.jsonl --taxonomy imdb",
        "train lora --data films.jsonl --taxonomy imdb",
        "train tfidf-lr --help",
    ),
)
def train() -> None:
    """Train a model on labelled texts.

    Each kind has its own options: see `main.py train NAME --help`.
    """


def _add_baseline(name: str, kind: Kind) -> click.Command:
    """The subcommand of a baseline."""

    @click.command(
        name,
        cls=TrainCommand,
        short_help=kind.about,
        help=f"{kind.about}\n\nServe the result with `main.py serve --trained FOLDER`, or evaluate it by its name.",
        epilog=examples(
            f"train {name} --data films.jsonl --taxonomy imdb", f"evaluate --data films.jsonl --systems {name}"
        ),
    )
    @data_options(split="train")
    @_VALIDATION
    @_OUT
    @_MORE_TEXTS
    @DECODING
    @settings_options(kind.defaults)
    @SEED
    @json_option
    def command(**values: Any) -> None:
        _train_baseline(name, **values)

    return command


@click.command(
    "blend",
    cls=TrainCommand,
    short_help="Weighted mean of trained baselines.",
    epilog=examples("train blend --data films.jsonl --part var/a --part var/b"),
)
@data_options(split="train")
@_VALIDATION
@_OUT
@DECODING
@click.option("--part", "parts", multiple=True, required=True, help="Folder of an earlier training; repeat it.")
@SEED
@json_option
def blend(**values: Any) -> None:
    """Average the scores of trained baselines with weights from the validation texts."""
    _train_baseline("blend", more_texts=None, **values)


def _train_baseline(
    name: str, data: Path, options: DataOptions, validation_split: str, out: Path | None, more_texts: Path | None,
    as_json: bool, **settings: Any,
) -> None:  # fmt: skip
    from eval.baselines import TrainingPlan
    from eval.baselines import train as fit
    from prompts.files import check_output

    refuse_test(options.split, validation_split)
    folder = check_output(out or Path("var/models") / f"{name}-{options.taxonomy.name}", folder=True)
    how = {key: settings.pop(key) for key in ("decode", "objective", "seed")}
    sources = " and ".join(path.name for path in (data, more_texts) if path)
    plan = TrainingPlan(name, _without_unset(settings), **how, data=sources, command=command_line())
    training, validation = options.load(data), options.load(data, validation_split)
    if more_texts:
        training = options.with_more_texts(training, data, more_texts)
    trained = fit(plan, training.taxonomy, training.examples, validation.examples, folder, tracked)
    metrics = trained.manifest["validation"]
    if as_json:
        print_json({"folder": folder, "texts": len(validation.examples), "validation": metrics})
    else:
        for metric, value in metrics.items():
            click.echo(f"{metric:16} {value:8.3f}")
    say(f"on {len(validation.examples)} validation texts, after tuning on them; saved in {folder}")


@click.command(
    "lora",
    cls=TrainCommand,
    short_help="LoRA adapter for a language model.",
    epilog=examples(
        "train lora --data films.jsonl --taxonomy imdb",
        "train lora --data films.csv --base Qwen/Qwen2-1.5B-Instruct",
    ),
)
@data_options(split="train")
@_VALIDATION
@_OUT
@click.option(
    "--strategy",
    type=click.Choice(["json_list", "label_likelihood", "label_tokens", "yes_no"]),
    help="Answer to learn.  [default: label_tokens for one label per text, else json_list]",
)
@click.option(
    "--prompt",
    shell_complete=complete_prompt,
    help="Prompt of the texts, a name or a file.  [default: the one that suits each text]",
)
@click.option("--incomplete", type=click.Choice(["drop", "keep"]), default="drop", help="Texts with incomplete labels.")
@settings_options(LORA)
@click.option(
    "--checkpointing/--no-checkpointing",
    default=None,
    help="Recompute activations to save memory.  [default: --checkpointing]",
)
@SEED
@json_option
def lora(
    data: Path, options: DataOptions, validation_split: str, out: Path | None, strategy: Form | None,
    prompt: str | None, incomplete: str, seed: int, as_json: bool, **settings: Any,
) -> None:  # fmt: skip
    """Train an adapter of the language model, and print the metrics before and after."""
    from prompts import registry
    from prompts.files import check_output
    from training.lora.config import LoraConfig, PromptSetup
    from training.lora.run import LoraPlan, train_adapter

    refuse_test(options.split, validation_split)
    folder = check_output(out or Path("var/models") / f"lora-{options.taxonomy.name}", folder=True)
    form: Form = strategy or ("json_list" if options.taxonomy.multi else "label_tokens")
    template = registry.prompt_at(prompt) if prompt else None
    config = LoraConfig(**_without_unset(settings))
    training, validation = options.load(data), options.load(data, validation_split)
    setup = PromptSetup(training.taxonomy, form, template)
    plan = LoraPlan(setup, config, incomplete == "keep", seed, data.name, command_line())
    _print_lora(train_adapter(plan, training.examples, validation.examples, folder, tracked), folder, as_json)


def _print_lora(manifest: Mapping[str, Any], folder: Path, as_json: bool) -> None:
    for side in ("train", "validation"):
        for what, count in manifest["data"][side]["counts"].items():
            say(f"{side}: {count} texts {what}")
    before, after = manifest["validation"]["before"], manifest["validation"]["after"]
    if as_json:
        print_json({"folder": folder, "validation": manifest["validation"], "losses": manifest["notes"]["losses"]})
    else:
        for metric in _METRICS if after else ():
            click.echo(f"{metric:16} {before[metric]:8.3f} before {after[metric]:8.3f} after")
    losses = ", ".join(f"{loss:.3f}" for loss in manifest["notes"]["losses"])
    say(f"on {manifest['validation']['texts']} validation texts; validation loss by epoch: {losses}")
    say(f"saved in {folder}; serve it with `main.py serve --vllm {manifest['base']['name']} --adapter {folder}`")


def refuse_test(*splits: str | None) -> None:
    """Raise ``UsageError`` if a split is the test split, or two are the same."""
    if "test" in splits:
        raise click.UsageError("the test split is for reporting; train on others")
    if len(set(splits)) < len(splits):
        raise click.UsageError("training and validation need different splits")


def _without_unset(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value not in (None, ())}


for _heading, _kinds in KINDS.items():
    train.add_section(_heading, *(_add_baseline(name, kind) for name, kind in _kinds.items()))
train.add_section("Ensembles and own models", blend, lora, matcher)
