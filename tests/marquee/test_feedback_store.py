"""The file of feedback: what is stored, what is not, and what happens when writing fails or is interrupted."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from llm.classifier import AnswerSource, Prediction
from main import main
from marquee.feedback.entries import (
    FeedbackFull,
    FeedbackUnusable,
    InvalidFeedback,
    RecordedAnswer,
    UnknownAnswer,
    text_digest,
)
from marquee.feedback.store import FeedbackStore
from prompts import registry
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text

ROOT = Path(__file__).parents[2]
TMDB = registry.taxonomy("tmdb")
TOPICS = Taxonomy.of(["Sport", "Politics", "Science"], name="topics")
SECRET = "the zebra of Xanadu paints quietly"


def recorded(store: FeedbackStore, text: str, *labels: str, taxonomy: Taxonomy = TOPICS) -> RecordedAnswer:
    prediction = Prediction(labels, AnswerSource("a-model", taxonomy.versioned_name), {"Sport": 0.75, "Science": 0.25})
    return RecordedAnswer.of(Text(text), taxonomy, prediction, "", store.with_texts)


def bytes_on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return FeedbackStore(tmp_path / "feedback.sqlite", with_texts=True)


# --- what is stored ---


def test_feedback_on_an_answer_has_the_answer_and_its_text(store: FeedbackStore) -> None:
    store.record("web", "r1", [(0, "topics", recorded(store, "a goal", "Science"))])
    answer = store.answer("web", "r1", 0)
    entry = store.add_for_answer("web", "r1", answer, ["sport"])
    assert (entry.kind, entry.labels) == ("corrected", ("Sport",))
    (found,) = store.entries()
    assert found == entry
    assert found.answer is not None
    assert found.answer.scores == {"Sport": 0.75, "Science": 0.25}
    assert found.taxonomy.versioned_name == TOPICS.versioned_name
    assert found.text == Text("a goal")


def test_the_same_labels_confirm_in_any_order(store: FeedbackStore) -> None:
    several = Taxonomy.of(["Sport", "Science"], name="several", multi=True)
    store.record("", "r", [(3, "several", recorded(store, "x", "Science", "Sport", taxonomy=several))])
    entry = store.add_for_answer("", "r", store.answer("", "r", 3), ["Sport", "Science"])
    assert entry.kind == "confirmed"


def test_a_text_finds_its_recorded_answer_or_is_labelled(store: FeedbackStore) -> None:
    store.record("web", "r1", [(0, "topics", recorded(store, "a goal", "Science"))])
    assert store.add_for_text("web", Text(" a goal\n"), TOPICS, ["Sport"]).kind == "corrected"
    assert store.add_for_text("app", Text("a goal"), TOPICS, ["Sport"]).kind == "labelled"


def test_the_last_feedback_of_a_key_on_a_text_wins(store: FeedbackStore) -> None:
    store.add_for_text("web", Text("a goal"), TOPICS, ["Science"])
    store.add_for_text("app", Text("a goal"), TOPICS, ["Politics"])
    store.add_for_text("web", Text("a goal"), TOPICS, ["Sport"])
    assert [(entry.key, entry.labels) for entry in store.entries()] == [("app", ("Politics",)), ("web", ("Sport",))]


def test_unicode_and_hierarchies_come_back_as_they_were(store: FeedbackStore) -> None:
    tree = Hierarchy("shop", (Label("Café ☕"), Label("Café ☕ > Größe 大"), Label("Café ☕ > 小")), multi=False)
    text = Text("naïve 🙂 \u2028 \x00 text", "Título")
    entry = store.add_for_text("ключ", text, tree, ["Café ☕ > Größe 大"])
    (found,) = store.entries()
    assert found.row() == entry.row()
    assert found.text == text
    assert found.taxonomy.names == tree.names


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["Sprot"], "there is no label 'Sprot' in topics; did you mean 'Sport'?"),
        (["Weather"], "there is no label 'Weather' in topics; labels: Sport, Politics, Science"),
        ([], "labels is empty, and topics has no answer without labels"),
        (["Sport", "Science"], "2 labels; a text has 1 at most under topics"),
    ],
)
def test_labels_that_do_not_fit_are_refused(store: FeedbackStore, labels: list[str], said: str) -> None:
    with pytest.raises(InvalidFeedback) as refused:
        store.add_for_text("", Text("x"), TOPICS, labels)
    assert said in str(refused.value)
    assert list(store.entries()) == []


def test_an_answer_belongs_to_its_key_and_expires(store: FeedbackStore, tmp_path: Path) -> None:
    store.record("web", "r1", [(0, "topics", recorded(store, "x", "Sport"))])
    for key, request, item in [("app", "r1", 0), ("web", "r2", 0), ("web", "r1", 1)]:
        with pytest.raises(UnknownAnswer, match="no answer is recorded for request_id"):
            store.answer(key, request, item)
    brief = FeedbackStore(store.path, with_texts=True, seconds=0.0)
    with pytest.raises(UnknownAnswer):
        brief.answer("web", "r1", 0)
    brief.record("web", "r2", [(0, "topics", recorded(store, SECRET, "Sport"))])
    FeedbackStore(store.path, seconds=0.0).record("web", "r3", [])  # another process: removes what has expired
    assert SECRET.encode() not in bytes_on_disk(store.path)


def test_several_taxonomies_of_a_request_need_a_name(store: FeedbackStore) -> None:
    store.record("", "r", [(0, "topics", recorded(store, "x", "Sport")), (0, "more", recorded(store, "x", "Science"))])
    with pytest.raises(InvalidFeedback, match="under more, topics; name one"):
        store.answer("", "r", 0)
    assert store.answer("", "r", 0, "more").labels == ("Science",)


# --- privacy ---


def test_without_texts_no_text_reaches_the_disk(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "feedback.sqlite")
    store.record("web", "r1", [(0, "topics", recorded(store, SECRET, "Sport"))])
    store.add_for_answer("web", "r1", store.answer("web", "r1", 0), ["Science"])
    store.add_for_text("web", Text(SECRET, SECRET), TOPICS, ["Science"])
    assert [entry.text for entry in store.entries()] == [None, None]
    content = bytes_on_disk(store.path)
    assert b"Science" in content  # the search below would find what is there
    assert b"zebra" not in content
    assert text_digest(Text(SECRET)).encode() in content


@pytest.mark.parametrize("condition", ["id", "digest", "key", "all"])
def test_deleted_text_is_gone_from_the_files(store: FeedbackStore, condition: str) -> None:
    store.record("web", "r1", [(0, "topics", recorded(store, SECRET * 3_000, "Sport"))])
    entry = store.add_for_answer("web", "r1", store.answer("web", "r1", 0), ["Science"])
    kept = store.add_for_text("app", Text("another text"), TOPICS, ["Sport"])
    assert b"zebra" in bytes_on_disk(store.path)
    conditions = {"id": {"id": entry.id}, "digest": {"digest": entry.digest}, "key": {"key": "web"}, "all": {}}
    assert store.delete(**conditions[condition]) == (2 if condition == "all" else 1)
    if condition == "id":  # the recorded answer is another copy
        store.delete(digest=entry.digest)
    assert b"zebra" not in bytes_on_disk(store.path)
    assert [one.id for one in store.entries()] == ([] if condition == "all" else [kept.id])


def test_a_reader_in_the_way_of_a_deletion_is_reported(store: FeedbackStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marquee.feedback.store._BUSY_SECONDS", 0.05)
    entry = store.add_for_text("web", Text(SECRET), TOPICS, ["Sport"])
    with closing(sqlite3.connect(store.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM feedback").fetchone()
        with pytest.raises(FeedbackUnusable, match=r"1 entries are deleted, but .*-wal may still contain"):
            FeedbackStore(store.path).delete(id=entry.id)
    FeedbackStore(store.path).delete(id=entry.id)
    assert b"zebra" not in bytes_on_disk(store.path)


def test_the_file_is_readable_by_its_owner_alone(store: FeedbackStore) -> None:
    store.add_for_text("", Text("x"), TOPICS, ["Sport"])
    modes = {stat.S_IMODE(file.stat().st_mode) for file in store.path.parent.glob(f"{store.path.name}*")}
    assert modes == {0o600}


# --- limits and failures ---


def fill(store: FeedbackStore) -> None:
    for number in range(100):
        store.add_for_text("", Text(f"{number}" * 10_000), TOPICS, ["Sport"])


def test_a_full_file_drops_answers_first_and_then_refuses_feedback(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "feedback.sqlite", with_texts=True, max_bytes=400_000)
    for number in range(60):
        store.record("", f"r{number}", [(0, "topics", recorded(store, f"{number}" * 5_000, "Sport"))])
    assert store.answer("", "r59", 0).labels == ("Sport",)  # the newest is recorded,
    with pytest.raises(UnknownAnswer):  # and the oldest has made way
        store.answer("", "r0", 0)
    with pytest.raises(FeedbackFull, match="raise MARQUEE_FEEDBACK_MEGABYTES"):
        fill(store)
    assert len(list(store.entries())) > 10
    assert store.path.stat().st_size <= 400_000
    store.delete(id=next(store.entries()).id)  # makes space again
    store.add_for_text("", Text("one more"), TOPICS, ["Sport"])


def test_the_number_of_recorded_answers_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "feedback.sqlite"
    for number in range(10):  # each as another process, which removes the excess at its first answer
        store = FeedbackStore(path, max_answers=3)
        store.record("", f"r{number}", [(0, "topics", recorded(store, "x", "Sport"))])
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone()[0] == 4


def test_a_file_that_cannot_be_used_stops_feedback_but_no_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "feedback.sqlite"
    path.write_bytes(b"this is no database, and longer than its header would be " * 10)
    store = FeedbackStore(path)
    for _ in range(3):
        store.record("", "r", [(0, "topics", recorded(store, "x", "Sport"))])
    assert caplog.text.count("answers are not recorded in") == 1
    with pytest.raises(FeedbackUnusable, match="file is not a database; try again, or check the file"):
        store.add_for_text("", Text("x"), TOPICS, ["Sport"])
    with pytest.raises(FeedbackUnusable, match=r"Not a directory|File exists"):
        FeedbackStore(path / "below").add_for_text("", Text("x"), TOPICS, ["Sport"])


WRITER = """
import sys
from pathlib import Path
from marquee.feedback.store import FeedbackStore
from prompts.taxonomy import Taxonomy
from prompts.text import Text
store, name = FeedbackStore(Path(sys.argv[1]), with_texts=True), sys.argv[2]
topics = Taxonomy.of(["Sport", "Politics", "Science"], name="topics")
for number in range(int(sys.argv[3])):
    store.add_for_text(name, Text(f"{name} {number}"), topics, ["Sport"])
    print(number, flush=True)
