"""A COMMIT whose reply is lost, and whose outcome nobody knows: the same write, tried again, tells what it did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from psycopg import Connection, OperationalError

from flowguard.adapters.postgres import Part, PostgresEventSink, migrate
from flowguard.domain.errors import UnknownOutcomeError
from flowguard.domain.rows import Merged, Move
from tests.builders import CATALOG, CLICKS, rows
from tests.contracts.sink_case import batch, claim

pytestmark = pytest.mark.postgres


@pytest.fixture
def sink(postgres_url: str) -> Iterator[PostgresEventSink]:
    migrate(postgres_url, [*Part], CATALOG)
    with closing(PostgresEventSink(postgres_url, CATALOG)) as sink:
        yield sink


@pytest.mark.parametrize("arrives", [True, False], ids=["committed", "never arrived"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_the_report_of_a_write_survives_its_lost_reply(
    sink: PostgresEventSink, monkeypatch: pytest.MonkeyPatch, times: int, arrives: bool
) -> None:
    commit = Connection.commit

    def lost(connection: Connection[object]) -> None:
        if arrives:
            commit(connection)
        connection.close()
        raise OperationalError("the connection is lost")

    write = batch(rows(CLICKS, range(5)), moves=(Move(claim(sink), None, 5),))
    with monkeypatch.context() as patched:
        patched.setattr(Connection, "commit", lost)
        for _ in range(times):
            with pytest.raises(UnknownOutcomeError):
                sink.write(write)
    assert sink.write(write).merged == {"clicks": Merged(5, 0)}
