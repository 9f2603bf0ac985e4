"""Request and response bodies of ``/classify`` and ``/prompt``; unknown fields are errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from llm.classifier import LabelsOffered, Prediction, ScoreType, Usage
from marquee.client import SLUGS
from marquee.factory import RequestOptions
from prompts import registry
from prompts.errors import fault_of, shown
from prompts.hierarchy import cut
from prompts.taxonomy import Taxonomy, own_form
from prompts.taxonomy_file import taxonomy_of
from prompts.text import Text
from service.problems import problem_body
from service.schemas.answer_parts import WARNINGS, AppliedOptions, EvidenceAnswer, ItemProblem, LookupAnswer, TokenUsage
from service.schemas.label_fields import WHOLE, AnswerFields, LabelFields, TaxonomyOrName, check_taxonomies

_TEXT_NAMES = ("text", "description", "overview")
_FILM, _CUSTOM = "film", "custom"  # subject of the genre taxonomies; name of a taxonomy of a request
_PLAIN = frozenset([*_TEXT_NAMES, "title", "year", "texts", "taxonomy", "explain", "cache", "lookup"])
_LABEL_NAMES = frozenset(LabelFields.model_fields)
_NO_USAGE = Usage()


class TextFields(BaseModel):
    """A text under one of its names, a title, or both."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str | None = Field(None, description="the text to label")
    description: str | None = Field(None, description="another name of text, as in IMDb's data")
    overview: str | None = Field(None, description="another name of text, as in TMDB's data")
    title: str | None = Field(None, description="title of what the text describes; may be sent without a text")
    _fault: str = PrivateAttr("")

    def to_text(self) -> Text:
        """The text and its title."""
        body = next((getattr(self, name) for name in self.sent_names() if name != "title"), "")
        return Text(body, self.title or "", self._fault)

    def sent_names(self) -> list[str]:
        """The names of the text that have a value, and ``title`` last."""
        return [name for name in (*_TEXT_NAMES, "title") if getattr(self, name) is not None]

    @model_validator(mode="after")
    def _is_one_text(self) -> TextFields:
        names = [name for name in self.sent_names() if name != "title"]
        if len(names) > 1:
            raise ValueError(f"{' and '.join(names)} are names of the same field; send one")
        return self


def _as_fields(value: Any) -> Any:
    if not isinstance(value, str | Mapping | FilmFields):
        raise ValueError(f"{shown(value) or 'this'} is not a text; send a string, or an object with text and title")
    return {"text": value} if isinstance(value, str) else value


def _or_fault(value: Any, handler: ValidatorFunctionWrapHandler) -> BatchEntry:
    """Turn an invalid entry into a text with a fault, so that the other entries of the batch are answered.

    An unknown key fails the request, since it is the same in every entry.
    """
    try:
        return cast(BatchEntry, handler(value))
    except ValidationError as error:
        if any(entry["type"] == "extra_forbidden" for entry in error.errors()):
            raise
        fields = BatchEntry()
        fields._fault = str(fault_of(error, BatchEntry, value, whole="the text"))
        return fields


class FilmFields(TextFields):
    """A text, a title, or both, and the year of the film."""

    year: Annotated[int, Field(ge=1870, le=2100), WHOLE] | None = Field(
        None, description="year of the film; lookup tells films with the same title apart by it"
    )


class BatchEntry(LabelFields, FilmFields):
    """A text of a batch; it may have labels of its own."""


# As models they have one form; a bare string may stand for either.
TextEntry = Annotated[
    BatchEntry,
    BeforeValidator(_as_fields, json_schema_input_type=str | BatchEntry),
    WrapValidator(_or_fault, json_schema_input_type=str | BatchEntry),
]


