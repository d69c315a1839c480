#!/usr/bin/env python3
"""Reads the open table with other people's readers and prints what they see, as JSON.

usage: read_table.py TABLE [STORAGE_OPTIONS_JSON]

Every reader must see the same rows. Prints {"version", "rows", "sessions", "events": [[session_id, event_id,
timestamp in microseconds, partition, offset, application, category, name, user_id, data as text], ...] in
(partition, offset) order}.
"""

import json
import sys

import deltalake
import duckdb
import polars

COLUMNS = ["session_id", "event_id", "timestamp", "partition", "offset"]
COLUMNS += ["application", "category", "name", "user_id", "data"]


def rows_of(arrow_table):
    """The columns as sorted rows, timestamps as microseconds."""
    frame = polars.from_arrow(arrow_table).select(COLUMNS)
    frame = frame.with_columns(polars.col("timestamp").dt.epoch("us")).sort(["partition", "offset"])
    return [list(row) for row in frame.iter_rows()]


def main():
    location = sys.argv[1]
    options = json.loads(sys.argv[2]) if len(sys.argv) > 2 else None
    table = deltalake.DeltaTable(location, storage_options=options)
    dataset = table.to_pyarrow_dataset()
    by_deltalake = rows_of(dataset.to_table(columns=COLUMNS))
    by_polars = rows_of(polars.scan_delta(location, storage_options=options).select(COLUMNS).collect().to_arrow())
    if by_polars != by_deltalake:
        sys.exit("polars and deltalake do not see the same rows")
    connection = duckdb.connect()
    connection.register("events", dataset)
    by_duckdb = rows_of(connection.sql("select " + ", ".join(f'"{name}"' for name in COLUMNS) + " from events").to_arrow_table())
    if by_duckdb != by_deltalake:
        sys.exit("duckdb and deltalake do not see the same rows")
    sessions = connection.sql("select count(distinct session_id) from events").fetchall()[0][0]
    json.dump(
        {"version": table.version(), "rows": len(by_deltalake), "sessions": sessions, "events": by_deltalake},
        sys.stdout,
    )


if __name__ == "__main__":
    main()
