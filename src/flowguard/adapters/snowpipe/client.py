"""What the sink needs of Snowflake's streaming client, which has these very methods (package `snowpipe-streaming`).

A client appends to one table, by one pipe. A channel is a named stream into it that one writer has: opening it again
takes it from whoever had it, and what that one had not committed is dropped. Rows of one channel are committed in
order, together with the offset token of their append.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

Document = dict[str, Any]
"""A row, by name of the column."""


class ChannelStatus(Protocol):
    """What Snowflake says of a channel."""

    @property
    def status_code(self) -> str:
        """`SUCCESS`, or why nothing can be appended."""
        ...

    @property
    def latest_committed_offset_token(self) -> str | None:
        """None where nothing was committed yet."""
        ...

    @property
    def rows_error_count(self) -> int:
        """Rows that Snowflake left out, since the channel was made."""
        ...

    @property
    def last_error_message(self) -> str | None: ...

    @property
    def last_error_timestamp(self) -> datetime | None:
        """In local time, without a timezone."""
        ...


class Channel(Protocol):
    """One writer's stream."""

    def append_rows(
        self, rows: list[Document], start_offset_token: str | None = None, end_offset_token: str | None = None
    ) -> None:
        """Buffer them; they travel later."""

    def initiate_flush(self) -> None:
        """Begin to send what is buffered."""

    def wait_for_flush(self, timeout_seconds: int | None = None) -> None:
        """Send what is buffered. Raises TimeoutError."""


class Client(Protocol):
    """The channels of one table."""

    def open_channel(self, channel_name: str, offset_token: str | None = None) -> tuple[Channel, ChannelStatus]:
        """Take the channel, and hear where it stands."""
        ...

    def get_channel_statuses(self, channel_names: list[str]) -> dict[str, Any]:
        """A ChannelStatus for each that exists. Takes nothing from anybody."""
        ...

    def get_latest_committed_offset_tokens(self, channel_names: list[str]) -> dict[str, str | None]:
        """None for a channel that does not exist."""
        ...

    def close(self, wait_for_flush: bool = True, timeout_seconds: int | None = None) -> None:  # noqa: FBT001, FBT002  # as the vendor has it
        """Let go."""


Connect = Callable[[str], Client]
"""A client by name of the table, in upper case."""

GOOD = "SUCCESS"
