"""The report: the figures of the runs, escaped, self-contained, the same in both forms and every time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import average_precision_score, f1_score

from eval.metrics import BINS, reliability_curve
from eval.report import read, write
from eval.report.curves import precision_recall, reliability
from eval.report.errors import f1_by_label, worst_rows
from eval.results import RunResults
from eval.run_metrics import speed_and_cost
from main import main
from prompts.errors import InvalidDataset

LABELS = ("Action", "Comedy", "Drama", "War")
TEXTS = 60


class Page(HTMLParser):
    """Cells of the tables by caption, and every tag with its attributes."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._caption = ""
        self._inside = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        self._inside = tag if tag in ("td", "th", "caption") else "" if tag == "small" else self._inside

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.tables[self._caption] = self._rows
        if tag in ("td", "th"):
            self._rows[-1][-1] = self._rows[-1][-1].strip()
        if tag in ("td", "th", "caption"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "caption":
            self._caption += data
        elif self._inside:
            self._rows[-1][-1] += data


def row(number: int, **changes: Any) -> dict[str, Any]:
    """A row of an evaluation; its text has one or two true labels, its scores are seeded by its number."""
    random = np.random.default_rng(number)
    truth = [LABELS[number % 3], *(["War"] if number % 5 == 0 else [])]
    scores = {
        name: round(float(random.uniform(0.2, 1.0) if name in truth else random.beta(1, 3)), 3) for name in LABELS
    }
    labels = [name for name in LABELS if scores[name] > 0.5]
    return {
        "id": f"t{number}", "group": f"g{number}", "truth": truth, "complete": True, "labels": labels, "scores": scores,
        "problem": None, "dropped": [], "cached": False, "tokens": [0, 0, 0], "seconds": 0.01 * (1 + number % 7),
        "source": {"model": "m", "prompt": None, "taxonomy": "t@1", "strategy": None}, "alone": True,
        "chars": 100 + 7 * number,
    } | changes  # fmt: skip


def put(
    out: Path,
    system: str,
    rows: Sequence[Mapping[str, Any]] | None = None,
    metrics: Mapping[str, float] | None = None,
    labels: Sequence[str] = LABELS,
    **manifest: Any,
) -> None:
    folder = out / system.replace("/", "_")
    folder.mkdir(parents=True)
    rows = [row(number) for number in range(TEXTS)] if rows is None else rows
    stated = {
        "system": system, "data": {"name": "films", "digest": "d1", "split": "test", "limit": None},
        "taxonomy": {"name": "genres", "digest": "g1", "labels": list(labels)}, "seed": 7,
    } | manifest  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(stated), encoding="utf-8")
    figures = {"micro-F1": 0.6123, "macro-F1": 0.5432} if metrics is None else metrics
    run = RunResults.read(folder)
    (folder / "metrics.json").write_text(json.dumps({**speed_and_cost(run.rows, stated), **figures}), encoding="utf-8")


def silent(number: int, **changes: Any) -> dict[str, Any]:
    """A row of a language model that gives no scores."""
    source = {"model": "qwen", "prompt": "plot.v1@aa", "taxonomy": "t@1", "strategy": "json_list"}
    return row(number, **({"scores": {}, "source": source, "tokens": [400, 300, 12]} | changes))


def by_head(table: list[list[str]]) -> list[dict[str, str]]:
    """Rows of a table, with groups of columns or without, each cell by the head of its column."""
    at = next(number for number, cells in enumerate(table) if "system" in cells)
    heads, rows = table[at], table[at + 1 :]
    return [dict(zip(heads, row, strict=True)) for row in rows]


def reported(out: Path, **options: Any) -> tuple[str, str]:
    html, markdown = write(read(out), **options)
    return html.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")


