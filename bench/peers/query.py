"""An engine that answers questions in SQL, for the benchmark of questions.

usage: query.py duckdb FILE | clickhouse FOLDER | postgres DSN

Takes commands as lines of JSON and answers each with a line, {"ok": ...} or {"error": "..."}:

    {"load": FOLDER}                        stores the rows of all Parquet files below; how many rows there are
    {"sql": S, "runs": N, "seconds": N}     runs S once, then N times or until the seconds are over, once at least
    {"each": [S, ...], "warm_up": N}        runs each once, after the first N as a warm-up; first columns only
    {"bytes": true}, {"version": true}      what it takes on disk, table by table; which version it is

Choices are made in the engines' favour: ids are UUIDs where The Eye takes any text, keys and indexes suit the questions,
and columns that only The Eye has (times of sending and receiving, problems, offsets) are left out.
"""

import glob
import io
import json
import os
import sys
import time

COLUMNS = "event_id, session_id, category, name, timestamp, user_id, anonymous_id, data"


def files(folder):
    return sorted(glob.glob(os.path.join(folder, "**", "*.parquet"), recursive=True))


class DuckDb:
    def __init__(self, path):
        import duckdb

        self.path = path
        self.engine = duckdb.connect(path)
        self.engine.execute("set threads = %d" % os.cpu_count())

    def version(self):
        return "DuckDB " + self.engine.execute("select version()").fetchone()[0]

    def load(self, folder):
        self.engine.execute("drop table if exists events")
        self.engine.execute("set timezone = 'UTC'")
        columns = COLUMNS.replace("event_id, session_id", "event_id::uuid event_id, session_id::uuid session_id")
        columns = columns.replace("timestamp", "timestamp::timestamp as timestamp").replace("data", "data::json as data")
        # In the order of time, as it would be filled; row groups then have narrow ranges of time.
        pattern = os.path.join(folder, "**", "*.parquet")
        self.engine.execute(
            f"create table events as select {columns} from read_parquet('{pattern}', hive_partitioning = false) order by timestamp"
        )
        self.engine.execute("checkpoint")
        return self.engine.execute("select count(*) from events").fetchone()[0]

    def run(self, sql):
        return self.engine.execute(sql).fetchall()

    def rows(self, answer):
        return answer

    def bytes(self):
        return [("events", os.path.getsize(self.path))]


class ClickHouse:
    def __init__(self, folder):
        from chdb import session

        self.engine = session.Session(folder)
        self.engine.query("create database if not exists bench")
        self.engine.query("use bench")
        self.engine.query("set output_format_json_quote_64bit_integers = 0, max_threads = %d" % os.cpu_count())

    def version(self):
        return "ClickHouse (chDB) " + self.rows(self.run("select version()"))[0][0]

    def load(self, folder):
        kinds = """event_id UUID, session_id UUID, category LowCardinality(String), name LowCardinality(String),
            timestamp DateTime64(6, 'UTC'), user_id Nullable(String), anonymous_id Nullable(String), data String"""
        columns = COLUMNS.replace("event_id, session_id", "toUUID(event_id), toUUID(session_id)")
        source = f"from file('{folder}/**/*.parquet', Parquet)"
        for name, order in (("by_session", "session_id, timestamp"), ("by_time", "timestamp")):
            self.engine.query(f"drop table if exists {name} sync")
            self.engine.query(f"create table {name} ({kinds}) engine = MergeTree order by ({order})")
            self.engine.query(f"insert into {name} select {columns} {source}")
            self.engine.query(f"optimize table {name} final")
        # For comparison only: JSON taken apart into columns does not come back as it was sent.
        self.engine.query("drop table if exists parted sync")
        self.engine.query(
            """create table parted (category LowCardinality(String), timestamp DateTime64(6, 'UTC'), data JSON)
            engine = MergeTree order by timestamp"""
        )
        self.engine.query(f"insert into parted select category, timestamp, data {source}")
        self.engine.query("optimize table parted final")
        return int(self.rows(self.run("select count() from by_time"))[0][0])

    def run(self, sql):
        return self.engine.query(sql, "JSONCompactEachRow").bytes()

    def rows(self, answer):
        return [json.loads(line) for line in answer.decode().splitlines()]

    def bytes(self):
        sql = """select table, toUInt64(sum(bytes_on_disk)) from system.parts
            where active and database = 'bench' group by table order by table"""
        return self.rows(self.run(sql))


class Postgres:
    def __init__(self, dsn):
        import psycopg

        self.engine = psycopg.connect(dsn, autocommit=True)

    def version(self):
        return "PostgreSQL " + self.run("show server_version")[0][0]

    def load(self, folder):
        from pyarrow import csv, parquet

        self.run_only("drop table if exists events")
        self.run_only(
            """create table events (event_id uuid not null, session_id uuid not null, category text not null,
            name text not null, timestamp timestamptz not null, user_id text, anonymous_id text, data jsonb not null)"""
        )
        with self.engine.cursor() as cursor, cursor.copy(f"copy events ({COLUMNS}) from stdin (format csv)") as copy:
            for path in files(folder):
                columns = COLUMNS.split(", ")
                for batch in parquet.ParquetFile(path).iter_batches(65_536, columns=columns):
                    text = io.BytesIO()
                    csv.write_csv(batch.select(columns), text, csv.WriteOptions(include_header=False))
                    copy.write(text.getvalue())
        for index in ("session_id, timestamp", "category, timestamp", "timestamp"):
            self.run_only(f"create index on events ({index})")
        self.run_only("vacuum analyze events")
        self.run_only("checkpoint")
        return self.run("select count(*) from events")[0][0]

    def run_only(self, sql):
        with self.engine.cursor() as cursor:
            cursor.execute(sql)

    def run(self, sql):
        with self.engine.cursor() as cursor:
            return cursor.execute(sql).fetchall()

    def rows(self, answer):
        return answer

    def bytes(self):
        return [("events", self.run("select pg_total_relation_size('events')")[0][0])]


def texts(rows):
    return [["" if value is None else str(value) for value in row] for row in rows]


def timed(engine, sql):
    start = time.perf_counter()
    answer = engine.run(sql)
    return answer, (time.perf_counter() - start) * 1000


def ask(engine, command):
    if "load" in command:
        return engine.load(command["load"])
    if "bytes" in command:
        return engine.bytes()
    if "version" in command:
        return engine.version()
    if "each" in command:
        for sql in command["each"][: command["warm_up"]]:
            engine.run(sql)
        pairs = [timed(engine, sql) for sql in command["each"]]
        rows = [row[:1] for answer, _ in pairs for row in engine.rows(answer)]
        return {"rows": texts(rows), "milliseconds": [took for _, took in pairs]}
    begun = time.perf_counter()
    answer, _ = timed(engine, command["sql"])
    times = []
    while len(times) < command["runs"]:
        answer, took = timed(engine, command["sql"])
        times.append(took)
        if time.perf_counter() - begun > command["seconds"]:
            break
    return {"rows": texts(engine.rows(answer)), "milliseconds": times}


def main():
    engine = {"duckdb": DuckDb, "clickhouse": ClickHouse, "postgres": Postgres}[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        try:
            answer = {"ok": ask(engine, json.loads(line))}
        except Exception as error:  # whatever an engine raises is told and does not end the others' run
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
