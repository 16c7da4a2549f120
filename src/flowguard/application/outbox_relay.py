"""From an outbox into the log: in order, at least once, and nothing passed over."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from flowguard.application.attempts import Attempts
from flowguard.domain.errors import ConfigurationError, FlowGuardError, RetryPolicy, TransientError
from flowguard.domain.outbox import OutboxMessage
from flowguard.domain.telemetry import LineStopped, MessagesRelayed, OutboxLeadChanged
from flowguard.ports.clock import Clock
from flowguard.ports.outbox import Outbox, Waiting
from flowguard.ports.publisher import EventPublisher, NewRecord
from flowguard.ports.telemetry import Telemetry

_CLEANED_AT_ONCE = 1_000
_WHAT = "outbox"


@dataclass(frozen=True, slots=True)
class OutboxPorts:
    """What an OutboxRelay needs of the world. It closes outbox and publisher."""

    outbox: Outbox
    publisher: EventPublisher
    clock: Clock
    telemetry: Telemetry


@dataclass(frozen=True, slots=True)
class OutboxPace:
    """How much and how often. Times in seconds."""

    batch: int = 500
    """Messages taken at once."""
    poll_s: float = 1.0
    """The longest wait for news: the net under the outbox's own waking, and how late a stop may be noticed."""
    clean_up_s: float = 60.0
    """Between two cleanings."""
    keep_s: float = 86_400.0
    """How long a message is kept after it was sent."""


class OutboxRelay:
    """Publishes what waits in the outbox, and marks it as sent after the log's receipt. Blocking, in one thread.

    Always the lowest ids that are not marked, all of them: so whichever relay publishes a message has seen everything
    before it published, by itself or by another one. A crash between receipt and mark, or two relays that both take
    themselves for the leader, publish some messages twice, the second time behind the first: the sink takes them for
    the one event that they are, by source and event id.

    What passes by itself is tried again for ever. A message that the log refuses for good stops the line: passing it
    over would lose it, and break the order of its key.
    """

    def __init__(
        self, ports: OutboxPorts, *, retry: RetryPolicy, jitter: Callable[[], float], pace: OutboxPace | None = None
    ) -> None:
        self._ports = ports
        self._attempts = Attempts(retry, jitter, ports.clock, ports.telemetry)
        self._pace = pace or OutboxPace()
        self._loop = asyncio.Runner()  # the publisher's own
        self._published: list[int] = []  # in the log, and not marked yet
        self._leads: bool | None = None
        self._clean_at = ports.clock.monotonic()
        self.relayed: Counter[str] = Counter()
        """Messages by topic, as the log has confirmed them."""

    def run(self, stop: threading.Event, *, once: bool = False) -> None:
        """Until `stop` is set, then let go of everything. Raises ConfigurationError where the log refuses a message.

        With `once`, until nothing waits any more; then nothing is tried again: TransientError is raised where outbox or
        log are away, or another relay has the lead.
        """
        try:
            while not stop.is_set():
                try:
                    busy = self._turn(once=once)
                except _RefusedError:
                    raise
                except (TransientError, ConfigurationError) as error:
                    if once:
                        raise
                    self._hold(error, stop)
                else:
                    self._attempts.succeeded(_WHAT)
                    if once and not busy:
                        return
        finally:
            self._close()

    def _turn(self, *, once: bool) -> bool:
        """Move what waits now, and clean up. Where there is nothing to do, wait for news; then False."""
        self._mark()  # what could not be marked in the turn before
        taken = self._ports.outbox.take(self._pace.batch)
        self._tell_lead(taken is not None)
        if taken is None and once:
            raise TransientError("another relay is at work on this outbox, and moves what is there")
        self._publish(taken or ())
        self._mark()
        if self._clean_up() or taken:
            return True
        if not once:
            self._ports.outbox.wait(self._pace.poll_s)
        return False

    def _hold(self, error: FlowGuardError, stop: threading.Event) -> None:
        """Wait before the next try; with what is taken then, as it may not be what was taken now."""
        self._attempts.failed(_WHAT, error)
        while not self._attempts.due(_WHAT) and not stop.is_set():
            stop.wait(max(0.0, (self._attempts.due_at(_WHAT) or 0.0) - self._ports.clock.monotonic()))

    # -- publishing --------------------------------------------------------------------------------------------------

    def _publish(self, taken: Sequence[Waiting]) -> None:
        """All of them, a topic at a time: there is no order between topics."""
        topics: dict[str, list[Waiting]] = {}
        for one in taken:
            topics.setdefault(one.message.topic, []).append(one)
        for topic, some in topics.items():
            try:
                self._send(topic, some)
            except TransientError:
                raise
            except FlowGuardError as error:
                self._send_one_by_one(topic, some, error)

    def _send(self, topic: str, some: Sequence[Waiting]) -> None:
        started = self._ports.clock.monotonic()
        self._loop.run(self._ports.publisher.publish(topic, [_record(one.message) for one in some]))
        self._published += [one.id for one in some]
        self.relayed[topic] += len(some)
        self._ports.telemetry.emit(MessagesRelayed(topic, len(some), self._ports.clock.monotonic() - started))

    def _send_one_by_one(self, topic: str, some: Sequence[Waiting], error: FlowGuardError) -> None:
        """One of them is refused: those before it go, and it is named. Where none is refused alone, all have gone."""
        for one in some:
            if len(some) > 1:
                try:
                    self._send(topic, [one])
                    continue
                except TransientError:
                    raise
                except FlowGuardError as refused:
                    error = refused
            self._mark()
            reason = (
                f"the log refuses message {one.id} of the outbox (event {one.message.event_id}, topic {topic}):"
                f" {error}. It and what comes after it wait until that is mended"
            )
            self._ports.telemetry.emit(LineStopped(reason))
            raise _RefusedError(reason) from error

    def _mark(self) -> None:
        if self._published:
            self._ports.outbox.mark_sent(self._published, self._ports.clock.now())
            self._published = []

    # -- the rest ----------------------------------------------------------------------------------------------------

    def _clean_up(self) -> bool:
        """When it is time. True where there may be more."""
        now = self._ports.clock.monotonic()
        if not self._leads or now < self._clean_at:
            return False
        self._clean_at = now + self._pace.clean_up_s  # also where it fails: to move messages is more important
        before = self._ports.clock.now() - timedelta(seconds=self._pace.keep_s)
        more = self._ports.outbox.clean_up(before, _CLEANED_AT_ONCE) == _CLEANED_AT_ONCE
        if more:
            self._clean_at = now
        return more

    def _tell_lead(self, leads: bool) -> None:  # noqa: FBT001  # it is the value itself
        if leads is not self._leads:
            self._leads = leads
            self._ports.telemetry.emit(OutboxLeadChanged(leads))

    def _close(self) -> None:
        with suppress(TransientError, ConfigurationError):  # then they are published once more, and land once
            self._mark()
        with self._loop as loop:
            try:
                loop.run(self._ports.publisher.close())
            finally:
                self._ports.outbox.close()


class _RefusedError(ConfigurationError):
    """By the log, for good; what the outbox itself says may be mended under a running relay."""


def _record(message: OutboxMessage) -> NewRecord:
    return NewRecord(message.key, message.value, message.headers)
