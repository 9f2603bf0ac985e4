"""`main.py corpus`: from made-up files of films to a corpus, step by step and again."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import conllu
import pytest
from click.testing import CliRunner, Result

from eval.datasets.registry import records
from main import main
from prompts.files import locked
from tabular import strict_rows
from tests.corpus.films import BROKEN, COMEDY, LIGHTHOUSE, SALT, folder, write
from tests.lookup.film_server import LANTERN, TMDB_KEY, FilmServer, film_server
from tests.support.misbehaving import body

CONFIG = {
    "source": "{path: raw}",
    "out": "made",
    "clean": "{taxonomy: imdb, repeats: 2}",
    "enrich": "{lookup: false}",
    "annotate": "{lemmatiser: simplemma}",
}
STEPS = ("merge", "clean", "enrich", "explore", "annotate")
FILES = (
    "merged.jsonl",
    "cleaned.jsonl",
    "enriched.jsonl",
    "explore.html",
    "explore.json",
    "corpus.conllu",
    "clean.csv",
)


@pytest.fixture
def raw(away: Path) -> Path:
    configure()
    return folder(away / "raw")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FilmServer]:
    with film_server() as running:
        monkeypatch.setenv("MARQUEE_TMDB_URL", running.tmdb)
        monkeypatch.setenv("MARQUEE_TMDB_KEY", TMDB_KEY)
        monkeypatch.setenv("MARQUEE_LOOKUP_PROVIDERS", "tmdb")
        yield running


def configure(**changed: str) -> None:
    Path("corpus.yaml").write_text("".join(f"{key}: {value}\n" for key, value in {**CONFIG, **changed}.items()))


def call(*options: str) -> Result:
    return CliRunner().invoke(main, ["corpus", "corpus.yaml", *options])


def ran(result: Result) -> list[str]:
    """Names of the steps that were run."""
    assert result.exit_code == 0, result.output
    return [line.partition(":")[0] for line in result.stderr.splitlines() if line.endswith("...")]


def films(name: str) -> dict[str, dict[str, Any]]:
    return {row.cells["id"]: dict(row.cells) for row in strict_rows(Path("made") / name)}


def status() -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in call("--status").stdout.splitlines())


def manifest() -> dict[str, Any]:
    return dict(json.loads(Path("made/manifest.json").read_text())["steps"])


# --- what is made ---


def test_every_film_is_there_once_with_all_its_genres(raw: Path) -> None:
    call()
    merged = films("merged.jsonl")
    assert list(merged) == [*(f"tt{n}" for n in (2, 10, 11, 12)), *(f"tt{n}" for n in (1, 3, 4, 5, 6, 7, 8, 9))]
    assert merged["tt2"]["genres"] == ["Comedy", "Western", "Drama"]
    assert merged["tt12"]["year"] is None


def test_texts_are_in_one_form_and_what_tells_nothing_is_missing(raw: Path) -> None:
    call()
    clean = films("cleaned.jsonl")
    assert (clean["tt2"]["title"], clean["tt2"]["description"]) == ("Salt & Mule", SALT)
    assert clean["tt10"]["description"] == "Twins swap villages, cafés and in the end their names."
    assert (clean["tt4"]["description"], clean["tt4"]["truncated"]) == (f"{BROKEN}…", True)
    assert [name for name, row in clean.items() if not row["description"]] == ["tt3", "tt5", "tt6", "tt7", "tt8"]
    assert {"tt9", "tt11", "tt12"} & clean.keys() == set()


def test_all_that_was_taken_away_is_counted(raw: Path) -> None:
    result = call()
    counts = manifest()["clean"]["counts"]
    assert counts["texts of more than 2 films removed"] == 3
    assert counts["texts under 20 characters removed"] == 1
    assert counts["films without a title dropped"] == 1
    assert counts["films without a genre dropped"] == 1
    assert counts["copies of another film merged into it"] == 1
    assert counts["the genre 'Telenovela' dropped: not in imdb"] == 2
    assert "'Add a Plot' removed" in manifest()["merge"]["counts"]
    assert "the genre 'Telenovela' dropped" in result.stdout


def test_genres_are_never_lost_for_being_kept_out_of_prediction(raw: Path) -> None:
    write(raw / "news.csv", (("tt20", "The Nine O'Clock", "1990", "News", "", "A newsreader reads her own name."),))
    call()
    assert films("cleaned.jsonl")["tt20"]["genres"] == ["News"]


def test_the_table_is_a_data_set_that_other_commands_read(raw: Path) -> None:
    call()
    found = {row.id: row for row in records(Path("made/clean.csv"), fields()).rows}
    assert found["tt2"].labels == "Comedy|Drama|Western" or set(found["tt2"].labels) == {"Comedy", "Drama", "Western"}
    assert (found["tt4"].truncated, found["tt1"].title, found["tt1"].year) == (True, "The Lighthouse Dog", "1984")
    data = CliRunner().invoke(main, ["data", "made/clean.csv", "--taxonomy", "imdb"])
    assert data.exit_code == 0
    assert "left out: 5 rows without a text" in data.stderr


def fields() -> Any:
    from eval.datasets import Fields

    return Fields()


def test_conllu_reads_back_and_round_trips(raw: Path) -> None:
    call()
    written = Path("made/corpus.conllu").read_text(encoding="utf-8")
    sentences = conllu.parse(written)
    assert "".join(sentence.serialize() for sentence in sentences) == written
    first = next(one for one in sentences if one.metadata.get("newdoc id") == "tt1")
    assert {key: first.metadata[key] for key in ("title", "year", "genres", "sent_id")} == {
        "title": "The Lighthouse Dog",
        "year": "1984",
        "genres": "Drama|Mystery",
        "sent_id": "tt1-1",
    }
    assert first.metadata["text"] == "Mrs. Quill's dog doesn't bark at ghosts."
    assert [token["lemma"] for token in first][-4:] == ["bark", "at", "ghost", "."]


def test_tokens_and_spaces_give_every_text_again(raw: Path) -> None:
    call()
    texts: dict[str, str] = {}
    for sentence in conllu.parse(Path("made/corpus.conllu").read_text(encoding="utf-8")):
        film = sentence.metadata["sent_id"].rpartition("-")[0]
        whole = "".join(word["form"] + ("" if word["misc"] else " ") for word in sentence)
        assert whole.rstrip() == sentence.metadata["text"]
        texts[film] = texts.get(film, "") + whole
    clean = films("enriched.jsonl")
    assert {film: text.rstrip() for film, text in texts.items()} == {
        film: row["description"] for film, row in clean.items() if row["description"]
    }
    assert texts["tt1"].rstrip() == LIGHTHOUSE


def test_lemmas_stand_in_the_table(raw: Path) -> None:
    call()
    assert films("clean.csv")["tt1"]["lemmas"].split()[5:8] == ["at", "ghost", "its"]
    assert films("clean.csv")["tt3"]["lemmas"] == ""


def test_the_plots_show_before_and_after(raw: Path, server: FilmServer) -> None:
    configure(enrich="{patience: 60}")
    call()
    figures = json.loads(Path("made/explore.json").read_text())
    assert (figures["before"]["films"], figures["after"]["films"]) == (12, 9)
    assert (figures["before"]["missing"], figures["after"]["missing"]) == (2, 4)
    assert figures["after"]["sources"] == {"given": 4, "": 4, "tmdb: overview": 1}
    assert figures["after"]["words"]["edges"] == figures["before"]["words"]["edges"]
    page = Path("made/explore.html").read_text()
    assert page.count("<svg") == 5
    assert "Drama, before: 9" in page
    assert "http" not in page


def test_missing_texts_are_looked_up(raw: Path, server: FilmServer) -> None:
    configure(enrich="{patience: 60}")
    call()
    row = films("clean.csv")["tt3"]
    assert (row["description"], row["text_from"]) == (LANTERN, "tmdb: overview")
    assert (row["known_genres"], row["text_url"]) == ("Drama|Mystery", "https://www.themoviedb.org/movie/11")
    assert "exactly 'Short'" in films("clean.csv")["tt8"]["lookup_note"]
    assert {query.get("query") for _, query, _ in server.requests} & {"Clockwork", "Salt & Mule"} == set()


def test_texts_that_break_off_are_looked_up_where_asked_and_else_kept(raw: Path, server: FilmServer) -> None:
    configure(enrich="{patience: 60, truncated: true}")
    call()
    assert "Clockwork" in {query.get("query") for _, query, _ in server.requests}
    row = films("clean.csv")["tt4"]
    assert (row["description"], row["text_from"], row["truncated"]) == (f"{BROKEN}…", "given", "true")


def test_without_providers_the_rest_is_made_and_that_is_told(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_LOOKUP_PROVIDERS", "none")
    configure(enrich="{lookup: true}")
    assert "not looked up: no provider is configured" in call().stdout
    assert films("clean.csv")["tt3"]["lookup_note"] == "not looked up: no provider is configured"


# --- what is stale ---


def test_what_is_fresh_is_not_made_again(raw: Path) -> None:
    assert ran(call()) == list(STEPS)
    before = {name: (Path("made") / name).stat().st_mtime_ns for name in FILES}
    assert ran(call()) == []
    assert {name: (Path("made") / name).stat().st_mtime_ns for name in FILES} == before
    assert set(status().values()) == {"fresh"}


def test_a_changed_source_makes_its_followers_stale(raw: Path) -> None:
    call()
    write(raw / "comedy.csv", COMEDY[:1])
    assert status()["merge"] == "stale: the source changed"
    assert ran(call()) == list(STEPS)


def test_a_change_that_changes_nothing_stops_there(raw: Path) -> None:
    call()
    (raw / "notes.txt").write_text("not a table")
    assert ran(call()) == ["merge"]
    write(raw / "comedy.csv", COMEDY[:2])  # without films that cleaning leaves out anyway
    assert ran(call()) == ["merge", "clean", "explore"]


@pytest.mark.parametrize(
    ("changed", "why", "expected"),
    [
        (
            {"clean": "{taxonomy: imdb, repeats: 2, shortest: 80}"},
            "shortest",
            ["clean", "enrich", "explore", "annotate"],
        ),
        ({"clean": "{repeats: 2}"}, "taxonomy, digest", [*STEPS[1:]]),
        ({"enrich": "{lookup: true}"}, "lookup", ["enrich", "explore", "annotate"]),
        ({"annotate": "{lemmatiser: auto}"}, "lemmatiser", ["annotate"]),
    ],
)
def test_a_changed_setting_makes_its_step_stale_and_says_so(
    raw: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], why: str, expected: list[str]
) -> None:
    monkeypatch.setenv("MARQUEE_LOOKUP_PROVIDERS", "none")
    call()
    configure(**changed)
    assert status()[expected[0]] == f"stale: its settings changed: {why}"
    assert ran(call()) == expected


def test_a_key_that_is_set_later_makes_the_look_up_stale(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(enrich="{patience: 60}")
    monkeypatch.setenv("MARQUEE_LOOKUP_PROVIDERS", "none")
    call()
    monkeypatch.setenv("MARQUEE_LOOKUP_PROVIDERS", "tmdb")
    monkeypatch.setenv("MARQUEE_TMDB_KEY", "k")
    assert status()["enrich"] == "stale: its settings changed: providers"


def test_an_output_that_was_changed_is_made_again(raw: Path) -> None:
    call()
    with Path("made/clean.csv").open("a") as out:
        out.write("tt99,by hand\n")
    assert status()["annotate"] == "stale: clean.csv is missing or was changed"
    assert ran(call()) == ["annotate"]
    Path("made/cleaned.jsonl").unlink()
    assert ran(call()) == ["clean"]


def test_rows_without_an_answer_are_asked_about_again(raw: Path, server: FilmServer) -> None:
    configure(enrich="{patience: 60}")
    server.faults = [body(503, "", Retry_After="3600")]
    assert "had no answer" in call().stderr
    assert "had no answer last time" in status()["enrich"]
    assert ran(call()) == ["enrich", "explore", "annotate"]
    assert films("clean.csv")["tt3"]["description"] == LANTERN


# --- one step alone ---


def test_one_step_alone_is_made_whether_it_is_stale_or_not(raw: Path) -> None:
    call()
    assert ran(call("--only", "annotate")) == ["annotate"]
    assert ran(call("--only", "merge")) == ["merge"]


def test_one_step_alone_does_not_work_on_what_is_no_more(raw: Path) -> None:
    missing = call("--only", "explore")
    assert missing.exit_code == 1
    assert "which is stale (not made yet); run --only merge first" in missing.output
    call()
    configure(clean="{}")
    later = call("--only", "annotate")
    assert later.exit_code == 1
    assert "which is stale (its settings changed" in later.output


def test_a_run_that_was_ended_leaves_no_half_of_a_file(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call()
    before = Path("made/corpus.conllu").read_bytes()
    monkeypatch.setattr("corpus.annotate._flat", lambda *_: 1 / 0)
    assert isinstance(call("--only", "annotate").exception, ZeroDivisionError)
    assert Path("made/corpus.conllu").read_bytes() == before
    assert not list(Path("made").glob(".*.new"))
    monkeypatch.undo()


def test_two_at_once_are_one_too_many(raw: Path) -> None:
    with locked(Path("made/.lock")):
        assert "another process uses made" in call().output


# --- what is wrong ---


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"clean": "{shrotest: 3}"}, "clean.shrotest: unknown key; did you mean 'shortest'"),
        ({"annotate": "{lemmatiser: nltk}"}, "annotate.lemmatiser"),
        ({"source": "{format: csv}"}, "source.path is missing"),
        ({"source": "{path: nowhere}"}, "cannot read nowhere"),
        ({"clean": "{taxonomy: imbd}"}, "did you mean 'imdb'"),
        ({"source": "{path: raw, format: excel}"}, "no format 'excel'"),
        ({"annotate": "{lemmatiser: simplemma, language: xx}"}, "no lemmas for language 'xx'"),
        ({"out": "[", "clean": ""}, "is not YAML"),
    ],
)
def test_a_wrong_configuration_is_told_in_one_line(raw: Path, changed: dict[str, str], said: str) -> None:
    configure(**changed)
    result = call()
    assert result.exit_code == 1, result.output
    assert said in result.output


def test_an_unknown_step_is_told(raw: Path) -> None:
    assert "did you mean 'merge'" in call("--only", "merg").output


def test_a_manifest_of_something_else_is_told(raw: Path) -> None:
    Path("made").mkdir()
    Path("made/manifest.json").write_text('{"format": "other"}')
    assert "is not a manifest of a corpus" in call().output


def test_the_table_has_no_line_breaks_in_its_cells(raw: Path) -> None:
    call()
    with Path("made/clean.csv").open(newline="", encoding="utf-8") as lines:
        assert len(list(csv.reader(lines))) == len(Path("made/clean.csv").read_text().splitlines()) == 10