class ClassifyRequest(AnswerFields, FilmFields):
    """Body of ``POST /classify``."""

    texts: list[TextEntry] | None = Field(
        None,
        min_length=1,
        description="a batch of texts: strings, or objects with the fields of one text, and labels of its own",
    )
    taxonomies: list[TaxonomyOrName] | None = Field(
        None, min_length=1, max_length=16, description="several taxonomies for every text: names, or objects"
    )
    prompt: str | None = Field(None, description="name of a prompt; see GET /prompts")
    strategy: str | None = Field(
        None, description="how labels are obtained from a language model: auto, json_list, label_likelihood, "
        "label_tokens, yes_no or decisions_api"
    )  # fmt: skip
    scores: bool | None = Field(
        None,
        description="add a score per label, where the model has scores; by default with labels, top_k or score_type",
    )
    explain: bool = Field(False, description="add the passages of the text that support each label")
    cache: bool = Field(True, description="false: ignore cached answers")
    lookup: bool = Field(False, description="look up the text of bare titles at the providers of the settings")

    @model_validator(mode="after")
    def _is_one_request(self) -> ClassifyRequest:
        if self.texts is not None and (names := self.sent_names()):
            raise ValueError(f"send either texts or {names[0]}, not both")
        if any(one.labels is not None and one.taxonomy is not None for one in (self, *(self.texts or ()))):
            raise ValueError("send either labels or taxonomy, not both")
        if self.taxonomies is not None:
            check_taxonomies(self.taxonomies, self.model_fields_set)
        if self.has_own_labels and (self.taxonomies is not None or self.examples):
            raise ValueError("texts with labels of their own allow neither taxonomies nor examples")
        if not self.lookup and any(fields.year is not None for fields in (self, *(self.texts or ()))):
            raise ValueError('year is a field of the look-up; send "lookup": true with it')
        if self.texts is not None and self.year is not None:
            raise ValueError("send the year of each text in its entry of texts")
        return self

    def entries(self) -> Sequence[FilmFields]:
        """The fields of each text."""
        return [self] if self.texts is None else self.texts

    def all_texts(self) -> list[Text]:
        """The texts to label."""
        return [fields.to_text() for fields in self.entries()]

    def returns_genres(self, taxonomy: Taxonomy) -> bool:
        """Whether the answer has ``genres``: for a taxonomy of films, and for a ``description`` without a taxonomy."""
        plain = self.description is not None and self.taxonomy is None and self.labels is None
        return plain or taxonomy.subject == _FILM

    @property
    def has_own_labels(self) -> bool:
        """Whether a text of the batch has labels of its own."""
        return any(not _LABEL_NAMES.isdisjoint(entry.model_fields_set) for entry in self.texts or ())

    @property
    def with_scores(self) -> bool:
        """Whether the answer has scores."""
        implied = self.labels is not None or self.top_k is not None or self.score_type is not None
        return implied if self.scores is None else self.scores

    @property
    def is_plain(self) -> bool:
        """Whether the request has texts and names, and no option of an answer."""
        return self.model_fields_set <= _PLAIN

    def options(self) -> RequestOptions:
        """The prompt, the strategy and the use of the cache; see ``RequestOptions.of``."""
        return RequestOptions.of(self.prompt, self.strategy, self.cache)

    def resolve_taxonomy(self, default: Taxonomy) -> Taxonomy:
        """The request's own taxonomy, a named one, or the default.

        The request's ``multi``, ``max_labels``, ``allow_none``, ``attribute``, ``level`` and ``leaves_only`` replace
        those of the taxonomy.

        Raises:
            UnknownName: no taxonomy has this name.
            InvalidTaxonomy: the request's labels are no taxonomy.
        """
        return resolved_taxonomy(self, default)


def resolved_taxonomy(fields: LabelFields, default: Taxonomy) -> Taxonomy:
    """The taxonomy of these fields, and in their form; see ``ClassifyRequest.resolve_taxonomy``."""
    form = fields.multi, fields.max_labels, fields.allow_none
    if fields.labels is not None:
        own = own_form(sum(entry.count for entry in fields.labels), *form)
        form = None, fields.max_labels, None
        found = taxonomy_of(_CUSTOM, fields.labels, **own)
    else:
        found = registry.taxonomy(fields.taxonomy) if fields.taxonomy is not None else default
    found = found.shaped(*form, fields.attribute)
    level, leaves_only = fields.level, fields.leaves_only
    return found if level is None and leaves_only is None else cut(found, level, leaves_only)


class PromptRequest(ClassifyRequest):
    """Body of ``POST /prompt``: as for ``POST /classify``, with one text."""

    texts: None = Field(None, description="not allowed here: one text per request")
    taxonomies: None = Field(None, description="not allowed here: one taxonomy per request")


