"""Evidence for constants of the program, measured on real models and texts.

``code-mass`` is the evidence for ``llm.backends.codes.LEAST_MASS``, ``label-bias`` for
``llm.calibration.bias.STRENGTH``, ``unseen-labels`` for the constants of ``llm/embedded/cosine.py``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import yaml

from benchmarks.measure import COMMAND, SAMPLE, cpu_path, table
from llm.backends.backend import Backend, Conversation, FakeBackend, TokenLogprobs
from prompts import registry
from prompts.taxonomy import Label, Taxonomy
from prompts.template import CODES, LABEL_TOKENS
from prompts.text import Text
from tabular import strict_rows

if TYPE_CHECKING:
    from llm.embedded.matcher import Matcher

_EXPLAIN = "Explain your reasoning first, then answer."
_FORM_RULE = re.compile(r"Answer (with the (single|character) [^\n]*|Yes or No( only)?\.)")
_BOUNDS = (0.05, 0.1, 0.3)
_STRENGTHS = (0.5, 0.75, 1.0)
# The first selected the constants of llm/embedded/cosine.py and the share of the best label; the second confirmed them.
_SELECTED_ON = (
    "goemotions", "reuters21578", "nlupp_hotels", "stackoverflow", "agnews", "support_tickets_bitext", "trec",
    "catalogue-a", "catalogue-b",
)  # fmt: skip
_CONFIRMED_ON = (
    "arxiv", "nlupp_banking", "hwu64", "huffpost", "dbpedia14", "cuad", "schema_guided", "tweet_emotion", "onet_tasks",
    "catalogue-c", "catalogue-d",
)  # fmt: skip
_SAME_FIELD = ({"nlupp_banking", "nlupp_hotels"}, {"goemotions", "tweet_emotion"})
_CATALOGUE = "catalogue-"
_OTHERS = 10  # texts of each other family
_FAMILY_HEADS = tuple("family,labels,no label: in scope,out of scope,labels per text,true,micro-F1,macro-AP".split(","))


@click.group(context_settings=COMMAND)
def main() -> None:
    """Measure the evidence for constants of the program."""


# --- code mass ---


@main.command("code-mass")
@click.option("--data", type=click.Path(path_type=Path), default=SAMPLE, help="Texts: .jsonl or .jsonl.gz.")
@click.option("--labels", type=click.Path(path_type=Path), help="JSON file of labels.  [default: TMDB's genres]")
@click.option("--texts", "count", default=40, show_default=True, help="Texts of the validation part.")
@click.option("--smoke", is_flag=True, help="Three texts and a scripted model, to test that the code runs.")
def code_mass(data: Path, labels: Path | None, count: int, smoke: bool) -> None:
    """Print the total probability of the answer codes, by strategy and system prompt.

    The model is that of the settings (OPENAI_BASE_URL, OPENAI_API_KEY, MARQUEE_MODEL). The second system prompt
    replaces the rule about the answer's form with a request for an explanation. "not named" is the mass of letters
    that the prompt does not name.
    """
    from marquee.backends import backend_of
    from marquee.settings import read_settings

    taxonomy = _taxonomy(labels) if labels else registry.taxonomy("tmdb")
    texts = list(islice(_texts(data), 3 if smoke else count))
    backend = FakeBackend(weights=_scripted) if smoke else backend_of(read_settings())
    heads = ("strategy", "system prompt", "codes", "top token is a code", "minimum", "1 %", "5 %", "median", "maximum",
             *(f"below {bound}" for bound in _BOUNDS))  # fmt: skip
    click.echo(f"{backend.name}: {len(texts)} texts of {data.name}, {len(taxonomy.names)} labels. {cpu_path()}\n")
    for number, row in enumerate(_mass_rows(backend, texts, taxonomy)):
        click.echo(table(heads, [row]) if number == 0 else "| " + " | ".join(row) + " |")


def _mass_rows(backend: Backend, texts: Sequence[Text], taxonomy: Taxonomy) -> Iterator[Sequence[str]]:
    """Yield a row per strategy, system prompt and set of codes as soon as it is measured."""
    for strategy in ("label_tokens", "yes_no"):
        for prompt in ("normal", "explain"):
            conversations = _conversations(backend, texts, taxonomy, strategy, prompt == "explain")
            masses = np.array([_masses(backend, messages, strategy, taxonomy) for messages in conversations])
            yield strategy, prompt, "named", f"{masses[:, 2].mean():.0%}", *_quantiles(masses[:, 0])
            yield strategy, prompt, "not named", "", *_quantiles(masses[:, 1])


def _conversations(
    backend: Backend, texts: Sequence[Text], taxonomy: Taxonomy, strategy: str, explain: bool
) -> Iterator[Conversation]:
    """Yield one conversation per text; for ``yes_no``, each is about the next label."""
    from llm.language_model import LanguageModel
    from llm.strategies import STRATEGIES

    model = LanguageModel(backend, STRATEGIES[strategy])
    for number, text in enumerate(texts):
        choices = model.conversations(text, taxonomy)
        messages = choices[number % len(choices)]
        if explain:
            messages = [{**part, "content": _FORM_RULE.sub(_EXPLAIN, part["content"])} for part in messages]
        yield messages


def _masses(
    backend: Backend, conversation: Conversation, strategy: str, taxonomy: Taxonomy
) -> tuple[float, float, bool]:
    """Return the mass of the named codes, that of other letters, and whether the top token is a named code."""
    from llm.backends.codes import code_of, probability_mass
    from llm.strategies.scored import YES_NO_CODES as YES_NO

    label_codes = [code for code, _ in LABEL_TOKENS.labels_with_codes(taxonomy)]
    named = label_codes if strategy == "label_tokens" else list(YES_NO)
    others = [code for code in CODES[:26] if code not in named]
    (logprobs,) = backend.next_token_logprobs([conversation], [*named, *others])
    if logprobs.problem:
        raise click.ClickException(logprobs.problem.detail)
    parts = ({code: logprobs.logprobs[code] for code in codes} for codes in (named, others))
    mass, other_mass = (probability_mass(TokenLogprobs(part, logprobs.bounds)) for part in parts)
    return mass, other_mass, code_of(logprobs.top_token, named) is not None


def _quantiles(masses: np.ndarray) -> Sequence[str]:
    quantiles = (f"{value:.3f}" for value in np.quantile(masses, (0, 0.01, 0.05, 0.5, 1)))
    return *quantiles, *(f"{np.mean(masses < bound):.1%}" for bound in _BOUNDS)


def _taxonomy(path: Path) -> Taxonomy:
    entries = json.loads(path.read_text(encoding="utf-8"))["labels"]
    return Taxonomy("own", tuple(Label(entry["name"], entry.get("description", "")) for entry in entries), multi=False)


def _texts(path: Path) -> Iterator[Text]:
    rows = (row.cells for row in strict_rows(path))
    validation = (row for row in rows if row.get("split", "validation") == "validation")
    return (Text(str(next(filter(None, map(row.get, ("text", "description", "plot")))))) for row in validation)


def _scripted(conversation: Conversation) -> dict[str, float]:
    said = "\n".join(message["content"] for message in conversation)
    return {"Yes" if "Decide whether" in said else "A": 0.01 if _EXPLAIN in said else 0.9}


# --- label bias ---


@main.command("label-bias")
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("names", nargs=-1, required=True)
@click.option("--limit", default=80, show_default=True, help="Validation texts per family.")
@click.option("--prompt", default="text.v2", show_default=True)
def label_bias(folder: Path, names: Sequence[str], limit: int, prompt: str) -> None:
    """Print the accuracy of label_likelihood with more and less of the model's bias removed.

    FOLDER has the files of each family NAME, as for unseen-labels. The model is that of the settings. The bias is the
    mean log-probability of each label over the program's neutral texts, or over the family's own texts.
    """
    from marquee.backends import backend_of
    from marquee.settings import read_settings

    backend = backend_of(read_settings())
    heads = ["family", "texts", "labels", "no correction"]
    heads += [f"{of} x {strength}" for of in ("neutral", "own texts") for strength in _STRENGTHS]
    families = (_family(folder, name, sys.maxsize).sample(limit) for name in names)
    rows = [_bias_row(backend, family, prompt) for family in families]
    click.echo(f"{backend.name}, {prompt}. {cpu_path()}\n\n{table(heads, rows)}")


def _bias_row(backend: Backend, family: Family, prompt: str) -> Sequence[str]:
    from llm.calibration.bias import NEUTRAL_TEXTS

    taxonomy = family.taxonomy.shaped(multi=False, allow_none=False)
    own, neutral = (_label_logprobs(backend, texts, taxonomy, prompt) for texts in (family.texts, NEUTRAL_TEXTS))
    true = [[name in labels for name in taxonomy.names] for labels in family.labels]

    def accuracy(strength: float, over: np.ndarray) -> str:
        best = (own - strength * over.mean(axis=0)).argmax(axis=1)
        return f"{np.mean([row[label] for row, label in zip(true, best, strict=True)]):.3f}"

    corrected = [accuracy(strength, over) for over in (neutral, own) for strength in _STRENGTHS]
    return family.name, str(len(own)), str(len(taxonomy.names)), accuracy(0, own), *corrected


def _label_logprobs(backend: Backend, texts: Sequence[str | Text], taxonomy: Taxonomy, prompt: str) -> np.ndarray:
    """Return the log-probabilities of the labels, shape (texts, labels)."""
    from llm.language_model import LanguageModel
    from llm.strategies import STRATEGIES

    model = LanguageModel(backend, STRATEGIES["label_likelihood"], registry.prompt(prompt))
    predictions = model.classify(texts, taxonomy)
    if problem := next((one.problem for one in predictions if one.problem), None):
        raise click.ClickException(problem.detail)
    shares = np.array([[one.scores[name] for name in taxonomy.names] for one in predictions])
    return np.asarray(np.log(np.clip(shares, 1e-6, 1)))


# --- unseen labels ---


@dataclass(frozen=True)
class Family:
    """Texts that share a taxonomy, and their true labels."""

    name: str
    taxonomy: Taxonomy
    texts: list[str]
    labels: list[list[str]]

    def sample(self, count: int) -> Family:
        """Return a random sample, always the same one: many files are sorted by label."""
        order = np.random.default_rng(0).permutation(len(self.texts))[:count]
        return replace(
            self, texts=[self.texts[place] for place in order], labels=[self.labels[place] for place in order]
        )

    def excludes(self, other: Family) -> bool:
        """Return whether the texts of another family are out of scope for this taxonomy."""
        films = self.name.startswith(_CATALOGUE) and other.name.startswith(_CATALOGUE)
        same = self.name == other.name or any({self.name, other.name} <= field for field in _SAME_FIELD)
        return not films and not same


@main.command("unseen-labels")
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--films", type=click.Path(path_type=Path, exists=True), help="TMDB's genres, .jsonl.gz.")
@click.option("--limit", default=200, show_default=True, help="Texts per family.")
def unseen_labels(folder: Path, films: Path | None, limit: int) -> None:
    """Print the share of texts without a label, and the quality of labels that training did not include.

    FOLDER has families of texts: NAME.jsonl.gz (text, labels, split) and NAME.labels.json (labels with a name). With
    --films, TMDB's films under the genre names of four catalogues (catalogues.yaml) are families, too. Only validation
    parts are used. The texts of other fields are out of scope.
    """
    from llm.embedded.matcher import matcher

    names = [name for name in (*_SELECTED_ON, *_CONFIRMED_ON) if films or not name.startswith(_CATALOGUE)]
    families = [
        _catalogue(name, films, limit) if films and name.startswith(_CATALOGUE) else _family(folder, name, limit)
        for name in names
    ]
    classifier = matcher()
    click.echo(table(_FAMILY_HEADS, [_family_row(classifier, family, families) for family in families]))
    click.echo(f"\n{cpu_path()}")


def _family(folder: Path, name: str, limit: int) -> Family:
    entries = json.loads((folder / f"{name}.labels.json").read_text(encoding="utf-8"))["labels"]
    pairs = [(row["text"], row["labels"]) for row in _validation(folder / f"{name}.jsonl.gz") if row["labels"]]
    return _family_of(name, [entry["name"] for entry in entries], pairs[:limit])


def _catalogue(name: str, films: Path, limit: int) -> Family:
    names = yaml.safe_load(Path(__file__).with_name("catalogues.yaml").read_text(encoding="utf-8"))[name]
    more = names.pop("also", [])
    pairs = [
        (row["description"], list({names[genre]: None for genre in row["genres"] if genre in names}))
        for row in _validation(films)
    ]
    return _family_of(name, [*dict.fromkeys(names.values()), *more], [pair for pair in pairs if pair[1]][:limit])


def _family_of(name: str, labels: Sequence[str], pairs: Sequence[tuple[str, list[str]]]) -> Family:
    taxonomy = Taxonomy("own", tuple(map(Label, labels)), max_labels=len(labels), allow_none=True)
    return Family(name, taxonomy, [text for text, _ in pairs], [labels for _, labels in pairs])


def _validation(path: Path) -> list[dict[str, Any]]:
    return [dict(row.cells) for row in strict_rows(path) if row.cells["split"] == "validation"]


def _family_row(classifier: Matcher, family: Family, families: Sequence[Family]) -> tuple[str, ...]:
    from sklearn.metrics import average_precision_score

    names = family.taxonomy.names
    predictions = classifier.classify(family.texts, family.taxonomy)
    outside = [text for other in families if family.excludes(other) for text in other.texts[:_OTHERS]]
    empty = np.mean([not prediction.labels for prediction in classifier.classify(outside, family.taxonomy)])
    true = np.array([[name in labels for name in names] for labels in family.labels])
    predicted = np.array([[name in prediction.labels for name in names] for prediction in predictions])
    scores = np.array([[prediction.scores[name] for name in names] for prediction in predictions])
    present = true.any(axis=0)
    shares = (f"{np.mean(~predicted.any(axis=1)):.1%}", f"{empty:.1%}")
    per_text = (f"{labels.sum(axis=1).mean():.2f}" for labels in (predicted, true))
    f1 = 2 * (predicted & true).sum() / (predicted.sum() + true.sum())
    precision = average_precision_score(true[:, present], scores[:, present])
    return family.name, str(len(names)), *shares, *per_text, f"{f1:.3f}", f"{precision:.3f}"


if __name__ == "__main__":
    main()
