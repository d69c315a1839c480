#!/usr/bin/env python3
"""A second reader of the table, for the oracle: reads a table's path from each line of standard input and answers with
one line of JSON.

{"flushed": {partition: offset}, "rows": [[event_id, session_id, timestamp in microseconds, partition, offset,
crc32 and length of category, name and data with a NUL between], ...]}, or {"error": "..."}.
"""

import json
import sys
import zlib

import deltalake
import pyarrow

COLUMNS = ["event_id", "session_id", "category", "name", "timestamp", "partition", "offset", "data"]


def read(path, partitions):
    table = deltalake.DeltaTable(path)
    flushed = {partition: table.transaction_version(f"eye-{partition}") or 0 for partition in range(partitions)}
    columns = table.to_pyarrow_dataset().to_table(columns=COLUMNS)
    times = columns["timestamp"].cast(pyarrow.timestamp("us", "UTC")).cast(pyarrow.int64()).to_pylist()
    names = ("event_id", "session_id"), ("partition", "offset"), ("category", "name", "data")
    ids, sessions = (columns[name].to_pylist() for name in names[0])
    parts, offsets = (columns[name].to_pylist() for name in names[1])
    contents = ("\0".join(texts).encode() for texts in zip(*(columns[name].to_pylist() for name in names[2])))
    digests = ((zlib.crc32(content), len(content)) for content in contents)
    rows = [[*row[:5], *row[5]] for row in zip(ids, sessions, times, parts, offsets, digests)]
    return {"flushed": flushed, "rows": rows}


def main():
    for line in sys.stdin:
        partitions, path = line.rstrip("\n").split(" ", 1)
        try:
            answer = read(path, int(partitions))
        except Exception as error:  # whatever it is, it is the answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
