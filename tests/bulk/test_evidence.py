"""``bulk --explain``: evidence in every format, the same bytes after an interruption, and what quotes cost."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from bulk.answer_store import LocalRunner, RowAnswer, StoredAnswer
from bulk.inputs import input_files, text_columns
from bulk.job import ClassifierSpec, Job
from bulk.progress import Summary
from bulk.ray_cluster import _packed, _unpacked
from bulk.run import run
from llm.backends.backend import Completion, Constraint, Conversation, FakeBackend
from llm.classifier import Classifier, Usage
from llm.embedded.matcher import Matcher
from llm.language_model import LanguageModel
from llm.spending.costs import Preview, with_quotes
from llm.spending.spend_cap import SpendCap
from llm.strategies.json_list import JSONList
from marquee.explained import ExplainingClassifier
from prompts.errors import Interrupted
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tests.bulk.words import read_lines, write_lines

TAXONOMY = Taxonomy.of({"refund": "money back", "crash": "the app stops working"}, multi=True, allow_none=True)
TEXTS = [
    "My card was charged twice, so please refund it. The weather is nice.",
    'the app crashed, "again"\nand froze',
    "My card was charged twice, so please refund it. The weather is nice.",
    "",
    "qwzx 8213",
    "Refund the app that crashes.",
]


class Quoting(FakeBackend):
    """Labels every text with both labels and quotes its first word, and counts requests; each takes 100 tokens."""

    def __init__(self) -> None:
        super().__init__(self._answer, "gpt-4o")
        self.sent = 0

    def _answer(self, conversation: Conversation) -> str:
        question = conversation[-1]["content"]
        if "Label: " not in question.rpartition("</text>")[2]:
            return json.dumps(["refund", "crash"])
        return json.dumps(["refund it" if "Label: refund" in question else "no such words"])

    def generate(self, conversations: Sequence[Conversation], constraint: Constraint) -> list[Completion]:
        self.sent += len(conversations)
        return [Completion(one.text, Usage(90, 0, 10)) for one in super().generate(conversations, constraint)]


class Ended(BaseException):
    """What ends a run from outside."""


class EndsAfter:
    """A classifier in whose batch of this number the process ends."""

    def __init__(self, inner: Classifier, batches: int) -> None:
        self.name, self._inner, self._left = inner.name, inner, batches

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Any]:
        if not self._left:
            raise Ended
        self._left -= 1
        return self._inner.classify(texts, taxonomy)


def label(classifier: Classifier, out: Path, explain: bool = True, **options: Any) -> Summary | None:
    """Label ``TEXTS``, which are written beside the output, in batches of two."""
    given = write_lines(out.with_name("given.jsonl"), [{"id": str(n), "text": one} for n, one in enumerate(TEXTS)])
    source = input_files(str(given), [out])
    spec = ClassifierSpec("system", {"explain": explain}, lambda: classifier)
    job = Job(source, text_columns(source), TAXONOMY, spec, out, 2, "", explain)
    return run(job, LocalRunner(lambda: classifier, TAXONOMY, patience=0), **options)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows, with lists and objects as such."""
    if path.suffix == ".parquet":
        return list(pyarrow.parquet.read_table(path).to_pylist())
    if path.suffix == ".jsonl":
        return read_lines(path)
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [
        row | {name: json.loads(row[name] or "null") for name in ("labels", "evidence", "unexplained")} for row in rows
    ]


@pytest.mark.parametrize("name", ["o.csv", "o.jsonl", "o.parquet"])
def test_every_row_has_the_evidence_of_a_single_request(tmp_path: Path, embedded: Matcher, name: str) -> None:
    label(ExplainingClassifier(embedded), tmp_path / name)
    found = read(tmp_path / name)
    single = ExplainingClassifier(embedded).classify(TEXTS, TAXONOMY)
    for row, one, text in zip(found, single, TEXTS, strict=True):
        passages = row["evidence"]
        assert passages == (None if one.evidence is None else [vars(passage) for passage in one.evidence])
        assert all(text[passage["start"] : passage["end"]] == passage["quote"] for passage in passages or ())
        reasons = {label: reason for label, reason in (row["unexplained"] or {}).items() if reason}
        assert reasons == one.unexplained
    assert {passage["kind"] for row in found for passage in row["evidence"] or ()} == {"sentence", "occlusion"}
    assert [row["evidence"] for row in found][3:5] == [None, []], "a problem, and no label"


