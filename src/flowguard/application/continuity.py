"""Is the log the one that the sink has read? An older copy of it would log new events under offsets already taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from flowguard.domain.catalog import Catalog
from flowguard.domain.errors import ConfigurationError
from flowguard.domain.ingestion import TopicPartition
from flowguard.ports.event_log import EventLog
from flowguard.ports.ledger import Ledger


class SetBack(NamedTuple):
    """A partition whose log ends at offset `end`, although the sink has taken it up to `position`."""

    partition: TopicPartition
    end: int
    position: int

    def __str__(self) -> str:
        return f"{self.partition} ends at {self.end}, but the sink took it up to {self.position}"


def set_back(catalog: Catalog, group: str, log: EventLog, ledger: Ledger) -> Iterator[SetBack]:
    """The partitions of the log that end before what the sink has taken. Raises TransientError, ConfigurationError."""
    positions = ledger.positions()  # before the ends: a log that runs only ever gets longer
    for event_type in catalog:
        described = log.describe(event_type.topic, group)
        if described is None:
            continue
        taken = {one.partition: one.next_offset or 0 for one in positions if one.topic_id == described.topic_id}
        for span in described.spans:
            if taken.get(span.partition, 0) > span.next_offset:
                yield SetBack(span.partition, span.next_offset, taken[span.partition])


def require_topics(topics: Iterable[str], group: str, log: EventLog) -> None:
    """Raise ConfigurationError where one of these does not exist. Raises TransientError."""
    if missing := [topic for topic in topics if log.describe(topic, group) is None]:
        raise ConfigurationError(
            f"the log has no topic {', '.join(missing)}: `flowguard migrate` makes what is missing"
        )


def another_log(catalog: Catalog, group: str, log: EventLog, ledger: Ledger) -> Iterator[str]:
    """Topics that the sink knows, from another log or as they were before they were made again."""
    positions = ledger.positions()
    for topic in (one.topic for one in catalog):
        known = {one.topic_id for one in positions if one.partition.topic == topic}
        described = log.describe(topic, group) if known else None
        if described is not None and described.topic_id not in known:
            yield topic


def require_no_set_back(catalog: Catalog, group: str, log: EventLog, ledger: Ledger) -> None:
    """Raise ConfigurationError where the log is an older copy: what it accepts would never land."""
    for found in set_back(catalog, group, log, ledger):
        raise ConfigurationError(
            f"the log was put back from an older copy: {found}. New events would get ids that are taken, and never"
            " land. Put the newer log back; or, since all of this one has landed, move it away: the next start makes a"
            " new one, whose events get ids of their own"
        )
