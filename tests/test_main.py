"""The command line."""

import json
import math
import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner, Result

from cli.arguments import print_table
from llm.embedded.matcher import Matcher
from main import main
from prompts import registry
from prompts.text import Text
from tests.support.misbehaving import body, endpoint, says

pytestmark = pytest.mark.usefixtures("away")
FILMS = Path(__file__).parent.parent / "data" / "sample" / "films.jsonl"
BOTH = ("--taxonomy", "tmdb", "--taxonomy", "sentiment")
PLOT = "A young wizard learns magic to defeat a dragon."


def call(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False, **options)


def test_a_text_may_be_given_in_three_ways() -> None:
    for result in (call("classify", PLOT), call("classify", "--overview", PLOT), call("classify", input=PLOT)):
        assert result.stdout.startswith("Fantasy"), result.output
        assert "embedded/matcher.v2" in result.stderr


def test_a_title_may_stand_beside_a_text_or_alone() -> None:
    assert call("classify", "--title", "The Haunted House of Ghosts").stdout.startswith("Horror")
    assert call("classify", "--title", "Dragons", "--overview", PLOT).stdout.startswith("Fantasy")


def test_json_is_what_the_service_answers() -> None:
    body = json.loads(call("classify", PLOT, "--json", "--scores", "--taxonomy", "imdb").stdout)
    assert body["genres"][0] == "Fantasy"
    assert set(body["scores"]) == set(registry.taxonomy("imdb").names)


def test_own_labels_and_the_shape_of_the_answer() -> None:
    found = call("classify", "The app crashes", "--labels", "crash, billing").stdout.splitlines()
    assert (found[0], [line.split()[1] for line in found[1:]]) == ("crash", ["crash", "billing"])
    assert call("classify", "The app crashes", "--labels", "crash, billing", "--no-scores").stdout == "crash\n"
    assert call("classify", PLOT, "--max-labels", "1").stdout == "Fantasy\n"
    none = ("--labels", "tax law, plumbing", "--allow-none", "--no-scores")
    assert call("classify", "qwzx 8213 jjj", *none).stdout == "none of the labels applies\n"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--labels", "billing", "--labels", "crash"], ["billing", "crash"]),
        (["--labels", "a, b", "--labels", "c,d"], ["a", "b", "c", "d"]),
        (["--labels", '"a, b",c'], ["a, b", "c"]),
        (["--labels", 'c, "a, b" , d'], ["c", "a, b", "d"]),
        (["--labels", '"say ""no"", please",yes'], ['say "no", please', "yes"]),
        (["--labels", 'the 5" disk, the 3.5" disk'], ['the 5" disk', 'the 3.5" disk']),
        (["--labels", "one per line\nsecond, third"], ["one per line", "second", "third"]),
    ],
)
def test_labels_may_be_repeated_and_quoted(arguments: list[str], names: list[str]) -> None:
    found = json.loads(call("classify", PLOT, "--json", "--scores", *arguments).stdout)
    assert sorted(found["scores"]) == sorted(names)


@pytest.mark.parametrize(
    ("labels", "said"),
    [('"a, b', "a quote is not closed"), ("", "names no label"), ("a,,b", "an empty name"), ("a,A", "differ only")],
)
def test_labels_that_cannot_be_used_are_an_error_of_one_line(labels: str, said: str) -> None:
    result = call("classify", PLOT, "--labels", labels)
    assert result.exit_code
    assert said in result.stderr.splitlines()[-1]


def test_scores_are_shown_on_demand() -> None:
    assert len(call("classify", PLOT, "--scores").stdout.splitlines()) == 1 + 18


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["classify", "x", "--taxonomy", "tmbd"], "did you mean 'tmdb'"),
        (["classify", "x", "--prompt", "plott"], "there is no prompt 'plott'"),
        (["classify", "x", "--strategy", "json_lists"], "did you mean 'json_list'"),
        (["classify", "x", "--overview", "y"], "the same thing"),
        (["classify", "x", "--labels", "a", "--taxonomy", "tmdb"], "either --labels or --taxonomy"),
        (["classify", "x", "--labels", "a,A"], "differ only in case"),
        (["classify", "x", *BOTH, "--taxonomy", "tmdb"], "two of the taxonomies are called 'tmdb'; give each once"),
        (["classify", "x", *BOTH, "--single"], "--multi/--single is for one taxonomy; leave it out, or give one"),
        (["classify", "x", *BOTH, "--examples", "a.jsonl"], "--examples is for one taxonomy"),
        (["classify", "x", "--single", "--max-labels", "2"], "max_labels cannot be 2"),
        (["classify", "x", "--labels", "a,b", "--attribute", "x" * 51], "give a word or two"),
        (["taxonomies", "show", "tmbd"], "did you mean 'tmdb'"),
        (["prompts", "show", "nothing"], "there is no prompt 'nothing'"),
        (["evaluate", "--data", "none.jsonl"], "No such file"),
    ],
)
def test_what_is_wrong_is_said_in_words(arguments: list[str], said: str) -> None:
    result = call(*arguments)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_a_taxonomy_may_come_from_a_file(away: Path) -> None:
    (away / "weather.yaml").write_text(
        "multi: false\nlabels:\n- name: snow\n  aliases: [frost]\n  description: it is freezing\n- name: heat wave\n"
    )
    told = call("classify", "The lake is frozen over.", "--taxonomy", "weather.yaml", "--json")
    assert json.loads(told.stdout)["labels"] == ["snow"]
    assert "heat wave" in call("taxonomies", "show", "weather.yaml").stdout
    refused = call("classify", "x", "--taxonomy", "wether.yaml")
    assert (refused.exit_code, "there is no file wether.yaml" in refused.stderr) == (1, True)


