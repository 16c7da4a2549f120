"""Snowflake that refuses, until somebody mends it: nothing is dead-lettered, and all goes on by itself."""

from __future__ import annotations

import pytest

from flowguard.entrypoints.cli.options import ExitCode
from tests.e2e.pipeline import wait_until
from tests.faults.services import Deployment
from tests.faults.traffic import Traffic
from tests.faults.warehouses import SnowflakeWarehouse
from tests.servers.snowflake import Faults

pytestmark = [pytest.mark.snowflake, pytest.mark.slow]

EXPIRIES = 3
MOVE, ROWS, COMMIT = "UPDATE FG_POSITIONS", 'INSERT INTO "CLICKS"', "COMMIT"
"""The statements of a batch, and nobody else's in these tests."""
LOCKS = 5
REFUSED = "it refuses the credentials; check user, key or token of the URL"
LOCKED = "a lock was not to be had: too many consumers"


@pytest.mark.parametrize("renewed", [True, False], ids=["and is renewed", "and is over"])
@pytest.mark.parametrize("statement", [MOVE, ROWS, COMMIT])
def test_its_session_expires(snowpipeline: Deployment, faults: Faults, statement: str, renewed: bool) -> None:
    consumer = snowpipeline.consumer("consumer")
    with Traffic(snowpipeline.gateway()) as traffic:
        for number in range(1, EXPIRIES + 1):
            snowpipeline.wait_more(50)
            expired = expire(faults, statement, renewed=renewed)
            wait_until(lambda: faults.fired(expired) == 1, "the consumer's session has expired")  # noqa: B023  # at once
            if not renewed:
                consumer.wait_said("Works again: write", times=number)
            faults.lift()
        snowpipeline.wait_more(50)
        snowpipeline.settle(traffic)
    assert ("Failed: " in consumer.output) is not renewed
    assert "Dead-lettered" not in consumer.output


def test_credentials_are_refused_until_they_are_mended(snowpipeline: Deployment, faults: Faults) -> None:
    consumer = snowpipeline.consumer("consumer")
    with Traffic(snowpipeline.gateway()) as traffic:
        for _ in range(2):
            snowpipeline.wait_more(50)
            refused, failed = consumer.said.count(REFUSED), consumer.said.count("Failed: write")
            fault = faults.refuse_logins()
            expire(faults, MOVE, renewed=False)  # so that it has to log in again
            consumer.wait_said(REFUSED, times=refused + 1)
            assert consumer.said.count("Failed: write") > failed
            traffic.wait_for(300)
            assert faults.fired(fault) >= 1
            faults.lift()
        snowpipeline.wait_more(300)
        snowpipeline.settle(traffic)
    assert "Dead-lettered" not in consumer.output
    assert traffic.answers.keys() == {202}


def test_it_does_not_start_with_credentials_that_are_refused(snowpipeline: Deployment, faults: Faults) -> None:
    faults.refuse_logins()
    told = snowpipeline.run("consume")
    assert told.returncode == ExitCode.CONFIGURATION
    assert REFUSED in told.stderr.strip().splitlines()[-1]
    assert ":flowguard@" not in told.stderr


def test_too_many_wait_for_a_lock(snowpipeline: Deployment, faults: Faults) -> None:
    consumer = snowpipeline.consumer("consumer")
    with Traffic(snowpipeline.gateway()) as traffic:
        snowpipeline.wait_more(50)
        fault = faults.set("error", MOVE, errno="000625", sqlstate="57014", times=LOCKS)
        consumer.wait_said(LOCKED)
        consumer.wait_said("Works again: write")
        assert faults.fired(fault) == LOCKS
        snowpipeline.wait_more(50)
        snowpipeline.settle(traffic)
    assert "Dead-lettered" not in consumer.output


def test_somebody_else_holds_the_lock_for_long(snowpipeline: Deployment, snow: SnowflakeWarehouse) -> None:
    consumer = snowpipeline.consumer("consumer")
    with Traffic(snowpipeline.gateway()) as traffic:
        snowpipeline.wait_more(50)
        with snow.locked():
            consumer.wait_said(LOCKED)
        snowpipeline.wait_more(50)
        snowpipeline.settle(traffic)


def test_it_does_not_start_without_its_table_and_says_what_to_do(
    snowpipeline: Deployment, snow: SnowflakeWarehouse
) -> None:
    snow.execute("ALTER TABLE clicks RENAME TO hidden")
    told = snowpipeline.run("consume")
    assert told.returncode == ExitCode.CONFIGURATION
    assert "run `flowguard migrate`" in told.stderr.strip().splitlines()[-1]


def expire(faults: Faults, statement: str, *, renewed: bool) -> int:
    """The session that sends this statement next is over, or has to be renewed. The number of the fault."""
    if not renewed:
        faults.set("error", at="renew", errno="390111", message="Session no longer exists.", times=1)
    return faults.set("error", statement, errno="390112", message="Your session has expired.", times=1)
