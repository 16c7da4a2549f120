"""snowpipe:// in the container: a sink, and nothing else."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from dependency_injector import providers

from flowguard import Embedded
from flowguard.container import Container
from flowguard.domain.errors import ConfigurationError
from flowguard.settings import Settings
from tests.adapters.snowpipe.storage import SnowpipeStorage
from tests.entrypoints.gateway.running import eventually

CLICK = {"user_id": "u1", "session_id": "s1", "item_id": "42", "ad_id": "a"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    key = tmp_path / "key.p8"
    key.write_text("not read here")
    url = f"snowpipe://u@account/FG/BRONZE?private_key_file={key}"
    dead = f"sqlite:///{tmp_path / 'dead.db'}"
    return Settings(sink_url=url, dead_letter_url=dead, data_dir=tmp_path)


def test_without_the_extra_the_sink_says_what_to_install(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snowflake.ingest.streaming", None)
    monkeypatch.setenv("SS_LOG_LEVEL", "warn")
    with pytest.raises(ConfigurationError, match=r"pip install 'flowguard\[snowpipe\]'"):
        Container(settings=settings).sink()


def test_what_reads_the_sink_says_that_this_one_cannot_be_read(settings: Settings) -> None:
    container = Container(settings=settings)
    with container.closing():
        container.event_log().ensure(container.topics())
        with pytest.raises(ConfigurationError, match="by SQL"):
            container.observer().status()
        with pytest.raises(ConfigurationError, match="by SQL"):
            container.auditor().run()
        assert container.backfill() is None


def test_it_takes_no_dead_letters(tmp_path: Path) -> None:
    container = Container(settings=Settings(sink_url="snowpipe://u@account/FG/BRONZE", data_dir=tmp_path))
    with pytest.raises(ConfigurationError, match="dead_letter_url: nothing here speaks 'snowpipe'"):
        container.dead_letters()


def test_what_is_published_lands_once(settings: Settings) -> None:
    """The whole way, over the FAKE of Snowflake's client, with a restart in the middle."""
    storage = SnowpipeStorage()

    def landed() -> list[tuple[int, str]]:
        return [(row["SOURCE_OFFSET"], row["USER_ID"]) for row in storage.account.tables["CLICKS"]]

    async def publish(*events: object) -> None:
        landed_before = len(landed())
        embedded = Embedded(settings=settings)
        embedded.container.sink.override(providers.Factory(storage.sink))
        async with embedded:
            report = await embedded.publish(events, "clicks")
            assert report.accepted == len(events)
            await asyncio.to_thread(eventually, lambda: len(landed()) >= landed_before + len(events))

    for ids in (("a", "b"), ("c",)):
        asyncio.run(publish(*({**CLICK, "event_id": one} for one in ids)))
    assert landed() == [(0, "u1"), (1, "u1"), (2, "u1")]
