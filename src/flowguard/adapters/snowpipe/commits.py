"""Where channels stand: waiting for Snowflake's commit, and rows that it left out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from flowguard.adapters.snowpipe.client import GOOD, Channel, ChannelStatus, Client
from flowguard.adapters.snowpipe.errors import mapped
from flowguard.domain.errors import ConfigurationError, UnknownOutcomeError
from flowguard.domain.ingestion import TopicPartition


@dataclass(frozen=True, slots=True)
class Place:
    """The schema, as messages name it, and how patient the sink is with it. In seconds."""

    where: str
    timeout_s: float
    poll_s: float = 0.2
    mended_until: datetime | None = None


class Deadline:
    """So long from now on."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        return max(0.0, self._ends - time.monotonic())


def flush(channel: Channel, place: Place, deadline: Deadline, partition: TopicPartition | None = None) -> None:
    """Send what is buffered. Raises FencedError, TransientError, ConfigurationError, UnknownOutcomeError."""
    with mapped(place.where, partition):
        channel.wait_for_flush(timeout_seconds=math.ceil(deadline.left_s))


def committed(
    client: Client, wanted: Mapping[str, Callable[[str | None], bool]], place: Place, deadline: Deadline
) -> dict[str, ChannelStatus]:
    """The channels' status, as soon as each has the token that is wanted of it, or is lost.

    Raises UnknownOutcomeError at the deadline.
    """
    while True:
        with mapped(place.where):
            statuses: dict[str, ChannelStatus] = client.get_channel_statuses(list(wanted))
        waiting = [
            name
            for name, enough in wanted.items()
            if name not in statuses
            or not (enough(statuses[name].latest_committed_offset_token) or statuses[name].status_code != GOOD)
        ]
        if not waiting:
            return statuses
        if not deadline.left_s:
            raise UnknownOutcomeError(
                f"{place.where}: {waiting[0]} was not committed within {place.timeout_s:g} s (commit_timeout_s)"
            )
        time.sleep(place.poll_s)


def offset_of(token: str | None, name: str, where: str) -> int | None:
    """The position that a channel's token stands for."""
    if token is None:
        return None
    if not token.isdecimal():
        raise ConfigurationError(
            f"{where}: channel {name} has the offset token {token!r}, which is not FlowGuard's: drop that channel"
        )
    return int(token)


def require_nothing_left_out(status: ChannelStatus, name: str, table: str, place: Place) -> None:
    """Raise ConfigurationError where Snowflake left out rows that nobody saw to.

    The count is Snowflake's own, and kept by it: a consumer that died before it looked changes nothing.
    """
    if not status.rows_error_count:
        return
    last = status.last_error_timestamp
    if place.mended_until is not None and last is not None and last.astimezone() <= place.mended_until:
        return
    when = last.astimezone().isoformat(timespec="seconds") if last is not None else "nobody knows when"
    raise ConfigurationError(
        f"{place.where}: Snowflake left {status.rows_error_count} rows of {name} out of {table}, the last at {when}"
        f" ({status.last_error_message or 'it does not say why'}): they are in ERROR_TABLE({table}); put them into"
        f" {table}, then go on with &mended_until= and that time in the URL"
    )
