"""What may befall Snowflake under traffic: nothing is lost or doubled, nobody has to help, and nobody is blamed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flowguard.entrypoints.dev.snowflake import SnowflakeServer
from tests.faults.services import Deployment
from tests.faults.traffic import Traffic
from tests.faults.warehouses import SnowflakeWarehouse
from tests.servers.snowflake import Faults

pytestmark = [pytest.mark.snowflake, pytest.mark.slow]

OUTAGE_S = 60.0
KILLS = 3
CUTS = 5
ROWS = 'INSERT INTO "CLICKS"'


@pytest.mark.parametrize("statement", [ROWS, "COMMIT"])
def test_killed_in_a_write_and_started_again(
    snowpipeline: Deployment, mortal_snowflake: SnowflakeServer, faults: Faults, statement: str
) -> None:
    consumer = snowpipeline.consumer("consumer")
    with Traffic(snowpipeline.gateway()) as traffic:
        for number in range(1, KILLS + 1):
            snowpipeline.wait_more(50)
            held = faults.set("hold", statement)
            faults.wait_standing(held)
            before = mortal_snowflake.pid
            mortal_snowflake.kill()
            consumer.wait_said("Failed: write", times=number)
            mortal_snowflake.start()
            assert mortal_snowflake.pid != before
            consumer.wait_said("Works again: write", times=number)
        snowpipeline.wait_more(50)
        snowpipeline.settle(traffic)
    assert traffic.answers.keys() == {202}
    assert "Dead-lettered" not in consumer.output


def test_hung_for_a_minute(snowpipeline: Deployment, mortal_snowflake: SnowflakeServer) -> None:
    consumer = snowpipeline.consumer("consumer")
    with Traffic(snowpipeline.gateway()) as traffic:
        snowpipeline.wait_more(50)
        with suspended(mortal_snowflake):
            hung = time.monotonic()
            consumer.wait_said("Failed: write", times=2)
            noticed_s = time.monotonic() - hung
            traffic.wait_for(300)  # the gateway does not need it
            time.sleep(max(0.0, hung + OUTAGE_S - time.monotonic()))
            outage_s = time.monotonic() - hung
        snowpipeline.wait_more(300)
        snowpipeline.settle(traffic)
    assert noticed_s < OUTAGE_S / 2
    assert outage_s >= OUTAGE_S
    assert traffic.answers.keys() == {202}


def test_hung_while_the_consumer_is_told_to_stop(snowpipeline: Deployment, mortal_snowflake: SnowflakeServer) -> None:
    """It ends all the same, in order; the next one goes on."""
    consumer = snowpipeline.consumer("consumer", database_timeout_s="600", snowflake_query_timeout_s="600", drain_s="1")
    with Traffic(snowpipeline.gateway()) as traffic:
        snowpipeline.wait_more(50)
        with suspended(mortal_snowflake):
            traffic.wait_for(100)
            consumer.stop()
        snowpipeline.consumer("heir")
        snowpipeline.wait_more(50)
        snowpipeline.settle(traffic)


@pytest.mark.parametrize(
    "cut", [pytest.param("cut_after", id="its reply is lost"), pytest.param("cut_before", id="it never arrives")]
)
def test_the_connection_is_cut_at_commit(
    snowpipeline: Deployment, snow: SnowflakeWarehouse, faults: Faults, cut: str
) -> None:
    consumer = snowpipeline.consumer("consumer")
    with Traffic(snowpipeline.gateway()) as traffic:
        for number in range(1, CUTS + 1):
            snowpipeline.wait_more(20)
            fault = faults.set(cut, "COMMIT", times=1)
            consumer.wait_said("it may or may not have been stored", times=number)
            consumer.wait_said("Works again: write", times=number)
            assert faults.fired(fault) == 1
            faults.lift(fault)
        snowpipeline.settle(traffic)
    # The reports are those of the writes whose replies were lost: every row is told of once, and none is a duplicate.
    told = re.findall(r"Merged (\d+) clicks \(skipped (\d+) duplicates\)", consumer.output)
    assert sum(int(merged) for merged, _ in told) == snowpipeline.landed()
    assert {skipped for _, skipped in told} == {"0"}
    assert snow.fetch("SELECT count(*) FROM fg_absorbed") == [(0,)]
    assert traffic.answers.keys() == {202}


@contextmanager
def suspended(server: SnowflakeServer) -> Iterator[None]:
    server.suspend_all()
    try:
        yield
    finally:
        server.resume_all()
