"""Field names of other APIs: for each model of a body, the field that has this meaning here, or advice."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from prompts import registry
from service.schemas.classify import ClassifyRequest, FilmFields, PromptRequest
from service.schemas.decisions import (
    ChoiceOption,
    ChoiceQuestion,
    DecisionRequest,
    Level,
    PredicateQuestion,
    ScoreQuestion,
)
from service.schemas.routes import SimilarRequest

_TEXT = ("sequence", "content", "document", "plot", "body", "query", "sentence", "review", "synopsis", "abstract")
_ONE_TEXT: Mapping[str, str] = {
    **dict.fromkeys(_TEXT, "text"),
    **dict.fromkeys(("name", "movie", "film", "movie_title", "headline"), "title"),
}
_ONE_FILM: Mapping[str, str] = {
    **_ONE_TEXT,
    **dict.fromkeys(("release_year", "release_date", "date"), "year"),
    **dict.fromkeys(("id", "key", "index"), "results are in the order of the texts; match your ids by position"),
}
_CLASSIFY: Mapping[str, str] = {
    **_ONE_FILM,
    **dict.fromkeys(("input", "inputs", "sequences", "documents", "instances", "items", "batch", "examples"), "texts"),
    **dict.fromkeys(("candidate_labels", "categories", "classes", "tags", "options", "choices", "genres"), "labels"),
    **dict.fromkeys(("label", "class_names", "labels_list", "topics", "intents"), "labels"),
    **dict.fromkeys(("multi_label", "multilabel", "multi_class", "multiple", "multi_select"), "multi"),
    **dict.fromkeys(("top_k", "topk", "top_n", "topn", "k", "n", "limit", "max", "num_labels"), "max_labels"),
    **dict.fromkeys(("return_scores", "return_all_scores", "probabilities", "with_scores", "logprobs"), "scores"),
    **dict.fromkeys(("use_cache", "no_cache"), "cache"),
    **dict.fromkeys(("vocabulary", "label_set", "schema", "domain"), "taxonomy"),
    **dict.fromkeys(("none", "allow_empty", "other", "none_of_the_above"), "allow_none"),
    **dict.fromkeys(("reading", "method"), "strategy"),
    **dict.fromkeys(("template", "prompt_name", "system"), "prompt"),
    **dict.fromkeys(
        ("threshold", "min_score", "score_threshold", "cutoff"),
        "requests have no threshold; send scores: true and compare them, or set MARQUEE_THRESHOLD",
    ),
    **dict.fromkeys(
        ("hypothesis_template", "instruction", "instructions", "prompt_template"),
        "the wording comes from a prompt (GET /prompts) and from the labels' descriptions",
    ),
    **dict.fromkeys(
        ("model", "model_name", "engine", "deployment"),
        "the settings choose the model (MARQUEE_MODEL); GET / names it",
    ),
    **dict.fromkeys(
        ("messages", "temperature", "max_tokens", "stream", "response_format", "seed"),
        'this is not a chat endpoint; send {"text": "..."}',
    ),
    **dict.fromkeys(
        ("parameters", "data", "args", "kwargs", "payload"),
        "move its members to the top level of the body",
    ),
    **dict.fromkeys(("language", "lang", "locale"), "texts may be in any language; leave it out"),
}
_SIMILAR: Mapping[str, str] = {
    **_ONE_TEXT,
    **dict.fromkeys(("input", "inputs", "texts"), "text"),
    **dict.fromkeys(("top_k", "topk", "top_n", "limit", "n", "size", "count", "max", "num"), "k"),
    **dict.fromkeys(("movie_id", "film_id", "tmdb_id", "imdb_id", "tconst"), "id"),
    **dict.fromkeys(("genre", "labels", "categories"), "genres"),
    **dict.fromkeys(("min_year", "from", "since", "year", "start_year"), "year_from"),
    **dict.fromkeys(("max_year", "to", "until", "end_year"), "year_to"),
}
_DECISIONS: Mapping[str, str] = {
    **dict.fromkeys(("inputs", "text", "messages", "prompt", "content"), "input"),
    **dict.fromkeys(("question", "decisions", "conditions"), "questions"),
    **dict.fromkeys(("temperature", "max_tokens", "stream"), "decisions have no such setting; leave it out"),
    "instructions": "each question has its own instructions",
}
_QUESTION: Mapping[str, str] = {
    **dict.fromkeys(("question", "prompt", "text", "condition", "predicate", "instruction", "content"), "instructions"),
    **dict.fromkeys(("id", "key", "title"), "name"),
}
_OPTION: Mapping[str, str] = {
    **dict.fromkeys(("definition", "help", "instructions"), "description"),
}

# ``prompts.registry`` has those of labels.
FOREIGN_NAMES: Mapping[type[BaseModel], Mapping[str, str]] = {
    **registry.FOREIGN,
    FilmFields: _ONE_FILM,
    ClassifyRequest: _CLASSIFY,
    PromptRequest: _CLASSIFY,
    SimilarRequest: _SIMILAR,
    DecisionRequest: _DECISIONS,
    PredicateQuestion: _QUESTION,
    ChoiceQuestion: {**_QUESTION, **dict.fromkeys(("options", "labels", "classes", "candidates"), "choices")},
    ScoreQuestion: {**_QUESTION, **dict.fromkeys(("scale", "choices", "options", "min", "max"), "levels")},
    ChoiceOption: {**_OPTION, **dict.fromkeys(("label", "name", "text", "id", "key", "title"), "value")},
    Level: {**_OPTION, **dict.fromkeys(("value", "name", "text", "id", "key", "title"), "label")},
}
