//! The PostgreSQL protocol, from outside: the real binary, asked by `psql` and by psycopg.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{Answer, Server};
use serde_json::{Value, json};

fn post(server: &Server, token: &str, path: &str, body: &Value) -> Answer {
    let authorization = format!("Token {token}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    common::http("POST", &format!("{}{path}", server.url), &headers, body.to_string().as_bytes()).unwrap()
}

fn start(more: &[&str]) -> Server {
    let server = Server::start_with(&[&["--postgres-listen", "127.0.0.1:0"], more].concat());
    let events = json!([
        {"event_id": "e1", "session_id": "s1", "category": "page", "name": "view", "timestamp": "2022-01-09T09:00:00Z", "data": {"plan": "pro", "n": 1.5}},
        {"event_id": "e2", "session_id": "s1", "category": "page", "name": "it's", "timestamp": "2022-01-09T10:00:00.000001Z", "data": {"plan": "free"}},
        {"event_id": "e3", "session_id": "s2", "category": "cart", "name": "é", "timestamp": "2022-01-10T00:00:00Z", "user_id": "ann", "data": {}},
    ]);
    assert_eq!(post(&server, &server.token(), "/v1/events", &events).status, 200);
    server
}

/// How `psql` finds the server: the line that the start prints.
fn address(server: &Server) -> String {
    let line = server.banner.lines().find(|line| line.starts_with("PostgreSQL clients: psql")).unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}

/// True if the machine has `psql`; if not, this is skipped.
fn has_psql(what: &str) -> bool {
    let is_there = Command::new("psql").arg("--version").output().is_ok();
    if !is_there {
        common::skip(what, "there is no psql");
    }
    is_there
}

/// `psql` with these arguments.
fn psql(server: &Server, token: &str, arguments: &[&str]) -> Output {
    Command::new("psql")
        .args(["-X", "-A", "-t", "-d", &address(server)])
        .args(arguments)
        .env("PGPASSWORD", token)
        .env("PGCONNECT_TIMEOUT", "10")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(server: &Server, statement: &str) -> String {
    let output = psql(server, &server.token(), &["-c", statement]);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{statement}: {text}");
    text
}

fn refused(server: &Server, token: &str, statement: &str) -> String {
    let output = psql(server, token, &["-v", "VERBOSITY=verbose", "-c", statement]);
    assert!(!output.status.success(), "{statement} was answered: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn psql_asks_and_is_answered() {
    if !has_psql("what psql asks and lists") {
        return;
    }
    let server = start(&[]);
    for (statement, expected) in [
        ("SELECT count(*) FROM events", "3\n"),
        (
            "SELECT name, data->>'plan', \"timestamp\", user_id, problems FROM events ORDER BY \"timestamp\"",
            "view|pro|2022-01-09 09:00:00.000000+00||{}\nit's|free|2022-01-09 10:00:00.000001+00||{}\né||2022-01-10 00:00:00.000000+00|ann|{}\n",
        ),
        (
            "SELECT true, 1.5::double, 'NaN'::double, NULL, DATE '2022-01-09', ARRAY['a', 'b\"c']",
            "t|1.5|NaN||2022-01-09|{\"a\",\"b\\\"c\"}\n",
        ),
        (
            "SELECT session_id, events, applications FROM sessions ORDER BY 1",
            "s1|2|{\"default\"}\ns2|1|{\"default\"}\n",
        ),
        ("SHOW TABLES", "events\nsessions\nproblems\nrejections\n"),
        ("SET application_name = 'test'", "SET\n"),
        ("", ""),
    ] {
        assert_eq!(said(&server, statement), expected, "{statement}");
    }
    let list = psql(&server, &server.token(), &["-c", "\\d"]);
    let list = String::from_utf8(list.stdout).unwrap();
    assert_eq!(list.lines().count(), 4, "{list}");
    assert!(list.starts_with("public|events|table|eye\n"), "{list}");
    for (command, expected) in [
        ("\\d events", "session_id|text||not null|\n"),
        ("\\d+ sessions", "duration_ms|bigint|||"),
        ("\\sv sessions", "GROUP BY session_id"),
        ("\\dt+", "public|rejections|table|eye|"),
        ("\\dv", "public|problems|view|eye"),
        ("\\dn", "public|eye"),
        ("\\l+", "eye|eye|UTF8|"),
        ("\\du", "eye||{}"),
        ("\\dp", "public|events|table|eye=r/eye|"),
        ("\\df", ""),
        ("\\dT", ""),
        ("\\di", ""),
        ("\\dx", ""),
        ("\\dd", ""),
    ] {
        let text = said(&server, command);
        assert!(text.contains(expected) && !text.contains("ERROR"), "{command}: {text}");
    }
    let many = psql(&server, &server.token(), &["-c", "BEGIN", "-c", "SELECT 1", "-c", "COMMIT"]);
    assert_eq!(String::from_utf8(many.stdout).unwrap(), "BEGIN\n1\nCOMMIT\n");
    // Several statements in one message, as Npgsql sends them; an error ends the rest.
    let several = "SELECT version() LIKE 'PostgreSQL%'; SELECT 'a;b' -- ;\n; SAVEPOINT a; SELECT count(*) FROM events;";
    assert_eq!(said(&server, several), "t\na;b\nSAVEPOINT\n3\n");
    let ended = psql(&server, &server.token(), &["-c", "SELECT 1;\nSELECT wrong(1); SELECT 2"]);
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), "1\n");
    assert!(String::from_utf8(ended.stderr).unwrap().contains("wrong"));
    let large = said(&server, "SELECT value FROM generate_series(1, 50000)");
    assert_eq!(large.lines().count(), 50_000);
}

#[test]
fn the_wall_and_the_guard_hold_here_too() {
    if !has_psql("the wall and the guard, through psql") {
        return;
    }
    let server = start(&["--sql-rows-max", "10"]);
    let token = server.token();
    let text = refused(&server, "eye_sk_wrong", "SELECT 1");
    assert!(text.contains("this token is not known here"), "{text}");
    let many = ["SELECT 1"; 17].join(";");
    let refusals = [
        ("DROP TABLE events", "25006"),
        ("INSERT INTO events VALUES (1)", "25006"),
        ("COPY events TO '/tmp/eye-stolen.csv'", "25006"),
        ("SET datafusion.execution.batch_size = 1", "25006"),
        ("SET TimeZone = 'Europe/Berlin'", "25006"),
        ("SELECT * FROM information_schema.df_settings", "25006"),
        ("SELECT * FROM pg_catalog.pg_shadow", "25006"),
        ("SELECT * FROM '/etc/passwd'", "25006"),
        ("SELECT 1; DROP TABLE events; SELECT 2", "25006"),
        ("SELECT 1; SELECT value FROM generate_series(1, 11)", "54000"),
        (many.as_str(), "54000"),
        ("SELECT nofunction(1)", "42601"),
        ("SELECT value FROM generate_series(1, 11)", "54000"),
    ];
    for (statement, code) in refusals {
        let text = refused(&server, &token, statement);
        assert!(text.contains(&format!("ERROR:  {code}: ")), "{statement}: {text}");
    }
    // Each statement has its own rows.
    let twice = said(&server, "SELECT value FROM generate_series(1, 6); SELECT value FROM generate_series(1, 6)");
    assert_eq!(twice.lines().count(), 12);
    let text = refused(&server, &token, "SELECT 1,\n  FRM events x y");
    assert!(text.contains("LINE 2:"), "{text}");
    // A token of another application sees nothing, one that may not read not even that.
    let admin = server.admin_token();
    assert_eq!(post(&server, &admin, "/v1/applications", &json!({"name": "other"})).status, 201);
    let make = |kind: &str| {
        let new = json!({"name": format!("other {kind}"), "kind": kind, "application": "other"});
        post(&server, &admin, "/v1/tokens", &new).json()
    };
    let reader = make("read");
    let other = reader["token"].as_str().unwrap();
    let output = psql(&server, other, &["-c", "SELECT count(*) FROM events"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "0\n");
    let text = refused(&server, make("write")["token"].as_str().unwrap(), "SELECT 1");
    assert!(text.contains("no read scope"), "{text}");
    assert_eq!(said(&server, "SELECT count(*) FROM events"), "3\n");
}

#[test]
fn clients_have_an_end_and_one_that_leaves_stops_its_statement() {
    if !has_psql("a client of PostgreSQL that leaves, and one too many") {
        return;
    }
    let server = start(&["--postgres-connections-max", "1", "--sql-queries-per-token-max", "1"]);
    let endless = "SELECT sum(a.value % 7) FROM generate_series(1, 1000000000000) a";
    // The looks below take the token's only place for a moment: a statement that came in one is sent again.
    let begin = || {
        let child = Command::new("psql")
            .args(["-X", "-d", &address(&server), "-c", endless])
            .env("PGPASSWORD", server.token())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        std::thread::sleep(Duration::from_millis(250));
        child
    };
    let mut child = begin().unwrap();
    let is_busy = || post(&server, &server.token(), "/v1/sql", &json!({"sql": "SELECT 1"})).status == 503;
    let wait_until = |wanted: bool, again: &mut dyn FnMut()| {
        let waited = (0..400).any(|_| {
            let is_wanted = is_busy() == wanted;
            if !is_wanted {
                again();
                std::thread::sleep(Duration::from_millis(25));
            }
            is_wanted
        });
        assert!(waited, "busy: {}", !wanted);
    };
    wait_until(true, &mut || {
        if child.try_wait().unwrap().is_some() {
            child = begin().unwrap();
        }
    });
    let text = refused(&server, &server.token(), "SELECT 1");
    assert!(text.contains("postgres_connections_max"), "{text}");
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until(false, &mut || {});
    assert_eq!(said(&server, "SELECT 1"), "1\n");
}

const PSYCOPG: &str = r#"
import datetime, json, sys
import psycopg
address, token = sys.argv[1:]
utc = datetime.timezone.utc
with psycopg.connect(address, password=token) as connection:
    for binary in (False, True):
        cursor = connection.cursor(binary=binary)
        rows = cursor.execute('SELECT name, "timestamp", "offset", problems, user_id, 1.5::double, true, DATE \'2022-01-09\', ARRAY[1, 2], json_get_number(data, \'n\') FROM events ORDER BY "timestamp"').fetchall()
        first = datetime.datetime(2022, 1, 9, 9, tzinfo=utc)
        assert rows[0] == ("view", first, rows[0][2], [], None, 1.5, True, datetime.date(2022, 1, 9), [1, 2], 1.5), (binary, rows[0])
        assert rows[1][1] == datetime.datetime(2022, 1, 9, 10, 0, 0, 1, tzinfo=utc), (binary, rows[1])
        assert [row[0] for row in rows] == ["view", "it's", "é"]
        count = lambda sql, *values: cursor.execute(sql, values).fetchone()[0]
        assert count("SELECT count(*) FROM events WHERE name = %s", "it's") == 1
        assert count("SELECT count(*) FROM events WHERE name = %s", "' OR true --") == 0
        assert count('SELECT count(*) FROM events WHERE "timestamp" >= %s', first) == 3
        assert count('SELECT count(*) FROM events WHERE "timestamp" > %s', first) == 2
        assert count('SELECT count(*) FROM events WHERE "timestamp" >= %b', first) == 3
        assert count('SELECT count(*) FROM events WHERE "offset" >= %s AND category = %s', 0, "page") == 2
        assert count('SELECT count(*) FROM events WHERE "offset" < %b', 2**40) == 3
        assert count("SELECT count(*) FROM events WHERE user_id = %s", None) == 0
        assert len(cursor.execute("SELECT 1 FROM events LIMIT %s", (2,)).fetchall()) == 2
    connection.commit()
    try:
        connection.execute("DELETE FROM events")
        raise SystemExit("a delete was answered")
    except psycopg.errors.ReadOnlySqlTransaction as error:
        assert "DELETE is not allowed" in str(error)
    connection.rollback()
    connection.prepared_max = 5
    for number in range(30):
        assert connection.execute(f"SELECT {number}", prepare=True).fetchone()[0] == number
    print(json.dumps(connection.execute("SELECT count(*) FROM sessions").fetchone()))
"#;

const SQLALCHEMY: &str = r#"
import sys
import sqlalchemy as sa
address, token = sys.argv[1:]
parts = dict(part.split("=") for part in address.split())
engine = sa.create_engine(sa.URL.create("postgresql+psycopg", "eye", token, parts["host"], int(parts["port"]), "eye"))
inspector = sa.inspect(engine)
assert inspector.get_schema_names() == ["information_schema", "public"]
assert (sorted(inspector.get_table_names()), sorted(inspector.get_view_names())) == (["events", "rejections"], ["problems", "sessions"])
columns = {column["name"]: column for column in inspector.get_columns("events", schema="public")}
assert len(columns) == 16 and str(columns["offset"]["type"]) == "BIGINT" and not columns["offset"]["nullable"], columns
assert columns["timestamp"]["type"].timezone and isinstance(columns["problems"]["type"], sa.ARRAY)
assert inspector.get_pk_constraint("events")["constrained_columns"] == []
for ask in (inspector.get_foreign_keys, inspector.get_indexes, inspector.get_unique_constraints, inspector.get_check_constraints):
    assert ask("events") == []
assert inspector.get_table_comment("events")["text"]
assert "GROUP BY session_id" in inspector.get_view_definition("sessions")
assert inspector.has_table("sessions") and not inspector.has_table("nothing")
everything = sa.MetaData()
everything.reflect(engine, views=True)
assert sorted(everything.tables) == ["events", "problems", "rejections", "sessions"]
events = sa.Table("events", sa.MetaData(), autoload_with=engine)
with engine.connect() as connection:
    of_pages = sa.select(events.c.name, sa.func.count()).where(events.c.category == "page").group_by(events.c.name)
    print(sorted(tuple(row) for row in connection.execute(of_pages.limit(5))))
"#;

/// What a program in Python prints that is given the address and a token.
fn python(server: &Server, program: &str) -> String {
    let python = std::env::var_os("XTASK_PYTHON").expect("XTASK_PYTHON is not set: run this through cargo xtask test");
    let output = Command::new(python).args(["-c", program, &address(server), &server.token()]).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
#[ignore = "needs Python: cargo xtask test runs it"]
fn psycopg_asks_with_parameters_in_texts_and_in_binary() {
    assert_eq!(python(&start(&["--postgres-prepared-max", "10"]), PSYCOPG), "[2]\n");
}

#[test]
#[ignore = "needs Python: cargo xtask test runs it"]
fn sqlalchemy_finds_the_tables_and_their_columns() {
    assert_eq!(python(&start(&[]), SQLALCHEMY), "[(\"it's\", 1), ('view', 1)]\n");
}

/// A new token that may read: its id, and the token.
fn reader(server: &Server) -> (String, String) {
    let new = json!({"name": "reader", "kind": "read", "application": "default"});
    let made = post(server, &server.admin_token(), "/v1/tokens", &new).json();
    (made["id"].as_str().unwrap().to_owned(), made["token"].as_str().unwrap().to_owned())
}

fn revoke(server: &Server, id: &str) {
    let authorization = format!("Token {}", server.admin_token());
    let headers = [("authorization", authorization.as_str())];
    let gone = common::http("DELETE", &format!("{}/v1/tokens/{id}", server.url), &headers, b"");
    assert!(gone.unwrap().status < 300);
}

#[test]
fn a_revoked_token_reads_nothing_more() {
    if !has_psql("a token that is revoked while psql is connected") {
        return;
    }
    let server = start(&[]);
    let (id, token) = reader(&server);
    // One connection: the second statement comes after the token is gone.
    let mut child = Command::new("psql")
        .args(["-X", "-A", "-t", "-d", &address(&server)])
        .env("PGPASSWORD", token)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::{BufRead as _, BufReader};
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    input.write_all(b"SELECT count(*) FROM events;\n").unwrap();
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "3\n");
    revoke(&server, &id);
    input.write_all(b"SELECT count(*) FROM events;\n").unwrap();
    drop(input);
    let (mut text, mut errors) = (String::new(), String::new());
    output.read_to_string(&mut text).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    child.wait().unwrap();
    assert!(text.is_empty() && errors.contains("revoked"), "{text}{errors}");
}

/// The length, version 3.0, the user and an end.
const STARTUP: &[u8] = b"\0\0\0\x12\0\x03\0\0user\0eye\0\0";

/// A client that speaks the protocol itself, and wrongly where it is told to.
struct Raw(TcpStream);

impl Raw {
    /// Connects and says who it is.
    fn begin(server: &Server) -> Self {
        let mut raw = Self::connect(server);
        raw.0.write_all(STARTUP).unwrap();
        raw
    }

    fn connect(server: &Server) -> Self {
        let address = address(server);
        let part = |name: &str| address.split(' ').find_map(|part| part.strip_prefix(name)).unwrap();
        let stream = TcpStream::connect((part("host="), part("port=").parse::<u16>().unwrap())).unwrap();
        // Less than what a login may take; it only ends a hang.
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(40))).unwrap();
        Self(stream)
    }

    /// The same, and logs in.
    fn log_in(server: &Server) -> Self {
        Self::log_in_with(server, &server.token()).0
    }

    /// The same, with a token; and what others need to stop its statements.
    fn log_in_with(server: &Server, token: &str) -> (Self, Vec<u8>) {
        let mut raw = Self::begin(server);
        assert_eq!(raw.next().unwrap(), ('R', vec![0, 0, 0, 3]));
        let mut messages = raw.say_password(token);
        assert_eq!(messages.last().map(|message| message.0), Some('Z'));
        let key = messages.iter().position(|message| message.0 == 'K').unwrap();
        (raw, messages.swap_remove(key).1)
    }

    /// Sends the token; what comes then, up to an error or until it may ask.
    fn show_token(&mut self, server: &Server) -> Vec<(char, Vec<u8>)> {
        assert_eq!(self.next().unwrap(), ('R', vec![0, 0, 0, 3]));
        self.show_password(server)
    }

    /// The same, if it was asked for the token before.
    fn show_password(&mut self, server: &Server) -> Vec<(char, Vec<u8>)> {
        self.say_password(&server.token())
    }

    fn say_password(&mut self, token: &str) -> Vec<(char, Vec<u8>)> {
        self.send('p', format!("{token}\0").as_bytes());
        self.until("ZE")
    }

    fn send(&mut self, kind: char, body: &[u8]) {
        self.0.write_all(&message(kind, body)).unwrap();
    }

    /// The next message; `None` once the server has closed.
    fn next(&mut self) -> Option<(char, Vec<u8>)> {
        let mut head = [0; 5];
        let mut filled = 0;
        while filled < head.len() {
            match self.0.read(&mut head[filled..]) {
                Ok(0) => return None,
                Ok(count) => filled += count,
                Err(error) if is_closed(&error) => return None,
                Err(error) => panic!("the server neither answers nor closes: {error}"),
            }
        }
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) - 4;
        let mut body = vec![0; usize::try_from(length).unwrap()];
        match self.0.read_exact(&mut body) {
            Ok(()) => Some((char::from(head[0]), body)),
            Err(error) if is_closed(&error) => None,
            Err(error) => panic!("the server neither answers nor closes: {error}"),
        }
    }

    /// The messages up to the first of one of these kinds.
    fn until(&mut self, kinds: &str) -> Vec<(char, Vec<u8>)> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.next().expect("the server closed"));
            if messages.last().is_some_and(|last| kinds.contains(last.0)) {
                return messages;
            }
        }
    }

    /// The messages up to this many rows.
    fn rows(&mut self, count: usize) -> Vec<(char, Vec<u8>)> {
        (0..count).flat_map(|_| self.until("D")).collect()
    }

    /// Asks in a simple message. The kinds of what comes back, and the error if there is one.
    fn ask(&mut self, statements: &str) -> (String, Option<String>) {
        self.send('Q', format!("{statements}\0").as_bytes());
        self.answer()
    }

    /// Sends these messages and a Sync. What comes back, as above.
    fn sync(&mut self, messages: &[Vec<u8>]) -> (String, Option<String>) {
        self.0.write_all(&[messages.concat(), message('S', b"")].concat()).unwrap();
        self.answer()
    }

    /// What comes back until it may ask again, as above.
    fn answer(&mut self) -> (String, Option<String>) {
        let messages = self.until("Z");
        let error = messages.iter().find(|message| message.0 == 'E');
        (kinds(&messages), error.map(|message| String::from_utf8_lossy(&message.1).into_owned()))
    }

    /// Stops what it does, again and again until it is answered: it may not have begun yet.
    fn stop(&mut self, server: &Server, key: &[u8]) {
        self.0.set_read_timeout(Some(Duration::from_millis(25))).unwrap();
        let is_answered = (0..1_600).any(|_| {
            cancel(server, key);
            self.0.peek(&mut [0]).is_ok()
        });
        assert!(is_answered, "the statement is not stopped");
        self.0.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    }

    /// Asks something, until the turn of what was stopped is given back.
    fn go_on(&mut self) {
        let is_answered = (0..400).any(|_| match self.ask("SELECT 1") {
            (kinds, None) => kinds == "TDCZ",
            (_, Some(error)) => {
                assert!(error.contains("C53300"), "{error}");
                std::thread::sleep(Duration::from_millis(25));
                false
            }
        });
        assert!(is_answered, "the turn of a statement that was stopped is not given back");
    }
}

