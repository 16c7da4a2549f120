"""What befalls the world at a given time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from flowguard.adapters.memory import MemoryEventSink, MemoryLedger
from flowguard.adapters.memory.warehouse import Stored, Table
from flowguard.adapters.system import RecordingTelemetry
from flowguard.application.relay import DeadLetterFilter, DeadLetterReplay
from flowguard.application.replay import Replayer, ReplayPorts
from flowguard.domain.audit import OffsetRanges
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.errors import FlowGuardError, TransientError
from flowguard.domain.ingestion import IngestionId, RecordRun, TopicPartition
from flowguard.domain.rows import SinkBatch, WriteReport
from flowguard.ports.dead_letters import DeadLetterQueue, State, StoredDeadLetter
from tests.simulation.plan import ARMED, WINDOWS, Fault
from tests.simulation.process import Process
from tests.simulation.slow import SlowLog
from tests.simulation.streams import CATALOGS, GROUP

if TYPE_CHECKING:
    from tests.simulation.world import World


class Happenings:
    """Begins faults. One that finds nobody to happen to is counted as unfired."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._backups: list[
            tuple[dict[str, Table], dict[tuple[TopicPartition, int], Stored], dict[str, list[str]]]
        ] = []

    def begin(self, fault: Fault) -> None:
        faults = self._world.faults
        if fault.kind in ARMED:
            faults.arm(fault)
        elif fault.kind in WINDOWS:
            faults.open(fault)
        else:
            happen: Callable[[Fault], bool | None] = getattr(self, f"_{fault.kind}")
            happened = happen(fault)
            if happened:
                faults.happened(fault.kind)
            elif happened is False:  # None: it is still to come
                faults.unfired[fault.kind] += 1

    # -- to a consumer -----------------------------------------------------------------------------------------------

    def _victim(self, fault: Fault) -> Process | None:
        processes = self._world.processes
        return processes[int(fault.pick * len(processes))] if processes else None

    def _killed(self, fault: Fault, *, request_lands: bool = False) -> bool:
        victim = self._victim(fault)
        if victim is not None:
            victim.die("killed", request_lands=request_lands)
        return victim is not None

    def _killed_request_lands(self, fault: Fault) -> bool:
        return self._killed(fault, request_lands=True)

    def _frozen(self, fault: Fault) -> bool:
        victim = self._victim(fault)
        if victim is not None:
            victim.note("freezes", fault.lasts_s)
            victim.freeze(fault.lasts_s)
        return victim is not None

    def _expired(self, fault: Fault) -> bool:
        victim = self._victim(fault)
        if victim is not None:
            self._world.expire(victim)
        return victim is not None

    def _join(self, fault: Fault) -> bool:
        if len(self._world.processes) >= 4:
            return False
        self._world.want(1)
        self._world.start()
        return True

    def _leave(self, fault: Fault) -> bool:
        victim = self._victim(fault)
        if victim is not None:
            if fault.lasts_s < 1.0:
                self._world.want(-1)
            victim.leave()
        return victim is not None

    def _upgrade(self, fault: Fault) -> bool:
        """A rolling deployment of consumers that know the newer schema version."""
        world = self._world
        world.upgrade()
        for process in world.processes:
            world.scheduler.after(world.rng.uniform(0.0, 2.0), process.leave)
        return True

    # -- to log, sink and clock --------------------------------------------------------------------------------------

    def _clock_forward(self, fault: Fault) -> bool:
        self._world.clock.offset_s += fault.pick * 10_000
        return True

    def _clock_back(self, fault: Fault) -> bool:
        self._world.clock.offset_s -= fault.pick * 10_000
        return True

    def _offsets_skipped(self, fault: Fault) -> bool:
        world = self._world
        topic = world.topics[int(fault.pick * len(world.topics))]
        found = world.log.topics.get(topic)
        if found is None:
            return False
        number = int(fault.pick * 7_919) % len(found.partitions)
        world.log.skip_offsets(topic, number, 1 + int(fault.lasts_s * 3))
        return True

    def _topic_made_again(self, fault: Fault) -> bool:
        world = self._world
        topic = world.topics[int(fault.pick * len(world.topics))]
        found = world.log.topics.get(topic)
        if found is None:
            return False
        world.oracle.gone.add(found.topic_id)
        world.log.delete_topic(topic)
        world.upheavals += 1
        world.scheduler.after(fault.lasts_s / 4, partial(self._make, topic, len(found.partitions)))
        return True

    def _make(self, topic: str, partitions: int) -> None:
        self._world.log.ensure({topic: partitions})
        self._world.upheavals += 1

    def _retention(self, fault: Fault) -> bool:
        """Old records go, as far as the group has committed them."""
        world = self._world
        done = False
        for topic in world.log.topics.values():
            for partition in topic.partitions:
                # Not what a sink that was set back still has to read again: no log can keep everything for that.
                making = topic.topic_id, partition.place.partition
                done_with = min(world.log.committed(GROUP, partition.place) or 0, world.oracle.verified.get(making, 0))
                if done_with > partition.earliest:
                    world.log.truncate(partition.place, done_with)
                    done = True
        if done:
            self._backups.clear()
        return done

    def _sink_set_back(self, fault: Fault) -> bool | None:
        """Restored from a backup, rows and positions together: at once, or from a backup that is made now, later on."""
        if self._usable_backups() and fault.pick > 0.2:
            self._restore(fault.pick)
            return True
        house = self._world.warehouse
        self._backups.append(copy.deepcopy((house._tables, house.positions, house._topic_ids)))
        self._world.faults.arm(fault)
        self._world.scheduler.after(fault.lasts_s, self._sink_set_back_later)
        return None

    def _sink_set_back_later(self) -> None:
        if self._usable_backups() and (fault := self._world.faults.take("sink_set_back")):
            self._restore(fault.pick)

    def _usable_backups(self) -> bool:
        # A backup that is older than a making of the topic is none: see docs/simulation.md.
        self._backups = [one for one in self._backups if one[2] == self._world.warehouse._topic_ids]
        return bool(self._backups)

    def _restore(self, pick: float) -> None:
        world, house = self._world, self._world.warehouse
        house._tables, house.positions, house._topic_ids = copy.deepcopy(self._backups[int(pick * len(self._backups))])
        world.note("world", "sink set back")
        world.oracle.set_back()
        world.restart_at_peace = True
        world.upheavals += 1

    # -- by people ---------------------------------------------------------------------------------------------------

    def _relay(self, fault: Fault) -> bool:
        return self._relayed(self._world.queue)

    def _relay_cut_off(self, fault: Fault) -> bool:
        """It publishes, and dies before it marks: it is done again later."""
        return self._relayed(_ForgetfulQueue(self._world.queue))

    def _relayed(self, queue: DeadLetterQueue) -> bool:
        from tests.simulation.world import finish

        world = self._world
        replay = DeadLetterReplay(queue, world.producers.publisher, world.clock, page=3)
        if not any(replay.matching(DeadLetterFilter())):
            return False
        try:
            done = finish(replay.run(DeadLetterFilter()))
        except FlowGuardError as error:
            world.note("relay", type(error).__name__)
        else:
            world.note("relay", done)
        return True

    def _replay(self, fault: Fault) -> bool:
        """Somebody looks at a plan, thinks about it, and has it carried out."""
        world = self._world
        if not all(topic in world.log.topics for topic in world.topics):
            return False
        upheavals = world.upheavals
        ports = ReplayPorts(
            _SteadyLog(world), MemoryLedger(world.warehouse), _ReplaySink(world), world.queue, world.clock,
            RecordingTelemetry(),
        )  # fmt: skip
        version = world.version
        replayer = Replayer(CATALOGS[version], GROUP, ports, max_records=7)
        try:
            plan = replayer.plan(min(world.plan.partitions), 0, int(fault.pick * 20))
            world.goes_on()
            if upheavals != world.upheavals:
                return False
            report = replayer.run(plan)
        except FlowGuardError as error:
            world.note("replay", type(error).__name__)
            return True
        finally:
            letters = (stored.letter for stored in world.queue.page(limit=100_000))
            world.oracle.replayed(letters, version)
        world.note("replay", str(plan.partition), plan.first, plan.last, report.inserted, report.duplicates)
        return report.read > 0


