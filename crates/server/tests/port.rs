//! Events out into files and in again: the real binary, two servers, and files as other programs write them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must say where")]

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field};
use common::{Server, eye};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use serde_json::value::RawValue;
use serde_json::{Value, json};

fn ends(output: &Output, code: i32) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout: {out}\nstderr: {err}");
    out
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What `--json` says of the one imported file.
fn import(server: &Server, arguments: &[&str], code: i32) -> Value {
    let output = server.eye(&[&["import", "--json"], arguments].concat());
    let document: Value = serde_json::from_str(&ends(&output, code)).unwrap();
    document["files"][0].clone()
}

fn send(server: &Server, lines: &str) {
    let mut command = eye(&server.data());
    command.args(["send", "--data"]).arg(server.data()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    ends(&process.wait_with_output().unwrap(), 0);
}

type Event = BTreeMap<String, Box<RawValue>>;

/// Every event as the server's own bytes, by field.
fn events(server: &Server) -> Vec<Event> {
    let output = server.eye(&["events", "--json", "--order", "oldest", "--limit", "10000"]);
    let document: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&ends(&output, 0)).unwrap();
    serde_json::from_str(document["events"].get()).unwrap()
}

/// What a client said, by (session, id): the service's own words are left out.
fn said(server: &Server) -> BTreeMap<(String, String), BTreeMap<String, String>> {
    let own = ["application", "received_at", "skew_ms", "partition", "offset", "problems", "timestamp_raw"];
    let key = |event: &Event| (event["session_id"].get().to_owned(), event["event_id"].get().to_owned());
    let words = |event: &Event| {
        let told = event.iter().filter(|(field, _)| !own.contains(&field.as_str()));
        told.map(|(field, json)| (field.clone(), json.get().to_owned())).collect()
    };
    events(server).iter().map(|event| (key(event), words(event))).collect()
}

fn count(server: &Server) -> usize {
    events(server).len()
}

const HARD: &str = concat!(
    r#"{"event_id":"1","session_id":"a","category":"page","name":"view","timestamp":"2022-01-09T09:15:27.243860Z","data":{"n":123456789012345678901234567890,"z":1.0,"é":"\u00e9\n"}}"#,
    "\n",
    r#"{"event_id":"2","session_id":"=cmd|'/c calc'!A1","category":"+sum","name":"@x, \"quoted\"","timestamp":"0001-01-01T00:00:00Z","user_id":"'=1","anonymous_id":"-7","context":{"page":{"url":"https://x/?a=1,2"}}}"#,
    "\n",
    r#"{"event_id":"3","session_id":"a","category":"\ttab","name":"line\nend\r\n","timestamp":"9999-12-31T23:59:59.999999Z","data":-5,"sent_at":"2022-01-09T09:15:28.5Z"}"#,
    "\n",
    r#"{"event_id":"4","session_id":"a","category":"page","name":"'","timestamp":"1969-12-31T23:59:59.000001Z","data":"just text, \"quoted\""}"#,
    "\n",
    r#"{"event_id":"5","session_id":"b","category":"page","name":"''","timestamp":"2022-01-09T09:15:27.243860Z","data":[1,{"a":null}],"context":[]}"#,
    "\n",
    r#"{"event_id":"6","session_id":"b","category":"page","name":"no time","timestamp":"yesterday","data":{}}"#,
    "\n",
);

#[test]
fn what_is_exported_is_imported_whole_and_only_once() {
    let from = Server::start();
    send(&from, HARD);
    ends(&from.eye(&["flush"]), 0);
    let more: String = (0..300)
        .map(|n| {
            format!(
                "{{\"event_id\":\"m{n}\",\"session_id\":\"s{}\",\"category\":\"c\",\"name\":\"n\",\"timestamp\":{}}}\n",
                n % 3,
                1_641_719_727 + n
            )
        })
        .collect();
    send(&from, &more);
    let original = said(&from);
    assert_eq!(original.len(), 306);
    for format in ["ndjson", "csv", "parquet"] {
        let file = from.data().join(format!("out.{format}"));
        let file = file.to_str().unwrap();
        let exported: Value = serde_json::from_str(&ends(&from.eye(&["export", "--out", file, "--json"]), 0)).unwrap();
        assert_eq!((&exported["events"], &exported["format"]), (&json!(306), &json!(format)));
        assert!(!Path::new(&format!("{file}.partial")).exists());
        let to = Server::start();
        let first = import(&to, &[file], 0);
        assert_eq!((&first["stored"], &first["duplicate"]), (&json!(306), &json!(0)), "{format}: {first}");
        assert_eq!(said(&to), original, "{format}");
        let again = import(&to, &[file, "--batch", "7"], 0);
        assert_eq!((&again["stored"], &again["duplicate"]), (&json!(0), &json!(306)), "{format}: {again}");
        assert_eq!(said(&to), original, "{format}");
    }
}