/// Stops what the client with this key does. It is done when this returns.
fn cancel(server: &Server, key: &[u8]) {
    let mut raw = Raw::connect(server);
    let request = [16_u32.to_be_bytes().as_slice(), &80_877_102_u32.to_be_bytes(), key].concat();
    raw.0.write_all(&request).unwrap();
    assert_eq!(raw.next(), None);
}

/// The server may close with bytes of ours unread.
fn is_closed(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe)
}

fn message(kind: char, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [[u8::try_from(kind).unwrap()].as_slice(), length.as_slice(), body].concat()
}

fn kinds(messages: &[(char, Vec<u8>)]) -> String {
    messages.iter().map(|message| message.0).collect()
}

fn parse(name: &str, statement: &str) -> Vec<u8> {
    message('P', format!("{name}\0{statement}\0\0\0").as_bytes())
}

/// Binds a statement, without values, to a portal.
fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message('B', format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

fn execute(portal: &str, rows: i32) -> Vec<u8> {
    message('E', &[portal.as_bytes(), &[0], &rows.to_be_bytes()].concat())
}

fn close(kind: char, name: &str) -> Vec<u8> {
    message('C', format!("{kind}{name}\0").as_bytes())
}

#[test]
fn a_limit_of_rows_that_is_none_gives_every_row() {
    let server = start(&["--sql-rows-max", "1000"]);
    let mut raw = Raw::log_in(&server);
    let begin = [parse("", "SELECT value FROM generate_series(1, 5)"), bind("", "")];
    for all in [0, -1, i32::MIN, i32::MAX, 1001, 1000, 6] {
        for (limits, expected) in [
            (vec![all], "12DDDDDCZ"),
            (vec![2, all], "12DDsDDDCZ"),
            (vec![2, 2, all], "12DDsDDsDCZ"),
            (vec![5, all], "12DDDDDsCZ"),
            (vec![all, all], "12DDDDDCCZ"),
        ] {
            let executes: Vec<_> = limits.iter().map(|rows| execute("", *rows)).collect();
            assert_eq!(raw.sync(&[begin.as_slice(), &executes].concat()), (expected.to_owned(), None), "{limits:?}");
        }
    }
    // What has no rows is answered as before.
    for (statement, expected) in [("BEGIN", "12CZ"), (";", "12IZ")] {
        let answer = raw.sync(&[parse("", statement), bind("", ""), execute("", -1)]);
        assert_eq!(answer, (expected.to_owned(), None), "{statement}");
    }
    assert_eq!(raw.ask("SELECT 1"), ("TDCZ".to_owned(), None));
    assert_eq!(raw.ask(" ; "), ("IZ".to_owned(), None));
}

#[test]
fn the_rows_of_several_statements_go_out_as_they_come() {
    // More than a statement may have in memory.
    let server = start(&["--sql-memory-bytes-max", "16MiB"]);
    let mut raw = Raw::log_in(&server);
    let large = format!("SELECT value, '{}' FROM generate_series(1, 200000)", "x".repeat(100));
    let (kinds, error) = raw.ask(&format!("SELECT 1; {large}; SELECT 2"));
    assert_eq!(error, None);
    assert!(kinds == format!("TDCT{}CTDCZ", "D".repeat(200_000)), "{}", kinds.replace('D', ""));
    assert_eq!(raw.ask("SELECT 1; SELECT nofunction(1); SELECT 2").0, "TDCEZ");
    // A transaction in it begins and fails as one alone.
    let status = |raw: &mut Raw, statements: &str| {
        raw.send('Q', format!("{statements}\0").as_bytes());
        raw.until("Z").pop().unwrap().1
    };
    for (statements, expected) in [
        ("BEGIN; SELECT 1", b"T"),
        ("SELECT 1; COMMIT", b"I"),
        ("BEGIN; SELECT nofunction(1)", b"E"),
        ("ROLLBACK", b"I"),
    ] {
        assert_eq!(status(&mut raw, statements), expected, "{statements}");
    }
}

/// Gives rows, and never ends.
const ENDLESS: &str = "SELECT value FROM generate_series(1, 1000000000000) WHERE value < 500000";
/// Gives none, and never ends.
const SILENT: &str = "SELECT sum(a.value % 7) FROM generate_series(1, 1000000000000) a";

/// A server whose statements do not end by themselves.
fn start_patient(more: &[&str]) -> Server {
    start(&[&["--sql-time-max", "600s"], more].concat())
}

fn is_cancelled(answer: &(String, Option<String>)) -> bool {
    answer.1.as_ref().is_some_and(|error| error.contains("SERROR\0C57014\0"))
}

#[test]
fn a_statement_is_stopped_between_its_rows() {
    let server = start_patient(&["--sql-queries-per-token-max", "1"]);
    let (mut raw, key) = Raw::log_in_with(&server, &server.token());
    let simple = |statements: String| message('Q', format!("{statements}\0").as_bytes());
    let begin = [parse("", ENDLESS), bind("", "")].concat();
    let sync = message('S', b"");
    for (form, bytes) in [
        ("alone", simple(ENDLESS.to_owned())),
        ("of several", simple(format!("SELECT 1; {ENDLESS}; SELECT 2"))),
        ("executed", [begin.as_slice(), &execute("", 0), &sync].concat()),
        ("executed again", [begin.as_slice(), &execute("", 2), &execute("", 0), &sync].concat()),
    ] {
        raw.0.write_all(&bytes).unwrap();
        // So many come of what does not end.
        raw.rows(100);
        cancel(&server, &key);
        let answer = raw.answer();
        assert!(is_cancelled(&answer) && answer.0.trim_start_matches('D') == "EZ", "{form}: {:?}", answer.1);
        raw.go_on();
    }
}

#[test]
fn a_statement_is_stopped_before_its_first_row() {
    let server = start_patient(&["--sql-queries-per-token-max", "1"]);
    let (mut raw, key) = Raw::log_in_with(&server, &server.token());
    raw.send('Q', format!("{SILENT}\0").as_bytes());
    raw.stop(&server, &key);
    let answer = raw.answer();
    // What columns it has may have been said.
    assert!(is_cancelled(&answer) && answer.0.trim_start_matches('T') == "EZ", "{answer:?}");
    raw.go_on();
    let messages = [parse("", SILENT), bind("", ""), execute("", 0), message('S', b"")];
    raw.0.write_all(&messages.concat()).unwrap();
    assert_eq!(kinds(&raw.until("2")), "12");
    raw.stop(&server, &key);
    let answer = raw.answer();
    assert!(is_cancelled(&answer) && answer.0 == "EZ", "{answer:?}");
    raw.go_on();
    // Nothing is stopped when nothing runs, and nothing that comes later.
    cancel(&server, &key);
    assert_eq!(raw.ask("SELECT 1"), ("TDCZ".to_owned(), None));
}

#[test]
fn a_client_that_waits_for_its_turn_is_let_go() {
    let server = start_patient(&["--sql-queries-max", "1"]);
    let mut other = Raw::log_in(&server);
    let begin = [parse("", ENDLESS), bind("", ""), execute("", 1)];
    other.0.write_all(&begin.concat()).unwrap();
    assert_eq!(kinds(&other.until("s")), "12Ds");
    let (mut raw, key) = Raw::log_in_with(&server, &server.token());
    let describe = message('D', b"S\0");
    raw.0.write_all(&[parse("", "SELECT 1"), describe, message('S', b"")].concat()).unwrap();
    assert_eq!(kinds(&raw.until("1")), "1");
    raw.stop(&server, &key);
    let answer = raw.answer();
    assert!(is_cancelled(&answer) && answer.0 == "EZ", "{answer:?}");
    // A portal that nobody can ask any more gives its turn back.
    assert_eq!(other.sync(&[]), ("Z".to_owned(), None));
    raw.go_on();
}

#[test]
fn a_revoked_token_reads_no_more_of_what_it_began() {
    let server = start(&[]);
    let (id, token) = reader(&server);
    let (mut raw, _) = Raw::log_in_with(&server, &token);
    let begin = [parse("", "SELECT value FROM generate_series(1, 5)"), bind("", ""), execute("", 2)];
    raw.0.write_all(&begin.concat()).unwrap();
    assert_eq!(kinds(&raw.until("s")), "12DDs");
    revoke(&server, &id);
    raw.0.write_all(&execute("", 2)).unwrap();
    let (kind, text) = raw.next().unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(kind == 'E' && text.contains("SFATAL\0C28000\0") && text.contains("revoked"), "{kind} {text}");
    assert_eq!(raw.next(), None);
}

/// An answer that refuses, after messages of these kinds, and names the setting.
fn is_beyond(answer: &(String, Option<String>), kinds: &str, setting: &str) -> bool {
    let (found, error) = answer;
    let names = |error: &String| error.contains("SERROR\0C54000\0") && error.contains(&format!("({setting})"));
    found == kinds && error.as_ref().is_some_and(names)
}

#[test]
fn what_a_connection_prepares_has_an_end() {
    let server = start(&["--postgres-prepared-max", "2", "--postgres-prepared-bytes-max", "64KiB"]);
    let mut raw = Raw::log_in(&server);
    let fine = |kinds: &str| (kinds.to_owned(), None);
    let one = |name: &str| parse(name, "SELECT 1");
    assert_eq!(raw.sync(&[one("a"), one("b")]), fine("11Z"));
    let answer = raw.sync(&[one("c")]);
    assert!(is_beyond(&answer, "EZ", "postgres_prepared_max"), "{answer:?}");
    // In place of another, and after one is gone, there is room.
    assert_eq!(raw.sync(&[one("b")]), fine("1Z"));
    assert_eq!(raw.sync(&[close('S', "a"), one("c")]), fine("31Z"));
    assert_eq!(raw.ask("DEALLOCATE \"c\""), fine("CZ"));
    assert!(raw.sync(&[bind("", "c")]).1.unwrap().contains("C26000"));
    assert_eq!(raw.sync(&[one("d"), bind("", "d"), execute("", 0)]), fine("12DCZ"));
    let all = [parse("b", "DISCARD ALL"), bind("", "b"), execute("", 0)];
    assert_eq!(raw.sync(&all), fine("12CZ"));
    assert_eq!(raw.sync(&[one("e"), one("")]), fine("11Z"));
    // Portals are gone after their messages, in a transaction after that.
    for _ in 0..2 {
        assert_eq!(raw.sync(&[bind("p", "e"), bind("q", "e")]), fine("22Z"));
    }
    let answer = raw.sync(&[bind("p", "e"), bind("q", "e"), bind("r", "e")]);
    assert!(is_beyond(&answer, "22EZ", "postgres_prepared_max"), "{answer:?}");
    assert_eq!(raw.ask("BEGIN"), fine("CZ"));
    assert_eq!(raw.sync(&[bind("p", "e"), bind("q", "e")]), fine("22Z"));
    assert_eq!(raw.sync(&[execute("p", 0)]), fine("DCZ"));
    let answer = raw.sync(&[bind("r", "e")]);
    assert!(is_beyond(&answer, "EZ", "postgres_prepared_max"), "{answer:?}");
    assert_eq!(raw.sync(&[close('P', "p"), bind("r", "e")]), fine("32Z"));
    assert_eq!(raw.ask("COMMIT"), fine("CZ"));
    assert_eq!(raw.sync(&[bind("p", "e"), bind("q", "e")]), fine("22Z"));
    // Texts and values count together.
    let value = |portal: &str, bytes: usize| {
        let length = u32::try_from(bytes).unwrap().to_be_bytes();
        let value = vec![b'x'; bytes];
        message('B', &[portal.as_bytes(), b"\0\0\0\0\0\x01", &length, &value, b"\0\0"].concat())
    };
    let answer = raw.sync(&[parse("", "SELECT $1"), value("p", 40 * 1024), value("q", 40 * 1024)]);
    assert!(is_beyond(&answer, "12EZ", "postgres_prepared_bytes_max"), "{answer:?}");
    let long = |name: &str| parse(name, &format!("SELECT '{}'", "x".repeat(31 * 1024)));
    let answer = raw.sync(&[long("e"), long(""), long("")]);
    assert_eq!(answer, fine("111Z"));
    let answer = raw.sync(&[value("", 8 * 1024)]);
    assert!(is_beyond(&answer, "EZ", "postgres_prepared_bytes_max"), "{answer:?}");
    let answer = raw.sync(&[parse("", &" ".repeat(32 * 1024 + 1))]);
    assert!(is_beyond(&answer, "EZ", "sql_text_bytes_max"), "{answer:?}");
    assert_eq!(raw.ask("SELECT 1"), fine("TDCZ"));
}

#[test]
fn rows_that_are_left_for_later_are_held_of_a_few_statements_only() {
    let server = start(&["--sql-queries-per-token-max", "2"]);
    let mut raw = Raw::log_in(&server);
    let fine = |kinds: &str| (kinds.to_owned(), None);
    assert_eq!(raw.ask("BEGIN"), fine("CZ"));
    let few = parse("few", "SELECT value FROM generate_series(1, 5)");
    assert_eq!(raw.sync(&[few, bind("p", "few"), bind("q", "few"), bind("r", "few")]), fine("1222Z"));
    assert_eq!(raw.sync(&[execute("p", 2), execute("q", 2)]), fine("DDsDDsZ"));
    let answer = raw.sync(&[execute("r", 2)]);
    assert!(is_beyond(&answer, "EZ", "sql_queries_per_token_max"), "{answer:?}");
    assert_eq!(raw.sync(&[execute("p", 2), execute("p", 0), execute("r", 2)]), fine("DDsDCDDsZ"));
    assert_eq!(raw.ask("ROLLBACK"), fine("CZ"));
    raw.go_on();
    assert_eq!(raw.sync(&[bind("p", "few"), execute("p", 2)]), fine("2DDsZ"));
    // Not in a transaction it is over with the Sync.
    assert!(raw.sync(&[execute("p", 2)]).1.unwrap().contains("C26000"));
}

#[test]
fn a_client_that_has_not_logged_in_cannot_fill_the_memory() {
    let server = start(&[]);
    let header = [b"Q".as_slice(), &0x3fff_fffd_u32.to_be_bytes()].concat();
    let many = message('H', b"").repeat(16 * 1024);
    for bytes in [[header, vec![b'x'; 1024 * 1024]].concat(), many] {
        let mut raw = Raw::begin(&server);
        assert_eq!(raw.next().unwrap(), ('R', vec![0, 0, 0, 3]));
        // It may be closed before all is sent.
        if let Err(error) = raw.0.write_all(&bytes) {
            assert!(is_closed(&error), "{error}");
        }
        while let Some((kind, _)) = raw.next() {
            assert!("EZ".contains(kind), "{kind}");
        }
        assert_eq!(Raw::log_in(&server).ask("SELECT 1"), ("TDCZ".to_owned(), None));
    }
    // One that has logged in is told.
    let mut raw = Raw::log_in(&server);
    assert_eq!(raw.ask("SELECT 1"), ("TDCZ".to_owned(), None));
    raw.0.write_all(&[b"Q".as_slice(), &(1024 * 1024 + 1_u32).to_be_bytes()].concat()).unwrap();
    let (kind, text) = raw.next().unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(kind == 'E' && text.contains("FATAL") && text.contains("C54000"), "{text}");
    while raw.next().is_some() {}
}

#[test]
fn a_malformed_message_is_answered_by_name_and_ends_its_connection_alone() {
    let server = start(&[]);
    let mut other = Raw::log_in(&server);
    let mut refused = |mut raw: Raw, bytes: &[u8], expected: &str| {
        raw.0.write_all(bytes).unwrap();
        let (kind, text) = raw.next().unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(kind == 'E' && text.contains("SFATAL\0C08P01\0") && text.contains(expected), "{expected}: {text}");
        assert_eq!(raw.next(), None, "{expected}");
        assert_eq!(other.ask("SELECT 1"), ("TDCZ".to_owned(), None));
    };
    let bind = |rest: &[u8]| message('B', &[b"\0\0".as_slice(), rest].concat());
    for (bytes, expected) in [
        (message('P', b""), "invalid Parse message: it ends within its name"),
        (message('P', b"\0SELECT 1\0\xff\xff"), "invalid Parse message: it ends within its types"),
        (bind(b"\xff\xff"), "invalid Bind message: it ends within its formats of values"),
        (bind(b"\0\0\xff\xff"), "invalid Bind message: it ends within its length of a value"),
        (bind(b"\0\0\0\x01\x7f\xff\xff\xff\0\0"), "invalid Bind message: it ends within its values"),
        (bind(b"\0\0\0\x01\xff\xff\xff\xfe\0\0"), "invalid Bind message: -2 is no length of a value"),
        (bind(b"\0\x01\0\x07\0\0\0\0"), "invalid Bind message: 7 is no code of a format"),
        (message('D', b""), "invalid Describe message: it ends within its target"),
        (message('C', b"Z\0"), "invalid Close message: 90 is no target"),
        (message('E', b"\0\0\0"), "invalid Execute message: it ends within its number of rows"),
        (message('S', b"Q"), "invalid Sync message: bytes come after its last field"),
        // It does not go on in the next one.
        ([message('Q', b"SELECT 1"), message('S', b"")].concat(), "invalid Query message: it ends within its text"),
        (message('F', b""), "invalid frontend message type 70"),
        (message('p', b"again\0"), "invalid frontend message type 112"),
    ] {
        refused(Raw::log_in(&server), &bytes, expected);
    }
    refused(
        Raw::connect(&server),
        b"\0\0\0\x0d\0\x03\0\0user\0",
        "invalid Startup message: it ends within its parameters",
    );
    let mut stranger = Raw::begin(&server);
    assert_eq!(stranger.next().unwrap().0, 'R');
    refused(stranger, &message('p', b"secret"), "invalid Password message: it ends within its text");
}

#[test]
fn strangers_have_an_end_and_keep_nobody_out_who_is_in() {
    let server = start(&["--postgres-connections-max", "1"]);
    let mut client = Raw::log_in(&server);
    // Once it is answered its place among those that log in is free.
    assert_eq!(client.ask("SELECT 1"), ("TDCZ".to_owned(), None));
    let strangers: Vec<Raw> = (0..16).map(|_| Raw::connect(&server)).collect();
    assert_eq!(Raw::connect(&server).next(), None, "one too many is closed");
    assert_eq!(client.ask("SELECT 1"), ("TDCZ".to_owned(), None));
    drop(strangers);
    // They are noticed one after the other.
    let told = (0..400).find_map(|_| {
        let mut raw = Raw::connect(&server);
        let _ = raw.0.write_all(STARTUP);
        let Some(first) = raw.next() else {
            std::thread::sleep(Duration::from_millis(25));
            return None;
        };
        assert_eq!(first.0, 'R');
        raw.send('p', format!("{}\0", server.token()).as_bytes());
        raw.until("ZE").pop()
    });
    let (kind, text) = told.expect("no stranger was let go");
    let text = String::from_utf8(text).unwrap();
    assert!(kind == 'E' && text.contains("C53300") && text.contains("postgres_connections_max"), "{text}");
    assert_eq!(client.ask("SELECT 1"), ("TDCZ".to_owned(), None));
}

#[test]
fn a_client_that_reads_nothing_gives_its_place_back() {
    let server = start(&["--postgres-connections-max", "1", "--answer-idle-timeout", "1s"]);
    let mut silent = Raw::log_in(&server);
    // More than the buffers between the two hold.
    let large = |rows: usize| format!("SELECT value, '{}' FROM generate_series(1, {rows})", "x".repeat(100));
    silent.send('Q', format!("{}\0", large(900_000)).as_bytes());
    let other = (0..1_200).find_map(|_| {
        let mut raw = Raw::begin(&server);
        let is_in = raw.show_token(&server).last().is_some_and(|message| message.0 == 'Z');
        if !is_in {
            std::thread::sleep(Duration::from_millis(25));
        }
        is_in.then_some(raw)
    });
    let mut other = other.expect("the place of a client that reads nothing is kept");
    assert_eq!(other.ask("SELECT 1"), ("TDCZ".to_owned(), None));
    // What was on its way is still there, then nothing.
    let mut taken = Vec::new();
    if let Err(error) = silent.0.read_to_end(&mut taken) {
        assert!(is_closed(&error), "{error}");
    }
    assert_eq!(taken.first(), Some(&b'T'));
    // One that reads is served for as long as it takes.
    let (kinds, error) = other.ask(&large(200_000));
    assert_eq!((kinds.matches('D').count(), error), (200_000, None));
}

#[test]
fn what_strangers_and_clients_may_send_is_set() {
    let server = start(&["--postgres-login-bytes-max", "2KiB", "--postgres-message-bytes-max", "4KiB"]);
    let begun = |kind: &[u8], length: u32| [kind, &length.to_be_bytes()].concat();
    for (is_in, bytes, setting) in [
        (false, begun(b"p", 2_049), "postgres_login_bytes_max"),
        (true, begun(b"Q", 4_097), "postgres_message_bytes_max"),
    ] {
        let mut raw = Raw::begin(&server);
        if is_in {
            assert_eq!(raw.show_token(&server).last().map(|message| message.0), Some('Z'));
        } else {
            assert_eq!(raw.next().unwrap(), ('R', vec![0, 0, 0, 3]));
        }
        raw.0.write_all(&bytes).unwrap();
        let (kind, text) = raw.next().unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(kind == 'E' && text.contains("C54000") && text.contains(setting), "{text}");
    }
}

#[test]
fn how_many_strangers_there_may_be_and_for_how_long_is_set() {
    let server = start(&["--postgres-logins-max", "1"]);
    let mut stranger = Raw::begin(&server);
    assert_eq!(stranger.next().unwrap().0, 'R');
    assert_eq!(Raw::connect(&server).next(), None, "one too many is closed");
    assert_eq!(stranger.show_password(&server).last().map(|message| message.0), Some('Z'));
    let server = start(&["--postgres-login-timeout", "250ms"]);
    assert_eq!(Raw::connect(&server).next(), None, "one that says nothing is closed");
}
