"""The fake account as a storage of the contract suites, and its tables read as a ledger would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from flowguard.adapters.snowpipe import Place, SnowpipeStreamingEventSink
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.catalog import EventType
from flowguard.domain.ingestion import TopicPartition
from flowguard.ports.ledger import LandedOffsets, Ledger, SinkPosition, TableSummary
from tests.adapters.snowpipe.fake import FakeAccount, Stored
from tests.builders import CATALOG

NOTHING = OffsetRanges()


class SnowpipeStorage:
    def __init__(self) -> None:
        self.account = FakeAccount()

    def sink(self, timeout_s: float = 5.0, mended_until: datetime | None = None) -> SnowpipeStreamingEventSink:
        place = Place("snowpipe://account/FG/BRONZE", timeout_s, poll_s=0.0, mended_until=mended_until)
        return SnowpipeStreamingEventSink(self.account.client, CATALOG, place)

    def ledger(self) -> FakeLedger:
        return FakeLedger(self.account)


class FakeLedger(Ledger):
    """What can be known of a stream: its rows and its channels."""

    def __init__(self, account: FakeAccount) -> None:
        self._account = account

    def positions(self) -> Sequence[SinkPosition]:
        makings = {row["TOPIC_ID"]: row["INCARNATION"] for row in self._account.tables["FG_TOPIC_MAKINGS"]}
        found = []
        for (table, name), stream in self._account.streams.items():
            if table == "FG_TOPIC_MAKINGS":
                continue
            topic, topic_id, partition = name.removeprefix("flowguard.").rsplit(".", 2)
            place = TopicPartition(topic, int(partition))
            at = None if stream.token is None else int(stream.token)
            found.append(SinkPosition(place, topic_id, makings[topic_id], at, stream.writer, ""))
        return found

    def summary(self, event_type: EventType) -> TableSummary:
        return TableSummary(len(self._rows(event_type)), len(self._rows(event_type)))

    def offsets(self, event_type: EventType, partition: TopicPartition, incarnation: int) -> LandedOffsets:
        where = (*partition, incarnation)
        landed = [
            row["SOURCE_OFFSET"]
            for row in self._rows(event_type)
            if (row["SOURCE_TOPIC"], row["SOURCE_PARTITION"], row["SOURCE_INCARNATION"]) == where
        ]
        return LandedOffsets(OffsetRanges.of(sorted(set(landed))), NOTHING, NOTHING)

    def doubled(self, event_type: EventType, limit: int = 100) -> Sequence[str]:
        rows = self._rows(event_type)
        keys = [str(row["INGESTION_ID"]) for row in rows]
        keys += [f"{row['PRODUCER_SERVICE']}/{row['EVENT_ID']}" for row in rows]
        return [key for key, number in Counter(keys).items() if number > 1][:limit]

    def recent(
        self, event_type: EventType, limit: int, where: Mapping[str, str] | None = None
    ) -> Sequence[Mapping[str, object]]:
        found = [{name.lower(): value for name, value in row.items()} for row in reversed(self._rows(event_type))]
        wanted = (where or {}).items()
        return [row for row in found if all(str(row[name]) == value for name, value in wanted)][:limit]

    def _rows(self, event_type: EventType) -> list[Stored]:
        return self._account.tables[event_type.table.upper()]
