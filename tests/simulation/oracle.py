"""What is true at every instant: checked at each effect, against a model of its own of what was logged and what landed.

The oracle trusts neither the machine nor the accounts of the sink. It knows what each record was made to be, sees the
rows and the dead letters as they are, and compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowguard.adapters.memory import MemoryWarehouse
from flowguard.domain.columns import METADATA
from flowguard.domain.dead_letters import DeadLetter, Reason
from flowguard.domain.ingestion import INGESTION_ID_HEADER, Assignment, Claim, Position, TopicPartition
from flowguard.domain.rows import Move, Row, SinkBatch
from flowguard.ports.publisher import NewRecord, Receipt
from tests.simulation.errors import Violation
from tests.simulation.streams import CATALOGS, NEW, OCCURRED_AT, OLD, Fate, Spec, topic_of

if TYPE_CHECKING:
    from tests.simulation.process import Process

_AT = {column.name: index for index, column in enumerate(METADATA)}
_FIELDS = len(METADATA)

Making = tuple[str, int]
"""One partition of one making of a topic: (topic id, partition)."""


@dataclass(slots=True, eq=False)
class Logged:
    """A record that is in the log. `first_id`: the ingestion id that a relayed one carries along."""

    spec: Spec
    topic: str
    topic_id: str
    partition: int
    offset: int
    first_id: str | None


class Oracle:
    """Told of every effect at the instant at which it happens. Raises Violation."""

    def __init__(self, warehouse: MemoryWarehouse, specs: Iterable[Spec]) -> None:
        self.records: dict[Making, dict[int, Logged]] = {}
        self.incarnations: dict[tuple[str, str], int] = {}
        self.gone: set[str] = set()
        self.versions = {OLD}
        """Of the consumers so far."""
        self.rows: dict[tuple[str, int, int], Row] = {}
        self.letters: dict[tuple[str, int, int], DeadLetter] = {}
        self.identities: set[tuple[str, str, str]] = set()
        self.ingestion_ids: set[str] = set()
        self.verified: dict[Making, int] = {}
        """Below it, every record of the partition is resolved."""
        self._ever_verified: dict[Making, int] = {}
        self._epochs: dict[Making, int] = {}
        self._owners: dict[Making, str] = {}
        self._topic_ids: dict[tuple[str, int], str] = {}
        self._seen: dict[str, int] = {}
        self._warehouse = warehouse
        self._specs = {spec.value: spec for spec in specs}

    # -- the log -----------------------------------------------------------------------------------------------------

    def logged(self, topic: str, receipt: Receipt, records: Sequence[NewRecord]) -> None:
        for (partition, offset), record in zip(receipt.places, records, strict=True):
            header = dict(record.headers).get(INGESTION_ID_HEADER)
            first_id = None if header is None else header.decode()
            spec = self._specs.get(record.value)
            if spec is None:
                raise Violation("bytes are kept", f"nobody sent {record.value!r}")
            one = Logged(spec, topic, receipt.topic_id, partition, offset, first_id)
            self.records.setdefault((receipt.topic_id, partition), {})[offset] = one

    # -- the sink ----------------------------------------------------------------------------------------------------

    def claimed(self, who: str, assignments: Sequence[Assignment], claims: Sequence[Claim]) -> None:
        for (place, topic_id), claim in zip(assignments, claims, strict=True):
            topic, number = place
            known = self.incarnations.setdefault((topic, topic_id), claim.incarnation)
            owner = self._topic_ids.setdefault((topic, claim.incarnation), topic_id)
            if known != claim.incarnation or owner != topic_id:
                raise Violation("incarnations", f"{topic} {topic_id} is {claim.incarnation}, was {known}/{owner}")
            self._epochs[topic_id, number] = claim.epoch
            self._owners[topic_id, number] = who

    def before_write(self, batch: SinkBatch) -> None:
        """What the port asks of a writer."""
        for move in batch.moves:
            place = move.claim.partition
            stored = self._warehouse.positions.get((place, move.claim.incarnation))
            if stored is None or stored.next_offset != move.expected or stored.epoch != move.claim.epoch:
                continue
            making = self._making(place, move.claim.incarnation)
            offsets = [offset for rows in batch.rows if rows.partition == place for offset in rows.offsets]
            known = [at for at in offsets if at < (move.expected or 0) or (*making, at) in self.rows]
            if known:
                text = f"{place} at its position {move.expected} is given rows at {known}"
                raise Violation("the sink's fast path: all is new", text)
        for rows in batch.rows:
            claim = next((move.claim for move in batch.moves if move.claim.partition == rows.partition), None)
            if claim is None or claim.incarnation != rows.incarnation:
                raise Violation("rows have a claim", f"{rows.partition} incarnation {rows.incarnation}: {claim}")

    def fenced(self, who: str, moves: Sequence[Move]) -> None:
        for move in moves:
            making = self._making(move.claim.partition, move.claim.incarnation)
            if self._owners.get(making) == who and self._epochs[making] > move.claim.epoch:
                raise Violation("nobody fences himself", f"{who} claimed {making} again before it wrote")

    def wrote(self, moves: Sequence[Move], known_version: int, who: str) -> None:
        """A write was applied."""
        for move in moves:
            making = self._making(move.claim.partition, move.claim.incarnation)
            if self._epochs.get(making) != move.claim.epoch:
                raise Violation("8: the sink fences", f"{who} wrote {making} with the old epoch {move.claim.epoch}")
        self._see_new_rows((known_version,))
        for move in moves:
            self._see_position(move.claim.partition, move.claim.incarnation)

    def replayed(self, letters: Iterable[DeadLetter], known_version: int) -> None:
        """A range was read again, by people: rows and dead letters may be there that were not, positions stay."""
        self._see_new_rows((known_version,))
        for letter in letters:
            topic, incarnation, partition, offset = letter.ingestion_id
            if self.letters.get((self._topic_ids[topic, incarnation], partition, offset)) != letter:
                self.dead_lettered((letter,), known_version)

    def set_back(self) -> None:
        """The sink is another one now: as it was some time ago."""
        self.rows.clear()
        self.identities.clear()
        self.ingestion_ids.clear()
        self._seen.clear()
        self._owners.clear()
        self._see_new_rows((OLD, NEW))
        self.verified.clear()
        for (place, incarnation), stored in self._warehouse.positions.items():
            making = self._making(place, incarnation)
            self._epochs[making] = stored.epoch
            self.verified[making] = stored.next_offset or 0

    # -- dead letters ------------------------------------------------------------------------------------------------

    def dead_lettered(self, letters: Sequence[DeadLetter], known_version: int) -> None:
        for letter in letters:
            topic, incarnation, partition, offset = letter.ingestion_id
            topic_id, _ = self._making(TopicPartition(topic, partition), incarnation)
            logged = self._logged(topic_id, partition, offset)
            fate = logged.spec.fate(known_version)
            if fate is not letter.reason:
                text = f"{letter.ingestion_id} ({logged.spec.kind.name}) should be {fate}: {letter.error}"
                raise Violation("3: no dead letter that is good", text)
            if (letter.value, letter.key) != (logged.spec.value, logged.spec.key):
                raise Violation("bytes are kept", f"the dead letter {letter.ingestion_id} is not what was logged")
            if logged.first_id and logged.first_id != dict(letter.headers)[INGESTION_ID_HEADER].decode():
                raise Violation("bytes are kept", f"the dead letter {letter.ingestion_id} lost its first ingestion id")
            self.letters[topic_id, partition, offset] = letter

    # -- the group ---------------------------------------------------------------------------------------------------

    def committed(self, process: Process, positions: Iterable[Position]) -> None:
        for place, next_offset in positions:
            making = process.assigned[place], place.partition
            known = self._ever_verified.get(making, 0)
            for offset, logged in self.records.get(making, {}).items():
                if known <= offset < next_offset and not self.resolved(logged):
                    text = f"{process.name} committed {place} at {next_offset}, but offset {offset} is nowhere"
                    raise Violation("1: commits never run ahead", text)

    # -- what is known -----------------------------------------------------------------------------------------------

    def resolved(self, logged: Logged) -> bool:
        """Landed, a duplicate of what landed, dead-lettered or filtered: now."""
        place, fates = (logged.topic_id, logged.partition, logged.offset), self.fates(logged)
        return (
            place in self.rows
            or place in self.letters
            or Fate.FILTERED in fates
            or (Fate.ROW in fates and logged.spec.identity in self.identities)
            or logged.first_id in self.ingestion_ids
        )

    def fates(self, logged: Logged) -> set[Fate | Reason]:
        """What may have become of it, by the catalogs that were in force so far."""
        return {logged.spec.fate(version) for version in self.versions}

    def _see_position(self, place: TopicPartition, incarnation: int) -> None:
        making = self._making(place, incarnation)
        stored = self._warehouse.positions[place, incarnation].next_offset or 0
        known = self.verified.get(making, 0)
        if stored < known:
            raise Violation("1: nothing is lost", f"the position of {place} went back from {known} to {stored}")
        for offset, logged in self.records.get(making, {}).items():
            if known <= offset < stored and not self.resolved(logged):
                text = f"{place} stands at {stored}, but offset {offset} ({logged.spec.kind.name}) is nowhere"
                raise Violation("1: nothing is lost", text)
        self.verified[making] = stored
        self._ever_verified[making] = max(stored, self._ever_verified.get(making, 0))

    def _see_new_rows(self, known_versions: tuple[int, ...]) -> None:
        for event_type in CATALOGS[NEW]:
            rows = self._warehouse.table(event_type).rows
            for row in rows[self._seen.get(event_type.name, 0) :]:
                self._see_row(event_type.name, row, known_versions)
            self._seen[event_type.name] = len(rows)

    def _see_row(self, stream: str, row: Row, known_versions: tuple[int, ...]) -> None:
        topic, incarnation = row[_AT["source_topic"]], row[_AT["source_incarnation"]]
        partition, offset = row[_AT["source_partition"]], row[_AT["source_offset"]]
        topic_id, _ = self._making(TopicPartition(topic, partition), incarnation)
        logged = self._logged(topic_id, partition, offset)
        spec = logged.spec
        if not any(spec.fate(version) is Fate.ROW for version in known_versions):
            raise Violation("only what is good lands", f"{topic}@{incarnation}-{partition}-{offset}: {spec.kind.name}")
        marker = "" if incarnation == 1 else f"@{incarnation}"
        ingestion_id = logged.first_id or f"{topic}{marker}-{partition}-{offset}"
        count = spec.data.get("count", spec.data.get("n"))
        expected = (
            spec.event_id, stream, spec.version, topic_of(stream), incarnation, partition, offset, spec.source,
            ingestion_id, None, OCCURRED_AT, row[_AT["ingested_at"]], spec.payload,
            spec.data["device"], count, spec.data["note"],
        )  # fmt: skip
        if row != expected:
            raise Violation("rows are what was sent", f"{row} is not {expected}")
        if ingestion_id in self.ingestion_ids or spec.identity in self.identities:
            raise Violation("2: nothing is doubled", f"{ingestion_id}, {spec.identity} has a second row")
        self.ingestion_ids.add(ingestion_id)
        self.identities.add(spec.identity)
        self.rows[topic_id, partition, offset] = row

    def _making(self, place: TopicPartition, incarnation: int) -> Making:
        return self._topic_ids[place.topic, incarnation], place.partition

    def _logged(self, topic_id: str, partition: int, offset: int) -> Logged:
        found = self.records.get((topic_id, partition), {}).get(offset)
        if found is None:
            raise Violation("nothing is made up", f"nothing was logged at {topic_id} {partition} {offset}")
        return found
