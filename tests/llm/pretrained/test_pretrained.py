"""Pretrained classifiers: the scores are those of each kind's own library, and become labels by the taxonomy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from llm.pretrained.classifier import PretrainedClassifier, pretrained
from prompts.errors import InvalidSetting
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from similarity.encoders import precision
from tests.support import tiny_classifiers as tiny

TEXTS = ["My card was charged twice.", "the app crashes when i save", "guns and horse fight in a western town"]
LONG = "the army fight on a ship " * 60
NAMES = ["billing", "crash", "praise"]
DESCRIBED = {"billing": "charges, invoices and refunds", "crash": "the app stops", "praise": ""}
MULTI, SINGLE = Taxonomy.of(NAMES, multi=True, allow_none=True), Taxonomy.of(NAMES, multi=False)
KINDS: Mapping[str, Callable[[Path], Path]] = {
    "entailment": tiny.entailment,
    "gliclass": tiny.gliclass,
    "reranker": tiny.reranker,
}


@pytest.fixture(autouse=True)
def exact_numbers() -> Iterator[None]:
    before = precision.choice()
    precision.choose("float32")
    yield
    precision.choose(before)


@pytest.fixture(scope="module", params=list(KINDS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return KINDS[request.param](tmp_path_factory.mktemp("models") / request.param)


@pytest.fixture
def classifier(folder: Path) -> PretrainedClassifier:
    return pretrained(f"hf:{folder}")


def _scores(classifier: PretrainedClassifier, taxonomy: Taxonomy, texts: Sequence[str] = TEXTS) -> np.ndarray[Any, Any]:
    found = classifier.classify(list(texts), taxonomy)
    return np.array([[one.scores[name] for name in taxonomy.names] for one in found])


@pytest.mark.parametrize("labels", [("contradiction", "neutral", "entailment"), ("entailment", "not_entailment")])
@pytest.mark.parametrize("multi", [True, False])
def test_an_nli_model_scores_as_transformers_own_pipeline(labels: list[str], multi: bool, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    model = tiny.entailment(tmp_path, labels)
    network = AutoModelForSequenceClassification.from_pretrained(model)
    own = pipeline("zero-shot-classification", model=network, tokenizer=AutoTokenizer.from_pretrained(model))
    expected = [dict(zip(row["labels"], row["scores"], strict=True)) for row in own(TEXTS, NAMES, multi_label=multi)]
    found = _scores(pretrained(f"hf:{model}"), MULTI if multi else SINGLE)
    assert found == pytest.approx(np.array([[row[name] for name in NAMES] for row in expected]), abs=1e-4)


@pytest.mark.parametrize("prompt_first", [True, False])
def test_a_gliclass_model_scores_as_its_own_library(prompt_first: bool, tmp_path: Path) -> None:
    from gliclass import GLiClassModel, ZeroShotClassificationPipeline
    from transformers import AutoTokenizer

    model = tiny.gliclass(tmp_path, prompt_first=prompt_first)
    words = AutoTokenizer.from_pretrained(model)
    own = ZeroShotClassificationPipeline(
        GLiClassModel.from_pretrained(model), words, max_length=64, device="cpu", progress_bar=False
    )
    rows = own(TEXTS, NAMES, threshold=0.0)
    assert min(label["score"] for row in rows for label in row) < 0.99
    found = _scores(pretrained(f"hf:{model}"), MULTI)
    assert found == pytest.approx(np.array([[label["score"] for label in row] for row in rows]), abs=1e-4)
    best = [row[0]["label"] for row in own(TEXTS, NAMES, classification_type="single-label")]
    assert [one.labels[0] for one in pretrained(f"hf:{model}").classify(TEXTS, SINGLE)] == best


def test_a_reranker_scores_the_text_for_the_label_as_its_query(tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    model = tiny.reranker(tmp_path)
    rows = [CrossEncoder(str(model)).predict([(name, text) for name in NAMES]) for text in TEXTS]
    assert _scores(pretrained(f"hf:{model}"), MULTI) == pytest.approx(np.array(rows), abs=1e-4)


def test_several_labels_are_those_above_the_threshold(classifier: PretrainedClassifier) -> None:
    for one in classifier.classify(TEXTS, MULTI):
        assert one.score_type == "probability"
        assert one.labels == tuple(name for name, score in one.scores.items() if score >= 0.5)
        assert list(one.scores.values()) == sorted(one.scores.values(), reverse=True)


def test_a_single_label_is_the_best_and_the_shares_sum_to_one(classifier: PretrainedClassifier) -> None:
    for one in classifier.classify(TEXTS, SINGLE):
        assert one.score_type == "share"
        assert one.labels == (max(one.scores, key=lambda name: one.scores[name]),)
        assert sum(one.scores.values()) == pytest.approx(1, abs=2e-4)


def test_none_is_the_answer_where_no_label_is_more_probable_than_not(classifier: PretrainedClassifier) -> None:
    optional = SINGLE.shaped(allow_none=True)
    texts = [*TEXTS, "i laughed", "map", "death is a joke", "train to the planet"]
    independent = _scores(classifier, MULTI, texts)
    for one, probabilities in zip(classifier.classify(texts, optional), independent, strict=True):
        assert sum(one.scores.values()) < 1
        assert bool(one.labels) == bool(probabilities.max() >= 0.5)


@pytest.mark.parametrize("number_format", ["auto", "bfloat16"])
def test_other_number_formats_give_nearly_the_same_scores(classifier: PretrainedClassifier, number_format: str) -> None:
    exact = _scores(classifier, MULTI)
    precision.choose(number_format)
    assert _scores(pretrained(classifier.files.spec), MULTI) == pytest.approx(exact, abs=0.1)


def test_a_description_is_read_with_its_label(classifier: PretrainedClassifier) -> None:
    assert not np.allclose(
        _scores(classifier, MULTI), _scores(classifier, Taxonomy.of(DESCRIBED, multi=True)), atol=1e-3
    )


def test_a_text_beyond_the_context_is_cut_and_every_label_is_still_read(classifier: PretrainedClassifier) -> None:
    (found,) = _scores(classifier, Taxonomy.of(DESCRIBED, multi=True), [LONG])
    (longer,) = _scores(classifier, Taxonomy.of(DESCRIBED, multi=True), [LONG + "billing"])
    assert found == pytest.approx(longer)
    assert len(set(found)) == len(found)


def test_a_text_has_the_same_scores_alone_and_in_a_batch(classifier: PretrainedClassifier) -> None:
    batch = [*TEXTS, LONG] * 20
    together = _scores(classifier, MULTI, batch)
    alone = np.concatenate([_scores(classifier, MULTI, [text]) for text in (*TEXTS, LONG)])
    assert together == pytest.approx(np.tile(alone, (20, 1)), abs=2e-3)


def test_many_labels_share_no_more_tokens_than_the_context_has(classifier: PretrainedClassifier) -> None:
    many = Taxonomy.of({word: "the app stops and closes" for word in tiny.WORDS if len(word) > 3}, multi=True)
    (found,) = classifier.classify([TEXTS[0]], many)
    assert found.problem is None
    assert set(found.scores) == set(many.names)


def test_control_tokens_of_a_text_are_words(classifier: PretrainedClassifier) -> None:
    marks = ("<<LABEL>>", "<<SEP>>") if classifier.files.kind == "gliclass" else ()
    for token in ("[SEP]", *marks):
        assert _scores(classifier, MULTI, [f"billing {token} card"]) == pytest.approx(
            _scores(classifier, MULTI, ["billing card"]), abs=1e-4
        )


def test_an_empty_text_and_a_title_alone(classifier: PretrainedClassifier) -> None:
    empty, title = classifier.classify(["", Text(title="war ship")], MULTI)
    assert empty.problem is not None
    assert empty.problem.kind == "empty"
    assert title.scores
    assert classifier.classify([], MULTI) == []


def test_the_name_and_the_fingerprint_change_with_the_weights(tmp_path: Path) -> None:
    first, second = (pretrained(f"hf:{tiny.reranker(tmp_path / str(seed) / 'model', seed)}") for seed in (0, 1))
    again = pretrained(f"hf:{tiny.reranker(tmp_path / 'copy' / 'model', 0)}")
    assert first.name.startswith("hf:model@")
    assert first.name == again.name != second.name
    assert first.classify(TEXTS, MULTI)[0].source.model == first.name
    keys = {one.fingerprint(Text(TEXTS[0]), MULTI) for one in (first, again, second)}
    assert len(keys) == 2
    other_threshold = PretrainedClassifier(first.files, 0.7).fingerprint(Text(TEXTS[0]), MULTI)
    assert not keys & {
        other_threshold,
        first.fingerprint(Text("x"), MULTI),
        first.fingerprint(Text(TEXTS[0]), SINGLE),
    }


def test_a_threshold_of_the_settings_replaces_the_default(folder: Path) -> None:
    (found,) = pretrained(f"hf:{folder}", threshold=1.0).classify([TEXTS[0]], MULTI)
    assert found.labels == ()
    assert "score from 1.0 on" in pretrained(f"hf:{folder}", threshold=1.0).decode_rule(MULTI)


def test_scores_that_are_no_numbers_are_a_problem_of_the_text(tmp_path: Path) -> None:
    folder = tiny.reranker(tmp_path)
    weights = load_file(folder / "model.safetensors")
    nan = {name: value * np.float32("nan") for name, value in weights.items()}
    save_file(nan, folder / "model.safetensors", {"format": "pt"})
    (found,) = pretrained(f"hf:{folder}").classify([TEXTS[0]], MULTI)
    assert found.problem is not None
    assert found.problem.kind == "unreadable"
    assert not found.labels


def _config(**fields: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
        return folder

    return write


def _emotions(folder: Path) -> Path:
    return tiny.entailment(folder, ["joy", "anger", "fear", "love"])


def _nothing(folder: Path) -> Path:
    return folder


def _damaged(folder: Path) -> Path:
    (tiny.reranker(folder) / "model.safetensors").write_bytes(b"no weights")
    return folder


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_emotions, "labels of its own (joy, anger, fear, …)"),
        (_config(architectures=["BertForSequenceClassification"]), "labels of its own (LABEL_0, LABEL_1)"),
        (_config(architectures=["Qwen2ForCausalLM"]), "a language model: set MARQUEE_LOCAL_MODEL"),
        (_config(architectures=["BertModel"]), "BertModel, which has no scores for labels"),
        (_config(), "a model without architecture, which has no scores for labels"),
        (
            _config(model_type="GLiClass", architecture_type="bi-encoder-fused"),
            "needs a second model; give a uni-encoder",
        ),
        (_config(architectures=["BertForSequenceClassification"], id2label={"a": "x"}), "names no outputs in id2label"),
        (_nothing, "has no config.json"),
    ],
)
def test_a_model_of_another_kind_is_refused_with_what_it_is(
    make: Callable[[Path], Path], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSetting) as raised:
        pretrained(f"hf:{make(tmp_path)}")
    assert words in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_damaged_weights_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"^'hf:.*' cannot be loaded \(.*\); download the model again$"):
        pretrained(f"hf:{_damaged(tmp_path)}").classify(TEXTS, MULTI)


def test_a_missing_folder_names_the_nearest_one(tmp_path: Path) -> None:
    tiny.reranker(tmp_path / "my-model")
    with pytest.raises(InvalidSetting, match=r"there is no model folder .*my-modle \(did you mean .*my-model\?\)$"):
        pretrained(f"hf:{tmp_path / 'my-modle'}")
