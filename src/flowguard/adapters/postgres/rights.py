"""Whether the user of the URL may write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flowguard.domain.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from psycopg import Connection

_ASK: Final = """
    SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool,
      has_database_privilege(current_database(), 'TEMPORARY'),
      has_table_privilege('fg_positions', 'UPDATE') AND has_table_privilege('fg_absorbed', 'INSERT'),
      %s::text IS NULL OR has_table_privilege(%s::text, 'INSERT')
"""


def require_rights(connection: Connection[Any], where: str, table: str | None = None) -> None:
    """Raise TransientError or ConfigurationError where rows could not be written to the table, an SQL identifier."""
    read_only, temporary, own, rows = connection.execute(_ASK, [table, table]).fetchone() or (False, True, True, True)
    if read_only:
        raise TransientError(f"{where}: it is read-only; is this a standby?")
    if not temporary:
        raise ConfigurationError(f"{where}: the user may make no temporary tables: GRANT TEMPORARY ON DATABASE to it")
    if not own:
        raise ConfigurationError(f"{where}: GRANT SELECT, INSERT, UPDATE ON fg_positions, fg_absorbed to the user")
    if not rows:
        raise ConfigurationError(f"{where}: the user may not write to {table}: GRANT SELECT, INSERT ON {table} to it")
