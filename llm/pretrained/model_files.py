"""The files of a pretrained classifier: where they are, which kind of model they hold, and their digest; no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from llm.backends.lora_adapter import model_folder
from llm.backends.missing_models import why_missing
from prompts.errors import InvalidSetting
from prompts.files import digest_of, read_json
from prompts.installation import missing

Kind = Literal["entailment", "gliclass", "reranker"]

PREFIX = "hf:"
_DIGITS = 12  # of a digest
_SHOWN = 3  # labels in a message
_COMMIT = re.compile("[0-9a-f]{40}")
_DOWNLOADS_ALLOWED = ("0", "OFF", "NO", "FALSE")  # values of HF_HUB_OFFLINE
_SUPPORTED = "hf: takes NLI models (with a label 'entailment'), GLiClass models and rerankers (with one score)"
# Weights in safetensors, else in torch's format; files of other libraries stay on the hub.
_FILES = ("*.json", "*.txt", "*.model")
_WEIGHTS = ("*.safetensors", "*.bin")


@dataclass(frozen=True)
class PretrainedFiles:
    """The folder of a model, and its configuration.

    Attributes:
        spec: what the user wrote, with the prefix ``hf:``.
        folder: where the files are.
        config: the content of ``config.json``.
        kind: what the scores of the model mean.
    """

    spec: str
    folder: Path
    config: Mapping[str, Any]
    kind: Kind

    @cached_property
    def name(self) -> str:
        """Name and digest, such as ``hf:cross-encoder/nli@1f0c…``; a folder's name is its last part."""
        model = self.spec.removeprefix(PREFIX)
        return f"{PREFIX}{Path(model).resolve().name if Path(model).is_dir() else model}@{self.digest}"

    @cached_property
    def digest(self) -> str:
        """12 hex digits: of the commit in the hub's cache, else of the content of all files in the folder."""
        folder = self.folder.name
        return folder[:_DIGITS] if _COMMIT.fullmatch(folder) else digest_of(self.folder, _DIGITS)


def find(spec: str) -> PretrainedFiles:
    """The files of a spec, ``hf:NAME_OR_PATH``. Nothing is downloaded unless ``HF_HUB_OFFLINE`` is 0.

    Raises:
        InvalidSetting: there is no such model, or it is of no kind that labels texts without training.
        MissingExtra: huggingface_hub is not installed.
    """
    model = spec.removeprefix(PREFIX).strip()
    if not model:
        raise InvalidSetting(f"{spec!r} names no model; give hf: with a folder or a name on the hub")
    try:
        folder = model_folder(model) or _downloaded(spec, model)
    except ModuleNotFoundError as error:
        raise missing(spec, "hf") from error
    path = folder / "config.json"
    if not path.is_file():
        raise InvalidSetting(f"{spec!r}: {folder} has no config.json; give a folder that save_pretrained has written")
    config = read_json(path, InvalidSetting)
    try:
        return PretrainedFiles(spec, folder, config, _kind(spec, config))
    except (ValueError, TypeError, AttributeError):
        raise InvalidSetting(f"{spec!r}: {path} names no outputs in id2label; download the model again") from None


def _kind(spec: str, config: Mapping[str, Any]) -> Kind:
    """The kind of a model; another kind of model is an error that says what it is."""
    architecture = " ".join(map(str, config.get("architectures") or ["a model without architecture"]))
    if config.get("model_type") == "GLiClass":
        if str(config.get("architecture_type")).startswith("bi-encoder"):
            raise InvalidSetting(f"{spec!r} is a GLiClass bi-encoder, which needs a second model; give a uni-encoder")
        return "gliclass"
    if not architecture.endswith("ForSequenceClassification"):
        raise InvalidSetting(f"{spec!r} is {architecture}, {_other_use(architecture)}. {_SUPPORTED}")
    labels = label_names(config)
    if entailment_index(labels) is not None:
        return "entailment"
    if len(labels) == 1:
        return "reranker"
    shown = ", ".join(labels[:_SHOWN]) + (", …" if len(labels) > _SHOWN else "")
    raise InvalidSetting(f"{spec!r} is trained for labels of its own ({shown}), not for yours. {_SUPPORTED}")


def label_names(config: Mapping[str, Any]) -> list[str]:
    """The names of a model's outputs, in order; transformers writes none for its default of two."""
    names = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return [str(names[number]) for number in sorted(names, key=int)]


def entailment_index(labels: Sequence[str]) -> int | None:
    """The number of the output "entailment", as transformers' zero-shot pipeline finds it."""
    return next((number for number, name in enumerate(labels) if name.lower().startswith("entail")), None)


def _other_use(architecture: str) -> str:
    if architecture.endswith(("ForCausalLM", "ForConditionalGeneration")):
        return "a language model: set MARQUEE_LOCAL_MODEL, or use serve --local"
    return "which has no scores for labels"


def _downloaded(spec: str, model: str) -> Path:
    """The folder of a model of the hub, if the environment allows to download it."""
    if model.startswith(("/", ".", "~")):
        raise InvalidSetting(f"{spec!r}: {why_missing(model)}")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() not in _DOWNLOADS_ALLOWED:
        raise InvalidSetting(
            f"{spec!r}: {model} is no folder here and not in the hub's cache; give a folder, or set HF_HUB_OFFLINE=0 "
            "to download it"
        )
    if why := why_missing(model):
        raise InvalidSetting(f"{spec!r}: {why}")
    from huggingface_hub import HfApi, snapshot_download

    try:
        files = [one.rfilename for one in HfApi().model_info(model).siblings or []]
        weights = next((form for form in _WEIGHTS if any(name.endswith(form[1:]) for name in files)), _WEIGHTS[0])
        return Path(snapshot_download(model, allow_patterns=[*_FILES, weights]))
    except Exception as error:  # no network, no space, a proxy: every layer has its own errors
        reason = str(error).strip().partition("\n")[0]
        raise InvalidSetting(f"{spec!r} cannot be downloaded ({reason}); give the folder of a model") from error
