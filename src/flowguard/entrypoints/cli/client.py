"""Posting events to a running gateway, over one connection, with patience while it is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from flowguard.domain.errors import ConfigurationError, RetryPolicy, TransientError

if TYPE_CHECKING:
    from flowguard.settings import Settings

_ANSWER_S = 120.0
"""How long an answer may take: the log flushes to disk first."""
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_TOO_MUCH = frozenset({400, 413})
"""The whole body was refused, perhaps for the sake of one line."""
_BACK_OFF = RetryPolicy(initial_s=0.2, cap_s=5.0)


class Fault(msgspec.Struct, frozen=True):
    """What is wrong, and where in the event (a JSON pointer)."""

    pointer: str = ""
    message: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """The gateway's answer for one event."""

    index: int
    verdict: str
    errors: Sequence[Fault] = ()


class _Answer(msgspec.Struct, frozen=True):
    """A 202 or a 422; or a problem (RFC 9457), of which only the text is used."""

    results: Sequence[Verdict] = ()
    title: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """Verdicts in sums, with the rejections by index."""

    accepted: int
    duplicate: int
    rejected: tuple[tuple[int, Sequence[Fault]], ...]


def gateway_url(settings: Settings, url: str | None) -> str:
    """The URL given, or where the settings have the gateway listen."""
    if url is not None:
        return url
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


class GatewayClient:
    """Posts batches of events, one after the other. Sending a batch again is harmless where its events have ids.

    While the gateway is not there, or says that it is busy, it is tried again for up to `retry_for_s` seconds; `notice`
    is told when that begins.
    """

    def __init__(self, url: str, *, retry_for_s: float, notice: Callable[[str], None]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError(f"{url!r} is no gateway: write http://host:port")
        try:
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"{url!r}: {error}") from error
        self.url = url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(parts.hostname, port, timeout=_ANSWER_S)
        self._retry_for_s = retry_for_s
        self._notice = notice
        self._jitter = Random().random
        self._decode = msgspec.json.Decoder(_Answer).decode

    def publish(self, path: str, lines: Sequence[bytes]) -> Tally:
        """Post the events, each a JSON text in one line, and return the sums.

        A body that is refused as a whole is cut in halves, so that one bad line costs itself only. Raises
        TransientError (the gateway stayed away), ConfigurationError (it will not take any such request).
        """
        status, answer = self._post(path, b"\n".join(lines))
        if answer.results:
            bad = tuple((one.index, one.errors) for one in answer.results if one.verdict == "rejected")
            duplicate = sum(one.verdict == "duplicate" for one in answer.results)
            return Tally(len(answer.results) - duplicate - len(bad), duplicate, bad)
        if status not in _TOO_MUCH:
            raise ConfigurationError(f"{self.url}{path} answered {status}: {answer.detail or answer.title}")
        if len(lines) == 1:
            return Tally(0, 0, ((0, (Fault("", answer.detail or answer.title),)),))
        middle = len(lines) // 2
        first, second = self.publish(path, lines[:middle]), self.publish(path, lines[middle:])
        moved = tuple((index + middle, faults) for index, faults in second.rejected)
        return Tally(first.accepted + second.accepted, first.duplicate + second.duplicate, first.rejected + moved)

    def close(self) -> None:
        self._connection.close()

    def _post(self, path: str, body: bytes) -> tuple[int, _Answer]:
        attempt = 0
        deadline: float | None = None
        while True:
            wait = _BACK_OFF.delay_s(attempt, self._jitter())
            try:
                self._connection.request("POST", self._prefix + path, body, {"Content-Type": "application/x-ndjson"})
                response = self._connection.getresponse()
                raw = response.read()
                if response.status not in _TRY_AGAIN:
                    return response.status, self._read(raw)
                why = f"{response.status} {self._read(raw).detail or response.reason}"
                asked = response.headers.get("Retry-After", "")
                wait = max(wait, float(asked)) if asked.isdigit() else wait
            except (OSError, HTTPException) as error:
                self._connection.close()
                why = str(error) or type(error).__name__
            now = time.monotonic()
            if deadline is None:
                deadline = now + self._retry_for_s
                if self._retry_for_s:
                    self._notice(f"{self.url}: {why}; trying again for {self._retry_for_s:g} s")
            if now + wait > deadline:
                raise TransientError(f"{self.url} does not take events: {why} (is `flowguard up` running there?)")
            time.sleep(wait)
            attempt += 1

    def _read(self, raw: bytes) -> _Answer:
        try:
            return self._decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return _Answer(detail=raw[:200].decode(errors="replace"))
