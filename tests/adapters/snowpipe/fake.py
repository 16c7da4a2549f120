"""A FAKE of Snowflake's streaming client: what the contract suites of the sink run over, for want of an account.

It does what Snowflake's documentation says of channels, and no more than that is shown by a test on it:

- opening a channel takes it from whoever had it: what that one had not committed is dropped, its flush is refused, and
  the status of the channel, asked by name, does not tell it;
- rows of one channel are committed in order, with the token of their append, some time after they were flushed;
- a bad row is left out, counted, and kept in the error table, while the rest and the token are committed;
- a request has at most 4 MB.

That Snowflake does all this is what only an account can prove (docs/guide/snowpipe.md).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode_lines
Stored = dict[str, Any]


class FakeCode(Enum):
    GONE = "InvalidChannelError"
    REFUSED = "SfApiAuthError"
    BUSY = "ReceiverSaturated"
    TOO_LARGE = "InvalidArgument"


class FakeError(Exception):
    """Of the shape of the client's error."""

    def __init__(self, code: FakeCode) -> None:
        super().__init__(f"{code.value}: told by the fake")
        self.error_code = code


@dataclass
class FakeStatus:
    status_code: str
    latest_committed_offset_token: str | None
    rows_error_count: int
    last_error_message: str | None
    last_error_timestamp: datetime | None


@dataclass
class _Stream:
    """A channel as the account has it. `writer` counts the openings."""

    writer: int = 0
    token: str | None = None
    errors: int = 0
    last_error: datetime | None = None
    flushed: list[tuple[list[Stored], str | None]] = field(default_factory=list)

    def status(self) -> FakeStatus:
        told = "a column does not take it" if self.errors else None
        return FakeStatus("SUCCESS", self.token, self.errors, told, self.last_error)


@dataclass
class FakeAccount:
    """One schema. What a test may set: what goes wrong."""

    tables: dict[str, list[Stored]] = field(default_factory=lambda: defaultdict(list))
    error_tables: dict[str, list[Stored]] = field(default_factory=lambda: defaultdict(list))
    streams: dict[tuple[str, str], _Stream] = field(default_factory=dict)
    requests: list[tuple[str, str | None, str | None, int]] = field(default_factory=list)
    """Channel, tokens, bytes."""
    commits: bool = True
    """False: what is flushed stays uncommitted until it is true again."""
    late: int = 0
    """So many looks come before the next commit."""
    leaves_out: Callable[[Stored], bool] = lambda _: False
    error_at: datetime = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  # as the client has it
    append_error: FakeCode | None = None
    open_error: FakeCode | None = None
    before_open: Callable[[str], None] = lambda _: None

    def client(self, table: str) -> FakeClient:
        return FakeClient(self, table)

    def stream(self, table: str, name: str) -> _Stream:
        return self.streams.setdefault((table, name), _Stream())

    def commit(self) -> None:
        """Whatever was flushed lands, where `commits`."""
        if self.late or not self.commits:
            self.late = max(0, self.late - 1)
            return
        for (table, _), stream in self.streams.items():
            for rows, token in stream.flushed:
                bad = [row for row in rows if self.leaves_out(row)]
                self.tables[table] += [row for row in rows if row not in bad]
                self.error_tables[table] += bad
                stream.token = token
                if bad:
                    stream.errors, stream.last_error = stream.errors + len(bad), self.error_at
            stream.flushed.clear()


class FakeClient:
    def __init__(self, account: FakeAccount, table: str) -> None:
        self._account, self._table = account, table

    def open_channel(self, channel_name: str, offset_token: str | None = None) -> tuple[FakeChannel, FakeStatus]:
        assert offset_token is None, "not known well enough to be used"
        self._account.before_open(channel_name)
        if self._account.open_error is not None:
            raise FakeError(self._account.open_error)
        self._account.commit()
        stream = self._account.stream(self._table, channel_name)
        stream.writer += 1
        stream.flushed.clear()
        return FakeChannel(self._account, channel_name, stream), stream.status()

    def get_channel_statuses(self, channel_names: list[str]) -> dict[str, FakeStatus]:
        self._account.commit()
        there = self._account.streams
        return {name: there[self._table, name].status() for name in channel_names if (self._table, name) in there}

    def get_latest_committed_offset_tokens(self, channel_names: list[str]) -> dict[str, str | None]:
        statuses = self.get_channel_statuses(channel_names)
        return {
            name: statuses[name].latest_committed_offset_token if name in statuses else None for name in channel_names
        }

    def close(self, wait_for_flush: bool = True, timeout_seconds: int | None = None) -> None: ...


class FakeChannel:
    def __init__(self, account: FakeAccount, name: str, stream: _Stream) -> None:
        self._account, self._name, self._stream = account, name, stream
        self._writer = stream.writer
        self._buffer: list[tuple[list[Stored], str | None]] = []

    def append_rows(
        self, rows: list[dict[str, Any]], start_offset_token: str | None = None, end_offset_token: str | None = None
    ) -> None:
        if self._account.append_error is not None:
            raise FakeError(self._account.append_error)
        lines = _encode(rows)
        if len(lines) > 4_000_000:
            raise FakeError(FakeCode.TOO_LARGE)
        self._account.requests.append((self._name, start_offset_token, end_offset_token, len(lines)))
        stored = [json.loads(line) for line in lines.splitlines()]
        assert len(stored) == len(rows), "a row is one line"
        self._buffer.append((stored, end_offset_token))

    def initiate_flush(self) -> None: ...

    def wait_for_flush(self, timeout_seconds: int | None = None) -> None:
        if self._writer != self._stream.writer:
            raise FakeError(FakeCode.GONE)
        self._stream.flushed += self._buffer
        self._buffer = []
