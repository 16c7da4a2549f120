"""`traffic`: events of a believable shop, through a running gateway."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from secrets import randbelow
from typing import TYPE_CHECKING, Annotated

import typer

from flowguard.entrypoints.cli.options import DataDir, Json, RetryFor, Url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowguard.entrypoints.cli.client import GatewayClient
    from flowguard.entrypoints.cli.shop import Sent

_BATCH = 500
_GAP_S = 0.12
"""Seconds between two events of the shop's own time, where no rate is asked for."""
_TICK_S = 0.1


def traffic(
    *,
    events: Annotated[int, typer.Option("--events", min=1, help="How many to send.")],
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.1, help="Events a second [default: all at once].")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed gives the same events, ids too.")] = None,
    invalid_share: Annotated[
        float, typer.Option("--invalid-share", min=0, max=1, help="Of these, spoiled ones.")
    ] = 0.0,
    resend_share: Annotated[float, typer.Option("--resend-share", min=0, max=1, help="Of these, sent again.")] = 0.0,
    url: Url = None,
    retry_for: RetryFor = 30.0,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Have a shop's visitors click and order. Tells what the gateway made of it, beside what was to be expected."""
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.client import GatewayClient, gateway_url
    from flowguard.entrypoints.cli.configuration import settings_of
    from flowguard.entrypoints.cli.shop import Shop
    from flowguard.entrypoints.cli.shop import traffic as of_shop

    if invalid_share + resend_share > 1:
        raise typer.BadParameter("--invalid-share and --resend-share are more than 1 together")
    settings = settings_of({"data_dir": data_dir})
    seed = randbelow(1_000_000) if seed is None else seed
    gap_s = 1 / rate if rate else _GAP_S
    start = datetime.now(UTC) - (timedelta() if rate else timedelta(seconds=events * gap_s))
    sent = of_shop(Shop(seed, start, gap_s), events, invalid_share=invalid_share, resend_share=resend_share)
    client = GatewayClient(gateway_url(settings, url), retry_for_s=retry_for, notice=output.warn)
    try:
        found, expected, seconds = _send(client, sent, rate)
    finally:
        client.close()
    counts: dict[str, object] = {kind: found[kind] for kind in ("accepted", "duplicate", "rejected")}
    if as_json:
        output.as_json(
            {**counts, "expected": dict(expected), "seed": seed, "events": events, "seconds": round(seconds, 3)}
        )
        return
    output.table(
        ("", "answered", "expected"),
        [(kind, found[kind], expected[kind]) for kind in ("accepted", "duplicate", "rejected")],
    )
    output.say(f"{events:,} events in {seconds:.1f} s, seed {seed}")


def _send(client: GatewayClient, sent: Iterator[Sent], rate: float | None) -> tuple[Counter[str], Counter[str], float]:
    """(what was answered, what was expected, seconds)."""
    from flowguard.domain.payload import encode

    found: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    batch = min(_BATCH, max(1, round(rate * _TICK_S))) if rate else _BATCH
    started = time.monotonic()
    done = 0
    while some := list(islice(sent, batch)):
        tally = client.publish("/v1/events", [encode(one.event) for one in some])
        found.update(accepted=tally.accepted, duplicate=tally.duplicate, rejected=len(tally.rejected))
        expected.update(one.kind for one in some)
        done += len(some)
        if rate:
            time.sleep(max(0.0, started + done / rate - time.monotonic()))
    return found, expected, time.monotonic() - started
