"""Few-shot examples of the settings: tables that are read, what is left out, and the systems that show them."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llm.few_shot import NearestExamples
from main import main
from marquee.answer_options import resolved_examples
from marquee.few_shot import example_selector, load_examples
from marquee.settings import read_settings
from prompts import registry
from prompts.errors import InvalidExamples, MarqueeError
from prompts.hierarchy import Hierarchy, cut
from prompts.template import FewShotExample
from prompts.text import Text
from similarity.encoders.minilm import MiniLM
from tests.support.misbehaving import endpoint, says
from tests.test_main import weighing_endpoint

TMDB = registry.taxonomy("tmdb")
ROWS = [
    {"text": "Cowboys ride into town.", "labels": ["Western", "sci-fi"], "split": "train", "explanation": "A town."},
    {"text": "A ghost haunts the attic.", "labels": ["Horror"], "split": "train"},
    {"text": "Soldiers wait in the trench.", "labels": ["War"], "split": "train"},
    {"text": "A detective follows a murderer.", "labels": ["Crime"], "split": "test"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def bodies(examples: tuple[FewShotExample, ...]) -> list[str]:
    return [example.text.body for example in examples]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("e.jsonl", '{"text": "A duel.", "labels": ["Western", "sci-fi"]}\n'),
        ("e.jsonl", '{"description": "A duel.", "genres": ["Western", "sci-fi"]}\n'),
        ("e.csv", "text,labels\nA duel.,Western|sci-fi\n"),
        ("e.tsv", "description\tgenres\nA duel.\tWestern;sci-fi\n"),
        ("e.json", '[{"text": "A duel.", "labels": "Western, sci-fi"}]'),
    ],
)
def test_any_labelled_table_has_examples_with_labels_in_its_order(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert load_examples(tmp_path / name, TMDB) == (FewShotExample(Text("A duel."), ("Western", "Science Fiction")),)


def test_of_a_table_with_splits_the_training_texts_are_examples(tmp_path: Path) -> None:
    path = write(tmp_path / "e.jsonl", ROWS)
    examples = load_examples(path, TMDB)
    assert bodies(examples) == [row["text"] for row in ROWS[:3]]
    assert [example.explanation for example in examples] == ["A town.", "", ""]
    assert bodies(load_examples(path, TMDB, [Text("a GHOST haunts  the attic.")])) == [ROWS[0]["text"], ROWS[2]["text"]]


def test_a_text_without_labels_is_an_example_where_none_is_an_answer(tmp_path: Path) -> None:
    path = write(
        tmp_path / "e.jsonl", [{"text": "A recipe.", "labels": []}, {"text": "A duel.", "labels": ["Western"]}]
    )
    assert bodies(load_examples(path, TMDB)) == ["A duel."]
    assert bodies(load_examples(path, TMDB.shaped(allow_none=True))) == ["A recipe.", "A duel."]


def test_examples_of_a_hierarchy_keep_their_leaves_whatever_the_level_of_the_answers(tmp_path: Path) -> None:
    """Prompts list the leaves: an example with the label of the level would have none of them."""
    shop = cut(Hierarchy.of({"Electronics": ["Cameras", "Phones"], "Books": ["Novels"]}, multi=False), level=1)
    path = write(tmp_path / "e.jsonl", [{"text": "A tripod.", "labels": ["Cameras"]}])
    assert [one.labels for one in load_examples(path, shop)] == [("Electronics > Cameras",)]
    found = resolved_examples([FewShotExample(Text("A tripod."), ("cameras",))], shop)
    assert found is not None
    assert found.examples[0].labels == ("Electronics > Cameras",)
    with pytest.raises(
        InvalidExamples, match=r"there is no label 'Electronics'; did you mean|labels: Electronics > Cam"
    ):
        resolved_examples([FewShotExample(Text("A tripod."), ("Electronics",))], shop)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "x", "labels": ["Cooking"]}], r"e\.jsonl, line 1: label 'Cooking' is not in taxonomy 'tmdb'"),
        ([{"text": "x", "labels": ["War"], "split": "test"}], "no labelled example of split 'train'; its splits: test"),
        ([{"text": "x"}], "no column 'genres'"),
        ([{"text": "", "labels": ["War"]}], "has no labelled example left"),
        ([{"text": f"x{n}", "labels": ["War"]} for n in range(101)], "MARQUEE_EXAMPLES_NEAREST=8"),
        (None, "cannot read .*e.jsonl"),
    ],
)
def test_what_cannot_be_examples_is_an_error_in_one_line(
    tmp_path: Path, rows: list[dict[str, Any]] | None, message: str
) -> None:
    path = write(tmp_path / "e.jsonl", rows) if rows is not None else tmp_path / "e.jsonl"
    with pytest.raises(MarqueeError, match=message) as caught:
        example_selector(read_settings(examples_path=path), MiniLM(), TMDB)
    assert "\n" not in str(caught.value)


def test_the_nearest_examples_keep_their_vectors_beside_the_answer_cache(tmp_path: Path) -> None:
    path = write(tmp_path / "e.jsonl", ROWS)
    settings = read_settings(examples_path=path, examples_nearest=2, cache_path=tmp_path / "cache" / "answers.sqlite")
    chosen = example_selector(settings, MiniLM(), TMDB)
    assert isinstance(chosen, NearestExamples)
    (examples,) = chosen([Text("A phantom in an old house.")], TMDB)
    assert examples[-1].labels == ("Horror",)
    assert len(list((tmp_path / "cache").glob("examples-*.npy"))) == 1


@pytest.mark.parametrize("command", ["classify", "evaluate", "bulk", "calibrate"])
def test_every_command_shows_the_nearest_examples_and_an_evaluation_none_of_its_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "e.jsonl", ROWS)
    under_evaluation = {"description": "A phantom haunts a house.", "genres": ["Horror"], "split": "test"}
    seen = {"description": "A GHOST haunts the attic. ", "genres": ["Horror"], "split": "test"}
    write(tmp_path / "t.jsonl", [under_evaluation, seen])
    monkeypatch.setenv("MARQUEE_EXAMPLES_PATH", "e.jsonl")
    monkeypatch.setenv("MARQUEE_EXAMPLES_NEAREST", "2")
    arguments: dict[str, list[str]] = {
        "classify": ["classify", "A phantom haunts a house."],
        "evaluate": ["evaluate", "--data", "t.jsonl", "--systems", "llm:json_list", "--split", "test", "--out", "run"],
        "bulk": ["bulk", "t.jsonl", "--out", "o.csv", "--system", "llm:json_list"],
        "calibrate": ["calibrate", "--data", "t.jsonl", "--strategy", "label_tokens", "--split", "test"],
    }
    with endpoint(weighing_endpoint() if command == "calibrate" else says('["War"]')) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        CliRunner().invoke(main, arguments[command], catch_exceptions=False)
    batches = [one["messages"] for one in server.requests if one and one.get("messages")]
    requests = [messages for batch in batches for messages in (batch if isinstance(batch[0], list) else [batch])]
    sent = [messages for messages in requests if "phantom" in messages[-1]["content"]]
    shown = [message["content"] for message in sent[-1] if message["role"] == "user"][:-1]
    assert any("ghost" in text for text in shown) == (command != "evaluate")
    assert any("Soldiers" in text or "Cowboys" in text for text in shown)
    assert not any("detective" in text for text in shown)
