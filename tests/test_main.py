"""The command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from main import main
from prompts import shelf
from prompts.text import Text
from tests.misbehaving import endpoint, says

pytestmark = pytest.mark.usefixtures("away")
PLOT = "A young wizard learns magic to defeat a dragon."


def call(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False, **options)


def test_a_text_may_be_given_in_three_ways() -> None:
    for result in (call("classify", PLOT), call("classify", "--overview", PLOT), call("classify", input=PLOT)):
        assert result.stdout.startswith("Fantasy"), result.output
        assert "embedded/all-MiniLM-L6-v2" in result.stderr


def test_a_title_may_stand_beside_a_text_or_alone() -> None:
    assert call("classify", "--title", "The Haunted House of Ghosts").stdout.startswith("Horror")
    assert call("classify", "--title", "Dragons", "--overview", PLOT).stdout.startswith("Fantasy")


def test_json_is_what_the_service_answers() -> None:
    body = json.loads(call("classify", PLOT, "--json", "--scores", "--taxonomy", "imdb").stdout)
    assert body["genres"][0] == "Fantasy"
    assert set(body["scores"]) == set(shelf.taxonomy("imdb").names)


def test_own_labels_and_the_shape_of_the_answer() -> None:
    assert call("classify", "The app crashes", "--labels", "crash, billing", "--single").stdout == "crash\n"
    assert call("classify", PLOT, "--max-labels", "1").stdout == "Fantasy\n"
    assert call("classify", "qwzx 8213 jjj", "--labels", "tax law, plumbing").stdout == "none of the labels applies\n"


def test_scores_are_shown_on_demand() -> None:
    assert len(call("classify", PLOT, "--scores").stdout.splitlines()) == 1 + 18


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["classify", "x", "--taxonomy", "tmbd"], "did you mean 'tmdb'"),
        (["classify", "x", "--prompt", "plott"], "there is no prompt 'plott'"),
        (["classify", "x", "--overview", "y"], "the same thing"),
        (["classify", "x", "--labels", "a", "--taxonomy", "tmdb"], "either --labels or --taxonomy"),
        (["classify", "x", "--labels", "a,A"], "differ only in case"),
        (["classify", "x", "--single", "--max-labels", "2"], "max_labels cannot be 2"),
        (["taxonomies", "tmbd"], "did you mean 'tmdb'"),
        (["prompts", "show", "nothing"], "there is no prompt 'nothing'"),
        (["evaluate", "--data", "none.jsonl"], "No such file"),
    ],
)
def test_what_is_wrong_is_said_in_words(arguments: list[str], said: str) -> None:
    result = call(*arguments)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_no_text_at_all_is_a_usage_error() -> None:
    result = call("classify", input=" \n")
    assert (result.exit_code, "there is no text" in result.stderr) == (2, True)


def test_a_models_trouble_is_an_error_and_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(says("I cannot say")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        result = call("classify", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no list of labels" in result.stderr


def test_the_prompt_named_is_the_one_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(says('["War"]')) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert call("classify", "a plot", "--prompt", "auto", "--no-cache").stdout == "War\n"
    shown = json.loads(call("prompts", "show", "auto", "--text", "a plot", "--json").stdout)
    assert server.asked[-1]["messages"] == shown


def test_prompts_show_prints_the_very_messages() -> None:
    printed = call("prompts", "show", "plot", "--text", PLOT, "--title", "T").stdout
    system, user = shelf.prompt("plot").render(Text(PLOT, "T"), shelf.taxonomy("tmdb"))
    assert printed == f"--- system ---\n{system['content']}\n--- user ---\n{user['content']}\n"


def test_vocabularies_and_prompts_are_listed() -> None:
    assert call("taxonomies").stdout.splitlines()[0].split() == "imdb 22 labels, up to 5 labels a film".split()
    assert "Foreign" in call("taxonomies", "tmdb").stdout
    assert [t["name"] for t in json.loads(call("taxonomies", "--json").stdout)] == ["imdb", "sentiment", "tmdb"]
    assert "plot.v1" in call("prompts").stdout


def test_evaluate_says_what_it_left_out_and_where_the_rows_are(away: Path) -> None:
    rows = [
        {"id": 1, "description": "Soldiers fight a battle.", "genres": ["War"]},
        {"id": 2, "description": "x", "genres": ["Foreign"]},
    ]
    (away / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = call("evaluate", "--data", "films.jsonl", "--out", "run")
    assert "texts                   1\n" in result.stdout
    assert "left out: 1 rows" in result.stderr
    assert len((away / "run" / "rows.jsonl").read_text().splitlines()) == 1
