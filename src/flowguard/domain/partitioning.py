"""Which partition a key goes to, in the logs that FlowGuard itself keeps."""

from __future__ import annotations

from zlib import crc32


def partition_of(key: bytes, partitions: int) -> int:
    """The same key goes to the same partition, for ever: the number of partitions of a topic never changes."""
    return crc32(key) % partitions
