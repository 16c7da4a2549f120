"""PostgreSQL as programs: where they are, which user they run as, and how they are called."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flowguard.domain.errors import ConfigurationError
from flowguard.entrypoints.dev.daemon import Account, Daemon
from flowguard.entrypoints.dev.unavailable import PostgresUnavailableError

OWN_BINARIES = "FLOWGUARD_POSTGRES_BIN"

_PLACES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # Red Hat, from PostgreSQL's own packages
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
_INSTALL = "install it (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql)"
_ASK_TIMEOUT_S = 30.0
_INIT_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class PostgresProgram:
    """Made by `find`. `account` is None where it runs as this process does."""

    binaries: Path
    version: int
    """The major one: data of another cannot be read."""
    data: Path
    account: Account | None

    @classmethod
    def find(cls, data: Path) -> Self:
        """The programs that can read this data folder; the newest ones for a new folder.

        Raises PostgresUnavailableError where there are none.
        """
        wanted = data_version(data)
        found: dict[int, Path] = {}
        for folder in _candidates():
            if (version := _version(folder)) is not None and version not in found:
                found[version] = folder
                if wanted in {None, version}:
                    return cls(folder, version, data, _account(data))
        if not found:
            raise PostgresUnavailableError(
                f"there is no PostgreSQL server (initdb, postgres) on this machine: {_INSTALL}"
            )
        there = ", ".join(map(str, sorted(found)))
        raise PostgresUnavailableError(
            f"{data} is of PostgreSQL {wanted}, and here is {there}: install {wanted}, or choose another --data-dir"
        )

    def start(self, daemon: Daemon, options: Mapping[str, str]) -> None:
        """Start the server, and return at once."""
        with self._reachable(self.data) as (data, files):
            daemon.start([*self._postgres(options), "-D", data], self.account, files)

    def initialize(self, superuser: str, lets_in: str, statements: Sequence[str], *, durably: bool) -> None:
        """Make the data folder, with this pg_hba.conf, and run these statements in it; whole, or not at all.

        Raises ConfigurationError where PostgreSQL refuses.
        """
        draft = self.data.with_name("data.draft")
        shutil.rmtree(draft, ignore_errors=True)  # left by a start that was broken off
        draft.mkdir(mode=0o700)
        if self.account is not None:
            os.chown(draft, self.account.user, self.account.group)
        # Texts sort by their bytes, the same on every machine.
        with self._reachable(draft) as (data, files):
            initdb = [str(self.binaries / "initdb"), "-D", data, "-U", superuser, "-A", "reject"]
            self._run([*initdb, "--encoding=UTF8", "--no-locale", *([] if durably else ["--no-sync"])], files)
            program, *options = self._postgres({} if durably else {"fsync": "off"})
            single = [program, "--single", *options, "-D", data, superuser]
            self._run(single, files, "".join(f"{one}\n" for one in statements))
        (draft / "pg_hba.conf").write_text(lets_in, "utf-8")
        draft.rename(self.data)

    # -- how ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _reachable(self, folder: Path) -> Iterator[tuple[str, Sequence[int]]]:
        """The folder as the programs are told it, and the files that they have to have open.

        Another user may not get there by the path (below /root, for one), but does through an open file.
        """
        if self.account is None or sys.platform != "linux":
            yield str(folder), ()
            return
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{opened}", (opened,)
        finally:
            os.close(opened)

    def _postgres(self, options: Mapping[str, str]) -> list[str]:
        return [str(self.binaries / "postgres"), *(f"-c{name}={value}" for name, value in options.items())]

    def _run(self, command: list[str], files: Sequence[int], text: str = "") -> None:
        try:
            done = subprocess.run(  # noqa: S603  # our own command
                command,
                cwd="/",
                input=text,
                capture_output=True,
                check=False,
                text=True,
                timeout=_INIT_TIMEOUT_S,
                user=self.account.user if self.account else None,
                group=self.account.group if self.account else None,
                extra_groups=[] if self.account else None,
                pass_fds=files,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigurationError(f"{command[0]} did not run: {error}") from error
        lines = [line for line in done.stderr.splitlines() if re.search("error:|fatal:|panic:", line, re.IGNORECASE)]
        if done.returncode != 0 or lines:
            raise ConfigurationError(f"PostgreSQL could not make {self.data}: {' '.join(lines) or done.stderr[-300:]}")


def data_version(data: Path) -> int | None:
    """The major version that has made this data folder; None where there is none."""
    try:
        return int((data / "PG_VERSION").read_text("ascii"))
    except (OSError, ValueError):
        return None


def _candidates() -> Iterator[Path]:
    """Folders that may hold the programs, the ones that the user has chosen first."""
    if own := os.environ.get(OWN_BINARIES):
        yield Path(own)
        return
    if program := shutil.which("postgres"):
        yield Path(program).resolve().parent
    for place in _PLACES:
        found = Path("/").glob(place.lstrip("/"))
        yield from sorted(
            found, key=lambda folder: [int(part) for part in re.findall(r"\d+", str(folder))], reverse=True
        )
    # A Python package that brings the programs; those that there are all have them in a folder of this name.
    yield from Path(sysconfig.get_path("platlib")).glob("*/pginstall/bin")
    if program := shutil.which("pg_config"):
        yield Path(_said(program, "--bindir").strip())


def _version(folder: Path) -> int | None:
    """None where the programs are not there, or do not run."""
    if not os.access(folder / "initdb", os.X_OK):
        return None
    # postgres (PostgreSQL) 15.14 (Debian ...), of a version to come: 19devel, 19beta1
    match = re.search(r"\(PostgreSQL\) (\d+)", _said(str(folder / "postgres"), "--version"))
    return int(match[1]) if match else None


def _said(program: str, argument: str) -> str:
    """Empty where it does not run."""
    try:
        done = subprocess.run(  # noqa: S603  # PostgreSQL's own
            [program, argument], capture_output=True, check=False, text=True, timeout=_ASK_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _account(data: Path) -> Account | None:
    """PostgreSQL refuses to run as root: then as whom the data belongs to, else `postgres`, else `nobody`."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    import pwd  # noqa: PLC0415  # not on Windows

    if data.exists() and (status := data.stat()).st_uid != 0:
        return Account(status.st_uid, status.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise PostgresUnavailableError("PostgreSQL does not run as root, and there is no user postgres or nobody")
