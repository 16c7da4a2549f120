"""One live member a group: a second consumer takes over, and the first is told so."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.domain.errors import ConfigurationError
from flowguard.domain.ingestion import Position
from tests.adapters.sqlite.storage import SqliteLogStorage
from tests.contracts.log_case import GROUP, P0, TOPIC, Member, publish, things


def test_a_newer_consumer_takes_over(tmp_path: Path) -> None:
    storage = SqliteLogStorage(tmp_path)
    log = storage.event_log()
    log.ensure({TOPIC: 1})
    publish(storage, things("a", "b", "c"))
    older, newer, other = (Member(storage.source([TOPIC], group)) for group in (GROUP, GROUP, "other"))
    for member in (older, other):
        while member.values() != [b"a", b"b", b"c"]:
            member.poll(1.0)
    older.source.commit([Position(P0, 1)])
    newer.poll(0.0)

    older.source.commit([Position(P0, 3)])  # it does not know yet: passed over
    described = log.describe(TOPIC, GROUP)
    assert described is not None
    assert described.spans[0].committed == 1
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"another consumer of group flowguard took over \(process \d+"):
            older.poll(0.0)
    assert older.told == [("assigned", (P0,)), ("lost", (P0,))]
    older.source.close()

    while newer.values() != [b"b", b"c"]:
        newer.poll(1.0)
    newer.source.commit([Position(P0, 3)])
    assert list(other.poll(0.0)) == []  # groups do not disturb one another
    storage.close()


def test_a_consumer_that_waits_learns_of_it_while_it_waits(tmp_path: Path) -> None:
    storage = SqliteLogStorage(tmp_path)
    storage.event_log().ensure({TOPIC: 1})
    older = Member(storage.source([TOPIC]))
    older.poll(0.0)
    Member(storage.source([TOPIC])).poll(0.0)
    with pytest.raises(ConfigurationError, match="took over"):
        older.poll(60.0)
    storage.close()
