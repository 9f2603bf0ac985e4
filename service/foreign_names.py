"""Field names of other APIs: for each model of a body, the field that has this meaning here, or advice."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from prompts.taxonomy_file import FOREIGN
from service.schemas.classify import BatchEntry, ClassifyRequest, FilmFields, PromptRequest
from service.schemas.decisions import (
    ChoiceOption,
    ChoiceQuestion,
    DecisionRequest,
    Level,
    PredicateQuestion,
    ScoreQuestion,
)
from service.schemas.label_fields import ExampleEntry, TaxonomyEntry
from service.schemas.routes import SimilarRequest
from service.schemas.systemone import SystemOneChoice, SystemOneNoul, SystemOneRequest, SystemOneScore


def _each(names: str, meaning: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), meaning)


_TEXT = "sequence content document plot body query sentence review synopsis abstract"
_ONE_TEXT: Mapping[str, str] = {**_each(_TEXT, "text"), **_each("name movie film movie_title headline", "title")}
_ONE_FILM: Mapping[str, str] = {
    **_ONE_TEXT,
    **_each("release_year release_date date", "year"),
    **_each("id key index", "results are in the order of the texts; match your ids by position"),
}
_CLASSIFY: Mapping[str, str] = {
    **_ONE_FILM,
    **_each("input inputs sequences documents instances items batch", "texts"),
    **_each("candidate_labels categories classes tags options choices genres", "labels"),
    **_each("label class_names labels_list topics intents", "labels"),
    **_each("multi_label multilabel multi_class multiple multi_select", "multi"),
    **_each("topk top_n topn k n", "top_k"),
    **_each("limit max num_labels max_categories", "max_labels"),
    **_each("return_scores return_all_scores probabilities with_scores logprobs", "scores"),
    **_each("evidence explanation explanations rationale highlight highlights with_evidence", "explain"),
    **_each("use_cache no_cache", "cache"),
    "vocabulary": "taxonomy",
    **_each("label_sets tasks", "taxonomies"),
    **_each("label_set schema domain", "taxonomy"),
    **_each("none allow_empty other none_of_the_above", "allow_none"),
    **_each("reading method", "strategy"),
    **_each("template prompt_name system", "prompt"),
    **_each("min_score score_threshold cutoff min_confidence", "threshold"),
    **_each("few_shot few_shot_examples demonstrations", "examples"),
    **_each("instruction task task_description context", "instructions"),
    **_each(
        "hypothesis_template prompt_template",
        "the wording comes from a prompt (GET /prompts), from instructions and from the labels' descriptions",
    ),
    **_each("model model_name engine deployment", "the settings choose the model (MARQUEE_MODEL); GET / names it"),
    **_each(
        "messages temperature max_tokens stream response_format seed",
        'this is not a chat endpoint; send {"text": "..."}',
    ),
    **_each("parameters data args kwargs payload", "move its members to the top level of the body"),
    **_each("language lang locale", "texts may be in any language; leave it out"),
}
_SIMILAR: Mapping[str, str] = {
    **_ONE_TEXT,
    **_each("input inputs texts", "text"),
    **_each("top_k topk top_n limit n size count max num", "k"),
    **_each("movie_id film_id tmdb_id imdb_id tconst", "id"),
    **_each("genre labels categories", "genres"),
    **_each("min_year from since year start_year", "year_from"),
    **_each("max_year to until end_year", "year_to"),
}
_DECISIONS: Mapping[str, str] = {
    **_each("inputs text messages prompt content", "input"),
    "state": "this is the text of POST /v1/systemone; send it there, or as input",
    **_each("question decisions conditions", "questions"),
    **_each("temperature max_tokens stream", "decisions have no such setting; leave it out"),
    "instructions": "each question has its own instructions",
}
_SYSTEM_ONE: Mapping[str, str] = {
    **_each("input inputs text messages prompt content", "state"),
    **_each("question decisions", "questions"),
    **_each("images assets audio videos", "this service reads texts only; leave it out"),
    **_each("temperature max_tokens stream", "decisions have no such setting; leave it out"),
    "instructions": "each question has its own instructions",
}
_NAMED_QUESTION: Mapping[str, str] = {
    **_each("question prompt text condition predicate instruction content", "instructions"),
    **_each("name id", "the key of the question is its name; leave it out"),
    **_each("choices options labels levels scale", "criteria"),
}
_QUESTION: Mapping[str, str] = {
    **_each("question prompt text condition predicate instruction content", "instructions"),
    **_each("id key title", "name"),
}
_OPTION: Mapping[str, str] = {**_each("definition help instructions", "description")}

# ``prompts.taxonomy_file`` has those of labels.
FOREIGN_NAMES: Mapping[type[BaseModel], Mapping[str, str]] = {
    **FOREIGN,
    FilmFields: _ONE_FILM,
    BatchEntry: {**_ONE_FILM, **_each("candidate_labels categories classes tags options", "labels")},
    TaxonomyEntry: {
        **_each("candidate_labels categories classes tags options", "labels"),
        **_each("multi_label multilabel multiple", "multi"),
        **_each("topk top_n", "top_k"),
        **_each("id key title", "name"),
        **_each("strategy prompt scores cache model", "send it beside taxonomies; it holds for all of them"),
    },
    ClassifyRequest: _CLASSIFY,
    PromptRequest: _CLASSIFY,
    ExampleEntry: {
        **_ONE_TEXT,
        **_each("label answer output category", "labels"),
        **_each("why reason", "explanation"),
    },
    SimilarRequest: _SIMILAR,
    DecisionRequest: _DECISIONS,
    PredicateQuestion: _QUESTION,
    ChoiceQuestion: {**_QUESTION, **_each("options labels classes candidates", "choices")},
    SystemOneRequest: _SYSTEM_ONE,
    **dict.fromkeys((SystemOneNoul, SystemOneChoice, SystemOneScore), _NAMED_QUESTION),
    ScoreQuestion: {**_QUESTION, **_each("scale choices options min max", "levels")},
    ChoiceOption: {**_OPTION, **_each("label name text id key title", "value")},
    Level: {**_OPTION, **_each("value name text id key title", "label")},
}
