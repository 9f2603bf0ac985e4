"""Write and check taxonomies: a suggestion from unlabelled texts, and the lint of a taxonomy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from llm.authoring import taxonomy_check, taxonomy_suggestion
from llm.authoring.taxonomy_check import LintFinding
from llm.authoring.taxonomy_suggestion import Suggestion
from llm.embedded.matcher import matcher
from marquee.classification import TaxonomyLike, load_taxonomy
from marquee.settings import Settings, read_settings
from prompts.errors import InvalidSetting
from prompts.text import Text, checked_texts
from similarity.encoders.minilm import MiniLM

_MOST_TEXTS = 2_000


def check_taxonomy(taxonomy: TaxonomyLike | None = None, texts: Sequence[str | Text] = ()) -> list[LintFinding]:
    """Find labels of a taxonomy that a model confuses, cannot understand or does not choose.

    Args:
        taxonomy: as in ``load_taxonomy``.
        texts: unlabelled texts; labels that the embedded classifier chooses for none of them are found.

    Raises:
        UnknownName: no taxonomy has this name.
        InvalidTaxonomy: the file or the labels break a rule.
    """
    loaded, encoder = load_taxonomy(taxonomy), MiniLM()
    found = taxonomy_check.check(loaded, encoder)
    if texts:
        found += taxonomy_check.unchosen(loaded, matcher(encoder=encoder).classify(_spaced(texts), loaded))
    return found


def suggest_taxonomy(
    texts: Sequence[str | Text],
    labels: int | None = None,
    names: Literal["keywords", "model"] = "keywords",
    settings: Settings | None = None,
    name: str = "suggested",
) -> Suggestion:
    """Suggest a taxonomy for unlabelled texts; its ``taxonomy`` has one label per text.

    Args:
        texts: of more than 2,000, that many are used, evenly spaced.
        labels: number of labels; None: 3 to 15, by the separation of the groups.
        names: ``keywords``, or ``model``: the language model of the settings names the groups from five texts of each.
        settings: None: those of the environment.
        name: of the taxonomy.

    Raises:
        InvalidDataset: too few texts.
        InvalidSetting: the names are to be those of a language model, and none is set.
    """
    from marquee.backends import backend_of

    backend = None
    if names == "model":
        settings = settings or read_settings()
        if not settings.uses_language_model:
            raise InvalidSetting("no language model is set to name the groups; set OPENAI_BASE_URL, or use keywords")
        if settings.local_model:
            raise InvalidSetting("a model in this process writes labels only; set OPENAI_BASE_URL, or use keywords")
        backend = backend_of(settings)
    bodies = [text.joined for text in _spaced(texts)]
    return taxonomy_suggestion.suggest(bodies, MiniLM(), labels, backend, name)


def _spaced(texts: Sequence[str | Text]) -> list[Text]:
    """At most 2,000 different texts, evenly spaced."""
    different = list(dict.fromkeys(text for text in checked_texts(texts) if not text.empty))
    step = max(1.0, len(different) / _MOST_TEXTS)
    return [different[int(place * step)] for place in range(min(len(different), _MOST_TEXTS))]
