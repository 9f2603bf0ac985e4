"""Taxonomies that are made of another one for some texts, or for a step of an answer."""

from dataclasses import dataclass

from prompts.taxonomy import Taxonomy


@dataclass(frozen=True)
class Variant(Taxonomy):
    """The labels of another taxonomy in another order, or some of them; what is learned for that one applies."""

    whole: str = ""  # versioned name of that taxonomy


@dataclass(frozen=True)
class Candidates(Variant):
    """The labels of a taxonomy that a shortlist left for one text; other texts have other candidates."""
