"""Results in the form in which Snowflake's connectors read them."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from fakesnow import arrow
from fakesnow.rowtype import describe_as_rowtype
from fakesnow.statement_type import DML_TYPE_IDS

from .cursor import Cursor


@dataclass(frozen=True, slots=True)
class Result:
    """What one statement has to say."""

    id: str
    type_id: int
    affected: int
    data: dict[str, Any]
    upload: Any = None
    """Of a PUT: fakesnow's statement, which knows where the file has to go."""

    def with_total(self, affected: int) -> Result:
        """Of the same statement, run for several rows."""
        data = {**self.data, "rowset": [[str(affected), *self.data["rowset"][0][1:]]], "total": 1}
        return replace(self, affected=affected, data=data)


def result_of(cursor: Cursor, type_id: int) -> Result:
    """Of the statement that the cursor has just run."""
    statement = cursor._last_transformed
    if statement is not None and statement.args.get("put_stage_data"):
        return Result(cursor.sfqid or "", type_id, 0, {}, statement)
    rowtype = describe_as_rowtype(cursor._describe_last_sql())
    table: pa.Table | None = cursor._arrow_table
    data: dict[str, Any] = {
        "parameters": [{"name": "TIMEZONE", "value": "Etc/UTC"}],
        "rowtype": rowtype,
        "total": table.num_rows if table else 0,
        "returned": table.num_rows if table else 0,
        "queryId": cursor.sfqid,
        "statementTypeId": type_id,
        "finalDatabaseName": cursor._conn.database,
        "finalSchemaName": cursor._conn.schema,
    }
    if table is None:
        data |= {"queryResultFormat": "arrow", "rowsetBase64": ""}
    elif type_id in DML_TYPE_IDS:  # clients read the counts from JSON
        columns = [column.to_pylist() for column in table.columns]
        rows = [[None if value is None else str(value) for value in row] for row in zip(*columns, strict=True)]
        data |= {"queryResultFormat": "json", "rowset": rows}
    else:
        batch = arrow.to_ipc(arrow.to_sf(table, rowtype))
        data |= {"queryResultFormat": "arrow", "rowsetBase64": b64encode(batch).decode("ascii")}
    return Result(cursor.sfqid or "", type_id, cursor.rowcount or 0, data)


def keep_null_timestamps() -> None:
    """Sent as 1970, as by plain fakesnow, connector 5 breaks on them: the mask has to go along."""
    plain = arrow.timestamp_to_sf_struct

    def masked(times: Any) -> pa.Array:
        whole = times.combine_chunks() if isinstance(times, pa.ChunkedArray) else times
        filled = plain(pc.fill_null(whole, pa.scalar(0, whole.type)))
        return pa.StructArray.from_arrays(filled.flatten(), fields=list(filled.type), mask=whole.is_null())

    arrow.timestamp_to_sf_struct = masked
