"""`check` and `migrate`: is everything in place, and putting it there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

import typer

from flowguard.domain.errors import FlowGuardError
from flowguard.entrypoints.cli.options import DataDir, DryRun, ExitCode, Host, Json, Port

if TYPE_CHECKING:
    from flowguard.container import Container
    from flowguard.settings import Settings

_LEAST_FREE = 256 * 1024 * 1024
_ASK_S = 2.0


def migrate(*, dry_run: DryRun = False, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Make or bring up to date the tables of log, warehouse and dead letters. `up` does it by itself."""
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.configuration import container_of

    with container_of({"data_dir": data_dir}) as container:
        steps = container.migrate(dry_run=dry_run)
        topics = _topics_to_make(container) if dry_run else list(container.event_log().ensure(container.topics()))
    if as_json:
        output.as_json({"dry_run": dry_run, "migrations": steps, "topics": topics})
        return
    for step in steps:
        output.say(f"{'would apply' if dry_run else 'applied'} {step}")
    for topic in topics:
        output.say(f"{'would make' if dry_run else 'made'} topic {topic}")
    if not steps and not topics:
        output.say("everything is up to date")


def _topics_to_make(container: Container) -> list[str]:
    """What `migrate` would make; of an embedded log, whose file may not be there yet, its migrations say it."""
    if container.log_is_embedded():
        return []
    log, group = container.event_log(), container.settings().group
    return [topic for topic in container.topics() if log.describe(topic, group) is None]


def check(*, data_dir: DataDir = None, host: Host = None, port: Port = None, as_json: Json = False) -> None:
    """The settings in force and where each comes from, what is reachable, what is wrong and how to mend it."""
    from flowguard.entrypoints.cli import output
    from flowguard.entrypoints.cli.configuration import container_of, in_force

    flags = {"data_dir": data_dir, "host": host, "port": port}
    with container_of(flags) as container:
        found = list(_findings(container))
        settings = in_force(container.settings(), flags)
    ok = all(one.verdict != "wrong" for one in found)
    if as_json:
        shown = {name: {"value": _plain(value), "from": origin} for name, value, origin in settings}
        output.as_json({"ok": ok, "settings": shown, "checks": [asdict(one) for one in found]})
    else:
        output.table(("setting", "value", "from"), [(name, str(value), origin) for name, value, origin in settings])
        output.say()
        output.table(("", "what", "found"), [(one.verdict, one.what, one.found) for one in found])
    if not ok:
        raise typer.Exit(ExitCode.FOUND)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and what was found. A `note` is for people to know; `wrong` has to be mended."""

    what: str
    verdict: Literal["ok", "note", "wrong"]
    found: str


def _findings(container: Container) -> Iterator[Finding]:
    settings = container.settings()
    yield from _misspelt(settings)
    yield from _tried("catalog", lambda: f"{', '.join(container.catalog().names)}")
    yield from _disk(settings)
    yield from _tables(container)
    yield from _gateway(settings)


def _tried(what: str, look: Callable[[], str]) -> Iterator[Finding]:
    try:
        yield Finding(what, "ok", look())
    except FlowGuardError as error:
        yield Finding(what, "wrong", str(error))


def _misspelt(settings: Settings) -> Iterator[Finding]:
    from flowguard.entrypoints.cli.configuration import PREFIX, unknown_variables

    known = [f"{PREFIX}{name.upper()}" for name in type(settings).model_fields]
    for name in unknown_variables(settings):
        near = get_close_matches(name.upper().split("__")[0], known, n=1)
        meant = f"; is it {near[0]}?" if near else ""
        yield Finding("environment", "wrong", f"no setting is called {name}{meant}")


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir.absolute()
    existing = next(one for one in (folder, *folder.parents) if one.is_dir())
    free = shutil.disk_usage(existing).free
    text = f"{free / 1024**3:.1f} GiB free at {existing}"
    if free < _LEAST_FREE:
        yield Finding("disk", "wrong", f"only {text}: make room, or choose another --data-dir")
    else:
        yield Finding("disk", "ok", text)


def _tables(container: Container) -> Iterator[Finding]:
    """Log, warehouse and dead letters: made, up to date, and writable."""
    from flowguard.entrypoints.cli.configuration import sqlite_file, urls_of, without_secrets

    urls = urls_of(container.settings())
    try:
        pending = container.migrate(dry_run=True)
    except FlowGuardError as error:
        yield Finding("migrations", "wrong", str(error))
        return
    files = {file for url in urls.values() if (file := sqlite_file(url)) is not None}
    missing = sorted(str(file) for file in files if not file.exists())
    if missing:
        yield Finding("data", "note", f"{', '.join(missing)}: not made yet; `flowguard up` or `flowguard migrate` does")
    if elsewhere := [one.splitlines()[0] for one in pending if not one.startswith(tuple(missing))]:
        yield Finding(
            "migrations", "wrong", f"{len(elsewhere)} to be applied, first {elsewhere[0]}: run `flowguard migrate`"
        )
    if missing or elsewhere:
        return
    shown = {name: without_secrets(url) for name, url in urls.items()}
    yield from _tried("log", lambda: _log(container, shown["log_url"]))
    yield from _tried("sink", lambda: _sink(container, shown["sink_url"]))
    yield from _tried("dead letters", lambda: _dead_letters(container, shown["dead_letter_url"]))
    if "orders_url" in shown:
        yield from _tried("orders", lambda: _orders(container, shown["orders_url"]))
    yield from _set_back(container)


def _log(container: Container, url: str) -> str:
    import asyncio

    async def would_take() -> None:
        publisher = container.publisher()
        try:
            await publisher.check()
        finally:
            await publisher.close()

    asyncio.run(would_take())
    return f"{url} takes events"


def _sink(container: Container, url: str) -> str:
    container.sink().check()
    return f"{url} takes rows"


def _dead_letters(container: Container, url: str) -> str:
    container.dead_letters().page(limit=1)
    return f"{url} can be read"


def _orders(container: Container, url: str) -> str:
    container.orders().check()
    return f"{url} takes orders"


def _set_back(container: Container) -> Iterator[Finding]:
    """A log that ends before what the sink has taken was put back from an older copy: what it logs now is skipped."""
    from flowguard.application.continuity import set_back

    settings = container.settings()
    for one in set_back(container.catalog(), settings.group, container.event_log(), container.ledger()):
        text = f"ends at {one.end}, but the sink took it up to {one.position}: is it an older copy of the log?"
        yield Finding(str(one.partition), "wrong", text)


def _gateway(settings: Settings) -> Iterator[Finding]:
    from http.client import HTTPConnection, HTTPException

    from flowguard.entrypoints.cli.client import gateway_url

    url = gateway_url(settings, None)
    connection = HTTPConnection(url.removeprefix("http://"), timeout=_ASK_S)
    try:
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        text = response.read(500).decode(errors="replace")
    except (OSError, HTTPException) as error:
        yield Finding("gateway", "note", f"nothing answers at {url} ({error}); `flowguard up` starts it")
    else:
        ready = response.status == 200  # noqa: PLR2004  # OK
        yield Finding("gateway", "ok" if ready else "wrong", f"{url} answers {response.status} {text.strip()}")
    finally:
        connection.close()


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | None) else str(value)
