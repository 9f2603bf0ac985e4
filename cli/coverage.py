"""`main.py calibrate --coverage`: prediction sets from labelled texts, and their coverage on other texts."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import print_json, say
from cli.data import DataOptions

if TYPE_CHECKING:
    from eval.coverage import CalibratedSets, MeasuredCoverage
    from eval.datasets import LoadedDataset
    from llm.calibration.prediction_sets import SetRule, SetStore
    from llm.classifier import Classifier
    from marquee.settings import Settings
    from prompts.taxonomy import Taxonomy

_MOST_LISTED = 8


def calibrate_coverage(
    data: Path, options: DataOptions, coverage: float, strategy: str | None, prompt: str | None, learned: bool,
    check_split: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Learn prediction sets for the classifier of the settings, store them, and check them on another split."""
    from eval.coverage import calibrate_sets
    from llm.calibration.prediction_sets import SetStore
    from marquee.prediction_sets import scoring_state
    from marquee.settings import read_settings
    from prompts.files import check_output

    if check_split and check_split == options.split:
        raise click.UsageError(f"--check-split {check_split} has the calibration texts; give another split")
    settings = read_settings()
    path = check_output(settings.coverage_path)
    loaded = options.load(data)
    if options.split == "train":
        say("split train: sets are valid only where the classifier was not trained on these texts")
    classifier = _classifier(settings, loaded.taxonomy, strategy, prompt, learned)
    found = calibrate_sets(classifier, loaded.taxonomy, loaded.examples, coverage)
    state, made = scoring_state(settings), datetime.now(UTC).isoformat(timespec="seconds")
    rules = {key: replace(rule, state=state, data=data.name, made=made) for key, rule in found.rules.items()}
    store = SetStore(path, state)
    store.put(rules)
    checked = {}
    if check_split:
        others = replace(options, limit=None).load(data, check_split)
        checked = _checked(classifier, store, others)
    if as_json:
        shown = {key: asdict(rule) | _as_json(checked.get(key)) for key, rule in rules.items()}
        return print_json({"path": path, "rules": shown, "without": found.without, "unlabelled": found.unlabelled})
    for key, rule in rules.items():
        click.echo(f"coverage {coverage:g} for {key}, from {rule.texts:,} texts; saved in {path}")
        for line in (*_about(rule), *(_measured(checked[key], check_split) if key in checked else ())):
            say(line)
    for line in _left_out(found):
        say(line)
    return None


def _classifier(
    settings: Settings, taxonomy: Taxonomy, strategy: str | None, prompt: str | None, learned: bool
) -> Classifier:
    from marquee.factory import RequestOptions, classifier_of
    from marquee.feedback.learned import versions_of, with_learned
    from prompts import registry

    if learned and (strategy or prompt):
        raise click.UsageError("--learned is for answers without --strategy and --prompt; leave them out")
    if (strategy or prompt) and not settings.uses_language_model:
        raise click.UsageError("--strategy and --prompt are for a language model, and none is set; leave them out")
    request = replace(RequestOptions.of(None, strategy), prompt=registry.prompt_at(prompt) if prompt else None)
    if not learned:
        return classifier_of(settings, request, taxonomy)
    classifier = with_learned(lambda options: classifier_of(settings, options, taxonomy), versions_of(settings))
    return classifier(request)


def _checked(classifier: Classifier, store: SetStore, others: LoadedDataset) -> dict[str, MeasuredCoverage]:
    """The coverage on other texts, by the key of the rule."""
    from eval.coverage import measure_coverage
    from prompts.errors import InvalidDataset

    examples = others.examples
    predictions = store.added(classifier.classify([one.text for one in examples], others.taxonomy))
    keys = [store.key(one.source, one.learned) for one in predictions]
    found = {}
    for key, rule in store.rules.items():
        places = [place for place, known in enumerate(keys) if known == key]
        if places:
            found[key] = measure_coverage([predictions[at] for at in places], [examples[at] for at in places], rule)
    if not found:
        raise InvalidDataset("no text of --check-split has a set; check that its rows have texts")
    return found


def _about(rule: SetRule) -> list[str]:
    if not rule.multi:
        penalty = f", penalty {rule.penalty:g} per rank above {rule.free}" if rule.penalty else ""
        return [f"adaptive sets{penalty}; abstains where a set has more than one label"]
    own = len(rule.labels) - len(rule.pooled)
    lines = [
        f"{own} of {len(rule.labels)} labels have a threshold; abstains on sets of none or above {rule.most} labels"
    ]
    if rule.pooled:
        more = ", …" if len(rule.pooled) > _MOST_LISTED else ""
        lines.append(f"too few texts for a guarantee of their own: {', '.join(rule.pooled[:_MOST_LISTED])}{more}")
    return lines


def _measured(found: MeasuredCoverage, split: str | None) -> list[str]:
    overall, labels = found.overall, found.labels
    bound = f" (chance explains {overall.lowest / overall.count:.3f} and above)" if overall.lowest else ""
    kept = "none" if found.kept_accuracy is None else f"{found.kept_accuracy:.3f}"
    lines = [
        f"split {split}, {found.texts:,} texts: coverage {overall.share:.3f}{bound}, {found.size:.2f} labels per set",
        f"abstains on {found.abstained:.1%}; labels exactly right {found.accuracy:.3f}, without abstentions {kept}",
    ]
    if labels:
        low = [name for name, one in labels.items() if one.is_low]
        named = f": {', '.join(low)}" if low else ""
        mean = sum(one.share for one in labels.values()) / len(labels)
        lines.append(f"mean coverage of {len(labels)} labels {mean:.3f}; lower than chance explains: {len(low)}{named}")
    return lines


def _left_out(found: CalibratedSets) -> list[str]:
    lines = [f"no sets: {count} texts are too few for {key}" for key, count in found.without.items()]
    lines += [f"left out: {found.failed} texts without scores"] * bool(found.failed)
    return lines + [f"left out: {found.unlabelled} texts without a right label"] * bool(found.unlabelled)


def _as_json(found: MeasuredCoverage | None) -> dict[str, Any]:
    if found is None:
        return {}
    labels = {name: asdict(one) | {"share": one.share} for name, one in found.labels.items()}
    return {"check": asdict(found) | {"coverage": found.overall.share, "labels": labels}}
