"""Certified margins in a cascade: which texts they let the small classifier answer alone."""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from llm.calibration.certified import CertifiedMargins, CertifiedStore, margin_of
from llm.classifier import AnswerSource, Prediction, Problem
from llm.wrappers.combined import Cascade
from prompts.errors import InvalidSetting
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text, checked_texts

AB = Taxonomy("ab", (Label("a"), Label("b")), multi=False)
BOTH = Taxonomy("both", (Label("a"), Label("b"), Label("c")), max_labels=2)
ANSWERS: dict[str, tuple[tuple[str, ...], dict[str, float]]] = {
    "clearly a": (("a",), {"a": 0.9, "b": 0.1, "c": 0.0}),
    "perhaps a": (("a",), {"a": 0.6, "b": 0.4, "c": 0.0}),
    "clearly b": (("b",), {"a": 0.1, "b": 0.9, "c": 0.0}),
    "a and b": (("a", "b"), {"a": 0.9, "b": 0.85, "c": 0.1}),
    "everything": (("a", "b"), {"a": 0.9, "b": 0.9}),
}


class Answering:
    """Gives each text its answer, or the labels of ``always``."""

    def __init__(self, name: str, always: tuple[str, ...] = ()) -> None:
        self.name, self._always = name, always
        self.texts: list[str] = []

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        bodies = [text.body for text in checked_texts(texts)]
        self.texts += bodies
        return [self._prediction(body, AnswerSource(self.name, taxonomy.versioned_name)) for body in bodies]

    def _prediction(self, body: str, source: AnswerSource) -> Prediction:
        if self._always:
            return Prediction(self._always, source)
        if body not in ANSWERS:
            return Prediction((), source, problem=Problem("empty", "there is no text to label"))
        labels, scores = ANSWERS[body]
        return Prediction(labels, source, scores)


def sent(certified: CertifiedMargins, path: Path, taxonomy: Taxonomy, *texts: str) -> list[str]:
    """The texts that reach the large classifier."""
    store = CertifiedStore(path)
    store.put({store.key("small", taxonomy): certified})
    large = Answering("large", ("b",))
    Cascade(Answering("small"), large, CertifiedStore(path)).classify(list(texts), taxonomy)
    return large.texts


def test_one_margin_is_that_of_every_label(tmp_path: Path) -> None:
    found = sent(CertifiedMargins(0.5), tmp_path / "c.json", AB, "clearly a", "perhaps a", "clearly b", "nothing")
    assert found == ["perhaps a", "nothing"]


def test_a_text_needs_the_margin_of_all_its_labels(tmp_path: Path) -> None:
    own = CertifiedMargins(None, {"a": 0.1, "b": 0.78})
    assert sent(own, tmp_path / "c.json", BOTH, "perhaps a", "clearly b", "a and b") == ["a and b"]
    only_a = CertifiedMargins(None, {"a": 0.1})
    assert sent(only_a, tmp_path / "c.json", BOTH, "perhaps a", "clearly b", "a and b") == ["clearly b", "a and b"]


def test_without_a_certified_margin_every_text_is_sent(tmp_path: Path) -> None:
    texts = ["clearly a", "everything"]  # the margin of the second is infinite
    assert sent(CertifiedMargins(None), tmp_path / "c.json", AB, *texts) == texts
    large = Answering("large", ("b",))
    Cascade(Answering("small"), large, CertifiedStore(tmp_path / "c.json")).classify(texts, BOTH)
    assert large.texts == texts


def test_an_infinite_margin_survives_the_file(tmp_path: Path) -> None:
    assert sent(CertifiedMargins(3.0), tmp_path / "c.json", AB, "everything") == []
    store = CertifiedStore(tmp_path / "c.json")
    store.put({"x": CertifiedMargins(math.inf)})
    assert CertifiedStore(tmp_path / "c.json").get("x") == CertifiedMargins(math.inf)


def test_another_model_than_the_certified_one_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = CertifiedStore(tmp_path / "c.json")
    store.put({store.key("small", AB): CertifiedMargins(0.5, model="gpt-4o")})
    cascade = Cascade(Answering("small"), Answering("other", ("b",)), store)
    with caplog.at_level(logging.WARNING):
        cascade.classify(["perhaps a"], AB)
        cascade.classify(["perhaps a"], AB)
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "the cascade of taxonomy ab was certified with gpt-4o, and other answers now"
    ]
    Cascade(Answering("small"), Answering("gpt-4o", ("b",)), CertifiedStore(tmp_path / "c.json")).classify(
        ["perhaps a"], AB
    )
    assert len(caplog.records) == 1


def test_a_setting_is_a_margin_or_a_file_that_exists(tmp_path: Path) -> None:
    assert margin_of(0.2) == 0.2
    (tmp_path / "c.json").write_text(json.dumps({"small ab": {"margin": 0.3}}))
    store = margin_of(tmp_path / "c.json")
    assert isinstance(store, CertifiedStore)
    assert store.get("small ab") == CertifiedMargins(0.3)
    with pytest.raises(InvalidSetting, match=r"there is no file .*none\.json; give a number, or make the file"):
        margin_of(tmp_path / "none.json")
    (tmp_path / "c.json").write_text('{"small ab": {"cut": 0.3}}')
    with pytest.raises(InvalidSetting, match=r"c\.json"):
        margin_of(tmp_path / "c.json")