#[test]
fn an_export_is_what_its_query_chooses_in_any_dress() {
    let server = Server::start();
    send(&server, HARD);
    let lines = ends(&server.eye(&["export", "session_id:a category:page"]), 0);
    let ids: Vec<_> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event_id"].clone()).collect();
    assert_eq!(ids, ["4", "1"], "oldest first:\n{lines}");
    let csv = ends(&server.eye(&["export", "--format", "csv"]), 0);
    assert!(csv.starts_with("event_id,application,session_id,category,name,timestamp,"), "{csv}");
    assert!(
        csv.contains("'=cmd|") && csv.contains("'+sum") && csv.contains(",''=1,") && csv.contains(",'-7,"),
        "{csv}"
    );
    for cell in csv.replace("\r\n", ",").split(',') {
        assert!(!cell.trim_start_matches('"').starts_with(['=', '+', '@', '-', '\t']), "{cell:?} in\n{csv}");
    }
    let wrong = server.eye(&["export", "nam:x", "--out", "never.ndjson"]);
    ends(&wrong, 2);
    assert!(err(&wrong).contains("nam") && !server.data().join("never.ndjson").exists());
}

/// A server that answers one request a connection from a script, and hands back what it was asked.
fn scripted(answers: Vec<(&'static str, String)>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let answer = |(status, body): (&str, String)| {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut asked, mut bytes) = (Vec::new(), [0; 4096]);
            while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
                let read = stream.read(&mut bytes).unwrap();
                asked.extend_from_slice(&bytes[..read]);
                assert!(read > 0);
            }
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nRetry-After: 0\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        };
        answers.into_iter().map(answer).collect()
    });
    (url, server)
}