class ClassifyAnswer(BaseModel):
    """Answer for one text."""

    genres: list[str] | None = Field(None, description="the labels again, for genres of films and POST /predict_genre")
    labels: list[str] = Field(description="the labels; best first where there are scores, else in taxonomy order")
    scores: dict[str, float] | None = Field(None, description="score of each label that was scored, best first")
    score_type: ScoreType | None = Field(
        None,
        description="meaning of the scores: probability, of each label by itself; share, of one probability mass that "
        'the labels and "none" compete for; similarity, a cosine',
    )
    model: str = Field(description="name of the model that answered")
    prompt: str | None = Field(description="name and digest of the prompt, where a language model answered")
    strategy: str | None = Field(description="strategy, where a language model answered")
    taxonomy: str = Field(description="name and digest of the taxonomy")
    cached: bool = Field(description="whether the answer was cached")
    dropped: int = Field(description="number of words in the model's answer that are not labels of the taxonomy")
    shortlist: LabelsOffered | None = Field(None, description="labels in the prompt, where a shortlist left some out")
    set: list[str] | None = Field(
        None,
        description="labels that have the right ones with the probability of calibrate --coverage, best first, where "
        "the answers of this model are calibrated for this taxonomy",
    )
    abstain: bool | None = Field(
        None, description="whether the set is empty, or has more labels than a text has right ones"
    )
    evidence: list[EvidenceAnswer] | None = Field(None, description="passages that support the labels (explain: true)")
    unexplained: dict[str, str] | None = Field(None, description="labels without evidence, and why")
    usage: TokenUsage | None = Field(None, description="tokens, where a language model was called")
    lookup: LookupAnswer | None = Field(None, description="result of the look-up, where the request has lookup: true")
    applied: AppliedOptions | None = Field(
        None, description="what was applied, where the request has options of an answer"
    )
    notes: list[str] | None = Field(None, description="fields of the request without effect, and why")
    warnings: list[str] | None = Field(None, description=WARNINGS)
    problem: ItemProblem | None = Field(None, description="why this text of a batch has no answer")

    @classmethod
    def of(
        cls,
        prediction: Prediction,
        with_scores: bool,
        lookup: LookupAnswer | None = None,
        genres: bool = False,
        notes: tuple[str, ...] = (),
        applied: Mapping[str, Any] | None = None,
    ) -> ClassifyAnswer:
        """The answer of a prediction; ``genres``: whether it repeats its labels as genres."""
        source, problem, scores = prediction.source, prediction.problem, prediction.scores if with_scores else None
        return cls(
            genres=list(prediction.labels) if genres else None,
            labels=list(prediction.labels),
            scores=dict(sorted(scores.items(), key=lambda pair: -pair[1])) if scores else None,
            score_type=prediction.score_type if scores else None,
            model=source.model,
            prompt=source.prompt,
            strategy=source.strategy,
            taxonomy=source.taxonomy,
            cached=prediction.cached,
            dropped=len(prediction.dropped),
            shortlist=prediction.shortlist,
            set=None if prediction.set is None else list(prediction.set),
            abstain=prediction.abstain,
            evidence=None if prediction.evidence is None else EvidenceAnswer.each(prediction.evidence),
            unexplained=None if prediction.evidence is None else dict(prediction.unexplained),
            usage=TokenUsage.of(prediction) if prediction.usage != _NO_USAGE else None,
            lookup=lookup,
            applied=AppliedOptions(**applied) if applied else None,
            notes=list(notes) or None,
            warnings=list(prediction.warnings) or None,
            problem=ItemProblem.model_validate(problem_body(SLUGS[problem.kind], problem.detail)) if problem else None,
        )

    def body(self) -> Mapping[str, Any]:
        """The members to send; ``prompt`` and ``strategy`` always, the others where they have a value."""
        body = self.model_dump()
        if self.lookup:
            body["lookup"] = {name: value for name, value in body["lookup"].items() if value is not None}
        if self.applied:
            body["applied"] = {name: value for name, value in body["applied"].items() if value is not None}
        return {name: value for name, value in body.items() if value is not None or name in ("prompt", "strategy")}
