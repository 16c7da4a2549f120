"""Forward-only, numbered migrations: each is applied once, and remembered with its checksum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from flowguard.domain.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Migration:
    """One step forward. `part` names what it belongs to, or is `table NAME` for steps derived from the catalog."""

    part: str
    number: int
    name: str
    statements: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.part} {self.number}: {self.name}"

    @property
    def checksum(self) -> str:
        return sha256(";\n".join(self.statements).encode()).hexdigest()[:16]


def numbered(
    part: str, files: Mapping[str, str], split: Callable[[str], Iterable[str]], folder: object
) -> list[Migration]:
    """The migrations in files named `0001_what_it_does.sql`, in order.

    `split` gives the statements of a text. Raises ConfigurationError where the files are not 1, 2, 3, ...: `folder` is
    where they were looked for.
    """
    found = []
    for file, text in sorted(files.items()):
        number, _, name = file.removesuffix(".sql").partition("_")
        found.append(Migration(part, int(number), name.replace("_", " "), tuple(split(text))))
    if not found or [one.number for one in found] != list(range(1, len(found) + 1)):
        raise ConfigurationError(f"{folder} does not hold migrations 0001, 0002, ...: install FlowGuard again")
    return found


def pending(known: Sequence[Migration], applied: Mapping[int, str]) -> list[Migration]:
    """Those that were not applied yet, in order. `applied` has the checksums of one part, by number.

    Raises ConfigurationError where one was applied with other text, or where a newer FlowGuard was here.
    """
    missing = []
    for migration in known:
        checksum = applied.get(migration.number)
        if checksum is None:
            missing.append(migration)
        elif checksum != migration.checksum:
            raise ConfigurationError(
                f"migration {migration} was applied with other text (checksum {checksum}, now {migration.checksum}):"
                " put the file back as it was, and the change into a new file with the next number"
            )
    if newer := applied.keys() - {migration.number for migration in known}:
        raise ConfigurationError(
            f"the {known[-1].part} tables were migrated to {max(newer)} by a newer FlowGuard, and this one knows"
            f" {len(known)}: upgrade it"
        )
    return missing
