"""Models in this process that several evaluations share: the data sets of a suite load each model once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from prompts.errors import InvalidSetting
from prompts.files import digest_of, folder_state

if TYPE_CHECKING:
    from llm.backends.local_backend import LocalBackend
    from llm.embedded.matcher import Matcher
    from llm.embedded.multilingual import MultilingualClassifier
    from llm.pretrained.classifier import PretrainedClassifier
    from prompts.taxonomy import Taxonomy
    from similarity.encoders.minilm import MiniLM


def embedded(path: Path | None = None) -> Matcher:
    """The embedded classifier with the weights of a file, by default the shipped ones.

    Raises:
        InvalidSetting: the file has no weights, or those of another version of this program.
    """
    from llm.embedded.matcher import SHIPPED

    weights = path or SHIPPED
    return _matcher(weights, digest_of(weights))


def untuned(path: Path | None = None) -> Matcher:
    """The same without the tunings of taxonomies."""
    return replace(embedded(path), tunings=None)


def multilingual(name: str) -> MultilingualClassifier:
    """The classifier of texts in other languages over an encoder (``similarity.encoders.multilingual``)."""
    return _multilingual(name, folder_state(Path(name)))


def multilingual_setup(name: str) -> Mapping[str, str]:
    """The entry of a manifest for that encoder, with its version; empty without a name."""
    from similarity.encoders.multilingual import multilingual_encoder

    return {"multilingual": multilingual_encoder(name).versioned_name} if name else {}


def tuning_suffix(taxonomy: Taxonomy, path: Path | None = None) -> str:
    """What the name of the embedded classifier ends with in answers for a taxonomy; empty without a tuning."""
    tunings = embedded(path).tunings
    return tunings.suffix(taxonomy) if tunings else ""


@lru_cache(maxsize=1)
def encoder() -> MiniLM:
    """Plain MiniLM."""
    from similarity.encoders.minilm import MiniLM

    return MiniLM()


def pretrained(spec: str, threshold: float | None) -> PretrainedClassifier:
    """The pretrained model of a spec, ``hf:NAME_OR_PATH``; see ``llm.pretrained.classifier.pretrained``."""
    return _pretrained(spec, threshold, folder_state(Path(spec.partition(":")[2])))


def local_backend(model: str, adapter: Path | None) -> LocalBackend:
    """The language model of a folder or a hub name, with the adapter of a folder."""
    folders = [Path(model), *filter(None, [adapter])]
    return _backend(model, adapter, tuple(map(folder_state, folders)))


# Digests and states of files are part of the key only: changed files load another model.


@lru_cache(maxsize=1)
def _matcher(path: Path, digest: str) -> Matcher:
    from safetensors import SafetensorError

    from llm.embedded.matcher import matcher
    from llm.embedded.tunings import with_tunings

    try:
        return with_tunings(matcher(path, encoder()))
    except (SafetensorError, KeyError, TypeError) as error:
        raise InvalidSetting(
            f"{path} has no weights of the embedded classifier of this version ({error}); make some with "
            "`main.py train matcher`"
        ) from None


@lru_cache(maxsize=1)
def _multilingual(name: str, state: object) -> MultilingualClassifier:
    from llm.embedded.multilingual import MultilingualClassifier
    from similarity.encoders.multilingual import multilingual_encoder

    return MultilingualClassifier(multilingual_encoder(name))


@lru_cache(maxsize=1)
def _pretrained(spec: str, threshold: float | None, state: object) -> PretrainedClassifier:
    from llm.pretrained import classifier

    return classifier.pretrained(spec, threshold)


@lru_cache(maxsize=1)
def _backend(model: str, adapter: Path | None, state: object) -> LocalBackend:
    from llm.backends.local_backend import LocalBackend

    return LocalBackend(model, adapter=adapter)
