from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowguard.settings import Settings
from tests.entrypoints.gateway.running import Gateway, running


@pytest.fixture(scope="module")
def shared() -> Iterator[Gateway]:
    """One gateway for tests that look only at their own request."""
    with running(settings=Settings(max_body_bytes=1 << 20, max_events=1_000)) as gateway:
        yield gateway


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A gateway of one's own."""
    with running(settings=Settings(max_body_bytes=1 << 20, max_events=1_000)) as gateway:
        yield gateway
