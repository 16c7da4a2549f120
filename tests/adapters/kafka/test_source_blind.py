"""A client that has lost sight of every broker, for ever and without a word: librdkafka does that (ADR 9)."""

from __future__ import annotations

from time import monotonic

import pytest

from flowguard.adapters.kafka.source import KafkaEventSource
from flowguard.domain.ingestion import Position
from tests.adapters.kafka.source_case import KafkaCase
from tests.adapters.kafka.storage import KafkaLogStorage
from tests.contracts.log_case import P0, TOPIC, Member, publish, things

pytestmark = pytest.mark.kafka


class TestBlind(KafkaCase):
    @pytest.fixture
    def member(self, storage: KafkaLogStorage, monkeypatch: pytest.MonkeyPatch) -> Member:
        """One that has read and committed a record, and is soon asked whether it has a broker."""
        monkeypatch.setattr("flowguard.adapters.kafka.source._QUIET_S", 0.2)
        monkeypatch.setattr("flowguard.adapters.kafka.source._LOOK_S", 0.1)
        storage.event_log().ensure({TOPIC: 1})
        publish(storage, things("a"))
        member = Member(storage.source([TOPIC]))
        self.until(lambda: len(member.values()) == 1, member)
        member.source.commit([Position(P0, 1)])
        return member

    def test_it_is_replaced_and_reading_goes_on(
        self, storage: KafkaLogStorage, member: Member, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = member.source
        assert isinstance(source, KafkaEventSource)
        blind = source._member
        assert blind is not None
        monkeypatch.setattr(blind, "reachable", lambda topic: False)
        self.until(lambda: source._member is not blind and P0 in member.owned, member)
        assert ("lost", (P0,)) in member.told
        publish(storage, things("b"))
        self.until(lambda: len(member.values()) == 2, member)
        assert member.offsets(P0) == [0, 1]

    def test_one_that_sees_them_and_has_nothing_to_read_is_left_alone(self, member: Member) -> None:
        source = member.source
        assert isinstance(source, KafkaEventSource)
        at_first, deadline = source._member, monotonic() + 2
        while monotonic() < deadline:
            member.poll(0.1)
        assert source._member is at_first
        assert member.times("assigned", P0) == 1