"""


def writing(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "feedback.sqlite"
    writers = [writing(path, name, 40) for name in ("a", "b")]
    for one in writers:
        one.communicate(timeout=60)
    assert [one.returncode for one in writers] == [0, 0]
    found = {entry.text.body for entry in FeedbackStore(path).entries() if entry.text}
    assert found == {f"{name} {number}" for name in "ab" for number in range(40)}


def test_what_was_confirmed_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "feedback.sqlite"
    writer = writing(path, "a", 100_000)
    assert writer.stdout
    with writer.stdout as printed:
        confirmed = [int(printed.readline()) for _ in range(25)][-1]
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait(30)
        confirmed = max([confirmed, *map(int, printed.read().split("\n")[:-1])])
    store = FeedbackStore(path, with_texts=True)
    found = [entry.text.body for entry in store.entries() if entry.text]
    assert found[: confirmed + 1] == [f"a {number}" for number in range(confirmed + 1)]
    assert len(found) <= confirmed + 2
    store.add_for_text("b", Text("after"), TOPICS, ["Sport"])


# --- the command ---


@pytest.fixture
def filled(away: Path, monkeypatch: pytest.MonkeyPatch) -> FeedbackStore:
    monkeypatch.setenv("MARQUEE_FEEDBACK_PATH", "f.sqlite")
    store = FeedbackStore(away / "f.sqlite", with_texts=True)
    store.record("web", "r1", [(0, "topics", recorded(store, "a goal", "Science"))])
    store.add_for_answer("web", "r1", store.answer("web", "r1", 0), ["Sport"])
    store.add_for_text("app", Text('stars, "quoted"\nand planets', "Sky"), TOPICS, ["Science"])
    return store


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["feedback", *arguments])
    return result.exit_code, result.output


@pytest.mark.usefixtures("filled")
def test_feedback_is_counted_and_exported(away: Path) -> None:
    code, printed = run()
    assert code == 0
    assert printed.splitlines()[1].split() == [TOPICS.versioned_name, "corrected", "text", "1"]
    assert run("export", "out.jsonl") == (0, "2 entries in out.jsonl\n")
    first, second = map(json.loads, Path("out.jsonl").read_text(encoding="utf-8").splitlines())
    assert (first["labels"], first["answered"], first["model"], first["request_id"]) == (
        ["Sport"], ["Science"], "a-model", "r1",
    )  # fmt: skip
    assert (second["title"], second["text"], second["answered"]) == ("Sky", 'stars, "quoted"\nand planets', None)
    for name in ("out.csv", "out.parquet"):
        assert run("export", name, "--taxonomy", "topics")[0] == 0
        assert Path(name).stat().st_size > 100
    assert run("export", "none.csv", "--taxonomy", "tmdb") == (0, "0 entries in none.csv\n")


def test_feedback_is_deleted_by_each_condition(filled: FeedbackStore) -> None:
    assert run("delete", "--text", "a goal", "--key", "app") == (0, "0 entries deleted\n")
    assert run("delete", "--text", "a goal") == (0, "1 entries deleted\n")
    assert b"a goal" not in bytes_on_disk(filled.path)
    (left,) = filled.entries()
    assert run("delete", "--digest", left.digest, "--json") == (0, '{"deleted": 1}\n')
    assert run() == (0, "there is no feedback\n")


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give --id, --digest, --text or --key; or --all alone"),
        (["--all", "--key", "web"], "or --all alone"),
        (["--title", "x"], "give --text beside it"),
        (["--text", "x", "--digest", "y"], "give --text or --digest, not both"),
    ],
)
def test_a_deletion_without_a_clear_condition_is_refused(arguments: list[str], said: str) -> None:
    code, printed = run("delete", *arguments)
    assert (code, run()[1].count("\n")) == (2, 3)
    assert said in printed


@pytest.mark.usefixtures("away")
def test_a_missing_file_is_reported_and_not_made() -> None:
    code, printed = run("export", "x.csv")
    assert code == 1
    assert "there is no feedback at var/feedback.sqlite" in printed
    assert not Path("var").exists()
