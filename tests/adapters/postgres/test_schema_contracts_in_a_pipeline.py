"""What a schema contract means for a whole pipeline: the balance is kept, and whatever did not land is told."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

import pytest

from flowguard.adapters.memory import MemoryDeadLetterQueue, MemoryEventLog, MemoryEventSource, MemoryLog
from flowguard.adapters.system import RecordingTelemetry, SystemClock
from flowguard.application.audit import Auditor
from flowguard.application.ingest import Ingestion
from flowguard.application.ingest_ports import IngestPorts, Pace
from flowguard.application.replay import Replayer, ReplayPorts
from flowguard.application.worker import ThreadWorker
from flowguard.application.writing import BatchWriter
from flowguard.domain.audit import StreamAudit
from flowguard.domain.batching import BatchPolicy, FlowPolicy
from flowguard.domain.catalog import Catalog, SchemaContract
from flowguard.domain.dead_letters import DeadLetterPolicy, Reason
from flowguard.domain.decoding import BatchDecoder
from flowguard.domain.errors import RetryPolicy
from flowguard.domain.ingestor import Ingestor
from flowguard.domain.telemetry import (
    AttemptFailed,
    ColumnsAdded,
    RecordsDeadLettered,
    RowsDiscarded,
    RowsMerged,
    ValuesDiscarded,
)
from flowguard.ports.publisher import NewRecord
from tests.adapters.postgres.storage import PostgresStorage
from tests.contracts.schema import GROWN, OLD, users
from tests.domain.decoded import wrap

pytestmark = pytest.mark.postgres

DEADLINE_S = 30.0
GROUP = "flowguard"
RETRY = RetryPolicy(initial_s=0.001, cap_s=0.01)
VALUES: list[dict[str, object]] = [
    {"user_id": "u0"},
    {"user_id": "u1", "Nights": 3},
    {"user_id": "u2", "hotel": "Ritz"},
    {"user_id": "u3"},
]


class Pipeline:
    """A log with four bookings, of which two have values that the table has no column for; and one consumer."""

    def __init__(self, storage: PostgresStorage, contract: SchemaContract) -> None:
        self.catalog = Catalog([GROWN])
        self.ledger = storage.ledger()
        self.queue = MemoryDeadLetterQueue()
        self.happenings = RecordingTelemetry()
        self.sink = storage.sink_with(contract)
        log = MemoryLog()
        log.ensure({GROWN.topic: 1})
        log.append(GROWN.topic, [NewRecord(b"k", wrap(GROWN, one, id=f"e{at}"), ()) for at, one in enumerate(VALUES)])
        self.log = MemoryEventLog(log)
        self.ingestion = Ingestion(
            IngestPorts(
                MemoryEventSource(log, GROUP, [GROWN.topic]), self.sink, self.queue, SystemClock(), self.happenings,
                ThreadWorker("writer"),
            ),
            BatchWriter(BatchDecoder(self.catalog), self.sink, SystemClock()),
            Ingestor(BatchPolicy(max_age_s=0.0), RETRY, DeadLetterPolicy(), FlowPolicy(), lambda: 1.0),
            owner="test",
            retry=RETRY,
            jitter=lambda: 1.0,
            pace=Pace(idle_s=0.01, busy_s=0.005),
        )  # fmt: skip

    def run(self) -> StreamAudit:
        """Until the sink's position is behind the last booking; then the balance."""
        deadline = monotonic() + DEADLINE_S
        while not any(one.next_offset == len(VALUES) for one in self.ledger.positions()):
            assert monotonic() < deadline, self.happenings.happenings
            self.ingestion.step()
        self.ingestion.drain()
        return self.audit()

    def audit(self) -> StreamAudit:
        return Auditor(self.catalog, GROUP, self.log, self.ledger, self.queue).run().streams["bookings"]

    def replay(self) -> tuple[int, int]:
        """All of the log once more; what the plan says would land, and what did."""
        ports = ReplayPorts(self.log, self.ledger, self.sink, self.queue, SystemClock(), self.happenings)
        replayer = Replayer(self.catalog, GROUP, ports, max_records=100)
        plan = replayer.plan("bookings", 0, 0)
        return plan.would_land, replayer.run(plan).inserted


@pytest.fixture
def storage(postgres_url: str) -> Iterator[PostgresStorage]:
    storage = PostgresStorage(postgres_url)
    storage.migrate(OLD)
    yield storage
    storage.close()


@pytest.fixture
def pipeline(storage: PostgresStorage, request: pytest.FixtureRequest) -> Iterator[Pipeline]:
    pipeline = Pipeline(storage, request.param)
    yield pipeline
    pipeline.ingestion.close()


@pytest.mark.parametrize("pipeline", [SchemaContract.EVOLVE], indirect=True)
def test_evolve(pipeline: Pipeline) -> None:
    assert pipeline.run() == StreamAudit(logged=4, landed=4)
    assert pipeline.happenings.of(ColumnsAdded) == [ColumnsAdded("bookings", ("hotel", "nights"))]
    assert pipeline.happenings.of(AttemptFailed) == []


@pytest.mark.parametrize("pipeline", [SchemaContract.FREEZE], indirect=True)
def test_freeze(pipeline: Pipeline) -> None:
    assert pipeline.run() == StreamAudit(logged=4, landed=2, dead_lettered=2)
    assert users(pipeline.ledger) == ["u0", "u3"]
    letters = [one.letter for one in pipeline.queue.page()]
    assert [(one.ingestion_id.offset, one.reason) for one in letters] == [
        (1, Reason.REJECTED_BY_SINK),
        (2, Reason.REJECTED_BY_SINK),
    ]
    assert "table bookings has no column hotel, nights" in letters[0].error
    (told,) = pipeline.happenings.of(RecordsDeadLettered)
    assert (told.stream, told.count) == ("bookings", 2)


@pytest.mark.parametrize("pipeline", [SchemaContract.DISCARD_VALUE], indirect=True)
def test_discard_value_and_filling_the_column_from_the_payload(pipeline: Pipeline, storage: PostgresStorage) -> None:
    assert pipeline.run() == StreamAudit(logged=4, landed=4)
    assert pipeline.happenings.of(ValuesDiscarded) == [ValuesDiscarded("bookings", ("hotel", "nights"), 2)]
    (row,) = pipeline.ledger.recent(OLD, 1, {"user_id": "u1"})
    assert row["payload"] == '{"user_id": "u1", "Nights": 3}'
    storage.migrate(GROWN)
    storage.execute(
        "UPDATE bookings SET nights = (payload->>'Nights')::bigint"
        " WHERE nights IS NULL AND payload->>'Nights' IS NOT NULL"
    )
    assert {one["nights"] for one in pipeline.ledger.recent(GROWN, 9)} == {None, 3}


@pytest.mark.parametrize("pipeline", [SchemaContract.DISCARD_ROW], indirect=True)
def test_discard_row_and_replay_after_a_migration(pipeline: Pipeline, storage: PostgresStorage) -> None:
    assert pipeline.run() == StreamAudit(logged=4, landed=2, filtered=2)
    assert pipeline.happenings.of(RowsDiscarded) == [RowsDiscarded("bookings", ("hotel", "nights"), 2)]
    assert [one.inserted for one in pipeline.happenings.of(RowsMerged)] == [2]
    storage.migrate(GROWN)
    assert pipeline.replay() == (2, 2)
    assert pipeline.audit() == StreamAudit(logged=4, landed=4)
