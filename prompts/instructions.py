"""Prompts with instructions of a request: free text that follows the template's own system section."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from prompts.files import digest_of
from prompts.template import Prompt, neutralise
from prompts.text import without_lone_surrogates


@dataclass(frozen=True)
class InstructedPrompt(Prompt):
    """A prompt with further instructions at the end of its system section; they are part of its digest.

    The system section stays the same for all texts, so servers with prefix caching compute it once.

    Attributes:
        instructions: not empty.
    """

    instructions: str = ""

    @cached_property
    def digest(self) -> str:
        """12 hex digits of the template and the instructions."""
        return digest_of(f"{super().digest}\0{self.instructions}", 12)

    def fill(self, section: str, **values: object) -> str:
        """See ``Prompt.fill``."""
        filled = super().fill(section, **values)
        return f"{filled}\n\nInstructions:\n{neutralise(self.instructions)}" if section == "system" else filled


@lru_cache(maxsize=64)
def instructed(prompt: Prompt, instructions: str) -> Prompt:
    """The prompt with these instructions; compiled once."""
    return InstructedPrompt(prompt.name, prompt.source, without_lone_surrogates(instructions.strip()))
