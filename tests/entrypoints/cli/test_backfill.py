"""`flowguard backfill metadata`: the upgrade of the original system, as its owner does it."""

from __future__ import annotations

import pytest

from tests.adapters.postgres import original as on_postgres
from tests.adapters.snowflake import original as on_snowflake
from tests.entrypoints.cli.conftest import Cli


def test_an_embedded_warehouse_has_nothing_to_fill(cli: Cli) -> None:
    cli("migrate")
    done = cli("backfill", "metadata")
    assert (done.code, done.out) == (
        0,
        "nothing to fill: in this warehouse every row has had its metadata from the start\n",
    )
    assert cli("backfill", "metadata", "--json").json == {"dry_run": False, "streams": {}}


class OfTheOriginalSystem:
    """Give it a warehouse of the original system, chosen by the environment."""

    def test_migrate_then_fill(self, cli: Cli) -> None:
        early = cli("backfill", "metadata")
        assert early.code == 3
        assert "run `flowguard migrate`" in early.err
        assert cli("migrate").code == 0
        plan = cli("backfill", "metadata", "--dry-run", "--json").json
        done = cli("backfill", "metadata", "--json").json
        assert (plan["dry_run"], done["dry_run"]) == (True, False)
        assert plan["streams"] == done["streams"]
        orders, clicks = done["streams"]["orders"], done["streams"]["clicks"]
        assert (orders["rows"], orders["filled"], orders["place_unknown"]) == (249, 249, 4)
        assert (clicks["rows"], clicks["filled"], clicks["place_unknown"]) == (242, 242, 44)
        assert [f"{one['place_known']:.1%}" for one in (orders, clicks)] == ["98.4%", "81.8%"]
        assert [f"{one['complete_after']:.1%}" for one in (orders, clicks)] == ["98.4%", "81.8%"]
        assert clicks["taken"] == {"occurred_at": "clicked_at", "ingested_at": "inserted_at"}
        status = cli("status", "--json").json["streams"]
        assert f"{status['clicks']['metadata_complete']:.1%}" == "81.8%"
        assert cli("audit", "--json").json["ok"] is True

    def test_the_answer_in_text(self, cli: Cli) -> None:
        cli("migrate")
        would = cli("backfill", "metadata", "--dry-run").out
        assert "would-fill" in would
        lines = cli("backfill", "metadata").out.splitlines()
        assert lines[0].split() == ["stream", "rows", "filled", "place-unknown", "place-known", "complete-before",
                                    "complete-after"]  # fmt: skip
        assert lines[1].split() == ["clicks", "242", "242", "44", "81.8%", "0.0%", "81.8%"]
        assert lines[2].split() == ["orders", "249", "249", "4", "98.4%", "0.0%", "98.4%"]
        assert "clicks: occurred_at is taken from clicked_at" in lines
        again = cli("backfill", "metadata").out.splitlines()
        assert again[1].split() == ["clicks", "242", "0", "44", "81.8%", "81.8%", "81.8%"]


@pytest.mark.postgres
class TestOnPostgres(OfTheOriginalSystem):
    @pytest.fixture(autouse=True)
    def _original(self, postgres_url: str, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
        on_postgres.OriginalStorage(postgres_url, grown=True).close()
        monkeypatch.setenv("FLOWGUARD_SINK_URL", postgres_url)


@pytest.mark.snowflake
class TestOnSnowflake(OfTheOriginalSystem):
    @pytest.fixture(autouse=True)
    def _original(self, snowflake_url: str, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
        on_snowflake.OriginalStorage(snowflake_url, grown=True).close()
        monkeypatch.setenv("FLOWGUARD_SINK_URL", snowflake_url)