class _SteadyLog(SlowLog):
    """People do not replay while a topic is made again or the sink is set back: docs/simulation.md."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._upheavals = world.upheavals

    def read(self, partition: TopicPartition, first: int, last: int) -> Sequence[RecordRun]:
        found = super().read(partition, first, last)
        if self.world.upheavals != self._upheavals:
            raise TransientError("there is an upheaval")
        return found


class _ReplaySink(MemoryEventSink):
    """Tells the oracle what a replay filled in, when it does."""

    def __init__(self, world: World) -> None:
        super().__init__(world.warehouse)
        self._world = world
        self._version = world.version

    def write(self, batch: SinkBatch) -> WriteReport:
        report = super().write(batch)
        self._world.oracle.replayed((), self._version)
        return report


class _ForgetfulQueue(DeadLetterQueue):
    """Cannot be told what became of its letters."""

    def __init__(self, inner: DeadLetterQueue) -> None:
        self._inner = inner

    def put(self, letters: Sequence[DeadLetter], now: datetime) -> None:
        self._inner.put(letters, now)

    def page(
        self, *, topic: str | None = None, reason: Reason | None = None, state: State | None = None,
        limit: int = 100, after: IngestionId | None = None,
    ) -> Sequence[StoredDeadLetter]:  # fmt: skip
        return self._inner.page(topic=topic, reason=reason, state=state, limit=limit, after=after)

    def mark(self, ids: Sequence[IngestionId], state: State, now: datetime) -> int:
        raise TransientError("the queue cannot be reached")

    def offsets(self, partition: TopicPartition, incarnation: int) -> OffsetRanges:
        return self._inner.offsets(partition, incarnation)

    def close(self) -> None:
        self._inner.close()