def test_the_headline_has_the_figures_of_the_metrics_best_first_in_both_forms(tmp_path: Path) -> None:
    put(tmp_path, "small", metrics={"micro-F1": 0.4321, "macro-F1": 0.3, "ECE": 0.051, "USD per 1,000": 1.0})
    put(tmp_path, "large", metrics={"micro-F1": 0.6543, "macro-F1": 0.6, "p50 ms": 41.2})
    html, markdown = reported(tmp_path)
    low, high = read(tmp_path).intervals()["large"]["micro-F1"]
    tables = Page(html).tables
    first, second = by_head(tables["Every system over the same texts"])
    assert (first["system"], first["micro-F1"]) == ("large", "0.654")
    assert (second["micro-F1"], second["ECE"]) == ("0.432", "0.051")
    first, second = by_head(tables["Cost and speed of every system"])
    assert (first["p50 ms"], second["USD per 1,000"]) == ("41.2", "$1.00")
    assert f"{low:.3f}–{high:.3f}" in html
    assert f"| large | **0.654** ({low:.3f}–{high:.3f}) |" in markdown
    assert markdown.index("| large |") < markdown.index("| small | 0.432 (")


def test_every_figure_of_metrics_is_in_the_report_and_so_is_every_setting_of_the_manifest(tmp_path: Path) -> None:
    put(tmp_path, "one", metrics={"micro-F1": 0.5, "peculiar": 0.123456}, novel={"deep": [1, None, True]})
    html, markdown = reported(tmp_path)
    assert ["peculiar", "0.123456"] in Page(html).tables["Content of metrics.json"]
    assert ["novel.deep", "1, –, true"] in Page(html).tables["Manifest of one"]
    assert "| novel.deep | 1, –, true |" in markdown


def test_f1_of_labels_is_that_of_scikit_learn(tmp_path: Path) -> None:
    put(tmp_path, "one")
    system = read(tmp_path).systems[0]
    expected = f1_score(system.run.true, system.run.predicted, average=None, zero_division=0)
    assert f1_by_label(system) == pytest.approx(expected)
    html, _ = reported(tmp_path)
    shown = {cells[0]: cells[2] for cells in Page(html).tables["F1 by label and system"][1:]}
    assert shown == {name: f"{value:.3f}" for name, value in zip(LABELS, expected, strict=True)}


def test_average_precision_is_that_of_scikit_learn(tmp_path: Path) -> None:
    put(tmp_path, "one")
    system = read(tmp_path).systems[0]
    whole, label = precision_recall(system), precision_recall(system, 2)
    assert whole
    assert label
    assert whole.area == pytest.approx(average_precision_score(system.run.true.ravel(), system.run.scores.ravel()))
    assert label.area == pytest.approx(average_precision_score(system.run.true[:, 2], system.run.scores[:, 2]))


def test_texts_whose_labels_may_be_incomplete_stand_in_no_figure_and_are_counted(tmp_path: Path) -> None:
    rows = [row(0, truth=["Drama"], labels=["War", "Drama"], complete=False), row(1, truth=["Drama"], labels=["Drama"])]
    put(tmp_path, "one", rows)
    assert f1_by_label(read(tmp_path).systems[0])[2:].tolist() == [1.0, 0.0]
    assert all("1 texts with possibly incomplete true labels" in form for form in reported(tmp_path))


def test_reliability_counts_every_decision_once_and_puts_a_score_of_1_into_the_last_bin(tmp_path: Path) -> None:
    scores = {"Action": 1.0, "Comedy": 0.95, "Drama": 0.0, "War": 0.05}
    put(tmp_path, "one", [row(number, truth=["Action"], scores=scores) for number in range(4)])
    found = reliability(read(tmp_path).systems[0])
    assert found.counts.tolist() == [4, 4, 4, 4]
    assert found.scores == pytest.approx([0.0, 0.05, 0.95, 1.0])
    assert found.shares == pytest.approx([0, 0, 0, 1])


def test_reliability_has_the_bins_of_the_calibration_error_in_the_figures(tmp_path: Path) -> None:
    put(tmp_path, "one")
    system = read(tmp_path).systems[0]
    html, _ = reported(tmp_path)
    expected = reliability_curve(system.run.true.ravel(), system.run.scores.ravel())
    assert len(expected.counts) == BINS
    shown = Page(html).tables["Reliability in 15 bins of equal mass"][1:]
    assert [int(cells[3]) for cells in shown] == expected.counts.tolist()
    assert [cells[1] for cells in shown] == [f"{said:.3f}" for said in expected.scores]


