"""The public names of ``marquee``: labels for lists and DataFrames, errors in one line, and a light import."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest

import marquee
from llm.embedded.matcher import Matcher
from marquee import classification, systems
from prompts.errors import (
    InvalidDataset,
    InvalidPrompt,
    InvalidSetting,
    InvalidTaxonomy,
    InvalidTexts,
    MarqueeError,
    MissingExtra,
    UnknownName,
)
from tests.support.misbehaving import chats, endpoint, follows, says

ROOT = Path(__file__).parent.parent.parent

TICKETS = ["My card was charged twice.", "The app crashes when I open it."]
WRONG: Any = [1, 2]
LABELS = {"billing": "charges, invoices and refunds", "crash": "the app stops working"}


@pytest.fixture(autouse=True)
def one_model(embedded: Matcher, away: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tests share one embedded classifier; loading it takes a second."""
    # Modules that import the name are named first: imported under the patch, they would keep it.
    for module in ("marquee.factory", "marquee.sklearn.backend", "eval.baselines.untrained", "llm.embedded.matcher"):
        monkeypatch.setattr(f"{module}.matcher", lambda *_, **__: embedded)
    classification._cached.cache_clear()
    yield
    classification._cached.cache_clear()


def test_importing_the_package_loads_no_library() -> None:
    script = (
        "import json, sys; before = set(sys.modules); import marquee; "
        "print(json.dumps(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))"
    )
    printed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(json.loads(printed.stdout)) - sys.stdlib_module_names == {"marquee"}


