"""Real data sets, published as a user would, and found again in the warehouse to the last cent."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.pipeline import ROOT, Pipeline, rows_of

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

UNAVAILABLE = 69
Figures = dict[str, object]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source files, and what examples/real_data.py made of them."""
    folder = tmp_path_factory.mktemp("real")
    for name in ("expedia", "cdnow"):
        script = ROOT / "examples" / "real_data.py"
        done = subprocess.run([sys.executable, script, name, folder], capture_output=True, text=True, check=False)
        if done.returncode == UNAVAILABLE:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stderr
    return folder


def test_real_files_land_whole_and_once(files: Path, tmp_path: Path) -> None:
    expected = figures_of_files(files)
    names = ("clicks", "bookings", "orders")
    with Pipeline(tmp_path, catalog="examples.bookings:catalog") as pipeline:
        pipeline.start()
        pipeline.wait_ready()
        for name in names:
            published = pipeline.publish(files / f"{name}.ndjson")
            assert published == {"accepted": expected[name]["rows"], "duplicate": 0, "rejected": 0}
        pipeline.wait_landed()
        assert figures_of_rows(pipeline.warehouse) == expected
        assert audited(pipeline) == {name: (expected[name]["rows"], 0) for name in names}

        # The gateway remembers what it took a moment ago, and logs none of it again.
        again = pipeline.publish(files / "bookings.ndjson")
        assert again == {"accepted": 0, "duplicate": expected["bookings"]["rows"], "rejected": 0}

        # A gateway that was started anew remembers nothing: everything is logged again, and the sink knows it.
        assert pipeline.stop() == 0
        pipeline.start()
        pipeline.wait_ready()
        for name in names:
            again = pipeline.publish(files / f"{name}.ndjson")
            assert again == {"accepted": expected[name]["rows"], "duplicate": 0, "rejected": 0}
        pipeline.wait_landed()
        assert figures_of_rows(pipeline.warehouse) == expected
        assert audited(pipeline) == {name: (expected[name]["rows"], expected[name]["rows"]) for name in names}
        assert pipeline.stop() == 0
        # Whoever copies the files of a pipeline that was stopped has everything.
        assert [file.name for file in pipeline.data_dir.iterdir() if file.name.endswith("-wal")] == []


def audited(pipeline: Pipeline) -> dict[str, tuple[int, int]]:
    """(landed, recognised as duplicates) by stream; everything that was logged is one of the two."""
    report = pipeline.command("audit")
    assert report["ok"]
    for one in report["streams"].values():
        assert one["logged"] == one["landed"] + one["duplicates"]
        assert (one["dead_lettered"], one["in_flight"], one["missing"], one["doubled"]) == (0, 0, [], [])
    return {name: (one["landed"], one["duplicates"]) for name, one in report["streams"].items()}


# -- the same figures, once from the files as they were unpacked, once from the warehouse -----------------------------


def figures_of_files(folder: Path) -> dict[str, Figures]:
    with (folder / "expedia.csv").open(newline="") as lines:
        searches = list(csv.DictReader(lines))
    clicks = [row for row in searches if row["is_booking"] == "0"]
    booked = [row for row in searches if row["is_booking"] == "1"]
    orders = [line.split() for line in (folder / "CDNOW_master.txt").read_text().splitlines()[1:]]
    assert (len(searches), len(orders)) == (100_000, 69_659)
    distances = [row["orig_destination_distance"] for row in booked if row["orig_destination_distance"]]
    return {
        "clicks": {
            "rows": len(clicks),
            "users": len({row["user_id"] for row in clicks}),
            "items": total(row["hotel_cluster"] for row in clicks),
            "similar": total(row["cnt"] for row in clicks),
            "first and last": span(row["date_time"] for row in clicks),
        },
        "bookings": {
            "rows": len(booked),
            "users": len({row["user_id"] for row in booked}),
            "adults": total(row["srch_adults_cnt"] for row in booked),
            "children": total(row["srch_children_cnt"] for row in booked),
            "mobile": total(row["is_mobile"] for row in booked),
            "known distances": len(distances),
            "distance": total(distances),
            "check-in": span(row["srch_ci"] for row in booked),
            "first and last": span(row["date_time"] for row in booked),
        },
        "orders": {
            "rows": len(orders),
            "users": len({customer for customer, *_ in orders}),
            "amount": total(amount for *_, amount in orders),
            "cds": total(cds for _, _, cds, _ in orders),
            "first and last": span(day for _, day, *_ in orders),
        },
    }


def figures_of_rows(warehouse: Path) -> dict[str, Figures]:
    with rows_of(warehouse) as connection:

        def column(table: str, name: str) -> list[str]:
            found = connection.execute(f"SELECT {name} FROM {table} WHERE {name} IS NOT NULL")
            return [str(value) for (value,) in found]

        def extra(table: str, name: str) -> list[str]:
            return [str(json.loads(payload)[name]) for payload in column(table, "payload")]

        days = [moment[:10].replace("-", "") for moment in column("orders", "occurred_at")]
        distances = column("bookings", "distance")
        return {
            "clicks": {
                "rows": len(column("clicks", "event_id")),
                "users": len(set(column("clicks", "user_id"))),
                "items": total(column("clicks", "item_id")),
                "similar": total(extra("clicks", "similar")),
                "first and last": span(moment(one) for one in column("clicks", "occurred_at")),
            },
            "bookings": {
                "rows": len(column("bookings", "event_id")),
                "users": len(set(column("bookings", "user_id"))),
                "adults": total(column("bookings", "adults")),
                "children": total(column("bookings", "children")),
                "mobile": total(column("bookings", "is_mobile")),
                "known distances": len(distances),
                "distance": total(distances),
                "check-in": span(column("bookings", "check_in")),
                "first and last": span(moment(one) for one in column("bookings", "occurred_at")),
            },
            "orders": {
                "rows": len(column("orders", "event_id")),
                "users": len(set(column("orders", "user_id"))),
                "amount": total(column("orders", "total")),
                "cds": total(extra("orders", "cds")),
                "first and last": span(days),
            },
        }


def total(numbers: Iterable[str]) -> Decimal:
    """Exact: a sum of floats would depend on their order."""
    return sum(map(Decimal, numbers), Decimal(0))


def span(texts: Iterable[str]) -> tuple[str, str]:
    ordered = sorted(texts)
    return ordered[0], ordered[-1]


def moment(stored: str) -> str:
    """2014-11-02T14:49:44.000000+00:00, as the file has it."""
    assert stored.endswith(".000000+00:00")
    return stored[:19].replace("T", " ")