@pytest.mark.parametrize("name", ["o.csv", "o.jsonl", "o.parquet"])
def test_an_interrupted_run_writes_the_same_bytes(tmp_path: Path, embedded: Matcher, name: str) -> None:
    (tmp_path / "whole").mkdir()
    label(ExplainingClassifier(embedded), tmp_path / "whole" / name)
    for batches in (1, 0):
        with pytest.raises(Ended):
            label(EndsAfter(ExplainingClassifier(embedded), batches), tmp_path / name)
    label(ExplainingClassifier(embedded), tmp_path / name)
    assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("name", ["o.csv", "o.jsonl", "o.parquet"])
def test_failed_rows_are_classified_again_and_the_others_keep_their_evidence(
    tmp_path: Path, embedded: Matcher, name: str
) -> None:
    label(ExplainingClassifier(embedded), tmp_path / name)
    before = (tmp_path / name).read_bytes()
    again = EndsAfter(embedded, 0)  # every text but the empty one has an answer, so nothing is classified
    label(again, tmp_path / name, retry_failed=True)
    assert (tmp_path / name).read_bytes() == before


def test_without_explain_there_are_no_such_columns(tmp_path: Path, embedded: Matcher) -> None:
    label(embedded, tmp_path / "o.jsonl", explain=False)
    assert set(read_lines(tmp_path / "o.jsonl")[0]) == {"id", "text", "labels", "scores", "source", "problem"}


def test_quotes_are_checked_and_their_tokens_count(tmp_path: Path) -> None:
    backend = Quoting()
    summary = label(ExplainingClassifier(LanguageModel(backend, JSONList())), tmp_path / "o.jsonl")
    first = read_lines(tmp_path / "o.jsonl")[0]
    assert [(one["label"], one["kind"], one["quote"]) for one in first["evidence"]] == [
        ("refund", "quote", "refund it")
    ]
    assert first["unexplained"] == {"crash": "the model's quote is not in the text"}
    assert summary is not None
    assert backend.sent == 3 * 4, "one request for the labels of each text, and one for each of its labels"
    assert summary.usage.prompt_tokens == 90 * backend.sent


def test_a_spend_cap_counts_quotes_before_and_after_they_are_requested(tmp_path: Path) -> None:
    preview = with_quotes(Preview(3, 300, 0, 30, True, None, None), "gpt-4o", [Text(one) for one in TEXTS], TAXONOMY)
    assert preview.requests == 3 + 2 * 5
    assert preview.prompt_tokens > 300 + 2 * 5 * 40
    assert preview.shared_tokens > 0
    assert preview.usd is not None
    assert not preview.counted
    model = ExplainingClassifier(LanguageModel(Quoting(), JSONList()))
    cap = SpendCap(None, 900)
    meter = cap.meter("llm", "gpt-4o", lambda: (Preview(1, 300, 0, 0, False, None, None), 1))
    with pytest.raises(Interrupted, match="stopped at --max-tokens 900: 600 tokens"):
        label(model, tmp_path / "o.jsonl", meter=meter)


def test_evidence_comes_back_from_the_nodes_of_a_cluster() -> None:
    passage = {"label": "refund", "kind": "quote", "quote": "a", "start": 0, "end": 1, "contribution": None}
    answer = RowAnswer(("refund", "crash"), {"refund": 0.5}, "source", None, [passage], {"crash": "no"})
    stored = StoredAnswer(b"key", answer, Usage(1, 0, 2))
    assert _unpacked(json.loads(json.dumps(_packed(stored)))) == stored
