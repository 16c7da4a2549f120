"""The memory of a consumer that reads a long backlog into a sink that is a hundred times too slow.

`python -m benchmarks.backlog URL` is that consumer, as a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from confluent_kafka import Producer

from benchmarks.clicks import records
from benchmarks.core import CLICKS
from benchmarks.kafka import broker, make_topic
from benchmarks.report import Line
from flowguard.adapters.kafka import KafkaOptions
from flowguard.adapters.kafka.health import ClientHealth
from flowguard.container import Container
from flowguard.domain.ingestion import Assignment, Claim
from flowguard.domain.rows import Merged, SinkBatch, WriteReport
from flowguard.entrypoints.tuning import tune_interpreter
from flowguard.ports.sink import EventSink
from flowguard.settings import Settings

_EVENTS_PER_S = 1_700
"""A hundredth of what one consumer decodes and validates in a second."""
_WARM_UP_S = 15.0
_WATCH_S = 240.0
_MIB = 1024 * 1024


class SlowSink(EventSink):
    """Forgets what it takes, slowly."""

    def claim(self, owner: str, assignments: Sequence[Assignment]) -> Sequence[Claim]:
        del owner
        return [Claim(one.partition, 1, 1, None) for one in assignments]

    def write(self, batch: SinkBatch) -> WriteReport:
        merged: dict[str, Merged] = {}
        for rows in batch.rows:
            sleep(len(rows.values) / _EVENTS_PER_S)
            merged[rows.event_type.name] = Merged(len(rows.values), 0)
        return WriteReport(merged)

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass


def consume(url: str) -> None:
    """As `flowguard consume` does it, with the slow sink, until it is ended."""
    container = Container(settings=Settings(log_url=url, sink_url="memory://", dead_letter_url="memory://"))
    container.sink.override(SlowSink())
    tune_interpreter()
    container.ingestion().run(threading.Event())


def _fill(options: KafkaOptions, events: int) -> None:
    producer = Producer(options.producer(ClientHealth(), defaults={"linger.ms": 50}))
    values = records(100_000)  # event ids come again: nobody here looks at them
    for number in range(events):
        while True:
            try:
                producer.produce(CLICKS.topic, values[number % len(values)], b"session_%d" % (number // 20))
                break
            except BufferError:
                producer.poll(0.1)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush()


@contextmanager
def _consumer(url: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.backlog", url])
    try:
        yield process.pid
        assert process.poll() is None, "the consumer ended by itself"
    finally:
        process.kill()
        process.wait()


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * 4096 / _MIB


def _highest(pid: int, for_s: float) -> float:
    highest, until = 0.0, monotonic() + for_s
    while monotonic() < until:
        highest = max(highest, _resident_mib(pid))
        sleep(0.1)
    return highest


def run(events: int) -> list[Line]:
    """The highest resident memory in the first and in the second half of the watch, after the start. Linux only."""
    with broker() as options:
        make_topic(options)
        _fill(options, events)
        with _consumer(f"kafka://{options.bootstrap}") as pid:
            warm = _highest(pid, _WARM_UP_S)
            first, second = _highest(pid, _WATCH_S / 2), _highest(pid, _WATCH_S / 2)
    what = f"memory of a consumer, {events:,} events to read, sink 100 times too slow"
    return [
        Line(what, "MiB", max(warm, first, second), goal=200_000_000 / _MIB, lower_is_better=True),
        Line(f"... its growth in the second {_WATCH_S / 2:.0f} s", "MiB", max(0.0, second - max(warm, first))),
    ]


if __name__ == "__main__":
    consume(sys.argv[1])
