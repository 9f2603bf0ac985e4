"""A finished training learnt again, from its training and its validation texts together.

Settings, rounds, weights of a blend and thresholds are chosen by texts that are not learnt from. Once they are chosen,
these texts can be learnt, too, and what was chosen stays (Goodfellow, Bengio and Courville 2016, Deep Learning, 7.8).
How good the outcome is, only texts tell that neither side has.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.baselines import ensemble, manifest
from eval.baselines.data import Scorer, Split, Track, TrainingData, untracked
from eval.baselines.registry import CACHE, clear, kind_of, seen
from eval.baselines.trained import Trained
from prompts.errors import InvalidSetting
from prompts.taxonomy import Taxonomy

_NOBODY = {"rows": 0, "complete": 0, "digest": ""}  # by whom the outcome was chosen: no text was kept from it


@dataclass(frozen=True)
class KnownTexts:
    """What trainings saw.

    Attributes:
        taxonomy: their taxonomy.
        trainings: what each may have learnt from; which it was, its manifest tells.
        validation: what all were chosen by.
    """

    taxonomy: Taxonomy
    trainings: Sequence[Split]
    validation: Split

    def of(self, made: dict[str, Any], folder: Path) -> Split:
        """Training and validation texts together.

        Args:
            made: the training's manifest.
            folder: where it stands.

        Raises:
            InvalidSetting: it saw other texts, or other labels.
        """
        if manifest.taxonomy_of(made).labels != self.taxonomy.labels:
            raise InvalidSetting(f"{folder} was trained for another taxonomy than {self.taxonomy.name}")
        training = _found(self.trainings, made["data"]["train"]["digest"], folder, "learnt from")
        return training.joined(_found([self.validation], made["data"]["validation"]["digest"], folder, "chosen by"))


@dataclass(frozen=True)
class Refit:
    """How to learn again.

    Attributes:
        learnt: what the trainings saw.
        command: what was typed, for the manifest.
        cache: folder for embeddings.
        track: shows progress.
    """

    learnt: KnownTexts
    command: str = ""
    cache: Path = CACHE
    track: Track = untracked

    def run(self, folder: Path, out: Path) -> Trained:
        """Learn a training again, and save it with its thresholds as they were.

        Args:
            folder: of the finished training; a blend's parts are all learnt again, and its weights stay.
            out: folder to write to; made if missing, what a former training left there is written over.

        Raises:
            InvalidSetting: the folder holds none, it was learnt again already, or it saw other texts than are given,
                or a teacher's figures.
        """
        manifest.parts_of(folder)
        if out.resolve() == folder.resolve():
            raise InvalidSetting(f"{out} holds the training that is to be learnt again; give another folder")
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix="unfinished-") as scratch:
            trained = self._again(folder, Path(scratch))
        clear(out)
        trained.scorer.save(out)
        manifest.write(out, dict(trained.manifest))
        return trained

    def _again(self, folder: Path, scratch: Path) -> Trained:
        made, taxonomy, decoding = manifest.parts_of(folder)
        if "refit" in made:
            raise InvalidSetting(f"{folder} has learnt its validation texts already; name the training before that")
        if "teacher" in made:
            raise InvalidSetting(f"{folder} was taught by a language model's labels; only people's are learnt again")
        both = self.learnt.of(made, folder)
        start = time.perf_counter()
        scorer = self._scorer(made, folder, both, scratch)
        told = made | {
            "command": self.command,
            "refit": {"command": made["command"], "notes": made["notes"]},
            "data": made["data"] | {"train": seen(both), "validation": _NOBODY},
            "versions": manifest.versions(),
            "notes": scorer.notes(),
            "seconds": round(time.perf_counter() - start, 1),
        }
        return Trained(made["kind"], taxonomy, scorer, decoding, told)

    def _scorer(self, made: dict[str, Any], folder: Path, both: Split, scratch: Path) -> Scorer:
        taxonomy = self.learnt.taxonomy
        if made["kind"] == "blend":
            return ensemble.restore(
                folder, len(taxonomy.names), taxonomy.multi, read=lambda part: self._again(part, scratch)
            )
        kind = kind_of(made["kind"])
        settings = kind.settings(**made["settings"])
        material = TrainingData(taxonomy, both, self.learnt.validation, made["seed"], self.cache, scratch, self.track)
        try:
            return kind.again(material, settings, made["notes"]) if kind.again else kind.fit(material, settings)
        except KeyError as error:
            raise InvalidSetting(f"{folder} does not say what it chose ({error}); train it again") from None


def _found(splits: Sequence[Split], digest: str, folder: Path, how: str) -> Split:
    for split in splits:
        if split.digest == digest:
            return split
    given = ", ".join(split.digest for split in splits)
    raise InvalidSetting(
        f"{folder} was {how} other texts (digest {digest}; given are {given}); name the data, splits and further texts "
        "that it was trained with"
    )
