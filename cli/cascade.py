"""`main.py cascade`: margins of the cascade, with a certified quality or for a loss that is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import (
    PATH,
    OutputPath,
    ProgressLine,
    collected,
    json_option,
    model_settings,
    print_json,
    print_table,
    say,
)
from cli.data import DataOptions, data_options, report_dropped
from cli.group import examples
from cli.names import complete_systems
from cli.spending import SpendOptions, covered_line, covered_texts, spend_options

if TYPE_CHECKING:
    from eval.datasets import LoadedDataset
    from eval.run import System
    from llm.calibration.certified import CertifiedMargins
    from llm.spending.costs import Preview
    from marquee.certification import CascadePlan, Part


@dataclass(frozen=True)
class GoalOptions:
    """The options of a certified cascade."""

    target: float | None
    delta: float
    metric: str
    over: str | None
    per_label: bool
    table_only: bool
    oracle: str | None
    budget: int
    seed: int
    cache: bool

    def plan(self) -> CascadePlan:
        """What to certify; without --oracle, what the settings send texts to."""
        from eval.certified_cascade import Goal
        from marquee.certification import LABELS, CascadePlan, default_oracle
        from marquee.settings import read_settings

        oracle = self.oracle or default_oracle(read_settings())
        over = self.over or ("answered" if oracle == LABELS else "all")
        goal = Goal(self.target or 0.0, self.delta, self.metric, over, self.table_only)  # type: ignore[arg-type]
        return CascadePlan(goal, oracle, self.budget, self.per_label, self.seed, self.cache)


_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command(
    short_help="Certify from which margin on no model is needed.",
    epilog=examples(
        "cascade tickets.csv --taxonomy tickets --target 0.95 --dry-run",
        "cascade tickets.csv --taxonomy tickets --target 0.95 --budget 500",
        "cascade labelled.csv --taxonomy tickets --target 0.9 --oracle labels",
        "cascade --data films.jsonl --loss 0.005",
    ),
)
@click.argument("table", type=PATH, required=False)
@collected(
    GoalOptions,
    "goal",
    click.option("--target", type=_SHARE, help="Value that the metric has at least."),
    click.option("--delta", type=_SHARE, default=0.05, help="Risk that it has not."),
    click.option(
        "--metric",
        type=click.Choice(["agreement", "precision", "recall"]),
        default="agreement",
        help="Of the cascade's answers, against the oracle's.",
    ),
    click.option(
        "--over",
        type=click.Choice(["all", "answered"]),
        help="All texts, or those without the oracle.  [default: all; with --oracle labels: answered]",
    ),
    click.option("--per-label", is_flag=True, help="A margin and a bound for each label."),
    click.option("--table-only", is_flag=True, help="Certify for the texts of TABLE, not for others like them."),
    click.option(
        "--oracle",
        shell_complete=complete_systems,
        help="System as in `evaluate --systems`, or labels: those of TABLE.  [default: llm]",
    ),
    click.option("--budget", type=click.IntRange(1), default=500, help="Maximum number of the oracle's labels."),
    click.option("--seed", type=click.IntRange(0), default=0, help="Seed of the order in which texts are drawn."),
    click.option("--cache/--no-cache", default=True, help="Whether cached answers may be used."),
)
@click.option(
    "--loss", type=click.FloatRange(0, 1), help="Accepted loss of micro-F1, without a bound.  [default: 0.01]"
)
@click.option("--out", type=OutputPath(), help="File of margins.  [default: cascade.json beside the thresholds]")
@click.option("--dry-run", is_flag=True, help="Print the number of tokens and the price; send nothing.")
@spend_options
@data_options(required=False)
@json_option
def cascade(
    table: Path | None, goal: GoalOptions, loss: float | None, out: Path | None, dry_run: bool, spending: SpendOptions,
    data: Path | None, options: DataOptions, as_json: bool,
) -> None:  # fmt: skip
    """Find the margins from which the embedded classifier answers alone, without the language model.

    With --target, TABLE needs no labels: the metric is at least the target with a probability of 1 - delta, by at most
    --budget labels. Without it, labelled validation texts show the margin for an accepted loss.
    """
    if (table is None) == (data is None):
        raise click.UsageError("give one table: TABLE, or --data")
    found = table or data
    assert found is not None
    if goal.target is None:
        if dry_run or out or goal.oracle or goal.per_label or spending.cap():
            raise click.UsageError("--dry-run, --out, --oracle, --per-label and caps need --target")
        return _accepted_loss(found, options, 0.01 if loss is None else loss, as_json)
    if loss is not None:
        raise click.UsageError("--target certifies a metric, and --loss accepts a loss of F1; give one of them")
    return _certified(found, options, goal.plan(), spending, out, dry_run, as_json)


# --- with a bound ---


def _certified(
    table: Path, options: DataOptions, plan: CascadePlan, spending: SpendOptions, out: Path | None, dry_run: bool,
    as_json: bool,
) -> None:  # fmt: skip
    from eval.calibration import labels_at_once
    from marquee import loaded_models
    from marquee.certification import CascadeCertification, meter_of, oracle_of, stored, table_cost
    from marquee.settings import read_settings
    from prompts.files import check_output

    settings = read_settings()
    path = check_output(out or settings.thresholds_path.with_name("cascade.json"))
    loaded = _texts(table, options, plan)
    taxonomy = labels_at_once(loaded.taxonomy, settings.hierarchy_beam)
    plan.check(taxonomy)
    system = oracle_of(plan, taxonomy, loaded.examples)
    if dry_run:
        return _print_plan(system, loaded, plan, spending, as_json)
    meter = meter_of(system, spending.cap(), loaded.examples)
    progress = ProgressLine("oracle:", min(plan.budget, len(loaded.examples)), "labels")
    run = CascadeCertification(taxonomy, loaded.examples, plan, system, meter, progress.advance)
    certified, parts, small = run.run(loaded_models.embedded())
    stored(path, small, taxonomy, certified)
    _print_certified(certified, parts, plan, path, table_cost(system, loaded.examples), as_json)
    return None


def _texts(table: Path, options: DataOptions, plan: CascadePlan) -> LoadedDataset:
    """The texts of the table; with labels only where these are the oracle, and then those for validation."""
    from eval.datasets import pool, sample
    from marquee.certification import LABELS
    from prompts.errors import InvalidDataset

    if plan.oracle == LABELS:
        loaded = options.load(table)
        kept = [one for one in loaded.examples if one.complete]
        if options.split is None and any(one.split == "validation" for one in kept):
            say("the labels are those of split validation; --split takes others")
            kept = [one for one in kept if one.split == "validation"]
    else:
        fields = replace(options.fields, labels="")
        loaded = pool(table, options.taxonomy, fields, **options.as_arguments())
        report_dropped(loaded)
        kept = sample([one for one in loaded.examples if options.split in (None, one.split)], options.limit)
    if not kept:
        raise InvalidDataset(f"{table} has no text for the cascade; check --split and the columns")
    return replace(loaded, examples=tuple(kept))


def _print_plan(
    system: System | None, loaded: LoadedDataset, plan: CascadePlan, spending: SpendOptions, as_json: bool
) -> None:
    from bulk.progress import preview_lines
    from marquee.certification import drawn_first

    drawn, cap = drawn_first(loaded.examples, plan), spending.cap()
    cost = system.preview([one.text for one in drawn]) if system and system.preview else None
    result: dict[str, Any] = {"oracle": plan.oracle, "texts": len(loaded.examples), "labels": len(drawn)}
    if as_json:
        covered = {"covered": covered_texts(cap, cost, len(drawn))} if cap else {}
        return print_json(result | (vars(cost) if cost else {}) | covered)
    click.echo(f"{plan.oracle}: at most {len(drawn):,} labels of {len(loaded.examples):,} texts")
    for line in preview_lines(cost) if cost else ("costs nothing",):
        click.echo(f"  {line}")
    if cap:
        click.echo(f"  {covered_line(cap, cost, len(drawn))}")
    return None


def _print_certified(
    certified: CertifiedMargins, parts: Sequence[Part], plan: CascadePlan, path: Path, cost: Preview | None,
    as_json: bool,
) -> None:  # fmt: skip
    some = certified.margin is not None or bool(certified.label_margins)
    with_cascade = cost.scaled(certified.share) if cost else None
    if as_json:
        rows = [{"label": one.label, "texts": one.texts, **asdict(one.certified)} for one in parts]
        usd = {"usd": with_cascade and with_cascade.usd, "usd_all": cost and cost.usd}
        return print_json(
            {"certified": some, **asdict(certified), "oracle": plan.oracle, "parts": rows, **usd, "path": path}
        )
    click.echo(f"MARQUEE_CASCADE_MARGIN={path}")
    if plan.by_label:
        print_table(("label", "texts", "margin", "alone", "observed", "why no lower margin"), map(_row, parts))
    for line in _summary(certified, parts, some):
        say(line)
    if cost and with_cascade:
        say(_money(with_cascade, cost, certified.texts))
    return None


def _row(part: Part) -> tuple[str, int, str, str, str, str]:
    found = part.certified
    margin, alone = ("-", "-") if found.margin is None else (f"{found.margin:.4f}", f"{found.share:.1%}")
    observed = "-" if found.observed is None else f"{found.observed:.3f}"
    return part.label, part.texts, margin, alone, observed, found.stopped


def _summary(certified: CertifiedMargins, parts: Sequence[Part], some: bool) -> list[str]:
    model, metric = certified.model or "the labels", certified.metric
    if not some:
        why = "; ".join(dict.fromkeys(one.certified.stopped for one in parts))
        return [
            f"no margin can be certified with {certified.labels} labels: every text goes to the language model ({why})"
        ]
    scope = "all texts" if certified.over == "all" else "the texts that the embedded classifier answers"
    each = " of each label in the table" if certified.label_margins else ""
    lines = [
        f"{metric}{each} with {model} over {scope}: at least {certified.target:g}, with a probability of "
        f"{1 - certified.delta:g}; {certified.labels} labels were used",
        f"{certified.share:.1%} of the {certified.texts:,} texts go to the language model",
    ]
    if not certified.label_margins:
        found = parts[0].certified
        observed = "" if found.observed is None else f"; observed without the oracle: {found.observed:.3f}"
        lines.insert(1, f"margin {certified.margin:.4f}{observed}; {found.stopped}")
    return lines


def _money(with_cascade: Preview, all_texts: Preview, texts: int) -> str:
    requests = f"{with_cascade.requests:,} of {all_texts.requests:,} requests for these {texts:,} texts"
    if all_texts.usd is None or with_cascade.usd is None:
        return f"{requests}; the price of the model is not known"
    return f"{requests}: {with_cascade.usd:.4f} of {all_texts.usd:.4f} USD"


# --- for an accepted loss ---


def _accepted_loss(data: Path, options: DataOptions, loss: float, as_json: bool) -> None:
    from eval.calibration import fit_cascade, labels_at_once
    from marquee.factory import classifier_of
    from marquee.settings import read_settings

    settings = model_settings(cascade_margin=0.0, fallback=False)
    loaded = replace(options, limit=options.limit or 500).load(data, options.split or "validation")
    taxonomy = labels_at_once(loaded.taxonomy, settings.hierarchy_beam)
    embedded = classifier_of(read_settings(classifier="embedded"))
    large = classifier_of(settings, taxonomy=taxonomy)
    fitted = fit_cascade(embedded, large, taxonomy, loaded.examples, loss)
    if as_json:
        return print_json({**asdict(fitted), "model": large.name})
    click.echo(f"MARQUEE_CASCADE_MARGIN={fitted.margin:.4f}")
    click.echo(f"{fitted.share:.1%} of the texts go to {large.name}; micro-F1 {fitted.micro_f1:.3f}", err=True)
    return None
