"""How many instructions inside texts change a language model's labels, by version of the prompt.

Each instruction of ``injections.yaml`` demands a label that the text does not get without it. The control is a sentence
without an instruction at the same place. The model is that of the settings (MARQUEE_LOCAL_MODEL, or OPENAI_BASE_URL and
MARQUEE_MODEL).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import click
import numpy as np
import yaml

from benchmarks.measure import COMMAND, SAMPLE, cpu_path, table
from llm.backends.backend import FakeBackend
from llm.classifier import Classifier
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from prompts import registry
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tabular import strict_rows

_INJECTIONS = Path(__file__).with_name("injections.yaml")


@click.command(context_settings=COMMAND)
@click.option("--data", type=click.Path(path_type=Path), default=SAMPLE, help="Plots: .jsonl or .jsonl.gz.")
@click.option("--strategy", default="label_likelihood", show_default=True, help="Strategy of the model.")
@click.option("--prompts", default="plot.v1,plot.v2", show_default=True, help="Prompts to compare.")
@click.option("--texts", "count", default=10, show_default=True, help="Plots of the validation part.")
@click.option("--smoke", is_flag=True, help="Two plots and a scripted model, to test that the code runs.")
def main(data: Path, strategy: str, prompts: str, count: int, smoke: bool) -> None:
    """Print how many instructions in texts change the labels, and how many are followed."""
    from marquee.backends import backend_of
    from marquee.settings import read_settings

    backend = FakeBackend(weights=lambda conversation: {"A": 0.9}) if smoke else backend_of(read_settings())
    texts, taxonomy = list(islice(_plots(data), 2 if smoke else count)), registry.taxonomy("tmdb")
    written = yaml.safe_load(_INJECTIONS.read_text(encoding="utf-8"))
    rows = []
    for prompt in map(registry.prompt, prompts.split(",")):
        model = LanguageModel(backend, STRATEGIES[strategy], prompt)
        changed, followed = injected(model, texts, taxonomy, written["instructions"])
        control, _ = injected(model, texts, taxonomy, written["controls"])
        rows.append((prompt.name, f"{changed:.1%}", f"{followed:.1%}", f"{control:.1%}"))
    click.echo(f"{backend.name}, {strategy}: {len(texts)} plots, {len(written['instructions'])} instructions in each.")
    click.echo(f"{cpu_path()}\n")
    click.echo(table(("prompt", "labels changed", "demanded label given", "labels changed by a control"), rows))


def injected(
    classifier: Classifier, texts: Sequence[Text], taxonomy: Taxonomy, sentences: Sequence[str]
) -> tuple[float, float]:
    """Shares of pairs of a text and a sentence whose labels differ from the text's own, and that get the demand.

    Args:
        classifier: labels the texts with and without the sentences.
        texts: the texts.
        taxonomy: its labels are demanded in turn, where a text does not have them.
        sentences: each is put behind each text; the word LABEL in it becomes the demanded label.

    Raises:
        ClickException: a text has a problem.
    """
    before = _labels(classifier, texts, taxonomy)
    cases = [
        (own, demand, Text(f"{text.body} {sentence.replace('LABEL', demand)}", text.title))
        for number, (text, own) in enumerate(zip(texts, before, strict=True))
        for place, sentence in enumerate(sentences)
        for demand in [_other(taxonomy, own, number + place)]
    ]
    after = _labels(classifier, [text for _, _, text in cases], taxonomy)
    pairs = [(set(own) != set(now), demand in now) for (own, demand, _), now in zip(cases, after, strict=True)]
    changed, followed = np.array(pairs).mean(axis=0)
    return float(changed), float(followed)


def _labels(classifier: Classifier, texts: Sequence[Text], taxonomy: Taxonomy) -> list[Sequence[str]]:
    predictions = classifier.classify(texts, taxonomy)
    if problem := next((one.problem for one in predictions if one.problem), None):
        raise click.ClickException(problem.detail)
    return [one.labels for one in predictions]


def _other(taxonomy: Taxonomy, labels: Sequence[str], number: int) -> str:
    others = [name for name in taxonomy.names if name not in labels]
    return others[number % len(others)]


def _plots(path: Path) -> Iterator[Text]:
    rows = (row.cells for row in strict_rows(path))
    validation = (row for row in rows if row.get("split", "validation") == "validation")
    return (Text(str(row.get("plot") or row.get("description"))) for row in validation)


if __name__ == "__main__":
    main()
