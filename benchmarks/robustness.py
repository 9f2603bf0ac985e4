"""Robustness of a language model's labels: against other orders of the labels, and against instructions in the texts.

The model is that of the settings (MARQUEE_LOCAL_MODEL, or OPENAI_BASE_URL and MARQUEE_MODEL).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple

import click
import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.measure import COMMAND, SAMPLE, cpu_path, table
from eval.metrics import indicator
from llm.backends.backend import Backend, FakeBackend
from prompts import registry
from prompts.taxonomy import Taxonomy
from prompts.template import Prompt
from prompts.text import Text
from tabular import strict_rows

_INJECTIONS = Path(__file__).with_name("injections.yaml")
Labelled = Sequence[Sequence[str]]
Classify = Callable[[Sequence[Text], Taxonomy], Labelled]

_SHARED = (
    click.option("--data", type=click.Path(path_type=Path), default=SAMPLE, help="Plots: .jsonl or .jsonl.gz."),
    click.option("--strategy", default="label_likelihood", show_default=True, help="Strategy of the model."),
    click.option("--prompts", default="plot.v1,plot.v2", show_default=True, help="Prompts to compare."),
    click.option("--smoke", is_flag=True, help="Few texts and a scripted model, to test that the code runs."),
)


@click.group(context_settings=COMMAND)
def main() -> None:
    """Measure the robustness of a language model's labels."""


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_SHARED):
        command = option(command)
    return command


@main.command()
@_options
@click.option("--texts", "count", default=40, show_default=True, help="Texts of the validation part.")
@click.option("--orders", default=20, show_default=True, help="Random orders of the labels.")
def orders(data: Path, strategy: str, prompts: str, smoke: bool, count: int, orders: int) -> None:
    """Print how often a label is given or not by the order of the labels in the prompt."""
    count, orders = (2, 3) if smoke else (count, orders)
    backend, texts, taxonomy = _setting(data, count, smoke)
    rows = []
    for prompt in map(registry.prompt, prompts.split(",")):
        found = order_flips(_classifier(backend, strategy, prompt), texts, taxonomy, orders)
        rows.append((prompt.name, f"{found.decisions:.2%}", f"{found.given:.1%}", f"{found.unchanged:.0%}"))
    click.echo(f"{backend.name}, {strategy}: {len(texts)} plots, {orders} orders of {len(taxonomy.names)} labels.")
    click.echo(f"{cpu_path()}\n")
    click.echo(table(("prompt", "decisions that flip", "of the labels given", "texts with one answer"), rows))


@main.command()
@_options
@click.option("--texts", "count", default=10, show_default=True, help="Texts of the validation part.")
def injections(data: Path, strategy: str, prompts: str, smoke: bool, count: int) -> None:
    """Print how many instructions in texts change the labels, and how many are followed.

    Each instruction of ``injections.yaml`` demands a label that the text does not get without it. The control is a
    sentence without an instruction at the same place.
    """
    backend, texts, taxonomy = _setting(data, 2 if smoke else count, smoke)
    written = yaml.safe_load(_INJECTIONS.read_text(encoding="utf-8"))
    attacks = written["instructions"]
    rows = []
    for prompt in map(registry.prompt, prompts.split(",")):
        classify = _classifier(backend, strategy, prompt)
        changed, followed = injected(classify, texts, taxonomy, attacks)
        control, _ = injected(classify, texts, taxonomy, written["controls"])
        rows.append((prompt.name, f"{changed:.1%}", f"{followed:.1%}", f"{control:.1%}"))
    click.echo(f"{backend.name}, {strategy}: {len(texts)} plots with {len(attacks)} instructions each.")
    click.echo(f"{cpu_path()}\n")
    click.echo(table(("prompt", "labels changed", "demanded label given", "changed by a control"), rows))


class Flips(NamedTuple):
    """Shares over all orders.

    Attributes:
        decisions: decisions about a text and a label that differ from those of most orders.
        given: the same number, as a share of the labels given.
        unchanged: texts that get the same labels in all orders.
    """

    decisions: float
    given: float
    unchanged: float


def order_flips(classify: Classify, texts: Sequence[Text], taxonomy: Taxonomy, orders: int) -> Flips:
    """How labels depend on the order in which the prompt lists them; random orders, always the same ones."""
    found = np.stack([_decided(classify, texts, taxonomy, Random(number)) for number in range(orders)])
    differing = found != (found.mean(axis=0) > 0.5)
    same = (found == found[0]).all(axis=(0, 2))
    return Flips(float(differing.mean()), float(differing.sum() / max(1, found.sum())), float(same.mean()))


def injected(
    classify: Classify, texts: Sequence[Text], taxonomy: Taxonomy, sentences: Sequence[str]
) -> tuple[float, float]:
    """Shares of pairs of a text and a sentence whose labels differ from the text's own, and that get the demand."""
    before = classify(texts, taxonomy)
    cases = [
        (own, demand, Text(f"{text.body} {sentence.replace('LABEL', demand)}", text.title))
        for number, (text, own) in enumerate(zip(texts, before, strict=True))
        for place, sentence in enumerate(sentences)
        for demand in [_other(taxonomy, own, number + place)]
    ]
    after = classify([text for _, _, text in cases], taxonomy)
    pairs = [(set(own) != set(now), demand in now) for (own, demand, _), now in zip(cases, after, strict=True)]
    changed, followed = np.array(pairs).mean(axis=0)
    return float(changed), float(followed)


def _other(taxonomy: Taxonomy, labels: Sequence[str], number: int) -> str:
    others = [name for name in taxonomy.names if name not in labels]
    return others[number % len(others)]


def _decided(classify: Classify, texts: Sequence[Text], taxonomy: Taxonomy, random: Random) -> NDArray[np.bool_]:
    shuffled = replace(taxonomy, labels=tuple(random.sample(taxonomy.labels, len(taxonomy.labels))))
    return indicator(classify(texts, shuffled), taxonomy).astype(bool)


def _classifier(backend: Backend, strategy: str, prompt: Prompt) -> Classify:
    from llm.language_model import LanguageModel
    from llm.strategies import STRATEGIES

    model = LanguageModel(backend, STRATEGIES[strategy], prompt)

    def classify(texts: Sequence[Text], taxonomy: Taxonomy) -> Labelled:
        predictions = model.classify(texts, taxonomy)
        if problem := next((one.problem for one in predictions if one.problem), None):
            raise click.ClickException(problem.detail)
        return [one.labels for one in predictions]

    return classify


def _setting(data: Path, count: int, smoke: bool) -> tuple[Backend, list[Text], Taxonomy]:
    from marquee.backends import backend_of
    from marquee.settings import read_settings

    backend = FakeBackend(weights=lambda conversation: {"A": 0.9}) if smoke else backend_of(read_settings())
    return backend, list(islice(_plots(data), count)), registry.taxonomy("tmdb")


def _plots(path: Path) -> Iterator[Text]:
    rows = (row.cells for row in strict_rows(path))
    validation = (row for row in rows if row.get("split", "validation") == "validation")
    return (Text(str(row.get("plot") or row.get("description"))) for row in validation)


if __name__ == "__main__":
    main()
