"""How much probability a real model gives the codes, as the evidence for the bound ``codes.LEAST_MASS``.

Each text is rendered as the strategies ``label_tokens`` and ``yes_no`` render it, under two system prompts: the normal
one,
and one whose rule about the form of the answer is replaced by "Explain your reasoning first, then answer." The same
reply also gives the mass of codes that the prompt does not name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import click
import numpy as np

from benchmarks.measure import table
from benchmarks.texts import SAMPLE
from llm.backends.backend import Backend, Conversation, FakeBackend, TokenLogprobs
from llm.backends.codes import code_of, probability_mass
from llm.language_model import LanguageModel
from llm.strategies.registry import STRATEGIES
from llm.strategies.yes_no import CODES as YES_NO
from marquee.settings import read_settings
from prompts import registry
from prompts.answer_format import CODES, LABEL_TOKENS
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text
from tabular import strict_rows

EXPLAIN = "Explain your reasoning first, then answer."
_FORM_RULE = re.compile(r"Answer (with the single [^\n]*|Yes or No\.)")
_BOUNDS = (0.05, 0.1, 0.3)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), default=SAMPLE, help="Texts: .jsonl or .jsonl.gz.")
@click.option("--labels", type=click.Path(path_type=Path), help="JSON file with the labels; default: TMDB's genres.")
@click.option("--texts", "count", default=40, show_default=True, help="Texts of the validation part.")
@click.option("--smoke", is_flag=True, help="Three texts and a scripted model: whether it runs.")
def main(data: Path, labels: Path | None, count: int, smoke: bool) -> None:
    """Print the probability that the codes of an answer have together, by strategy and system prompt.

    The model is the one that the settings name (OPENAI_BASE_URL, OPENAI_API_KEY, MARQUEE_MODEL).
    """
    from marquee.factory import backend_of

    taxonomy = _taxonomy(labels) if labels else registry.taxonomy("tmdb")
    texts = list(islice(_texts(data), 3 if smoke else count))
    backend = FakeBackend(weights=_scripted) if smoke else backend_of(read_settings())
    heads = ("strategy", "system prompt", "codes", "top token is a code", "least", "1 %", "5 %", "median",
             "most", *(f"below {bound}" for bound in _BOUNDS))  # fmt: skip
    click.echo(f"{backend.name}: {len(texts)} texts of {data.name}, {len(taxonomy.names)} labels\n")
    for place, row in enumerate(_rows(backend, texts, taxonomy)):
        click.echo(table(heads, [row]) if place == 0 else "| " + " | ".join(row) + " |")


def _rows(backend: Backend, texts: Sequence[Text], taxonomy: Taxonomy) -> Iterator[Sequence[str]]:
    """One row per strategy, system prompt and set of codes, as soon as it is measured."""
    for strategy in ("label_tokens", "yes_no"):
        for prompt in ("normal", "explain"):
            asked = _conversations(backend, texts, taxonomy, strategy, prompt == "explain")
            found = np.array([_masses(backend, one, strategy, taxonomy) for one in asked])
            yield strategy, prompt, "named", f"{found[:, 2].mean():.0%}", *_figures(found[:, 0])
            yield strategy, prompt, "not named", "", *_figures(found[:, 1])


def _conversations(
    backend: Backend, texts: Sequence[Text], taxonomy: Taxonomy, strategy: str, explain: bool
) -> Iterator[Conversation]:
    """One per text; ``yes_no`` asks about the next label in each."""
    model = LanguageModel(backend, STRATEGIES[strategy])
    for place, text in enumerate(texts):
        asked = model.conversations(text, taxonomy)
        one = asked[place % len(asked)]
        yield [{**part, "content": _FORM_RULE.sub(EXPLAIN, part["content"])} for part in one] if explain else one


def _masses(
    backend: Backend, conversation: Conversation, strategy: str, taxonomy: Taxonomy
) -> tuple[float, float, bool]:
    """The mass of the codes that the prompt names, that of other letters, and whether the top token is such a code."""
    named = (
        [code for code, _ in LABEL_TOKENS.labels_with_codes(taxonomy)] if strategy == "label_tokens" else list(YES_NO)
    )
    others = [code for code in CODES[:26] if code not in named]
    (weighing,) = backend.next_token_logprobs([conversation], [*named, *others])
    if weighing.problem:
        raise click.ClickException(weighing.problem.detail)
    return _part(weighing, named), _part(weighing, others), code_of(weighing.top_token, named) is not None


def _part(weighing: TokenLogprobs, codes: Sequence[str]) -> float:
    return probability_mass(TokenLogprobs({code: weighing.logprobs[code] for code in codes}, weighing.bounds))


def _figures(masses: np.ndarray) -> Sequence[str]:
    quantiles = (f"{value:.3f}" for value in np.quantile(masses, (0, 0.01, 0.05, 0.5, 1)))
    return *quantiles, *(f"{np.mean(masses < bound):.1%}" for bound in _BOUNDS)


def _taxonomy(path: Path) -> Taxonomy:
    entries = json.loads(path.read_text(encoding="utf-8"))["labels"]
    return Taxonomy("own", tuple(Label(one["name"], one.get("description", "")) for one in entries), multi=False)


def _texts(path: Path) -> Iterator[Text]:
    rows = (row.cells for row in strict_rows(path))
    wanted = (row for row in rows if row.get("split", "validation") == "validation")
    return (Text(str(next(filter(None, map(row.get, ("text", "description", "plot")))))) for row in wanted)


def _scripted(conversation: Conversation) -> dict[str, float]:
    system = conversation[0]["content"]
    return {"Yes" if "Say Yes" in system else "A": 0.01 if EXPLAIN in system else 0.9}


if __name__ == "__main__":
    main()