class WithoutLibrary:
    """A classifier that needs a library which is not installed."""

    name = "remote"

    def classify(self, texts: Any, taxonomy: Any) -> Any:
        raise ModuleNotFoundError("No module named 'openai'", name="openai")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("classify", {"texts": TICKETS, "classifier": WithoutLibrary()}),
        ("classify_dataframe", {"df": pandas.DataFrame({"t": TICKETS}), "text": "t", "classifier": WithoutLibrary()}),
        ("evaluate", {"data": [{"text": "a", "genres": "b"}], "text": "text", "systems": WithoutLibrary()}),
    ],
    ids=["classify", "classify_dataframe", "evaluate"],
)
def test_a_missing_library_is_an_error_that_names_the_extra(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(MissingExtra, match=f"marquee.{name} needs the extra 'llm': pip install"):
        getattr(marquee, name)(**arguments)


def test_the_estimator_names_the_extra_of_a_missing_library_too() -> None:
    estimator = marquee.MarqueeClassifier(taxonomy=["a", "b"], classifier=WithoutLibrary()).fit(TICKETS)
    with pytest.raises(MissingExtra, match=r"marquee.MarqueeClassifier needs the extra 'llm': pip install"):
        estimator.predict(TICKETS)


def test_every_public_name_exists_and_is_listed() -> None:
    assert all(getattr(marquee, name) is not None for name in marquee.__all__)
    assert set(marquee.__all__) <= set(dir(marquee))
    with pytest.raises(AttributeError, match=r"no attribute 'classfy'.*classify_dataframe"):
        _ = marquee.classfy


@pytest.mark.parametrize(
    "labels",
    [LABELS, list(LABELS), marquee.Taxonomy.of(LABELS), (marquee.Label(name, words) for name, words in LABELS.items())],
    ids=["dict", "list", "taxonomy", "generator of labels"],
)
def test_labels_may_be_names_descriptions_or_a_taxonomy(labels: Any) -> None:
    found = marquee.classify(TICKETS, labels, multi=False)
    assert [one.labels for one in found] == [("billing",), ("crash",)]


def test_a_taxonomy_is_found_by_name_file_or_setting(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("tickets.yaml").write_text("labels: [billing, crash]\nmulti: false\n", encoding="utf-8")
    assert marquee.load_taxonomy("imdb").name == "imdb"
    assert marquee.load_taxonomy().name == "tmdb"
    assert marquee.load_taxonomy(away / "tickets.yaml").names == ("billing", "crash")
    monkeypatch.setenv("MARQUEE_TAXONOMY", "tickets.yaml")
    assert marquee.classify(TICKETS[:1])[0].labels == ("billing",)


def test_options_shape_the_answer() -> None:
    (one,) = marquee.classify(TICKETS[:1], taxonomy="tmdb", max_labels=2, allow_none=False)
    assert 1 <= len(one.labels) <= 2
    assert set(one.scores) == set(marquee.load_taxonomy("tmdb"))


def test_an_attribute_changes_the_taxonomy_of_the_answer() -> None:
    plain, named = (
        marquee.classify(TICKETS[:1], LABELS, attribute=attribute)[0].source.taxonomy for attribute in (None, "team")
    )
    assert plain != named
    assert named == marquee.Taxonomy.of(LABELS, attribute="team").versioned_name


def test_a_text_that_fails_has_a_problem_and_the_others_have_labels() -> None:
    found = marquee.classify([TICKETS[0], None, float("nan"), "", 7, TICKETS[1]], LABELS)  # type: ignore[list-item]
    assert [one.problem.kind if one.problem else "" for one in found] == ["", *["empty"] * 4, ""]
    assert found[0].labels
    assert found[-1].labels


def test_a_loaded_classifier_answers_for_any_taxonomy() -> None:
    model = marquee.load_classifier("embedded")
    assert model.classify(TICKETS, marquee.Taxonomy.of(LABELS, multi=False))[1].labels == ("crash",)
    assert marquee.classify(TICKETS, LABELS, multi=False, classifier=model)[0].labels == ("billing",)


def test_a_classifier_given_by_name_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str | None] = []
    load = classification._loaded

    def counted(system: str | None, *rest: Any) -> marquee.Classifier:
        loaded.append(system)
        return load(system, *rest)

    monkeypatch.setattr(classification, "_loaded", counted)
    for labels in (["billing"], ["crash"]):
        marquee.classify(TICKETS, labels)
        marquee.classify(TICKETS, labels, classifier="minilm-plain")
    assert loaded == [None, "minilm-plain"]
    monkeypatch.setenv("MARQUEE_TAXONOMY", "imdb")
    marquee.classify(TICKETS)
    assert loaded == [None, "minilm-plain", None], "another environment is another classifier"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: marquee.classify("one text", LABELS), InvalidTexts, "texts is a string; give a list: ['one text']"),
        (lambda: marquee.classify(TICKETS, []), InvalidTaxonomy, "has no label to predict; give at least one"),
        (lambda: marquee.classify(TICKETS, "billing"), InvalidTaxonomy, "give a list: labels=['billing']"),
        (lambda: marquee.classify(TICKETS, WRONG), InvalidTaxonomy, "the label 1 is not a string"),
        (lambda: marquee.classify(TICKETS, WRONG[0]), InvalidTaxonomy, "labels is a int; give a list of names"),
        (lambda: marquee.classify(TICKETS, ["a", "A "]), InvalidTaxonomy, "differ only in case"),
        (lambda: marquee.classify(TICKETS, LABELS, multi=False, max_labels=2), InvalidTaxonomy, "cannot be 2"),
        (lambda: marquee.classify(TICKETS, LABELS, max_labels=0), InvalidTaxonomy, "max_labels is 0; give 1 or more"),
        (lambda: marquee.classify(TICKETS, LABELS, attribute=""), InvalidTaxonomy, "attribute is ''; give a word"),
        (lambda: marquee.classify(TICKETS, LABELS, taxonomy="tmdb"), InvalidSetting, "give one of them"),
        (lambda: marquee.classify(TICKETS, taxonomy="tmbd"), UnknownName, "did you mean 'tmdb'?"),
        (lambda: marquee.load_taxonomy("my.yaml"), InvalidTaxonomy, "there is no file my.yaml"),
        (lambda: marquee.load_classifier("embeded"), UnknownName, "did you mean 'embedded'?"),
        (lambda: marquee.load_prompt("plott"), UnknownName, "did you mean 'plot'?"),
        (lambda: marquee.load_prompt("no.v1.jinja"), InvalidPrompt, "cannot read no.v1.jinja: No such file"),
        (lambda: marquee.estimate_cost(TICKETS, LABELS, system="embedded"), InvalidSetting, "sends no request; give"),
        (lambda: marquee.estimate_cost(TICKETS, LABELS, system="llm:yesno"), UnknownName, "did you mean 'yes_no'"),
        (lambda: marquee.load_classifier("llm"), InvalidSetting, "set OPENAI_BASE_URL or OPENAI_API_KEY"),
        (lambda: marquee.load_classifier("embedded:no.safetensors"), InvalidSetting, "no.safetensors"),
    ],
)
def test_a_wrong_argument_is_one_line_that_says_what_to_do(
    call: Callable[[], object], error: type[MarqueeError], message: str
) -> None:
    with pytest.raises(error) as raised:
        call()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_cost_of_texts_is_estimated_without_a_request(away: Path) -> None:
    costs = {
        name: marquee.estimate_cost([*TICKETS, ""], LABELS, system=f"llm:{name}", model="gpt-4o-mini")
        for name in ("json_list", "label_tokens", "yes_no")
    }
    assert [cost.requests for cost in costs.values()] == [2, 2, 4]
    assert costs["yes_no"].prompt_tokens > costs["json_list"].prompt_tokens > 100
    assert all(0 < (cost.usd_cached or 0) <= (cost.usd or 0) for cost in costs.values())
    assert marquee.estimate_cost(TICKETS, LABELS, model="unpriced").usd is None
    longer = marquee.load_prompt("text.v1").source.replace("--- user ---", "- One more rule.\n--- user ---")
    (away / "text.v9.jinja").write_text(longer)
    own = marquee.estimate_cost(TICKETS, LABELS, system="llm:json_list:text.v9.jinja")
    assert own.prompt_tokens > costs["json_list"].prompt_tokens


