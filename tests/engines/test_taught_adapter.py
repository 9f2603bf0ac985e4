"""An adapter is taught on a base that knows words, in the reading that it is asked in.

What is taught is answered right by a model whose answers were noise.
"""

from pathlib import Path

import pytest

from eval.lora.lessons import Form
from llm.engines.local import Local
from llm.language_model import LanguageModel
from llm.readings.choice import READINGS
from tests.taught_adapter import lessons, taught
from tests.trained_qwen2 import PROMPT
from tests.worded_qwen2 import GENRES, worded


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worded(tmp_path_factory.mktemp("worded") / "qwen2")


@pytest.mark.parametrize("form", ["list", "letters"])
def test_noise_becomes_the_right_genres(base: Path, tmp_path: Path, form: Form) -> None:
    made = taught(base, tmp_path / "films", form)
    assert made["validation"]["before"]["micro-F1"] < 0.4
    engine = Local(str(base), device="cpu", dtype="float32", adapter=tmp_path / "films")
    found = LanguageModel(engine, READINGS[form], PROMPT).classify([one.text for one in lessons()], GENRES)
    right = sum(bool(set(one.labels) & set(film.labels)) for one, film in zip(found, lessons(), strict=True))
    assert right >= 7
