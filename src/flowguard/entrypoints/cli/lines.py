"""Files of newline-delimited JSON: lines with their numbers, ids derived from them, and where a publish stopped."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast
from uuid import UUID

import msgspec

from flowguard.domain.errors import ConfigurationError

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_NAMESPACE = UUID("6f6c9d0e-7d0b-5a4e-9b1e-0d1f2a3b4c5d")
"""Of the ids that are derived from a file's name, a line's number and its text. It never changes."""
_HEAD = 65_536


class _Ids(msgspec.Struct, frozen=True):
    """What says whether a line has an id. A CloudEvent in its structured form calls it `id`."""

    event_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    specversion: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_ids = msgspec.json.Decoder(_Ids)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not empty. `number` counts from 1, empty lines too."""

    number: int
    text: bytes


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """(its text, the file itself, whose `tell` says how much was read). `-` is standard input; gzip is unpacked."""
    if str(path) == "-":
        yield sys.stdin.buffer, sys.stdin.buffer
        return
    with path.open("rb", buffering=1024 * 1024) as file:
        zipped = file.read(2) == _GZIP
        file.seek(0)
        yield (cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if zipped else file), file


def numbered(text: IO[bytes], first: int = 1) -> Iterator[Line]:
    """The lines from number `first` on. Raises ConfigurationError where a packed file is damaged."""
    number = 0
    try:
        for number, raw in enumerate(text, 1):
            if number >= first and (line := (raw.removeprefix(_BOM) if number == 1 else raw).strip()):
                yield Line(number, line)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConfigurationError(f"the gzip file is cut off or damaged after line {number:,}: {error}") from error


def name_of(path: Path) -> str:
    """What stands for the file in derived ids: its name, without the folder and without .gz."""
    return "stdin" if str(path) == "-" else path.name.removesuffix(".gz")


def with_event_id(line: Line, name: str) -> bytes:
    """The line; where it has no event id, with one derived from file, line number and text, so that it lands once.

    The text is in it because files of one name (a daily export) hold other events tomorrow. Raises ValueError for what
    is no JSON object.
    """
    try:
        found = _ids.decode(line.text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no JSON object: {error}") from error
    is_cloud_event = found.specversion is not msgspec.UNSET and found.data is not msgspec.UNSET
    key, given = ("id", found.id) if is_cloud_event else ("event_id", found.event_id)
    if given is not msgspec.UNSET and bytes(given) != b"null":
        return line.text
    place = f"{name}\n{line.number}\n".encode()
    digest = hashlib.sha1(_NAMESPACE.bytes + place + line.text, usedforsecurity=False).digest()
    event_id = str(UUID(bytes=digest[:16], version=5))
    if given is msgspec.UNSET:
        rest = line.text[1:].lstrip()
        return b'{"%b":"%b"%b%b' % (key.encode(), event_id.encode(), b"" if rest == b"}" else b",", rest)
    return _encode({**_fields.decode(line.text), key: event_id})


class Bookmark:
    """Where a publish of this file to this gateway stopped, kept in the data folder until it was published to its end.

    It holds for as long as the file's first 64 KiB stay what they were: a file may grow.
    """

    def __init__(self, folder: Path, file: Path, url: str, event_type: str | None) -> None:
        self._kept = str(file) != "-"
        about = json.dumps([str(file.absolute()), url, event_type])
        self._place = folder / "publish" / f"{hashlib.sha256(about.encode()).hexdigest()[:16]}.json"
        self._head = ""
        if self._kept:
            with file.open("rb") as opened_file:
                self._head = hashlib.sha256(opened_file.read(_HEAD)).hexdigest()
        self._file = file

    def next_line(self) -> int | None:
        """The line to go on from, or None where nothing was left over."""
        try:
            note = json.loads(self._place.read_text(encoding="utf-8")) if self._kept else {}
        except (OSError, ValueError):
            return None
        return int(note["next_line"]) if note.get("head") == self._head else None

    def keep(self, next_line: int) -> None:
        if self._kept:
            self._place.parent.mkdir(parents=True, exist_ok=True)
            note = {"file": str(self._file.absolute()), "next_line": next_line, "head": self._head}
            new = self._place.with_suffix(".new")
            new.write_text(json.dumps(note), encoding="utf-8")
            new.replace(self._place)

    def clear(self) -> None:
        self._place.unlink(missing_ok=True)
