"""`publish`: a file of newline-delimited JSON, of any size, through a running gateway."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from flowguard.entrypoints.cli.options import DataDir, ExitCode, Json, RetryFor, Url

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowguard.entrypoints.cli.client import Fault, GatewayClient
    from flowguard.entrypoints.cli.lines import Bookmark, Line

_SHOWN = 20
"""Rejected lines that a text answer names; --rejects FILE keeps all of them."""
_BATCH_BYTES = 4 * 1024 * 1024
_NOTE_EVERY_S = 1.0


def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="NDJSON, plain or gzip; - is standard input.")],
    *,
    event_type: Annotated[
        str | None, typer.Option("--type", help="Type of every line [default: each line's event_type].")
    ] = None,
    url: Url = None,
    batch: Annotated[int, typer.Option("--batch", min=1, max=10_000, help="Lines in one request.")] = 500,
    from_line: Annotated[
        int | None, typer.Option("--from-line", min=1, help="Begin at this line, whatever was published before.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What stands for the file in derived ids [default: its name].")
    ] = None,
    rejects: Annotated[
        Path | None, typer.Option("--rejects", help="Write rejected lines here, with the reasons.")
    ] = None,
    retry_for: RetryFor = 30.0,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Publish a file, line by line. Doing it again adds nothing; what was broken off goes on where it stopped.

    A line without an event_id gets one derived from file name, line number and text. Exits 1 when lines were rejected.
    """
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.client import GatewayClient, gateway_url
    from flowguard.entrypoints.cli.configuration import settings_of
    from flowguard.entrypoints.cli.lines import Bookmark, name_of, numbered, opened

    if str(file) != "-" and not file.is_file():
        raise typer.BadParameter(f"there is no file {file}", param_hint="FILE")
    settings = settings_of({"data_dir": data_dir})
    started = time.monotonic()
    with ExitStack() as closing:
        client = GatewayClient(gateway_url(settings, url), retry_for_s=retry_for, notice=output.warn)
        closing.callback(client.close)
        bookmark = Bookmark(settings.data_dir, file, client.url, event_type)
        left_at = bookmark.next_line() if from_line is None else None
        if left_at is not None:
            output.warn(f"going on at line {left_at:,}, where the last call stopped (--from-line 1 sends all again)")
        refused = closing.enter_context(rejects.open("a" if left_at else "w", encoding="utf-8")) if rejects else None
        text, raw = closing.enter_context(opened(file))
        first = from_line or left_at or 1
        run = _Run(client, f"/v1/events/{event_type}" if event_type else "/v1/events", name or name_of(file), refused)
        try:
            with _progress(file, raw) as advance:
                run.all(_batches(numbered(text, first), batch), bookmark, first, advance)
        except BaseException:
            if run.next_line > first:
                bookmark.keep(run.next_line)
                output.warn(f"stopped at line {run.next_line:,}; the same command goes on from there")
            raise
        bookmark.clear()
    run.report(file, time.monotonic() - started, as_json=as_json)
    if run.rejected:
        raise typer.Exit(ExitCode.FOUND)


@dataclass(slots=True)
class _Run:
    client: GatewayClient
    path: str
    name: str
    refused: IO[str] | None
    next_line: int = 1
    lines: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    examples: list[dict[str, object]] = field(default_factory=list)

    def all(
        self, batches: Iterator[list[Line]], bookmark: Bookmark, first: int, advance: Callable[[int], None]
    ) -> None:
        self.next_line = first
        noted = time.monotonic()
        for lines in batches:
            self._send(lines)
            self.next_line = lines[-1].number + 1
            advance(self.accepted + self.duplicate + self.rejected)
            if time.monotonic() - noted >= _NOTE_EVERY_S:
                bookmark.keep(self.next_line)
                noted = time.monotonic()

    def _send(self, lines: Sequence[Line]) -> None:
        from flowguard.entrypoints.cli.client import Fault
        from flowguard.entrypoints.cli.lines import with_event_id

        good: list[Line] = []
        bodies: list[bytes] = []
        for line in lines:
            try:
                bodies.append(with_event_id(line, self.name))
                good.append(line)
            except ValueError as error:
                self._reject(line, (Fault("", str(error)),))
        self.lines += len(lines)
        if not bodies:
            return
        tally = self.client.publish(self.path, bodies)
        self.accepted += tally.accepted
        self.duplicate += tally.duplicate
        for index, faults in tally.rejected:
            self._reject(good[index], faults)

    def _reject(self, line: Line, faults: Sequence[Fault]) -> None:
        self.rejected += 1
        errors = [{"pointer": fault.pointer, "message": fault.message} for fault in faults]
        if len(self.examples) < _SHOWN:
            self.examples.append({"line": line.number, "errors": errors})
        if self.refused is not None:
            import json

            note = {"line": line.number, "errors": errors, "text": line.text.decode(errors="replace")}
            self.refused.write(json.dumps(note, ensure_ascii=False) + "\n")

    def report(self, file: Path, seconds: float, *, as_json: bool) -> None:
        from flowguard.entrypoints.cli import output

        if as_json:
            output.as_json(
                {
                    "file": str(file),
                    "url": self.client.url,
                    "lines": self.lines,
                    "accepted": self.accepted,
                    "duplicate": self.duplicate,
                    "rejected": self.rejected,
                    "rejects": self.examples,
                    "seconds": round(seconds, 3),
                }
            )
            return
        for one in self.examples:
            output.say(f"line {one['line']}: {_why(one['errors'])}")
        if self.rejected > len(self.examples):
            output.say(f"and {self.rejected - len(self.examples):,} more rejected lines: --rejects FILE keeps them")
        output.say(
            f"{self.lines:,} lines in {seconds:.1f} s: {self.accepted:,} accepted, {self.duplicate:,} duplicate,"
            f" {self.rejected:,} rejected"
        )


def _why(errors: object) -> str:
    assert isinstance(errors, list)  # noqa: S101  # made above
    return "; ".join(f"{one['pointer']}: {one['message']}".removeprefix(": ") for one in errors)


def _batches(lines: Iterator[Line], most: int) -> Iterator[list[Line]]:
    """Up to `most` lines and some megabytes at a time; a larger line goes alone."""
    held: list[Line] = []
    size = 0
    for line in lines:
        if held and (len(held) == most or size + len(line.text) > _BATCH_BYTES):
            yield held
            held, size = [], 0
        held.append(line)
        size += len(line.text)
    if held:
        yield held


@contextmanager
def _progress(file: Path, raw: IO[bytes]) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, measured in bytes of the file; nothing otherwise."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[events]:,} events"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        total = None if str(file) == "-" else file.stat().st_size
        task = bar.add_task(file.name, total=total, events=0)

        def advance(events: int) -> None:
            bar.update(task, events=events, completed=raw.tell() if total is not None else None)

        yield advance