def test_a_template_that_was_edited_is_read_again(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = away / "text.v9.jinja"
    source = marquee.load_prompt("text.v1").source
    with endpoint(follows(chats(says('["crash"]')))) as served:
        monkeypatch.setenv("OPENAI_BASE_URL", served.url)
        monkeypatch.setenv("MARQUEE_MODEL", "m")
        found = []
        for text in (source, source.replace("--- user ---", "- One more rule.\n--- user ---")):
            template.write_text(text)
            [answer] = marquee.classify(["It crashes."], LABELS, classifier="llm:json_list:text.v9.jinja")
            found.append(answer.source.prompt)
    assert found[0] != found[1]


def test_a_misspelt_strategy_of_a_language_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(UnknownName, match="did you mean 'yes_no'"):
        marquee.load_classifier("llm:yesno")


def test_a_trained_model_is_loaded_by_its_path_whatever_the_default_taxonomy_is(tmp_path: Path) -> None:
    pairs = list(zip(TICKETS, LABELS, strict=True))
    rows = [{"text": f"{text} {number}", "label": label} for number in range(20) for text, label in pairs]
    training = marquee.evaluate(rows, "text", "label", "prior")
    folder = training._folder.path / "models" / "prior"
    model = marquee.load_classifier(f"prior:{folder}")
    assert model.classify(TICKETS, training.data.taxonomy)[0].labels


# --- DataFrames ---


@pytest.fixture
def frame() -> pandas.DataFrame:
    return pandas.DataFrame({"body": [*TICKETS, None], "n": [1, 2, 3]}, index=["x", "y", "z"])


def test_a_dataframe_gets_columns_and_keeps_its_index(frame: pandas.DataFrame) -> None:
    found = marquee.classify_dataframe(frame, text="body", labels=LABELS, multi=False)
    assert list(found.columns) == ["body", "n", "label", "problem"]
    assert list(found.index) == ["x", "y", "z"]
    assert found["label"].tolist()[:2] == ["billing", "crash"]
    assert pandas.isna(found.loc["z", "label"])
    assert "no text" in found.loc["z", "problem"]
    assert found["problem"].isna().tolist() == [True, True, False]
    assert list(frame.columns) == ["body", "n"], "the frame itself is not changed"


def test_several_labels_are_lists_and_scores_are_wide(frame: pandas.DataFrame) -> None:
    found = marquee.classify_dataframe(frame, "body", LABELS, title="n", multi=True, scores=True, prefix="p_")
    assert list(found.columns)[2:] == ["p_labels", "p_problem", "p_score_billing", "p_score_crash"]
    assert "billing" in found["p_labels"].iloc[0]
    assert found["p_score_billing"].iloc[0] > found["p_score_crash"].iloc[0]
    assert found["p_score_billing"].isna().tolist() == [False, False, True]


def test_a_dataframe_has_the_evidence_of_its_texts(frame: pandas.DataFrame) -> None:
    found = marquee.classify_dataframe(frame, "body", LABELS, explain=True)
    [first, second, _] = marquee.classify(frame["body"], LABELS, explain=True)
    assert found["evidence"].iloc[0] == list(first.evidence or ())
    assert found["unexplained"].tolist()[:2] == [first.unexplained, second.unexplained]
    assert found.loc["z", ["evidence", "unexplained"]].isna().all()


def test_an_empty_dataframe_gets_the_columns_too(frame: pandas.DataFrame) -> None:
    found = marquee.classify_dataframe(frame.iloc[:0], "body", LABELS)
    assert list(found.columns) == ["body", "n", "label", "problem"]
    assert len(found) == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"text": "bodi"},
            InvalidDataset,
            "text='bodi': there is no such column; did you mean 'body'? columns: body, n",
        ),
        ({"title": "title"}, InvalidDataset, "title='title': there is no such column; columns: body, n"),
        ({"df": TICKETS}, InvalidSetting, "df is a list; give a pandas DataFrame, or use marquee.classify"),
        ({"prefix": ""}, InvalidSetting, "df has a column 'label' already; give a prefix"),
    ],
    ids=["misspelt column", "missing column", "no frame", "taken column"],
)
def test_a_wrong_column_is_named_with_those_that_exist(
    frame: pandas.DataFrame, change: dict[str, Any], error: type[MarqueeError], message: str
) -> None:
    df = frame.assign(label=0) if "prefix" in change else frame
    with pytest.raises(error) as raised:
        marquee.classify_dataframe(**{"df": df, "text": "body", "labels": LABELS, **change})
    assert message in str(raised.value)


def test_without_pandas_the_error_says_how_to_install_it(
    frame: pandas.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InvalidSetting, match="needs pandas; install it: pip install pandas"):
        marquee.classify_dataframe(frame, "body", LABELS)


def test_every_system_name_of_the_command_line_is_known_here() -> None:
    assert set(systems.SYSTEMS) == {"embedded", "fusion", "hf", "llm", "minilm-plain", "service"}
