"""A damaged cache costs its help and nothing else: rows, files, and answers of other versions."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from llm.backends.backend import FakeBackend
from llm.classifier import Prediction
from llm.few_shot import ExampleSelector, NearestExamples, StaticExamples, no_examples
from llm.language_model import _VERSION, LanguageModel
from llm.request_context import CURRENT_REQUEST, RequestContext
from llm.strategies import STRATEGIES
from llm.strategies.json_list import JSONList
from llm.wrappers.cache import AnswerStore, Cached
from prompts import registry
from prompts.files import digest_of
from prompts.taxonomy import Label, Taxonomy
from prompts.template import FewShotExample, Prompt, decision_prompt
from prompts.text import Text
from tests.llm.wrappers.test_cache import Asked
from tests.similarity.words import Words

TMDB = registry.taxonomy("tmdb")


def cached(asked: Asked, path: Path, shared: bool = False) -> Cached:
    return Cached(LanguageModel(FakeBackend(asked), JSONList()), AnswerStore(path), shared)


def change(path: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def rewritten(change_: Callable[[str], object]) -> Callable[[Path], None]:
    """Every stored value put through a function."""

    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("SELECT key, value FROM answers").fetchall()
        for key, value in rows:
            change(path, "UPDATE answers SET value = ? WHERE key = ?", change_(value), key)

    return damage


def with_member(name: str, found: Any) -> Callable[[str], str]:
    """The JSON of a value with another member, behind the same checksum."""

    def edit(value: str) -> str:
        at = value.index("{")
        return value[:at] + json.dumps({**json.loads(value[at:]), name: found})

    return edit


def without_member(value: str) -> str:
    at = value.index("{")
    kept = json.loads(value[at:])
    del kept["source"]
    return value[:at] + json.dumps(kept)


ROWS: dict[str, Callable[[Path], None]] = {
    "truncated": rewritten(lambda value: value[:40]),
    "empty": rewritten(lambda value: ""),
    "a flipped letter": rewritten(lambda value: value.replace("Drama", "Dramb")),
    "another label": rewritten(lambda value: value.replace("Drama", "War")),
    "not JSON": rewritten(lambda value: "rubbish"),
    "not UTF-8": lambda path: change(path, "UPDATE answers SET value = CAST(x'ff00fe7b7d' AS TEXT)"),
    "bytes": rewritten(lambda value: value.encode()),
    "a number": rewritten(lambda value: 5),
    "a JSON list": rewritten(lambda value: "[]"),
    "JSON null": rewritten(lambda value: "null"),
    "labels of another type": rewritten(with_member("labels", 7)),
    "labels as text": rewritten(with_member("labels", "Drama")),
    "scores of another type": rewritten(with_member("scores", ["Drama"])),
    "an unknown source": rewritten(with_member("source", {"model": "a", "who": "b"})),
    "no source": rewritten(without_member),
    "without a checksum, as before": rewritten(lambda value: value[value.index("{") :]),
    "the time of another type": lambda path: change(path, "UPDATE answers SET used = 'yesterday'"),
}
HELPS = {"the time of another type", "bytes"}  # the answer itself is whole


@pytest.mark.parametrize("kind", ROWS)
def test_a_damaged_row_is_a_miss_and_is_replaced(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked()
    expected = cached(asked, tmp_path / "c").classify(["a plot"], TMDB)[0]
    ROWS[kind](tmp_path / "c")
    (found,) = cached(asked, tmp_path / "c").classify(["a plot"], TMDB)
    assert (found.labels, found.problem) == (expected.labels, None)
    assert asked.times == (1 if kind in HELPS else 2)
    assert cached(asked, tmp_path / "c").classify(["a plot"], TMDB)[0].cached
    assert "could not" not in caplog.text, "one row is no fault of the file"


def test_one_damaged_row_does_not_cost_its_neighbours(tmp_path: Path) -> None:
    asked = Asked()
    mine = cached(asked, tmp_path / "c")
    mine.classify(["a", "b", "c"], TMDB)
    change(tmp_path / "c", "UPDATE answers SET value = x'ff' WHERE key = (SELECT min(key) FROM answers)")
    assert sum(one.cached for one in mine.classify(["a", "b", "c"], TMDB)) == 2


def spoil(path: Path, at: int, count: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at : at + count] = b"\xa5" * count
    path.write_bytes(raw)


def replaced(path: Path, schema: str) -> None:
    path.unlink()
    change(path, schema)


FILES: dict[str, Callable[[Path], object]] = {
    "not a database": lambda path: path.write_bytes(b"this is no database " * 500),
    "a damaged header": lambda path: spoil(path, 0, 100),
    "damaged pages": lambda path: spoil(path, 4096, 8_000),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:5_000]),
    "a table of other columns": lambda path: replaced(path, "CREATE TABLE answers (key TEXT PRIMARY KEY, answer BLOB)"),
    "a view of that name": lambda path: replaced(path, "CREATE VIEW answers AS SELECT 1 AS key"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_bypassed_and_the_error_is_logged_once(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    cached(Asked(), path).classify(["a plot"], TMDB)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for beside in (path.with_name("c-wal"), path.with_name("c-shm")):
        beside.unlink(missing_ok=True)
    FILES[kind](path)
    monkeypatch.setattr("llm.wrappers.cache._PAUSE_SECONDS", 0.0)
    asked = Asked()
    mine = cached(asked, path)
    assert [mine.classify(["a plot"], TMDB)[0].labels for _ in range(5)] == [("Drama",)] * 5
    assert caplog.text.count("could not read") <= 1
    assert caplog.text.count("could not write") <= 1


def test_an_error_that_comes_again_after_the_file_worked_is_logged_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm.wrappers.cache._PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("llm.wrappers.cache._BUSY_SECONDS", 0.01)
    store = AnswerStore(tmp_path / "c")
    for expected in (1, 2):
        store.put({"key": "value"})
        with closing(sqlite3.connect(tmp_path / "c", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            for number in range(3):
                store.put({f"{number}": "x"})
        assert caplog.text.count("could not write") == expected


@pytest.mark.parametrize("value", ["\ud800", "a \udfff b"])
def test_a_value_that_is_no_unicode_is_not_stored(tmp_path: Path, value: str) -> None:
    store = AnswerStore(tmp_path / "c")
    store.put({"key": value})
    assert store.get(["key"]) == {}


def test_answers_of_another_format_are_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    for times, version in ((1, 2), (2, 3), (2, 3), (2, 2)):
        monkeypatch.setattr("llm.wrappers.cache._FORMAT", version)
        cached(asked, tmp_path / "c").classify(["a plot"], TMDB)
        assert asked.times == times


# --- one scope per API key ---


def under(salt: str, mine: Cached) -> Prediction:
    CURRENT_REQUEST.set(RequestContext(cache_salt=salt))
    try:
        return mine.classify(["a plot"], TMDB)[0]
    finally:
        CURRENT_REQUEST.set(RequestContext())


def test_each_key_finds_its_own_answers_alone(tmp_path: Path) -> None:
    mine = cached(Asked(), tmp_path / "c")
    found = [under(salt, mine).cached for salt in ("ada", "bob", "", "ada", "bob", "")]
    assert found == [False, False, False, True, True, True]


def test_keys_share_answers_where_the_setting_says_so(tmp_path: Path) -> None:
    mine = cached(Asked(), tmp_path / "c", shared=True)
    assert [under(salt, mine).cached for salt in ("ada", "bob", "")] == [False, True, True]


# --- rendering ---


@pytest.mark.parametrize("texts", [["a plot"], ["a", "b", "c", "a"]])
def test_a_prompt_is_rendered_once_for_a_miss_and_never_for_a_hit(
    tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []
    render = Prompt.render

    def counted(self: Prompt, text: Text, *more: Any) -> Any:
        rendered.append(text.body)
        return render(self, text, *more)

    monkeypatch.setattr(Prompt, "render", counted)
    mine = cached(Asked(), tmp_path / "c")
    mine.classify(texts, TMDB)
    assert sorted(rendered) == sorted(set(texts))
    mine.classify(texts, TMDB)
    assert len(rendered) == len(set(texts))


def test_other_examples_are_other_answers() -> None:
    first, second = (FewShotExample(Text(words), ("War",)) for words in ("one", "two"))
    encoder = Words()
    shots = [
        StaticExamples((first,), "tmdb"),
        StaticExamples((second,), "tmdb"),
        StaticExamples((first, second), "tmdb"),
        StaticExamples((first,), "imdb"),
        NearestExamples(encoder, (first, second), "tmdb", 1),
        NearestExamples(encoder, (first, second), "tmdb", 2),
        lambda texts, taxonomy: [(second, first)] * len(texts),
    ]
    models = [LanguageModel(FakeBackend(), JSONList(), examples=one) for one in shots]  # type: ignore[arg-type]
    assert len({model.fingerprint(Text("a plot"), TMDB) for model in models}) == len(shots)
    assert encoder.calls == [], "no example is chosen for a fingerprint"


def test_other_instructions_of_a_decision_are_other_answers() -> None:
    prompts = [
        decision_prompt(),
        decision_prompt("Which team?"),
        decision_prompt("Which mood?"),
        registry.prompt("plot"),
    ]
    models = [LanguageModel(FakeBackend(), JSONList(), prompt) for prompt in prompts]
    assert len({model.fingerprint(Text("a plot"), TMDB) for model in models}) == len(prompts)


def test_whatever_is_sent_differently_has_a_fingerprint_of_its_own() -> None:
    """Over all prompts and what they are filled with: fingerprints are made from inputs, not from messages."""
    prompts = [None, *registry.prompts().values(), decision_prompt(), decision_prompt("Which team?")]
    texts = [Text("a plot"), Text("another plot"), Text("a plot", "Title"), Text(title="Title"), Text("a\nplot")]
    first, second = Label("One", "the first", ("1",)), Label("Two")
    vocabularies = [
        Taxonomy("own", (first, second)),
        Taxonomy("own", (second, first)),
        Taxonomy("own", (first, second), subject="film"),
        Taxonomy("own", (first, second), allow_none=True),
        Taxonomy("own", (first, second), multi=False),
        Taxonomy("own", (Label("One", "the last"), second), max_labels=1),
    ]
    shown: list[ExampleSelector] = [
        no_examples,
        *(StaticExamples((FewShotExample(Text(words), ("One",)),), "own") for words in "ab"),
    ]
    sent: dict[str, str] = {}
    for prompt, text, vocabulary, shots, strategy in product(prompts, texts, vocabularies, shown, STRATEGIES.values()):
        if strategy.name != "decisions_api":
            model = LanguageModel(FakeBackend(weights=lambda conversation: {}), strategy, prompt, examples=shots)
            messages = json.dumps([*map(list, model.conversations(text, vocabulary))])
            assert sent.setdefault(model.fingerprint(text, vocabulary), messages) == messages
    assert len(sent) > 1_000


def test_other_messages_for_the_same_inputs_need_another_version() -> None:
    """Digest of the rendered messages.

    Where this fails, messages have changed: raise ``_VERSION`` in ``llm/language_model.py`` and renew the digest here.
    Otherwise cached answers to the old messages are returned for the new ones.
    """
    shots = StaticExamples((FewShotExample(Text("shown"), ("War",)),), "tmdb")
    models = [
        LanguageModel(FakeBackend(weights=lambda conversation: {}), STRATEGIES[strategy], prompt, examples=shots)
        for strategy in ("json_list", "label_tokens", "yes_no", "label_likelihood")
        for prompt in (registry.prompt("plot.v2"), registry.prompt("text.v2"), decision_prompt("Which team?"))
    ]
    text = Text("A <b>plot</b>.", "Title")
    own = Taxonomy.of(["refund", "crash"])  # with the default words
    sent = json.dumps([[*map(list, model.conversations(text, labels))] for model in models for labels in (TMDB, own)])
    assert (_VERSION, digest_of(sent, 16)) == (9, "48873a9be3c69ce4")
