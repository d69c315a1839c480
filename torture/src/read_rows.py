#!/usr/bin/env python3
"""A second reader of the tables, for the oracle: reads the number of partitions and the path of the folder of both
tables from each line of standard input and answers with one line of JSON.

{"rows": [[the columns ROW, problems as codes, times in microseconds, and the digest of the columns SAID], ...],
 "flushed": {partition: offset}, "rejections": [[the columns REJECTION], ...], "rejections_flushed": {...}},
or {"error": "..."}.
"""

import hashlib
import json
import sys

import deltalake
import pyarrow

ROW = ["application", "event_id", "session_id", "timestamp", "received_at", "problems", "partition", "offset"]
SAID = ["category", "name", "timestamp_raw", "sent_at", "user_id", "anonymous_id", "data", "context"]
REJECTION = ["application", "token", "received_at", "partition", "offset", "code", "field", "message", "sample"]
TIMES = {"timestamp", "received_at", "sent_at"}


def digest(fields):
    """SHA-256 of fields, each with whether it is there and how long it is before it."""
    parts = []
    for field in fields:
        if field is None:
            parts.append(b"\0")
        else:
            text = str(field).encode()
            parts += (b"\1", len(text).to_bytes(8, "little"), text)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def read(path, partitions, names):
    """The rows of a table, column by column, and up to where it has the log."""
    table = deltalake.DeltaTable(path)
    flushed = {partition: table.transaction_version(f"eye-{partition}") or 0 for partition in range(partitions)}
    columns = table.to_pyarrow_dataset().to_table(columns=names)
    lists = []
    for name in names:
        column = columns[name]
        if name in TIMES:
            column = column.cast(pyarrow.timestamp("us", "UTC")).cast(pyarrow.int64())
        lists.append(column.to_pylist())
    return lists, flushed


def read_both(path, partitions):
    events, flushed = read(f"{path}/events", partitions, ROW + SAID)
    digests = map(digest, zip(*events[len(ROW) :]))
    rows = [[*row, said] for row, said in zip(zip(*events[: len(ROW)]), digests)]
    rejections, rejections_flushed = read(f"{path}/rejections", partitions, REJECTION)
    return {
        "rows": rows,
        "flushed": flushed,
        "rejections": list(zip(*rejections)),
        "rejections_flushed": rejections_flushed,
    }


def main():
    for line in sys.stdin:
        partitions, path = line.rstrip("\n").split(" ", 1)
        try:
            answer = read_both(path, int(partitions))
        except Exception as error:  # whatever it is, it is the answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
