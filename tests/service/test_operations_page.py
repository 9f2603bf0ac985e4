"""docs/operations.md says what is there."""

import re
from pathlib import Path
from typing import get_args

from llm.classifier import ProblemKind
from marquee.settings import Settings, environment_name
from tests.service.test_observability import samples

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_its_settings_exist() -> None:
    named = set(re.findall(r"\b(MARQUEE_[A-Z_]+)\b", PAGE))
    of_kubernetes = {"MARQUEE_SERVICE_HOST"}  # named as one that is ignored
    assert named - of_kubernetes <= {environment_name(field) for field in Settings.model_fields}
    assert of_kubernetes < named


def test_its_table_of_figures_is_whole_with_their_labels() -> None:
    rows = re.findall(r"^\| `(marquee_\w+)` \|([^|]*)\|", PAGE, re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    real = {
        re.sub(r"_(bucket|sum|count)$", "", name): labels - {"le"}
        for name, labels in samples().items()
        if not name.endswith("_created")
    }
    assert told == real


def test_its_kinds_of_problems_are_those_of_the_code() -> None:
    row = re.search(r"^\| `marquee_problems_total` \|[^|]*\|(.*)\|$", PAGE, re.MULTILINE)
    assert row
    assert tuple(re.findall(r"`(\w+)`", row[1])) == get_args(ProblemKind)


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
