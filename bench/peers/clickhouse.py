"""ClickHouse's engine in this process (chDB), two threads: inserts the same JSON rows into MergeTree.

usage: clickhouse.py NDJSON_FILE FOLDER

Tries several sizes of a batch and prints one line for each, "BATCH_ROWS ROWS_PER_SECOND". No HTTP, no fsync and no
deduplication, which is kind to this peer.
"""

import itertools
import sys
import time

from chdb import session

TABLE = """create table events (event_id String, session_id String, category LowCardinality(String),
    name LowCardinality(String), timestamp DateTime64(6, 'UTC'), data String)
    engine = MergeTree order by (session_id, timestamp)"""
SETTINGS = """max_threads = 2, max_insert_threads = 2, input_format_parallel_parsing = 1,
    input_format_json_read_objects_as_strings = 1, date_time_input_format = 'best_effort'"""


def batches(path, rows):
    """The file's lines in batches of this many."""
    with open(path, encoding="utf-8") as lines:
        while batch := "".join(itertools.islice(lines, rows)):
            yield batch


def stored(clickhouse):
    """How many rows the table has."""
    return int(clickhouse.query("select count() from events", "TSV").bytes().decode().strip())


def inserted(clickhouse, statements):
    """Rows a second of these statements, into an empty table."""
    clickhouse.query("drop table if exists events")
    clickhouse.query(TABLE)
    start = time.monotonic()
    for statement in statements:
        clickhouse.query(statement)
    return stored(clickhouse) / (time.monotonic() - start)


def main():
    path, folder = sys.argv[1], sys.argv[2]
    with open(path, encoding="utf-8") as lines:
        total = sum(1 for _ in lines)
    clickhouse = session.Session(folder)
    clickhouse.query("create database if not exists bench")
    clickhouse.query("use bench")
    clickhouse.query("set " + SETTINGS)
    for rows in (500, 10_000, 100_000):
        texts = ["insert into events format JSONEachRow\n" + batch for batch in batches(path, rows)]
        print(rows, inserted(clickhouse, texts), flush=True)
        assert stored(clickhouse) == total
    whole = f"insert into events select * from file('{path}', JSONEachRow)"
    print(total, inserted(clickhouse, [whole]), flush=True)
    assert stored(clickhouse) == total


if __name__ == "__main__":
    main()
