"""What other processes do to a log in these tests: run as `python -m tests.adapters.sqlite.processes WHAT FILE ...`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from flowguard.adapters.sqlite import Part, SqliteEventPublisher, migrate
from flowguard.ports.publisher import NewRecord
from tests.builders import CATALOG

ROOT = Path(__file__).resolve().parents[3]
TOPIC = "raw.things.v1"


def start(what: str, path: Path, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own; what it acknowledges comes line by line on its standard output."""
    command = [sys.executable, "-m", "tests.adapters.sqlite.processes", what, str(path), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(process: subprocess.Popen[str]) -> str:
    """Wait for it; returns what it printed. Fails with its errors where it failed."""
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output


async def publish(path: Path, name: str, calls: int, records: int) -> None:
    """Four clients publish at once, and print the value, partition and offset of every acknowledged record."""
    publisher = SqliteEventPublisher(path)

    async def client(number: int) -> None:
        for call in range(number, calls, 4):
            values = [f"{name}/{call}/{index}" for index in range(records)]
            receipt = await publisher.publish(TOPIC, [NewRecord(one.encode(), one.encode()) for one in values])
            lines = [f"{one} {at[0]} {at[1]}\n" for one, at in zip(values, receipt.places, strict=True)]
            sys.stdout.write("".join(lines))
            sys.stdout.flush()

    await asyncio.gather(*(client(number) for number in range(4)))
    await publisher.close()


def main(what: str, path: str, *arguments: str) -> None:
    if what == "publish":
        name, calls, records = arguments
        asyncio.run(publish(Path(path), name, int(calls), int(records)))
    elif what == "migrate":
        print(len(migrate(Path(path), list(Part), CATALOG)))
    else:
        raise ValueError(what)


if __name__ == "__main__":
    main(*sys.argv[1:])
