"""Consumer groups of the memory log: who is a member, who owns which partition, and what was committed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from flowguard.domain.ingestion import TopicPartition


@dataclass(slots=True)
class Group:
    """Cooperative: a partition changes hands only after its owner gave it up, or was given up as dead."""

    committed: dict[TopicPartition, int] = field(default_factory=dict)
    topics: set[str] = field(default_factory=set)
    """Every topic that a member ever read: what it has not committed there is kept."""
    owners: dict[TopicPartition, int] = field(default_factory=dict)
    _members: dict[int, frozenset[str]] = field(default_factory=dict)  # in the order of joining

    def join(self, member: int, topics: Iterable[str]) -> None:
        self._members[member] = frozenset(topics)
        self.topics |= self._members[member]

    def has(self, member: int) -> bool:
        return member in self._members

    def leave(self, member: int) -> None:
        """Free all that the member owned, at once."""
        self._members.pop(member, None)
        self.owners = {place: owner for place, owner in self.owners.items() if owner != member}

    def release(self, member: int, places: Iterable[TopicPartition]) -> None:
        for place in places:
            if self.owners.get(place) == member:
                del self.owners[place]

    def due_to(self, member: int, places: Collection[TopicPartition]) -> set[TopicPartition]:
        """The member's share of these, which are all that there are: dealt out in turn to those who read the topic."""
        due: set[TopicPartition] = set()
        for turn, place in enumerate(sorted(places)):
            readers = [one for one, topics in self._members.items() if place.topic in topics]
            if readers and readers[turn % len(readers)] == member:
                due.add(place)
        return due

    def forget(self, topic: str) -> None:
        """The topic was deleted."""
        self.owners = {place: owner for place, owner in self.owners.items() if place.topic != topic}
        self.committed = {place: at for place, at in self.committed.items() if place.topic != topic}
