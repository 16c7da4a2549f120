"""`flowguard up`, killed again and again without warning: what it said yes to is there, once."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from flowguard.application.audit import AuditReport
from flowguard.container import Container
from flowguard.settings import Settings
from tests.e2e.persistent_client import PersistentClient
from tests.e2e.pipeline import Pipeline, rows_of, wait_until

KILLS = 30
CLIENTS = 3


@pytest.mark.slow
def test_killed_thirty_times_while_clients_post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FLOWGUARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    dice = Random(9)
    caught_in_flight = 0
    # Batches are written as soon as they can be, so that a write is under way most of the time.
    with Pipeline(tmp_path, batch__max_age_s="0.02") as pipeline:
        clients = [PersistentClient(f"client-{number}", pipeline.port) for number in range(CLIENTS)]
        pipeline.start()
        for client in clients:
            client.start()
        for _ in range(KILLS):
            wait_for_the_moment(dice, clients)
            pipeline.kill()
            report = balance_of_copy(pipeline.data_dir, tmp_path / "copy")
            assert report.ok, report
            caught_in_flight += any(one.in_flight for one in report.streams.values())
            pipeline.start()
        pipeline.wait_ready()
        for client in clients:
            client.finish(timeout_s=30)
        pipeline.wait_landed()
        assert pipeline.stop() == 0
        audited = pipeline.command("audit")

    happened = sum((client.happened for client in clients), Counter[str]())
    duplicates = sum(one["duplicates"] for one in audited["streams"].values())
    print(
        f"{KILLS} kills, {caught_in_flight} with records in flight; {dict(happened)}; {duplicates} absorbed by the sink"
    )
    assert audited["ok"], audited
    # The faults did fire: requests were cut off, records were logged and not landed, events were sent again.
    assert happened["broken"] >= KILLS // 2
    assert caught_in_flight >= KILLS // 4
    assert duplicates > 0
    for table in ("clicks", "orders"):
        accepted = set[str]().union(*(client.accepted[table] for client in clients))
        with rows_of(pipeline.warehouse) as connection:
            rows = Counter(event_id for (event_id,) in connection.execute(f"SELECT event_id FROM {table}"))
            garbled = connection.execute(f"SELECT * FROM {table} WHERE user_id <> 'user of ' || event_id").fetchall()
        assert accepted
        assert accepted - rows.keys() == set(), "lost"
        assert [event_id for event_id, count in rows.items() if count > 1] == [], "doubled"
        assert rows.keys() - accepted == set(), "from nowhere"
        assert garbled == []


def wait_for_the_moment(dice: Random, clients: list[PersistentClient]) -> None:
    """One kill in five may fall into the start itself; the others come some requests and some time after it."""
    if dice.random() < 0.2:
        time.sleep(dice.uniform(0, 1))
        return
    wanted = answered(clients) + dice.randint(1, 40)
    wait_until(
        lambda: answered(clients) >= wanted or any(client.trouble for client in clients), f"{wanted} requests answered"
    )
    assert [client.trouble for client in clients if client.trouble] == []
    time.sleep(dice.uniform(0, 0.2))


def answered(clients: list[PersistentClient]) -> int:
    return sum(client.happened["202"] for client in clients)


def balance_of_copy(data_dir: Path, copy: Path) -> AuditReport:
    """What the files tell right after a kill. Of a copy: looking into sqlite's files would already mend them."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data_dir, copy)
    container = Container(settings=Settings(data_dir=copy))
    with container.closing():
        container.migrate()  # the first kill may come before the tables were made
        return container.auditor().run()
