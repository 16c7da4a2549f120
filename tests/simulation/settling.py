"""What is true at the end: every record became exactly what it should, and the audit says the same."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from flowguard.adapters.memory import MemoryEventLog, MemoryLedger
from flowguard.application.audit import Auditor, AuditReport
from flowguard.domain.dead_letters import Reason
from tests.simulation.errors import Violation
from tests.simulation.oracle import Logged
from tests.simulation.slow import SlowLedger, SlowLog
from tests.simulation.streams import CATALOGS, GROUP, NEW, OLD, Fate

if TYPE_CHECKING:
    from tests.simulation.world import World


class Settling:
    """Looks at the whole world, from outside."""

    def __init__(self, world: World) -> None:
        self._world = world

    def settled(self) -> bool:
        """Everything that was sent is logged, the sink's positions are at the ends of the log, and the group knows."""
        world = self._world
        if world.producers.open:
            return False
        for topic in world.log.topics.values():
            for partition in topic.partitions:
                making = topic.topic_id, partition.place.partition
                if records := world.oracle.records.get(making):
                    position = world.oracle.verified.get(making, 0)
                    if position <= max(records) or world.log.committed(GROUP, partition.place) != position:
                        return False
        return len(world.log.topics) == len(world.topics)

    def look(self) -> None:
        """Audit in the midst of it all: what lands while the audit reads is never missing, nor doubled."""
        world = self._world
        upheavals = world.upheavals
        log, ledger = SlowLog(world), SlowLedger(world)
        report = Auditor(CATALOGS[NEW], GROUP, log, ledger, world.queue).run()
        # While a topic is made again, or the sink set back, an audit sees a bit of both worlds.
        if not report.ok and upheavals == world.upheavals:
            raise Violation("the audit, under way", str(report.as_json()))

    def check_audit(self) -> AuditReport:
        """Nothing is missing or doubled."""
        world = self._world
        report = Auditor(
            CATALOGS[NEW], GROUP, MemoryEventLog(world.log), MemoryLedger(world.warehouse), world.queue
        ).run()
        if not report.ok:
            raise Violation("the audit", str(report.as_json()))
        return report

    def check_all(self) -> None:
        for records in self._world.oracle.records.values():
            for logged in records.values():
                self._check_record(logged)
        self._compare(self.check_audit())

    def _check_record(self, logged: Logged) -> None:
        """Exactly one of: landed, a duplicate, a dead letter, filtered."""
        oracle = self._world.oracle
        place = logged.topic_id, logged.partition, logged.offset
        what = f"{logged.topic} ({logged.topic_id}) {logged.partition} offset {logged.offset}: {logged.spec.kind.name}"
        if not oracle.resolved(logged):
            if logged.topic_id not in oracle.gone:
                raise Violation("1: nothing is lost", f"{what} is nowhere")
            return
        fates = oracle.fates(logged)
        is_row, is_letter = place in oracle.rows, place in oracle.letters
        if is_row and Fate.ROW not in fates:
            raise Violation("only what is good lands", what)
        if is_letter and not any(isinstance(fate, Reason) for fate in fates):
            raise Violation("3: no dead letter that is good", what)
        if is_row and is_letter and len(fates) == 1:
            raise Violation("1: exactly one", f"{what} is a row and a dead letter")
        if not is_row and not is_letter and all(isinstance(fate, Reason) for fate in fates):
            raise Violation("1: exactly one", f"{what} is neither a row nor a dead letter")

    @property
    def _upgraded(self) -> bool:
        return self._world.version == NEW

    def _compare(self, report: AuditReport) -> None:
        """The audit's sums are those of the oracle."""
        world, oracle = self._world, self._world.oracle
        for stream, sums in report.streams.items():
            if stream not in world.plan.partitions:
                continue
            mine: Counter[str] = Counter()
            for records in oracle.records.values():
                for logged in records.values():
                    if logged.spec.stream == stream:
                        mine[self._count_as(logged)] += 1
            landed, filtered, rest = mine["landed"], mine["filtered"], mine["dead"] + mine["duplicate"]
            theirs = sums.landed, sums.filtered, sums.dead_lettered + sums.duplicates, sums.in_flight
            if not oracle.gone and theirs != (landed, filtered, rest, 0):
                raise Violation("the audit agrees", f"{stream}: {theirs} is not {(landed, filtered, rest, 0)}")
            if sums.landed != landed or sums.in_flight:
                raise Violation("the audit agrees", f"{stream}: {sums.landed} landed, not {landed}; {sums.in_flight}")
            if not oracle.gone and not self._upgraded and sums.dead_lettered != mine["dead"]:
                raise Violation("the audit agrees", f"{stream}: {sums.dead_lettered} dead, not {mine['dead']}")

    def _count_as(self, logged: Logged) -> str:
        oracle = self._world.oracle
        place = logged.topic_id, logged.partition, logged.offset
        if place in oracle.rows:
            return "landed"
        if logged.spec.fate(OLD) is Fate.FILTERED:
            return "filtered"
        return "dead" if place in oracle.letters else "duplicate"
