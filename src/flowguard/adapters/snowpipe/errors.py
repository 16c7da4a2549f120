"""What Snowflake's streaming client raises, told as what the caller should do about it. Codes: its own names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from flowguard.domain.errors import ConfigurationError, FencedError, FlowGuardError, TransientError, UnknownOutcomeError
from flowguard.domain.ingestion import TopicPartition

_CREDENTIALS: Final = "it refuses the credentials; check user, role and key of the URL"
_GUIDE: Final = "see docs/guide/snowpipe.md"

FENCED: Final = frozenset({
    "ChannelClosedByUser",
    "ChannelNotFound",
    "ClosedChannelError",
    "InputChannelClosed",
    "InvalidChannelError",
    "OutputChannelClosed",
})  # fmt: skip
"""The channel is somebody else's now, or Snowflake has let go of it. Claiming it again is right in both cases."""
PERSON: Final[dict[str, str]] = {
    "AuthTokenError": _CREDENTIALS,
    "ConfigError": "the URL lacks something, or has it wrong",
    "HttpClientNonRetryableError": _GUIDE,
    "InvalidArgument": _GUIDE,
    "InvalidRequest": _GUIDE,
    "NotImplemented": _GUIDE,
    "SfApiAuthError": _CREDENTIALS,
    "SfApiNotFoundError": f"there is no such database, schema or table, or the role may not use it; {_GUIDE}",
    "SfApiUserError": _GUIDE,
}
"""A person has to mend it. Every code that is in neither table is tried again."""


def code_of(error: BaseException) -> str | None:
    """The client's name for what went wrong; None where it is not the client's error."""
    code = getattr(getattr(error, "error_code", None), "value", None)
    return code if isinstance(code, str) else None


def translated(error: Exception, where: str, partition: TopicPartition | None = None) -> FlowGuardError:
    """The FlowGuard error that tells the caller what to do. `partition`: whose channel was used."""
    if isinstance(error, TimeoutError):
        return UnknownOutcomeError(f"{where}: it did not take the rows in time ({error})")
    code, told = code_of(error), str(error).strip().partition("\n")[0]
    if code in FENCED and partition is not None:
        return FencedError([partition])
    if code in PERSON:
        return ConfigurationError(f"{where}: {PERSON[code]} ({told})")
    return TransientError(f"{where}: {told}")


@contextmanager
def mapped(where: str, partition: TopicPartition | None = None) -> Iterator[None]:
    """Raise what the client raises inside as what `translated` makes of it; other errors pass through."""
    try:
        yield
    except Exception as error:
        if code_of(error) is None and not isinstance(error, TimeoutError):
            raise
        raise translated(error, where, partition) from error
