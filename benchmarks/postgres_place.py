"""A real Kafka and a real PostgreSQL for as long as a benchmark runs, and what happened in the tables."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import psycopg
from confluent_kafka import Producer

from benchmarks.clicks import records
from benchmarks.core import CATALOG, CLICKS
from benchmarks.kafka import broker
from flowguard.adapters.kafka import KafkaEventLog, KafkaOptions
from flowguard.adapters.kafka.health import ClientHealth
from flowguard.adapters.postgres import Part, migrate
from flowguard.adapters.system.event_ids import Uuid7
from flowguard.entrypoints.dev.guard import ending_with_this_process
from flowguard.entrypoints.dev.postgres import PostgresServer

ROOT = Path(__file__).parents[1]
_PEERS = Path(__file__).parent / "peers" / "requirements.txt"
_COMMAND = "from flowguard.entrypoints.cli.main import run; run()"
_OPTIONS = {"track_commit_timestamp": "on"}
"""So that the server itself says when each row was committed. All else is as PostgreSQL comes, fsync included."""
_START_MS = 1_795_600_000_000


@dataclass(frozen=True)
class Place:
    """`folder` is for what the processes leave; `numbers` make names."""

    folder: Path
    kafka: KafkaOptions
    kafka_url: str
    postgres: PostgresServer
    numbers: Iterator[int]

    def database(self, template: str | None = None) -> str:
        """The URL of a new one: a copy of another by its URL, or migrated and empty."""
        name = f"bench{next(self.numbers)}"
        source = urlsplit(template).path[1:] if template else "template0"
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {source}")
        url = urlsplit(self.postgres.url)._replace(path=f"/{name}").geturl()
        if template is None:
            migrate(url, list(Part), CATALOG)
        return url

    def drop(self, url: str) -> None:
        # The server's own work on it is ended, too.
        with psycopg.connect(self.postgres.superuser_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")

    def checkpoint(self) -> None:
        """So that everybody begins with the same work behind."""
        with psycopg.connect(self.postgres.superuser_url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    @contextmanager
    def running(self, command: Sequence[str], settings: Mapping[str, str] | None = None) -> Iterator[int]:
        """A process of its own, by its pid, ended on leaving. What it says is in `folder`."""
        log = self.folder / f"process-{next(self.numbers)}.log"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **(settings or {})}
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=self.folder)
        try:
            yield process.pid
            if process.poll() not in {None, 0}:
                raise RuntimeError(f"{command} ended: {log.read_text()[-2_000:]}")
        except TimeoutError as error:
            raise RuntimeError(f"{error}; {command} said: {log.read_text()[-2_000:]}") from error
        finally:
            process.kill()
            process.wait()

    def settings(self, url: str) -> dict[str, str]:
        """For FlowGuard's own processes."""
        return {
            "FLOWGUARD_LOG_URL": self.kafka_url,
            "FLOWGUARD_SINK_URL": url,
            "FLOWGUARD_GROUP": f"bench-{next(self.numbers)}",
        }


def flowguard(*arguments: str) -> list[str]:
    """A command of FlowGuard's."""
    return [sys.executable, "-c", _COMMAND, *arguments]


@contextmanager
def place() -> Iterator[Place]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        broker() as options,
        PostgresServer(Path(name) / "postgres", options=_OPTIONS) as server,
        ending_with_this_process(PostgresServer, server.folder),
    ):
        Path(name).chmod(0o755)
        server.start()
        yield Place(Path(name), options, f"kafka://{options.bootstrap}", server, count(1))


def make_topics(options: KafkaOptions) -> None:
    log = KafkaEventLog(options)
    log.ensure({one.topic: one.partitions for one in CATALOG})
    log.close()


def fill(options: KafkaOptions, events: int) -> None:
    """Clicks into their topic, in its six partitions, with event ids as the gateway makes them."""
    make_topics(options)
    producer = Producer(
        options.producer(ClientHealth(), defaults={"linger.ms": 50}, owned={"queue.buffering.max.messages": 1_000_000})
    )
    for number, value in enumerate(with_ids(records(events))):
        producer.produce(CLICKS.topic, value, b"session_%d" % (number // 20))
        if number % 1_000 == 0:
            producer.poll(0)
    producer.flush()


def with_ids(values: Sequence[bytes]) -> Iterator[bytes]:
    """The same events with UUIDv7s, 20,000 of them a second, the same ones each time."""
    numbers, random = count(), Random(1)
    ids = Uuid7(lambda: _START_MS + next(numbers) // 20, random.randbytes)
    for value in values:
        event = json.loads(value)
        event["id"] = ids()
        yield json.dumps(event, separators=(",", ":")).encode()


def peers() -> str:
    """Their interpreter. Their environment is made where it is not there, or not of this lock."""
    folder = Path(sys.prefix) / "peers"
    python, stamp = folder / "bin" / "python", folder / "lock"
    lock = hashlib.sha256(_PEERS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != lock:
        print(f"installing the peers from {_PEERS.relative_to(ROOT)} into {folder} ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "--quiet", "install", "--require-hashes", "-r", str(_PEERS)]
        subprocess.run(pip, check=True)
        stamp.write_text(lock)
    return str(python)
