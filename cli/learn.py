"""`main.py learn`: better answers from stored feedback, and the way back."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import PATH, command_line, json_option, print_json, print_table, say
from cli.compare import print_differences
from cli.group import examples
from cli.names import complete_taxonomy

if TYPE_CHECKING:
    from marquee.feedback.judged import JudgedTexts
    from marquee.feedback.learning import Answering, LearningOutcome
    from marquee.feedback.versions import TaxonomyVersions
    from marquee.settings import Settings
    from prompts.taxonomy import Taxonomy


@click.command(
    short_help="Learn from feedback; --back undoes it.",
    epilog=examples(
        "learn --taxonomy tickets --dry-run",
        "learn --taxonomy tickets",
        "learn --taxonomy tickets --back",
        "learn --taxonomy tickets --trained labelled.csv.optimize/head",
    ),
)
@click.option("--taxonomy", "name", required=True, shell_complete=complete_taxonomy, help="A name, or a YAML file.")
@click.option("--trained", type=PATH, help="Folder of the model of `serve --trained`, where that one answers.")
@click.option("--margin", type=click.FloatRange(0, 0.5), default=0.01, help="Loss of F1 that the gate permits.")
@click.option("--held-out", type=click.FloatRange(0.1, 0.8), default=0.3, help="Share of texts to compare on.")
@click.option("--dry-run", is_flag=True, help="Learn and compare, but put nothing in force.")
@click.option("--back", is_flag=True, help="Put the version before the current one in force.")
@json_option
def learn(
    name: str, trained: Path | None, margin: float, held_out: float, dry_run: bool, back: bool, as_json: bool
) -> None:
    """Learn from the feedback on a taxonomy, and put the result in force where the gate permits it.

    Thresholds, few-shot examples for a language model, and a head over frozen vectors are fitted on a part of the
    texts. The best one on a second part is compared with today's answers on a third. It is put in force unless its F1
    is significantly lower by more than the margin. A running service uses it from its next request on.

    The exit status is 1 where the gate fails.
    """
    from marquee.classification import load_taxonomy
    from marquee.feedback.versions import TaxonomyVersions
    from marquee.settings import read_settings

    settings = read_settings()
    taxonomy = load_taxonomy(name)
    versions = TaxonomyVersions(settings.learned_path / taxonomy.name)
    if back:
        return _go_back(versions, taxonomy.name, as_json)
    if trained:
        settings = settings.model_copy(update={"taxonomy": name})  # the only one that it answers
    outcome = _outcome(settings, trained, taxonomy, versions, margin, held_out, dry_run)
    _print_json(outcome) if as_json else _print(outcome, taxonomy)
    if outcome.gated and not outcome.gated.passed:
        raise SystemExit(1)
    return None


def _go_back(versions: TaxonomyVersions, name: str, as_json: bool) -> None:
    previous = versions.back()
    if as_json:
        return print_json({"taxonomy": name, "version": previous or None})
    click.echo(f"{name}: {f'version {previous} is' if previous else 'the answers without feedback are'} in force again")
    return None


def _outcome(
    settings: Settings, trained: Path | None, taxonomy: Taxonomy, versions: TaxonomyVersions,
    margin: float, held_out: float, dry_run: bool,
) -> LearningOutcome:  # fmt: skip
    from marquee.feedback.judged import judged_texts
    from marquee.feedback.learning import Learning
    from marquee.feedback.store import store_of

    store = store_of(settings)
    if not store.path.exists():
        raise click.ClickException(f"there is no feedback at {store.path}; see MARQUEE_FEEDBACK_PATH")
    judged = judged_texts(store.entries(), taxonomy, held_out)
    answering = _answering(settings, trained, judged)
    return Learning(taxonomy, judged, answering, versions, margin, command_line(), dry_run).run()


def _answering(settings: Settings, trained: Path | None, judged: JudgedTexts) -> Answering:
    """What answers today; recorded answers where no texts are stored."""
    from eval.baselines import load
    from marquee.factory import RequestOptions, create
    from marquee.feedback.judged import RecordedAnswers
    from marquee.feedback.learned import versions_of
    from marquee.feedback.learning import Answering

    model = load(trained) if trained else None
    versions = versions_of(settings, model)
    learned = versions.get
    if not judged.with_texts:
        texts = (*judged.fit, *judged.selection, *judged.held_out)
        recorded = RecordedAnswers({one.digest: one.answer for one in texts if one.answer})
        return Answering(recorded, lambda shown: recorded, learned, versions.trained)
    models, plain = create(settings, model), RequestOptions()
    if problem := models.check():
        raise click.ClickException(f"the classifier cannot answer: {problem.detail}")
    models.load()
    return Answering(
        models.classifier_for(plain),
        lambda shown: models.classifier_for(replace(plain, examples=shown)),
        learned,
        versions.trained,
    )


def _print(outcome: LearningOutcome, taxonomy: Taxonomy) -> None:
    judged = outcome.judged
    sizes = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in judged.counts.items())
    say(f"{taxonomy.name}: {sum(judged.counts.values())} texts with feedback ({sizes})")
    for reason, count in judged.skipped.items():
        say(f"not used: {count} with {reason}")
    if not judged.with_texts:
        say("texts are not stored: thresholds are learned from recorded scores; examples and heads cannot be")
    for note in outcome.notes:
        say(note)
    print_table(("answers", "micro-F1"), [(name, f"{quality:.3f}") for name, quality in outcome.selection.items()])
    if outcome.comparison is None or outcome.gated is None:
        click.echo("\nno candidate is better than today's answers; nothing is put in force")
        return
    click.echo(f"\nheld-out texts; A: today's answers, B: {outcome.chosen}\n")
    print_differences(outcome.comparison)
    click.echo(outcome.gated.summary)
    version = outcome.version
    click.echo(f"version {version.name} is in force ({version.path})" if version else "nothing is put in force")


def _without_folders(comparison: dict[str, Any]) -> dict[str, Any]:
    """The comparison without the folders of its runs, which are gone, or in the folder of the version."""
    return comparison | {side: {"system": comparison[side]["system"]} for side in ("a", "b")}


def _print_json(outcome: LearningOutcome) -> None:
    print_json(
        {
            "texts": outcome.judged.counts,
            "with_texts": outcome.judged.with_texts,
            "skipped": outcome.judged.skipped,
            "notes": outcome.notes,
            "selection": outcome.selection,
            "chosen": outcome.chosen or None,
            "comparison": _without_folders(outcome.comparison.as_json()) if outcome.comparison else None,
            "gate": asdict(outcome.gated) if outcome.gated else None,
            "version": outcome.version.name if outcome.version else None,
        }
    )
