"""Answers as JSON, and their scores and evidence as lines for people."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import print_json, say

if TYPE_CHECKING:
    from llm.classifier import Evidence, Prediction
    from marquee.client import ServiceAnswer


def print_answers(answers: Mapping[str, ServiceAnswer], scores: bool, as_json: bool) -> None:
    """Print the answers; with several taxonomies, each under the name of its own."""
    several = len(answers) > 1
    if as_json:
        bodies = {name: _body(answer, scores) for name, answer in answers.items()}
        return print_json({"taxonomies": bodies} if several else next(iter(bodies.values())))
    found = {name: answer for name, answer in answers.items() if not answer.prediction.problem}
    for name, answer in found.items():
        _print_labels(answer.prediction, scores, f"{name}: " if several else "")
    alike = len({tuple(_about(answer)) for answer in found.values()}) == 1
    for name, answer in list(found.items())[: 1 if alike else None]:
        for line in _about(answer):
            say(f"— {line}" if alike else f"— {name}: {line}")
    return None


def _print_labels(prediction: Prediction, scores: bool, head: str) -> None:
    click.echo(head + (", ".join(prediction.labels) or "none of the labels applies"))
    if prediction.set is not None:
        size = ", ".join(prediction.set) or "no label"
        click.echo(f"  set: {size}{' (abstains)' if prediction.abstain else ''}")
    if scores or prediction.evidence is not None:
        shown = _score_lines(prediction.scores, prediction.labels) if scores else ()
        for line in (*shown, *_evidence_lines(prediction)):
            click.echo(line)


def _about(answer: ServiceAnswer) -> list[str]:
    """What answered, options without effect, and the result of a look-up."""
    prediction, lookup = answer.prediction, answer.lookup
    shortlist = prediction.shortlist
    chosen_from = f", from {shortlist.offered} of {shortlist.total} labels" if shortlist else ""
    looked_up = [f"look-up: {lookup['note']}{' ' + lookup['url'] if 'url' in lookup else ''}"] if lookup else []
    model = f"{prediction.source.model}{chosen_from}{', cached' if prediction.cached else ''}"
    return [model, *prediction.warnings, *answer.notes, *looked_up]


def _body(answer: ServiceAnswer, scores: bool) -> Mapping[str, Any]:
    """An answer as ``POST /classify`` returns it."""
    from service.schemas.answer_parts import LookupAnswer
    from service.schemas.classify import ClassifyAnswer

    lookup = LookupAnswer.model_validate(answer.lookup) if answer.lookup else None
    return ClassifyAnswer.of(answer.prediction, scores, lookup, answer.genres, answer.notes, answer.applied).body()


def _score_lines(scores: Mapping[str, float], labels: Collection[str]) -> Iterator[str]:
    """Bars on a terminal, else plain lines."""
    if not sys.stdout.isatty():
        return (f"  {score:7.3f}  {name}" for name, score in scores.items())
    colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    blocks = (sys.stdout.encoding or "").lower().startswith("utf")
    return bars(scores, labels, shutil.get_terminal_size().columns, colour, blocks)


def bars(
    scores: Mapping[str, float], labels: Collection[str], columns: int, colour: bool, blocks: bool
) -> Iterator[str]:
    """Scores as aligned bars.

    Args:
        scores: by label, from 0 to 1.
        labels: labels of the answer; they are green.
        columns: width of the terminal.
        colour: whether escape codes may be used.
        blocks: whether the terminal shows block elements; otherwise bars are of ``#``.
    """
    width = min(max(map(len, scores), default=0), max(8, columns // 2))
    longest = max(8, min(40, columns - width - 12))
    for name, score in scores.items():
        bar = _bar(min(1.0, max(0.0, score)) * longest, blocks)
        line = f"  {name[:width]:{width}}  {bar:{longest}}  {score:5.3f}"
        yield click.style(line, fg="green" if name in labels else "bright_black") if colour else line


def _bar(length: float, blocks: bool) -> str:
    """A bar of so many characters; block elements show eighths of a character."""
    whole, part = divmod(round(length * 8), 8)
    return "█" * whole + " ▏▎▍▌▋▊▉"[part].strip() if blocks else "#" * round(length)


def _evidence_lines(prediction: Prediction) -> Iterator[str]:
    """For each label its sentence or quote, and its words; or why it has none."""
    for name in prediction.labels:
        found = [one for one in prediction.evidence or () if one.label == name]
        for one in found:
            if one.kind in ("sentence", "quote"):
                yield f'  {name}: "{" ".join(one.quote.split())}"{_added(one)}'
        for kind, shown in (("word", "words"), ("occlusion", "words left out:")):
            if words := [f"{one.quote}{_added(one)}" for one in found if one.kind == kind]:
                yield f"  {name}: {shown} {', '.join(words)}"
        if name in prediction.unexplained:
            yield f"  {name}: no evidence; {prediction.unexplained[name]}"


def _added(one: Evidence) -> str:
    return "" if one.contribution is None else f" {one.contribution:+.2f}"