def test_several_taxonomies_have_one_answer_each(away: Path) -> None:
    (away / "weather.yaml").write_text("labels: [snow, heat wave]\nmulti: false\n")
    names = ("tickets", "weather.yaml", "sentiment")
    both = [argument for name in names for argument in ("--taxonomy", name)]
    text = "The lake is frozen over and the app crashes."
    shown = call("classify", text, *both)
    assert [line.partition(": ")[0] for line in shown.stdout.splitlines()] == ["tickets", "weather", "sentiment"]
    assert shown.stderr == "— embedded/matcher.v2\n"
    for options in ((), ("--scores", "--top-k", "1")):
        answers = json.loads(call("classify", text, *both, *options, "--json", "--no-cache").stdout)["taxonomies"]
        alone = [
            json.loads(call("classify", text, "--taxonomy", name, *options, "--json", "--no-cache").stdout)
            for name in names
        ]
        assert answers == dict(zip(("tickets", "weather", "sentiment"), alone, strict=True))


def test_the_text_is_encoded_once_for_all_taxonomies() -> None:
    with patch.object(Matcher, "predict", autospec=True, side_effect=Matcher.predict) as predict:
        assert call("classify", PLOT, *BOTH, "--no-cache").exit_code == 0
    assert [len(one.args[1]) for one in predict.call_args_list] == [2]


def test_one_taxonomy_without_an_answer_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    both = ("--taxonomy", "sentiment", "--taxonomy", "news")
    with endpoint(says('["positive"]')) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        result = call("classify", "x", *both, "--strategy", "json_list")
        body = json.loads(call("classify", "x", *both, "--strategy", "json_list", "--json").stdout)["taxonomies"]
    assert (result.exit_code, result.stdout) == (1, "sentiment: positive\n")
    assert "Error: news: " in result.stderr
    assert (body["sentiment"]["labels"], "problem" in body["news"]) == (["positive"], True)


def test_the_attribute_of_own_labels_is_in_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(says('["crash"]')) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        asked = ("--labels", "crash,billing", "--attribute", "team", "--strategy", "json_list")
        assert call("classify", "It stops.", *asked).stdout.startswith("crash")
    assert "Choose the one team that fits" in server.requests[-1]["messages"][0]["content"]


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
    assert server.requests[-1]["messages"] == shown


def test_prompts_show_shows_the_examples_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shots.jsonl").write_text('{"text": "A duel at noon.", "labels": ["Western"]}\n')
    monkeypatch.setenv("MARQUEE_EXAMPLES_PATH", str(tmp_path / "shots.jsonl"))
    messages = json.loads(call("prompts", "show", "plot", "--text", "a plot", "--json").stdout)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[2]["content"] == '["Western"]'


def test_prompts_show_prints_the_very_messages() -> None:
    printed = call("prompts", "show", "plot", "--text", PLOT, "--title", "T").stdout
    system, user = registry.prompt("plot").render(Text(PLOT, "T"), registry.taxonomy("tmdb"))
    assert printed == f"--- system ---\n{system['content']}\n--- user ---\n{user['content']}\n"


def test_taxonomies_and_prompts_are_listed() -> None:
    header, *listed = call("taxonomies").stdout.splitlines()
    assert header.split() == "taxonomy labels subject per text from".split()
    assert "imdb 22 film up to 5 labels bundled".split() in [line.split() for line in listed]
    assert call("taxonomies", "show", "tmdb").stdout.splitlines()[0].split() == ["label", "description"]
    assert "Foreign" in call("taxonomies", "show", "tmdb").stdout
    names = [taxonomy["name"] for taxonomy in json.loads(call("taxonomies", "--json").stdout)]
    assert names == ["emotions", "imdb", "intents", "news", "sentiment", "tickets", "tmdb"]
    assert call("prompts").stdout.splitlines()[0].split() == ["prompt", "digest", "about"]
    assert "plot.v1" in call("prompts").stdout


