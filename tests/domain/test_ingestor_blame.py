"""Whose fault is a batch that fails for good?"""

from __future__ import annotations

from flowguard.domain.batching import BatchPolicy, FlowPolicy
from flowguard.domain.dead_letters import DeadLetterPolicy
from flowguard.domain.decisions import DeadLetters, Write
from flowguard.domain.errors import PermanentError, RetryPolicy
from flowguard.domain.ingestion import RecordRun, TopicPartition
from flowguard.domain.ingestor import Ingestor

LEFT, STAYS = TopicPartition("raw.clicks.v1", 0), TopicPartition("raw.clicks.v1", 1)


def test_a_record_is_not_blamed_for_a_fault_that_went_with_a_lost_partition() -> None:
    machine = Ingestor(BatchPolicy(max_records=2), RetryPolicy(), DeadLetterPolicy(), FlowPolicy(), lambda: 0.0)
    machine.assigned({LEFT: 0, STAYS: 0}, 0.0)
    [write] = machine.offer([RecordRun(LEFT, [0], [b"bad"], [0]), RecordRun(STAYS, [0], [b"good"], [0])], 0.0)
    assert isinstance(write, Write)

    machine.lost([LEFT], 0.0)
    decisions = machine.failed(write.batch, PermanentError("something in it"), 0.0)

    assert not any(isinstance(decision, DeadLetters) for decision in decisions)
    [again] = decisions
    assert isinstance(again, Write)
    assert [run.partition for run in again.batch.runs] == [STAYS]