def test_what_has_no_score_is_never_reached_and_counts_as_missed(tmp_path: Path) -> None:
    rows = [row(0, truth=["Drama", "War"], scores={"Drama": 0.9, "Action": 0.4}),
            row(1, truth=["War"], scores={"Drama": 0.2})]  # fmt: skip
    put(tmp_path, "one", rows)
    whole, war = precision_recall(read(tmp_path).systems[0]), precision_recall(read(tmp_path).systems[0], 3)
    assert whole
    assert (whole.recall.tolist(), whole.precision.tolist()) == ([1 / 3] * 3, [1, 1 / 2, 1 / 3])
    assert whole.area == pytest.approx(1 / 3)
    assert war is None


RULES = {
    "embedded": "probability of 0.32 or more, at most max_labels, the best one at least; labels unknown to training: "
    "also from 0.7 of the best on, none where the text is out of scope",
    "llm": "list: the labels written, at most 5",
    "llm-again": "list: the labels written, at most 5",
}


def put_three(out: Path) -> None:
    for place, (name, rule) in enumerate(RULES.items()):
        figures = dict.fromkeys(("macro-F1", "samples-F1", "Jaccard", "AL-1", "macro-AP", "ECE", "Brier"), 0.4567)
        figures |= {"micro-F1": 0.6 - place / 10, "micro-precision": 0.7123, "micro-recall": 0.5432, "texts/s": 123.4}
        put(out, name, metrics=figures, decode_rule=rule)


def test_the_overview_has_precision_and_recall_and_the_decode_rules_in_notes(tmp_path: Path) -> None:
    put_three(tmp_path)
    html, markdown = reported(tmp_path)
    heads, *rows = Page(html).tables["Every system over the same texts"]
    assert heads == ["system", "micro-F1", "macro-F1", "micro-precision", "micro-recall", "Jaccard", "ECE", "invalid"]
    assert [cells[3:5] for cells in rows] == [["0.712", "0.543"]] * 3
    for form in (html, markdown):
        assert f"Decode rule of embedded: {RULES['embedded']}." in form.replace("\\_", "_")
        assert "Decode rule of llm, llm-again: list: the labels written, at most 5." in form
    assert re.findall("^## (.*)", markdown, re.MULTILINE) == [
        "Overview", "Per label", "Slices", "Precision and recall", "Calibration", "Confusions", "Cost and speed",
        "Worst errors", "Provenance", "Metric definitions",
    ]  # fmt: skip


def test_paired_tests_are_stated_in_words(tmp_path: Path) -> None:
    perfect = [row(n, labels=row(n)["truth"]) for n in range(TEXTS)]
    put(tmp_path, "good", perfect, {"micro-F1": 1.0})
    put(tmp_path, "same", [*perfect[1:], row(0, labels=[])], {"micro-F1": 0.99})
    put(tmp_path, "poor", [row(n, labels=["Comedy"]) for n in range(TEXTS)], {"micro-F1": 0.3})
    put(tmp_path, "prior", [row(n, labels=["Drama"]) for n in range(TEXTS)], {"micro-F1": 0.3})
    by_system = {one.pair.a.system: one.differences for one in read(tmp_path).comparisons()}
    assert list(by_system) == ["same", "poor"], "no test against a dummy baseline"
    micro = next(one for one in by_system["poor"] if one.metric == "micro-F1")
    for form in reported(tmp_path):
        plain = re.sub(r"</?span[^>]*>|<wbr>", "", form).replace("&lt;", "<")
        found = f"micro-F1 by {micro.difference:.3f} (95% interval {micro.low:.3f} to {micro.high:.3f}, p < 0.001)"
        assert f"good is better than poor on {found}" in plain
        assert re.search(r"p < 0\.001\) and on macro-F1 by", plain)
        assert "No difference found between good and same on micro-F1: +0." in plain


def test_the_worst_example_is_the_surest_wrong_one(tmp_path: Path) -> None:
    rows = [
        row(1, truth=["Drama"], labels=["War"], scores={"Drama": 0.3, "War": 0.7}),
        row(2, truth=["Drama"], labels=["War"], scores={"Drama": 0.4, "War": 0.99}),
        row(3, truth=["Drama"], labels=["Drama"], scores={"Drama": 0.9, "War": 0.8}),
    ]
    put(tmp_path, "one", rows)
    assert worst_rows(read(tmp_path).systems[0]) == [1, 0]