def test_a_table_is_aligned_under_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "rows", "about"), [("a", 5, "x"), ("longer", 12_000, "")])
    assert capsys.readouterr().out == "name     rows  about\na           5  x\nlonger  12000\n"
    print_table(("ready", "since"), [(True, None), (False, None)])
    assert capsys.readouterr().out == "ready  since\nTrue   None\nFalse  None\n"
    print_table(("name", "made"), [])
    assert capsys.readouterr().out == "name  made\n"


def test_evaluate_says_what_it_left_out_and_where_the_rows_are(away: Path) -> None:
    rows = [
        {"id": 1, "description": "Soldiers fight a battle.", "genres": ["War"]},
        {"id": 2, "description": "x", "genres": ["Foreign"]},
    ]
    (away / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = call("evaluate", "--data", "films.jsonl", "--out", "run")
    header, line = result.stdout.splitlines()
    assert header.split()[:3] == ["system", "micro-F1", "macro-F1"]
    assert line.split()[0] == "embedded"
    assert "report: run/report.html" in result.stderr
    assert "left out: 1 rows" in result.stderr
    assert len((away / "run" / "rows.jsonl").read_text().splitlines()) == 1


# --- probe and calibrate ---


def weighing_endpoint() -> Any:
    """An endpoint that tells the likeliest tokens: A with half of the probability, the other letters with less."""
    figures = {letter: -1.0 - place for place, letter in enumerate("ABCDEFGHIJKLMNOPQR")} | {"A": -0.7}
    top = [{"token": letter, "logprob": figure} for letter, figure in figures.items()]
    content = [{"token": "A", "logprob": -0.7, "top_logprobs": top}]
    choice = {"message": {"content": "A"}, "logprobs": {"content": content}}
    return body(200, {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 1}})


def starting_with(**tokens: float) -> Any:
    """An endpoint whose first tokens have these probabilities."""
    top = [{"token": token, "logprob": math.log(share)} for token, share in tokens.items()]
    content = [{"token": top[0]["token"], "logprob": top[0]["logprob"], "top_logprobs": top}]
    choice = {"message": {"content": top[0]["token"]}, "logprobs": {"content": content}}
    return body(200, {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 1}})


