"""Tests of the encoders load their own models."""

from collections.abc import Iterator

import pytest

from tests.support.shared_models import own_models


@pytest.fixture(scope="module", autouse=True)
def models_of_this_file() -> Iterator[None]:
    with own_models():
        yield
