"""A run: asked once about each text, one row a text, resumed as itself and never as another."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from eval.datasets import Example
from eval.manifest import EvaluationData, read_manifest
from eval.run import EvaluationRun, OpenedSystem, RunOptions, System
from eval.run_metrics import rescore
from llm.backends.backend import FakeBackend
from llm.classifier import Classifier, Problem
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from prompts import registry
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Taxonomy
from prompts.text import Text

TMDB = registry.taxonomy("tmdb")
GENRES = ("War", "Drama", "Horror", "Comedy", "Crime", "Music", "Family")


class Asked:
    """A scripted model that answers with the text itself, and counts what it was asked."""

    def __init__(self, *failing: str, kind: Any = "busy") -> None:
        self.texts: list[str] = []
        self.failing, self.kind = set(failing), kind

    @property
    def classifier(self) -> Classifier:
        return LanguageModel(FakeBackend(self._reply), JSONList())

    def _reply(self, messages: Any) -> str | Problem:
        (text,) = [one for one in GENRES if f" {one} plot" in messages[-1]["content"]]
        self.texts.append(text)
        return Problem(self.kind, "not now") if text in self.failing else json.dumps([text, "Noir"])


class Fails(Exception):
    """The process ends here."""


class Ends:
    """Ends the process, as it were, before the batch of a text."""

    name = "ends"

    def __init__(self, inner: Classifier, at: str) -> None:
        self.inner, self.at = inner, at

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> Any:
        if any(self.at in Text.of(text).body for text in texts):
            raise Fails
        return self.inner.classify(texts, taxonomy)


def examples(number: int = 7) -> list[Example]:
    return [Example(name, Text(f"a {name} plot"), (name,), "" if name == "War" else "same") for name in GENRES[:number]]


def run(
    folder: Path,
    classifier: Classifier,
    number: int = 7,
    taxonomy: Taxonomy = TMDB,
    rule: str = "json_list",
    **setup: Any,
) -> EvaluationRun:
    data = folder.parent / "data.jsonl"
    data.write_text("x")
    material = EvaluationData(data, "test", number, taxonomy, examples(number))
    return EvaluationRun(
        System("llm", setup, lambda: OpenedSystem(classifier, rule)),
        material,
        folder,
        RunOptions(2, 3),
        "main.py evaluate",
    )


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def untimed(folder: Path) -> list[dict[str, Any]]:
    return [row | {"seconds": 0} for row in rows(folder)]


def test_a_run_writes_a_row_a_text_its_manifest_and_its_metrics(tmp_path: Path) -> None:
    told: list[int] = []
    figures = run(tmp_path / "run", Asked("Drama", kind="unreadable").classifier).execute(told.append)
    written = rows(tmp_path / "run")
    assert [(row["id"], row["truth"], row["labels"]) for row in written] == [
        (name, [name], [] if name == "Drama" else [name]) for name in GENRES
    ]
    assert written[0]["dropped"] == ["Noir"]
    assert written[0]["source"]["strategy"] == "json_list"
    assert [row["group"] for row in written] == ["War", *["same"] * 6]
    assert written[1]["problem"]["kind"] == "unreadable"
    assert [row["alone"] for row in written] == [True, True, *[False] * 5]
    assert told == [1, 1, 3, 2]
    assert "plot" not in (tmp_path / "run" / "rows.jsonl").read_text().replace("plot.v2", ""), "no text is kept"
    assert figures["micro-F1"] == pytest.approx(2 * 6 / (6 + 7))
    assert (figures["texts"], figures["problems"], figures["invalid"], figures["dropped"]) == (7, 1, 1 / 7, 6)
    manifest = read_manifest(tmp_path / "run")
    assert (manifest["system"], manifest["split"], manifest["decode_rule"]) == ("llm", "test", "json_list")
    assert manifest["taxonomy"]["labels"] == list(TMDB.names)
    assert manifest["started"] <= manifest["ended"]
    assert manifest["peak_mb"] > 1


def test_a_run_that_ended_half_way_goes_on_without_asking_twice(tmp_path: Path) -> None:
    first, second, whole = Asked(), Asked(), Asked()
    with pytest.raises(Fails):
        run(tmp_path / "run", Ends(first.classifier, "Music")).execute()
    run(tmp_path / "run", second.classifier).execute()
    run(tmp_path / "whole", whole.classifier).execute()
    assert first.texts + second.texts == list(GENRES)
    assert untimed(tmp_path / "run") == untimed(tmp_path / "whole")
    assert len(read_manifest(tmp_path / "run")["resumed"]) == 1
    third = Asked()
    run(tmp_path / "run", third.classifier).execute()
    assert third.texts == []


def test_a_torn_last_line_is_cut_off_told_and_asked_again(tmp_path: Path) -> None:
    run(tmp_path / "run", Asked().classifier).execute()
    whole = untimed(tmp_path / "run")
    path = tmp_path / "run" / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InvalidDataset, match="cut off"):
        rescore(tmp_path / "run")
    again, notes = Asked(), list[str]()
    resumed = run(tmp_path / "run", again.classifier)
    EvaluationRun(resumed.system, resumed.data, resumed.folder, resumed.options, on_note=notes.append).execute()
    assert again.texts == ["Family"]
    assert any("cut off" in note for note in notes)
    assert untimed(tmp_path / "run") == whole


def test_failures_that_pass_are_asked_again_and_the_others_are_not(tmp_path: Path) -> None:
    run(tmp_path / "run", Asked("Drama", "Crime", kind="unreachable").classifier).execute()
    again, well = Asked(), Asked()
    run(tmp_path / "run", again.classifier).execute()
    run(tmp_path / "well", well.classifier).execute()
    assert again.texts == ["Drama", "Crime"]
    assert untimed(tmp_path / "run") == untimed(tmp_path / "well"), "each row where it belongs"
    run(tmp_path / "lasting", Asked("Drama", kind="too_long").classifier).execute()
    last = Asked()
    run(tmp_path / "lasting", last.classifier).execute()
    assert last.texts == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"taxonomy": registry.taxonomy("imdb")}, "taxonomy.name"),
        ({"model": "another"}, r"setup.model null, now \"another\""),
        ({"rule": "threshold .3", "pending": True}, "decode rule"),
        ({"number": 5}, "smaller --limit"),
    ],
)
def test_a_folder_of_another_run_is_refused_and_left_as_it_was(
    tmp_path: Path, other: dict[str, Any], said: str
) -> None:
    kind = "busy" if other.pop("pending", False) else "unreadable"  # the rule is looked at where there is more to ask
    run(tmp_path / "run", Asked("Drama", kind=kind).classifier).execute()
    before = (tmp_path / "run" / "rows.jsonl").read_bytes()
    asked = Asked()
    with pytest.raises(InvalidSetting, match=said):
        run(tmp_path / "run", asked.classifier, **other).execute()
    assert asked.texts == []
    assert (tmp_path / "run" / "rows.jsonl").read_bytes() == before


def test_other_data_under_the_same_name_is_another_run_too(tmp_path: Path) -> None:
    run(tmp_path / "run", Asked().classifier).execute()
    changed = run(tmp_path / "run", Asked().classifier)
    (tmp_path / "data.jsonl").write_text("y")
    with pytest.raises(InvalidSetting, match=r"data\.digest"):
        changed.execute()
    changed.reset()
    changed.execute()


def test_a_larger_limit_goes_on_where_the_smaller_one_stopped(tmp_path: Path) -> None:
    run(tmp_path / "run", Asked().classifier, number=4).execute()
    more = Asked()
    figures = run(tmp_path / "run", more.classifier).execute()
    assert more.texts == list(GENRES[4:])
    assert (figures["texts"], read_manifest(tmp_path / "run")["limit"]) == (7, 7)


def test_two_processes_do_not_write_to_one_folder(tmp_path: Path) -> None:
    class Meanwhile(Asked):
        def _reply(self, messages: Any) -> str | Problem:
            with pytest.raises(InvalidSetting, match="another evaluation is writing"):
                run(tmp_path / "run", Asked().classifier).execute()
            return super()._reply(messages)

    run(tmp_path / "run", Meanwhile().classifier, number=1).execute()


def test_an_id_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="2 examples have the id 'War'"):
        EvaluationData(tmp_path / "d.jsonl", None, None, TMDB, [*examples(), examples()[0]])


def test_rescoring_gives_the_same_bytes_and_follows_the_rows(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(tmp_path / name, Asked("Drama", kind="unreadable").classifier).execute()
    before = (tmp_path / "a" / "metrics.json").read_bytes()
    (tmp_path / "a" / "metrics.json").unlink()
    assert rescore(tmp_path / "a").keys() == {"llm"}
    assert (tmp_path / "a" / "metrics.json").read_bytes() == before
    changed = [row | {"labels": ["War"]} for row in rows(tmp_path / "b")]
    (tmp_path / "b" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    rescore(tmp_path)
    assert json.loads((tmp_path / "b" / "metrics.json").read_text())["micro-F1"] == pytest.approx(1 / 7)
    with pytest.raises(InvalidDataset, match="has no run"):
        rescore(tmp_path / "none")
