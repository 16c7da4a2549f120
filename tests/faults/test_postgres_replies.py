"""A COMMIT whose reply is lost is looked up in the positions; one that never arrived is written again."""

from __future__ import annotations

import re

import pytest

from tests.e2e.pipeline import wait_until
from tests.faults.commit_proxy import CommitProxy, Cut
from tests.faults.services import Deployment
from tests.faults.traffic import Traffic
from tests.faults.warehouses import PostgresWarehouse

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

CUTS = 5


@pytest.mark.parametrize("cut", Cut)
def test_the_connection_is_cut_at_commit(pipeline: Deployment, warehouse: PostgresWarehouse, cut: Cut) -> None:
    with CommitProxy(warehouse.url) as proxy, Traffic(pipeline.gateway()) as traffic:
        consumer = pipeline.consumer("consumer", sink_url=proxy.url)
        for number in range(1, CUTS + 1):
            pipeline.wait_more(20)
            proxy.arm(cut)
            consumer.wait_said("it may or may not have been stored", times=number)
            consumer.wait_said("Works again: write", times=number)
        assert proxy.cuts == [cut] * CUTS
        pipeline.settle(traffic)
    # The reports are those of the writes whose replies were lost: every row is told of once, and none is a duplicate.
    told = re.findall(r"Merged (\d+) clicks \(skipped (\d+) duplicates\)", consumer.output)
    assert sum(int(merged) for merged, _ in told) == pipeline.landed()
    assert {skipped for _, skipped in told} == {"0"}
    assert warehouse.fetch("SELECT count(*) FROM fg_absorbed") == [(0,)]
    assert traffic.answers.keys() == {202}


def test_a_consumer_dies_without_the_reply_and_its_heir_looks_up_the_position(
    pipeline: Deployment, warehouse: PostgresWarehouse
) -> None:
    with CommitProxy(warehouse.url) as proxy, Traffic(pipeline.gateway()) as traffic:
        consumer = pipeline.consumer("consumer", sink_url=proxy.url, retry__initial_s="60", retry__cap_s="60")
        pipeline.wait_more(20)
        proxy.arm(Cut.AFTER)
        wait_until(lambda: proxy.cuts == [Cut.AFTER], "the reply is lost")
        consumer.kill()
        pipeline.consumer("heir")
        pipeline.wait_more(100)
        pipeline.settle(traffic)
    assert warehouse.fetch("SELECT count(*) FROM fg_absorbed") == [(0,)]
