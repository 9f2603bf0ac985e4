"""Every wrong value of every body, file and setting is refused in plain words."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from corpus.config import Config
from marquee.settings import Settings, environment_name, read_settings
from prompts.errors import InvalidSetting, fault_of
from prompts.taxonomy_file import TaxonomyFile, load_taxonomy
from service.foreign_names import FOREIGN_NAMES
from service.schemas.classify import ClassifyRequest, PromptRequest
from service.schemas.decisions import DecisionRequest
from service.schemas.routes import SimilarRequest

WRONG: tuple[Any, ...] = (
    None, True, 0, 7, -1, 1.5, 1e300, "", "x", "1999", [], [7], [None], ["x", ["y"]], {}, {"a": 1}, [{}], [{"a": 1}],
)  # fmt: skip
# Pydantic's own words, and names of classes, which a user of HTTP or YAML does not know.
LIBRARY = re.compile(
    r"Input should|pydantic|valid (string|integer|number|list|dictionary|boolean)|Field required|Extra inputs|"
    r"instance of|Value error|errors\.pydantic|NoneType|[A-Z][a-z]+[A-Z][a-z]+|Traceback|\n"
)
PREDICATE = {"type": "predicate", "instructions": "x"}
CHOICE = {"type": "choice", "instructions": "x", "choices": [{"value": "a"}, {"value": "b"}]}
SCORE = {"type": "score", "instructions": "x", "levels": [{"label": "a"}, {"label": "b"}]}
DECISION = {"model": "m", "input": "a", "questions": [PREDICATE]}
BODIES: tuple[tuple[type[BaseModel], dict[str, Any]], ...] = (
    (ClassifyRequest, {"text": "a"}),
    (ClassifyRequest, {"texts": [{"text": "a"}]}),
    (ClassifyRequest, {"text": "a", "labels": [{"name": "x", "aliases": ["y"]}]}),
    (PromptRequest, {"text": "a"}),
    (SimilarRequest, {"text": "a"}),
    (DecisionRequest, DECISION),
    (DecisionRequest, {**DECISION, "questions": [CHOICE, SCORE]}),
    (DecisionRequest, {**DECISION, "input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}]}),
    (TaxonomyFile, {"labels": [{"name": "a", "aliases": ["b"]}]}),
    (Config, {"source": {"path": "a"}, "out": "b", "clean": {}, "enrich": {}, "annotate": {}}),
)


def spoiled(data: Any, model: type[BaseModel] | None = None) -> Iterator[Any]:
    """The data with each of its values, and each field that it lacks, replaced by each wrong value."""
    yield from WRONG
    if isinstance(data, dict):
        names = [*data, *(model.model_fields if model else ()), "nmae"]
        for name in dict.fromkeys(names):
            for wrong in spoiled(data.get(name)):
                yield {**data, name: wrong}
            yield {other: value for other, value in data.items() if other != name}
    elif isinstance(data, list):
        for place, value in enumerate(data):
            for wrong in spoiled(value):
                yield [*data[:place], wrong, *data[place + 1 :]]


@pytest.mark.parametrize(("model", "good"), BODIES)
def test_every_wrong_value_is_refused_in_plain_words(model: type[BaseModel], good: dict[str, Any]) -> None:
    model.model_validate(good)
    refused = 0
    for data in spoiled(good, model):
        try:
            model.model_validate(data)
        except ValidationError as error:
            fault = fault_of(error, model, data, FOREIGN_NAMES)
            refused += 1
            assert str(fault), (data, str(fault))
            assert not LIBRARY.search(str(fault)), (data, str(fault))
            assert "another value" not in str(fault), (data, str(fault))
            assert _exists(fault.place, data), (data, str(fault))
    assert refused > 30


def _exists(place: str, data: Any) -> bool:
    """Whether a place is one of the data, or a key that is missing there."""
    *parents, last = place.split(".") if place else ["."]
    for part in parents:
        try:
            data = data[int(part) if part.isdecimal() else part]
        except (KeyError, IndexError, TypeError):
            return False
    return not place or isinstance(data, Mapping) or (isinstance(data, list) and last.isdecimal())


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_wrong_setting_is_refused_in_plain_words(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for wrong in ("soon", "-1", "1e9", "99999999999", "maybe", "ftp://", "'", "a\nb", "é"):
        monkeypatch.setenv(environment_name(name), wrong)
        try:
            read_settings()
        except InvalidSetting as error:
            said = str(error).replace("Qwen2", "").replace("LoRA", "").replace("MiniLM", "")
            assert not LIBRARY.search(said), said


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MARQUEE_PORT", "sk-abcdef"),
        ("MARQUEE_TIMEOUT", "mq_0123456789abcdef"),
        ("MARQUEE_WORKERS", "hf_xyz"),
        ("MARQUEE_CACHE", "https://user:password@example.com"),
        ("MARQUEE_THREADS", "0123456789abcdef0123456789abcdef0123"),
    ],
)
def test_what_may_be_a_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting) as raised:
        read_settings()
    assert str(raised.value).startswith(name)
    assert value not in str(raised.value)
    assert "password" not in str(raised.value)


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        (ClassifyRequest, {"text": "a", "max_labels": 0}, "max_labels is 0; give 1 or more"),
        (ClassifyRequest, {"text": "a", "multi": "no"}, 'multi is "no"; give true or false'),
        (ClassifyRequest, {"text": "a", "labels": []}, "labels has 0 items; give 1 or more"),
        (ClassifyRequest, {"text": "a", "labels": [0]}, "labels.0: 0 is no label; give a string, or an object"),
        (ClassifyRequest, {"text": "a", "labels": {"a": "b"}}, "labels is an object; give a list"),
        (ClassifyRequest, {"text": "a", "labels": "x,y"}, 'labels is "x,y"; give a list'),
        (ClassifyRequest, {"text": {"a": 1}}, "text is an object; give a string"),
        (ClassifyRequest, [], "the body is a list; give an object"),
        (SimilarRequest, {"text": "a", "k": 1.5}, "k is 1.5; give a whole number"),
        (
            DecisionRequest,
            {**DECISION, "questions": [{"instructions": "x"}]},
            "has no type; give one of predicate, cho",
        ),
        (
            DecisionRequest,
            {**DECISION, "questions": [{**PREDICATE, "type": "x"}]},
            'questions.0 has the type "x"; give',
        ),
        (DecisionRequest, {**DECISION, "questions": [{**CHOICE, "chioces": []}]}, "did you mean 'choices'?"),
        (TaxonomyFile, {"labels": [{"name": "a"}], "subject": False}, "subject is false; give a string"),
        (TaxonomyFile, {}, "labels is missing; give it"),
    ],
)
def test_the_sentence_has_place_value_and_remedy(model: type[BaseModel], data: Any, said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        model.model_validate(data)
    assert said in str(fault_of(raised.value, model, data, FOREIGN_NAMES))


@pytest.mark.parametrize(
    ("model", "key", "said"),
    [
        *((ClassifyRequest, key, "did you mean 'labels'?") for key in ("candidate_labels", "categories", "classes")),
        *((ClassifyRequest, key, "did you mean 'top_k'?") for key in ("top_n", "n", "TOP_K")),
        *((ClassifyRequest, key, "did you mean 'max_labels'?") for key in ("limit", "maxLabels")),
        *((ClassifyRequest, key, "did you mean 'texts'?") for key in ("inputs", "input", "sequences")),
        (ClassifyRequest, "multi_label", "did you mean 'multi'?"),
        (ClassifyRequest, "min_score", "did you mean 'threshold'?"),
        (ClassifyRequest, "few_shot", "did you mean 'examples'?"),
        (ClassifyRequest, "task_description", "did you mean 'instructions'?"),
        (ClassifyRequest, "model", "MARQUEE_MODEL"),
        (ClassifyRequest, "hypothesis_template", "GET /prompts"),
        (ClassifyRequest, "messages", "not a chat endpoint"),
        (ClassifyRequest, "qqqq", "known here: text, description"),
        (SimilarRequest, "top_k", "did you mean 'k'?"),
        (SimilarRequest, "tmdb_id", "did you mean 'id'?"),
        (DecisionRequest, "messages", "did you mean 'input'?"),
        (TaxonomyFile, "categories", "did you mean 'labels'?"),
    ],
)
def test_an_unknown_key_gets_the_name_that_is_known_here(model: type[BaseModel], key: str, said: str) -> None:
    good = next(data for one, data in BODIES if one is model)
    with pytest.raises(ValidationError) as raised:
        model.model_validate({**good, key: "x"})
    fault = fault_of(raised.value, model, {**good, key: "x"}, FOREIGN_NAMES)
    assert fault.place == key
    assert fault.message.startswith("unknown key; ")
    assert said in fault.message


def test_a_foreign_name_leads_to_a_field_or_to_advice() -> None:
    for model, names in FOREIGN_NAMES.items():
        for name, advice in names.items():
            assert name not in model.model_fields, (model, name)
            assert advice in model.model_fields or " " in advice, (model, name, advice)


def test_a_file_of_yaml_is_refused_in_plain_words(tmp_path: Path) -> None:
    from prompts.errors import InvalidTaxonomy

    for text in ("", "7", "labels: 7", "labels: []\nmulti: maybe", "a: {b: [c]}"):
        (tmp_path / "t.yaml").write_text(text)
        with pytest.raises(InvalidTaxonomy) as raised:
            load_taxonomy(tmp_path / "t.yaml")
        assert not LIBRARY.search(str(raised.value)), str(raised.value)
