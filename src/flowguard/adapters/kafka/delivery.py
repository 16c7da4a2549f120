"""What became of the records of one request: its delivery reports, gathered into one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import repeat
from types import MethodType
from typing import Any, Final

from confluent_kafka import KafkaError, Message

from flowguard.adapters.kafka.errors import DENIED, MISSING, TOO_LARGE, translated
from flowguard.domain.errors import FlowGuardError, UnknownOutcomeError

Places = Sequence[tuple[int, int]]
Answer = Places | FlowGuardError
Report = Callable[[KafkaError | None, Message], None]

_NOT_KEPT: Final = (
    MISSING
    | DENIED
    | TOO_LARGE
    | {
        KafkaError.INVALID_RECORD,
        KafkaError.POLICY_VIOLATION,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
        KafkaError._PURGE_QUEUE,  # noqa: SLF001  # it never left the client
    }
)
"""A record with such an error is surely not in the log. Of every other one, nobody can say."""


class Delivery:
    """Gathers the delivery reports of `count` records of `size` bytes, and calls `answer` in the loop when all are in.

    Made in the loop; reports come in the thread that polls the client. `future` is what the request waits for.
    """

    __slots__ = (
        "_answer", "_errors", "_expected", "_loop", "_places", "_reported", "count", "future", "size", "topic",
    )  # fmt: skip

    def __init__(
        self, topic: str, count: int, size: int, loop: asyncio.AbstractEventLoop,
        answer: Callable[[Delivery, Answer], None],
    ) -> None:  # fmt: skip
        self.topic = topic
        self.count = count
        self.size = size
        self.future: asyncio.Future[Places] = loop.create_future()
        self._loop = loop
        self._answer = answer
        self._places: list[Any] = [None] * count
        self._errors: list[KafkaError] = []
        self._reported = 0
        self._expected = count

    def reports(self) -> list[Report]:
        """A callback for each record, in order."""
        # Each is `_report` with its index as a method of it: a quarter of what a `partial` costs to make.
        return list(map(MethodType, repeat(self._report), range(self.count)))

    def cut(self, produced: int, error: KafkaError) -> None:
        """Only the first so many are under way: the client refused the next."""
        self._errors.append(error)
        self._expected = produced
        if self._reported == produced:
            self._finish()

    @property
    def timed_out(self) -> bool:
        return any(error.code() == KafkaError._MSG_TIMED_OUT for error in self._errors)  # noqa: SLF001

    def _report(self, index: int, error: KafkaError | None, message: Message) -> None:
        # This runs once a record: it must be short, and must not raise.
        if error is None:
            self._places[index] = (message.partition(), message.offset())
        else:
            self._errors.append(error)
        self._reported += 1
        if self._reported == self._expected:
            self._finish()

    def _finish(self) -> None:
        answer: Answer = self._places
        if self._errors:
            answer = undelivered(self.topic, self._errors, self.count)
        elif any(offset is None for _, offset in self._places):  # a duplicate, of which the broker forgot the place
            answer = UnknownOutcomeError(f"topic {self.topic}: the records are logged, and Kafka does not say where")
        with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            self._loop.call_soon_threadsafe(self._answer, self, answer)


def resolve(future: asyncio.Future[Places], answer: Answer) -> None:
    """Tell the request, unless whoever waited was cancelled."""
    if future.done():
        return
    if isinstance(answer, FlowGuardError):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def undelivered(topic: str, errors: Sequence[KafkaError], count: int) -> FlowGuardError:
    """Why a request of `count` records is not, or not wholly, in the log; each error is of a record."""
    doing = f"topic {topic}"
    codes = {error.code() for error in errors}
    too_large = codes & TOO_LARGE  # sending it again never helps, whatever became of the others
    if too_large or (len(errors) == count and codes <= _NOT_KEPT):
        return translated(next(error for error in errors if not too_large or error.code() in too_large), doing)
    said = f"{errors[0].name()}: {errors[0].str()}"
    return UnknownOutcomeError(f"{doing}: Kafka did not confirm {len(errors):,} of {count:,} records ({said})")
