"""The pipeline of these tests, once on each embedded technology."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.application.pipeline import Pipeline


@pytest.fixture(params=["memory", "sqlite"])
def pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pipeline]:
    made = Pipeline(request.param, tmp_path)
    yield made
    made.close()