def test_whatever_names_hold_is_shown_as_text(tmp_path: Path) -> None:
    nasty = '<script>alert("x")</script>'
    labels = (nasty, "a|b & *c*")
    rows = [row(n, id=f"{nasty}{n}", truth=[labels[n % 2]], labels=[nasty], scores={nasty: 0.9}) for n in range(9)]
    put(tmp_path, "evil", rows, labels=labels, note=nasty, data={"name": nasty}, command=f"x {nasty}")
    html, markdown = reported(tmp_path, texts={f"{nasty}{n}": f"a text {nasty}" for n in range(9)})
    page = Page(html)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert html.count("alert(") > 5
    assert not re.search(r"<script>alert", html)
    assert "<script" not in markdown
    assert r"a\|b &amp; \*c\*" in markdown
    lengths = {line.replace(r"\|", "").count("|") for line in markdown.splitlines() if line.startswith("| a\\|b")}
    assert lengths <= {3, 4, 5}


def test_the_page_needs_nothing_beside_it_and_its_policy_lets_nothing_else_run(tmp_path: Path) -> None:
    put(tmp_path, "one")
    html, _ = reported(tmp_path)
    page = Page(html)
    assert not re.search(r"(src|href|action|data)\s*=\s*[\"']?(https?:|//)", html)
    assert "url(" not in html
    assert "@import" not in html
    assert " style=" not in html
    assert not {"img", "link", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    policy = next(
        a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy
    assert policy.startswith("default-src 'none';")
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_texts_enter_only_when_they_are_given_and_details_of_problems_never(tmp_path: Path) -> None:
    problem = {"kind": "unreadable", "detail": "it said: a secret plot"}
    put(tmp_path, "one", [row(n, problem=problem if n == 4 else None) for n in range(9)])
    for form in reported(tmp_path):
        assert "secret" not in form
        assert "unreadable" in form
    for form in reported(tmp_path, texts={f"t{n}": "A lighthouse keeper vanishes." for n in range(9)}):
        assert "A lighthouse keeper vanishes." in form
        assert "secret" not in form


def test_a_system_without_scores_and_with_problems_has_a_report_without_curves(tmp_path: Path) -> None:
    problem = {"kind": "unreachable", "detail": "no answer"}
    put(tmp_path, "llm", [silent(n, **({"problem": problem, "labels": []} if n < 6 else {})) for n in range(TEXTS)])
    html, _ = reported(tmp_path)
    page = Page(html)
    assert 'id="curves"' not in html
    assert 'id="reliability"' not in html
    assert ["llm", "unreachable", "6"] in page.tables["Problems by kind"]
    assert by_head(page.tables["Every system over the same texts"])[0]["invalid"] == "10.0%"
    assert by_head(page.tables["Cost and speed of every system"])[0]["prompt tokens per 1,000"] == "400,000"


def test_a_taxonomy_of_one_label_a_text_has_no_columns_of_several(tmp_path: Path) -> None:
    rows = [row(n, truth=[("good", "bad")[n % 2]], labels=["good"], scores={"good": 0.8, "bad": 0.2}) for n in range(8)]
    put(tmp_path, "one", rows, {"micro-F1": 0.5, "accuracy": 0.5, "AL-2": 0.0, "samples-F1": 0.5}, ("good", "bad"))
    html, _ = reported(tmp_path)
    heads = Page(html).tables["Every system over the same texts"][0]
    assert "accuracy" in heads
    assert "AL-2" not in heads
    assert "samples-F1" not in heads


def test_the_ceiling_stands_over_tmdb_alone(tmp_path: Path) -> None:
    put(tmp_path / "a", "one")
    put(tmp_path / "b", "one", taxonomy={"name": "tmdb", "labels": list(LABELS)})
    assert "label ceiling" not in reported(tmp_path / "a")[0]
    html, markdown = reported(tmp_path / "b")
    assert Page(html).tables["Every system over the same texts"][1][:3] == ["label ceiling", "0.846", "0.830"]
    assert "| label ceiling | 0.846 | 0.830 |" in markdown


def test_two_prompts_stand_side_by_side_with_their_difference(tmp_path: Path) -> None:
    other = {"model": "qwen", "prompt": "plot.v2@bb", "taxonomy": "t@1", "strategy": "json_list"}
    put(tmp_path, "llm:plot.v1", [silent(n) for n in range(8)], {"micro-F1": 0.5})
    put(
        tmp_path,
        "llm:plot.v2",
        [silent(n, source=other, labels=silent(n)["truth"]) for n in range(8)],
        {"micro-F1": 0.47},
    )
    tables = Page(reported(tmp_path)[0]).tables
    table = tables["qwen: prompts and strategies"]
    assert table[0] == ["", "A: llm:plot.v1", "B: llm:plot.v2", "B − A"]
    assert ["prompt", "plot.v1@aa", "plot.v2@bb", ""] in table
    assert ["micro-F1", "0.500", "0.470", "−0.030"] in table
    same = sum(silent(n)["labels"] == silent(n)["truth"] for n in range(8))
    assert tables["Agreement of pairs"][1] == ["A and B", "8", f"{100 * same / 8:.1f}%", "0", str(8 - same)]


def test_order_and_contamination_have_tables_and_variants_stay_out_of_the_headline(tmp_path: Path) -> None:
    put(tmp_path, "llm", [silent(n) for n in range(8)])
    (tmp_path / "llm" / "order.json").write_text('{"orders": 20, "decisions": 1440, "ever": 0.083, "minority": 0.021}')
    for variant, micro in (("plot", 0.6), ("title", 0.35), ("masked", 0.55)):
        put(tmp_path, f"llm@{variant}", [silent(n) for n in range(8)], {"micro-F1": micro})
    tables = Page(reported(tmp_path)[0]).tables
    order = tables["Order sensitivity"]
    assert order[1] == ["llm", "20", "1,440", "8.3%", "2.1%"]
    shown = [(cells[1], cells[3], cells[-1]) for cells in tables["Memorisation"][1:]]
    assert shown == [
        ("plot", "0.600", ""),
        ("plot, names masked", "0.550", "−0.050"),
        ("title alone", "0.350", "−0.250"),
    ]
    assert [cells[0] for cells in tables["Every system over the same texts"][1:]] == ["llm"]


def test_the_same_runs_make_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "prior", "two"):
        put(tmp_path, name)
    assert reported(tmp_path) == reported(tmp_path)


def test_systems_that_answered_other_texts_are_told_apart(tmp_path: Path) -> None:
    put(tmp_path, "all")
    put(tmp_path, "half", [row(number) for number in range(30)])
    assert all("half has 30 of 60 texts" in form for form in reported(tmp_path))


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="has no run: neither it nor a folder in it has"):
        write(read(tmp_path))
    put(tmp_path / "truth", "a")
    put(tmp_path / "truth", "b", [row(0, truth=["War"])])
    with pytest.raises(InvalidDataset, match="different true labels for 't0'"):
        write(read(tmp_path / "truth"))
    put(tmp_path / "labels", "a")
    put(tmp_path / "labels", "b", labels=(*LABELS, "More"))
    with pytest.raises(InvalidDataset, match="different taxonomies"):
        write(read(tmp_path / "labels"))
    put(tmp_path / "broken", "a")
    (tmp_path / "broken" / "a" / "rows.jsonl").write_text('{"id": "x"}\n', encoding="utf-8")
    with pytest.raises(InvalidDataset, match=r"rows\.jsonl:1: 'truth' is missing"):
        write(read(tmp_path / "broken"))


def test_the_command_writes_both_files_and_shows_texts_when_asked(tmp_path: Path) -> None:
    put(tmp_path / "runs", "one", [row(n, truth=["Drama"], labels=["War"]) for n in range(6)])
    data = tmp_path / "films.jsonl"
    films = [{"id": f"t{n}", "description": "Two brothers part.", "genres": ["Drama"]} for n in range(6)]
    data.write_text("".join(json.dumps(film) + "\n" for film in films))
    plain = CliRunner().invoke(main, ["report", str(tmp_path / "runs")])
    assert plain.exit_code == 0, plain.output
    assert "report.html" in plain.output
    assert "report.md" in plain.output
    assert "Two brothers part." not in (tmp_path / "runs" / "report.html").read_text()
    shown = CliRunner().invoke(main, ["report", str(tmp_path / "runs"), "--data", str(data), "--taxonomy", "tmdb"])
    assert shown.exit_code == 0, shown.output
    assert "Two brothers part." in (tmp_path / "runs" / "report.html").read_text()