#[test]
fn an_export_is_one_moment_and_has_its_name_only_when_it_is_whole() {
    let event = |offset: u64| format!("{{\"event_id\":\"e{offset}\",\"partition\":0,\"offset\":{offset}}}");
    let page = |events: &[u64], next: &str, offset: u64| {
        let events: Vec<_> = events.iter().map(|offset| event(*offset)).collect();
        let next = if next.is_empty() { "null".to_owned() } else { format!("{next:?}") };
        format!("{{\"events\":[{}],\"next\":{next},\"version\":3,\"offset\":\"{offset}\"}}", events.join(","))
    };
    let (url, server) = scripted(vec![
        ("200 OK", page(&[7, 2], "c1", 7)),
        ("503 Service Unavailable", r#"{"detail":"busy"}"#.to_owned()),
        ("429 Too Many Requests", String::new()),
        // Events 8 and 9 came while the export ran.
        ("200 OK", page(&[8, 3, 9], "", 9)),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let run = |url: &str, arguments: &[&str]| {
        eye(folder.path())
            .args(["export", "--token", "t", "--url", url, "--out", "out.ndjson"])
            .args(arguments)
            .output()
            .unwrap()
    };
    let said = ends(&run(&url, &[]), 0);
    assert!(said.contains("3 events exported; version 3, offset 7"), "{said}");
    let asked = server.join().unwrap();
    assert!(asked[1..].iter().all(|request| request.contains("cursor=c1")), "{asked:?}");
    let lines = std::fs::read_to_string(folder.path().join("out.ndjson")).unwrap();
    assert_eq!(lines, format!("{}\n{}\n{}\n", event(7), event(2), event(3)));

    let busy = || ("503 Service Unavailable", r#"{"detail":"busy"}"#.to_owned());
    let (url, server) = scripted(vec![("200 OK", page(&[1], "c1", 7)), busy(), busy()]);
    let broken = run(&url, &["--tries", "2"]);
    ends(&broken, 3);
    assert!(err(&broken).contains("not whole"), "{}", err(&broken));
    server.join().unwrap();
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["out.ndjson"], "the whole export of before is still there, and nothing else");
    assert_eq!(std::fs::read_to_string(folder.path().join("out.ndjson")).unwrap(), lines);
}

#[test]
fn an_import_that_is_killed_goes_on_where_it_was() {
    const ROWS: usize = 20_000;
    let server = Server::start();
    let path = server.data().join("rows.csv");
    // No ids: they are made of the rows. Every thousandth row is bad.
    let mut file = String::from("session_id,category,name,timestamp,n\n");
    for n in 0..ROWS {
        let bad = if n % 1_000 == 500 { ",too many" } else { "" };
        file.push_str(&format!("s{},page,view,2022-01-09T09:15:27Z,{n}{bad}\n", n % 11));
    }
    std::fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap();
    let mut command = eye(&server.data());
    command.args(["import", path, "--resume", "--batch", "1", "--in-flight", "3", "--data"]).arg(server.data());
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let state = format!("{path}.import.json");
    let rows = |state: &str| {
        let text = std::fs::read_to_string(state).unwrap_or_default();
        serde_json::from_str::<Value>(&text).ok().and_then(|state| state["rows"].as_u64()).unwrap_or_default()
    };
    while rows(&state) < 600 {
        std::thread::sleep(Duration::from_millis(5));
        assert!(process.try_wait().unwrap().is_none(), "it was to be killed half-way");
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let done = rows(&state);
    let resumed = import(&server, &[path, "--resume"], 1);
    let number = |field: &str| resumed[field].as_u64().unwrap();
    assert_eq!(number("done_before"), done);
    assert!(number("stored") > 0 && number("stored") < (ROWS as u64) - 500, "{resumed}");
    assert_eq!(count_all(&server), ROWS - ROWS / 1_000);
    let rejected = std::fs::read_to_string(format!("{path}.rejected.ndjson")).unwrap();
    let refused: Vec<_> =
        rejected.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["row"].as_u64().unwrap()).collect();
    // The header is line 1.
    let expected: Vec<_> = (0..ROWS as u64).filter(|n| n % 1_000 == 500).map(|n| n + 2).collect();
    assert_eq!(refused, expected);

    let whole = import(&server, &[path, "--resume"], 0);
    assert_eq!((&whole["stored"], &whole["duplicate"]), (&json!(0), &json!(0)), "nothing is sent again: {whole}");
    assert!(Path::new(&format!("{path}.rejected.ndjson")).exists());
    // Without the state the ids still tell.
    let again = import(&server, &[path], 1);
    assert_eq!((&again["stored"], &again["duplicate"]), (&json!(0), &json!(ROWS - ROWS / 1_000)));
    std::fs::write(path, "session_id,category,name\n").unwrap();
    let changed = server.eye(&["import", path, "--resume"]);
    ends(&changed, 2);
    assert!(err(&changed).contains("changed"), "{}", err(&changed));
}

fn count_all(server: &Server) -> usize {
    ends(&server.eye(&["export"]), 0).lines().count()
}

#[test]
fn odd_csv_is_read_and_bad_rows_are_named_by_line() {
    let server = Server::start();
    let path = server.data().join("odd.csv");
    let text = "\u{feff}visitor;\"when\";what;plan;amount;note;junk\r\n\
                \r\n\
                v1;2022-01-09 09:15:27;view;pro;10;\"two\r\nlines; \"\"quoted\"\"\";x\r\n\
                v2;1641719727;buy;;007;;x\r\n\
                v3;2022-01-09 09:15:27;short\r\n\
                ;2022-01-09 09:15:27;nobody;;;;\r\n\
                v4;soon;late;'=kept;true;\"open";
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let arguments = [
        path,
        "--map",
        "visitor=session_id",
        "--map",
        "when=timestamp",
        "--map",
        "what=name",
        "--map",
        "junk=",
        "--set",
        "category=old",
        "--map",
        "plan=context.plan",
    ];
    let imported = import(&server, &arguments, 1);
    assert_eq!((&imported["stored"], &imported["rejected"]), (&json!(2), &json!(3)), "{imported}");
    let refused: Vec<_> = imported["rejections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["line"].clone(), row["code"].clone()))
        .collect();
    assert_eq!(
        refused,
        [(json!(6), json!("unreadable_row")), (json!(7), json!("missing_field")), (json!(8), json!("unreadable_row"))]
    );
    let file = std::fs::read_to_string(imported["rejected_file"].as_str().unwrap()).unwrap();
    let rows: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = |line: u64| rows.iter().find(|row| row["row"] == line).unwrap();
    assert!(row(6)["message"].as_str().unwrap().contains("3 fields where the header has 7"), "{file}");
    assert_eq!(row(6)["text"], "v3;2022-01-09 09:15:27;short");
    assert_eq!(row(7)["field"], "session_id");
    let stored = events(&server);
    let data: Vec<_> = stored
        .iter()
        .map(|event| (event["session_id"].get(), event["data"].get(), event.get("context").map(|json| json.get())))
        .collect();
    assert!(
        data.contains(&("\"v1\"", r#"{"amount":10,"note":"two\r\nlines; \"quoted\""}"#, Some(r#"{"plan":"pro"}"#)))
            && data.contains(&("\"v2\"", r#"{"amount":"007"}"#, None)),
        "{data:?}"
    );
    assert!(stored.iter().all(|event| event["category"].get() == "\"old\""));

    for (arguments, words) in [
        (vec![path], "--map COLUMN=session_id"),
        (vec![path, "--map", "nothing=name"], "no such column"),
        (vec![path, "--map", "what=title"], "there is no field title"),
        (vec!["no-such-file.csv"], "no-such-file.csv"),
    ] {
        let refused = server.eye(&[&["import"], &arguments[..]].concat());
        ends(&refused, 2);
        assert!(err(&refused).contains(words), "{}", err(&refused));
    }
}

#[test]
fn parquet_of_other_programs_is_read_with_its_types() {
    let server = Server::start();
    let path = server.data().join("other.parquet");
    let nanos = TimestampNanosecondArray::from(vec![1_641_719_727_243_860_123, 1_641_719_728_000_000_000]);
    let place = StructArray::from(vec![(
        Arc::new(Field::new("city", DataType::Utf8, true)),
        Arc::new(StringArray::from(vec![Some("Bonn"), None])) as ArrayRef,
    )]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("session_id", Arc::new(Int64Array::from(vec![7, 8]))),
        ("category", Arc::new(StringArray::from(vec!["page", "page"]))),
        ("name", Arc::new(Int64Array::from(vec![404, 500]))),
        ("timestamp", Arc::new(nanos.with_timezone("UTC"))),
        ("price", Arc::new(Float64Array::from(vec![Some(1.5), None]))),
        ("new", Arc::new(BooleanArray::from(vec![true, false]))),
        ("code", Arc::new(StringArray::from(vec!["10", "20"]))),
        ("place", Arc::new(place)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(import(&server, &[path], 0)["stored"], 2);
    assert_eq!(import(&server, &[path], 0)["duplicate"], 2);
    let stored = events(&server);
    assert_eq!(stored[0]["timestamp"].get(), "\"2022-01-09T09:15:27.243860Z\"");
    assert_eq!((stored[0]["session_id"].get(), stored[0]["name"].get()), ("\"7\"", "\"404\""));
    let data: Vec<Value> = stored.iter().map(|event| serde_json::from_str(event["data"].get()).unwrap()).collect();
    assert_eq!(data[0], json!({"price": 1.5, "new": true, "code": "10", "place": {"city": "Bonn"}}));
    assert_eq!(data[1]["price"], Value::Null);
    let torn = server.data().join("torn.parquet");
    std::fs::write(&torn, b"PAR1 and nothing else").unwrap();
    let refused = server.eye(&["import", torn.to_str().unwrap()]);
    ends(&refused, 2);
    assert!(err(&refused).contains("torn.parquet"), "{}", err(&refused));
}

#[test]
fn a_damaged_parquet_file_is_imported_up_to_the_damage_and_named() {
    let server = Server::start();
    let path = server.data().join("damaged.parquet");
    let columns = ["session_id", "category", "name"].map(|name| {
        let values: StringArray = (0..6).map(|row| Some(format!("{name}-{row}"))).collect();
        (name, Arc::new(values) as ArrayRef)
    });
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(3)).build();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let footer = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
    let second = footer.metadata().row_group(1).column(0).byte_range().0 as usize;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[second..second + 16].fill(0xff);
    std::fs::write(&path, bytes).unwrap();

    let refused = server.eye(&["import", "--json", path.to_str().unwrap()]);
    let document: Value = serde_json::from_str(&ends(&refused, 2)).unwrap();
    let imported = &document["files"][0];
    assert_eq!((&imported["stored"], &imported["complete"]), (&json!(3), &json!(false)), "{imported}");
    assert!(err(&refused).contains("damaged.parquet, row group 2 of 2, after row 3: "), "{}", err(&refused));
    assert!(!err(&refused).contains("panicked"), "{}", err(&refused));
    assert_eq!(count(&server), 3);
}

#[test]
fn rows_of_several_applications_are_never_put_together_by_accident() {
    let server = Server::start();
    let path = server.data().join("both.ndjson.gz");
    let mut gzip = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
    for (id, application) in [("0", "web"), ("2", "shop"), ("1", "shop"), ("3", "web")] {
        let line = json!({"event_id": id, "session_id": "s", "category": "c", "name": application, "application": application});
        gzip.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    gzip.finish().unwrap();
    let path = path.to_str().unwrap();
    let refused = server.eye(&["import", path]);
    ends(&refused, 2);
    assert!(err(&refused).contains("--application NAME"), "{}", err(&refused));
    let shop = import(&server, &[path, "--application", "shop"], 0);
    assert_eq!((&shop["stored"], &shop["other_applications"]), (&json!(2), &json!(2)));
    let all = import(&server, &[path, "--merge-applications"], 0);
    // The first was sent before the second application was seen.
    assert_eq!((&all["stored"], &all["duplicate"]), (&json!(1), &json!(3)));
    assert_eq!(count(&server), 4);
}
