"""The examples for Prometheus and Grafana ask for figures, labels and routes that the service really has."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from llm.classifier import AnswerSource, Prediction, Problem, ProblemKind, Usage
from marquee.drift import LEAST, DriftReference
from marquee.settings import read_settings
from service.openapi import OPERATIONS
from service.telemetry import Metrics

FOLDER = Path(__file__).parent.parent.parent / "observability"
ALERTS = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))
PROMETHEUS = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
BOARD = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
ASKED = [rule["expr"] for rule in RULES] + [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]


def samples() -> dict[str, set[str]]:
    """Every figure of the service that has seen everything once, and its labels."""
    reference = DriftReference("tmdb@1", 10, {"War": 10}, (0.5,), (1, 9))
    metrics, source = Metrics([reference]), AnswerSource("gpt-4o-mini", "tmdb@1")
    metrics.count_request("/classify", 200, 0.1)
    metrics.queue.labels("model").inc()
    metrics.batch.observe(3)
    metrics.count_predictions(
        [Prediction(("War",), source, usage=Usage(10, 5, 1)), Prediction((), source, cached=True)]
    )
    metrics.count_predictions([Prediction((), source, problem=Problem("busy", "later"))])
    metrics.count_feedback("tmdb", "corrected")
    metrics.count_predictions([Prediction(("War",), source, {"War": 0.9})] * LEAST * 2)
    metrics.count_covered("tmdb", 1, 1)
    metrics.set_coverage_target("tmdb", 0.9)
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def test_every_figure_asked_for_is_told() -> None:
    names = {name for expression in ASKED for name in re.findall(r"\bmarquee_\w+", expression)}
    assert len(names) > 8
    assert names <= samples().keys()


def test_every_figure_told_is_looked_at() -> None:
    families = {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in samples()}
    looked_at = " ".join(ASKED)
    assert {family for family in families if family not in looked_at} == set()


@pytest.mark.parametrize("expression", ASKED)
def test_labels_are_those_that_the_figures_have(expression: str) -> None:
    known = samples()
    (name, *_) = re.findall(r"\bmarquee_\w+", expression) or ["up"]
    used = set(re.findall(r"(\w+)=~?\"", expression))
    used |= {label.strip() for by in re.findall(r"\bby \(([^)]*)\)", expression) for label in by.split(",")}
    assert name == "up" or used <= known[name], expression
    assert expression.count("(") == expression.count(")")


def test_routes_and_kinds_of_problems_exist() -> None:
    told = " ".join(ASKED)
    assert set(re.findall(r'route="([^"]+)"', told)) <= {path for _, path in OPERATIONS}
    kinds = {kind for kinds in re.findall(r'kind=~"([^"]+)"', told) for kind in kinds.split("|")}
    assert kinds <= set(get_args(ProblemKind))


def test_alerts_say_what_is_wrong_and_panels_do_not_overlap() -> None:
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] in ("page", "warn") for rule in RULES)
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.usefixtures("away")
def test_the_scraped_address_is_where_the_service_listens_by_default() -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    settings: Any = read_settings()
    assert job["static_configs"][0]["targets"] == [f"{settings.host}:{settings.port}"]
    assert PROMETHEUS["rule_files"] == ["alerts.yml"]
    queue = next(rule for rule in RULES if rule["alert"] == "MarqueeQueueIsLong")
    assert int(queue["expr"].rsplit(">", 1)[1]) == settings.max_pending * 3 / 4