@pytest.mark.parametrize(
    ("tokens", "label"),
    [
        ({" B": 0.6, " A": 0.1, "The": 0.05}, "negative"),
        ({"\u2581B": 0.7, "\u2581A": 0.1}, "negative"),
        ({"A": 0.3, " B": 0.2, "\u0120B": 0.2, "b": 0.1}, "negative"),
    ],
)
def test_codes_are_read_however_the_tokenizer_writes_them(
    tokens: dict[str, float], label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with endpoint(starting_with(**tokens)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        result = call("classify", "I liked it.", "--taxonomy", "sentiment", "--strategy", "label_tokens")
    assert result.stdout == f"{label}\n", result.output


@pytest.mark.parametrize("strategy", ["label_tokens", "yes_no"])
@pytest.mark.parametrize("start", ["Okay", "The", "<think>", "\u0120Let"])
def test_a_model_that_reasons_first_is_a_problem_and_not_the_first_label(
    strategy: str, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with endpoint(starting_with(**{start: 0.9, "Hmm": 0.05, "So": 0.01})) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        first = call("classify", "I liked it.", "--taxonomy", "sentiment", "--strategy", strategy)
        asked = len(server.requests)
        again = call("classify", "I liked it.", "--taxonomy", "sentiment", "--strategy", strategy)
        assert len(server.requests) > asked, "a problem is not remembered"
    for result in (first, again):
        assert (result.exit_code, result.stdout) == (1, "")
        assert repr(start) in result.stderr
        assert "reasoning model" in result.stderr


def test_probe_prints_a_table_for_people_and_json_for_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(weighing_endpoint()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        table = call("probe").stdout
        asked = len(server.requests)
        found = json.loads(call("probe", "--json").stdout)
        assert len(server.requests) == asked + 2, "the models and the version alone: the rest is remembered"
        call("probe", "--refresh")
        assert len(server.requests) > asked + 5
    assert re.search(r"json_schema +ignored", table)
    assert re.search(r"logprobs +supported +18 most probable tokens", table)
    assert found["findings"]["logprobs"] == {"outcome": "supported", "note": "18 most probable tokens", "amount": 18}


def test_probe_without_an_endpoint_or_with_a_dead_one_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "set OPENAI_BASE_URL" in call("probe").stderr
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("MARQUEE_RETRIES", "0")
    result = call("probe")
    assert (result.exit_code, "no connection" in result.stderr) == (1, True)


def test_probe_order_reports_flips_of_whoever_answers() -> None:
    found = json.loads(call("probe", "--order", "4", "--limit", "6", "--json", "--data", str(FILMS)).stdout)
    assert found["decisions"] == 6 * 18
    assert found["ever"] == 0, "MiniLM compares with every label by itself"
    assert (
        "are not the same under every order"
        in call("probe", "--order", "3", "--limit", "2", "--data", str(FILMS)).stdout
    )


def test_calibrate_learns_from_labelled_and_from_unlabelled_texts(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": n, "description": f"plot {n}", "genres": ["Action"], "split": "validation"} for n in range(4)]
    (away / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with endpoint(weighing_endpoint()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        before = json.loads(call("classify", "x", "--strategy", "label_tokens", "--json").stdout)
        assert before["genres"] == ["Action", "Adventure", "Animation"]
        learnt = call("calibrate", "--data", "films.jsonl", "--strategy", "label_tokens")
        assert re.match(r"threshold 0\.[2-9]\d+, 0 labels corrected", learnt.stdout), learnt.output
        after = json.loads(call("classify", "x", "--strategy", "label_tokens", "--json").stdout)
        assert (after["genres"], after["cached"]) == (["Action"], False)
        blind = call("calibrate", "--data", "films.jsonl", "--strategy", "label_tokens", "--unlabelled")
        assert "threshold 0.050, 18 labels corrected" in blind.stdout
        even = json.loads(call("classify", "x", "--strategy", "label_tokens", "--scores", "--json").stdout)
        assert even["scores"]["Action"] == pytest.approx(even["scores"]["Crime"]), "it says the same of every text"


def test_calibrate_learns_for_the_leaves_of_a_hierarchy_what_classify_applies(
    away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = {"multi": True, "labels": [{"name": "A", "children": ["1", "2"]}, {"name": "B"}]}
    (away / "tree.yaml").write_text(json.dumps(tree))
    rows = [{"id": n, "description": f"{n}", "genres": ["A > 1"], "split": "validation"} for n in range(4)]
    (away / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = ("--taxonomy", "tree.yaml", "--strategy", "label_tokens")
    with endpoint(weighing_endpoint()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        before = json.loads(call("classify", "x", *task, "--json").stdout)["labels"]
        assert call("calibrate", "--data", "t.jsonl", *task).exit_code == 0
        after = json.loads(call("classify", "x", *task, "--json").stdout)["labels"]
        monkeypatch.setenv("MARQUEE_HIERARCHY_BEAM", "1")
        refused = call("calibrate", "--data", "t.jsonl", *task)
    assert (before, after) == (["A > 1", "A > 2", "B"], ["A > 1"])
    assert "unset MARQUEE_HIERARCHY_BEAM (now 1)" in refused.stderr


def test_calibrate_without_labels_is_refused_behind_a_shortlist(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (away / "t.jsonl").write_text('{"description": "x"}\n')
    with endpoint(weighing_endpoint()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("MARQUEE_MAX_CANDIDATE_LABELS", "5")
        result = call("calibrate", "--data", "t.jsonl", "--strategy", "label_tokens", "--unlabelled")
        assert server.requests == []
    assert result.exit_code == 2
    assert "a prompt has the 5 best of the 18 labels; give labelled texts, or set" in " ".join(result.stderr.split())


def test_calibrate_says_what_is_missing(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "set OPENAI_BASE_URL" in call("calibrate", "--data", "x.jsonl", "--strategy", "label_tokens").stderr
    with endpoint(body(503, {})) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("MARQUEE_RETRIES", "0")
        (away / "t.jsonl").write_text('{"description": "x"}\n')
        result = call("calibrate", "--data", "t.jsonl", "--strategy", "yes_no", "--unlabelled")
    assert "nothing to learn from t.jsonl" in result.stderr


def test_cascade_finds_a_margin_and_says_how_many_texts_go_to_the_model(
    away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"id": n, "description": f"Soldiers in battle {n}", "genres": ["War"], "split": "validation"} for n in range(6)
    ]
    (away / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with endpoint(says('["War"]')) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        lax = call("cascade", "--data", "films.jsonl", "--loss", "1")
        strict = call("cascade", "--data", "films.jsonl", "--loss", "0")
    assert re.match(r"MARQUEE_CASCADE_MARGIN=\d+\.\d{4}\n", lax.stdout), lax.output
    assert "0.0% of the texts go to Qwen/Qwen2-7B-Instruct" in lax.stderr
    assert re.search(r"\d+\.\d% of the texts go to .*; micro-F1 1\.000", strict.stderr), strict.output
    assert "set OPENAI_BASE_URL" in call("cascade", "--data", "films.jsonl", env={"OPENAI_BASE_URL": ""}).stderr
