//! The real binary, started on a free port with a data folder of its own, and a small HTTP client to talk to it.
//!
//! The client is as plain as can be on purpose: what is tested is the server, not another library.

#![allow(dead_code, unreachable_pub, reason = "no test uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// The last line that every start prints.
const BANNER_END: &str = "API and documentation:";

/// A running server; killed when dropped.
pub struct Server {
    /// Its address, such as `http://127.0.0.1:40123`.
    pub url: String,
    /// What it printed at its last start.
    pub banner: String,
    process: Child,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    token: String,
}

impl Server {
    /// With default settings.
    pub fn start() -> Self {
        Self::start_in(&[], &[])
    }

    /// With these flags.
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::start_in(arguments, &[])
    }

    /// With these flags and environment variables.
    pub fn start_in(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let environment: Vec<_> =
            environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut process = spawn(folder.path(), &arguments, &environment);
        let (url, banner) = await_banner(&mut process, folder.path());
        let token = banner.split("Authorization: Token ").nth(1).and_then(|rest| rest.split('\'').next());
        let token = token.unwrap_or_default().to_owned();
        Self { url, banner, process, folder, arguments, environment, token }
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        data_of(self.folder.path())
    }

    /// The secret token of the first application.
    pub fn token(&self) -> String {
        assert!(!self.token.is_empty(), "the first start printed no token: {}", self.banner);
        self.token.clone()
    }

    /// The administrator's token of the command line.
    pub fn admin_token(&self) -> String {
        std::fs::read_to_string(self.data().join("cli-token")).unwrap().trim().to_owned()
    }

    /// What it logged since its last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr.log")).unwrap()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Asks it to stop (SIGTERM) and waits until it has, cleanly.
    pub fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.process.wait().unwrap();
        assert!(status.success(), "the server stopped with {status}:\n{}", self.log());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.process), signal).unwrap();
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again on the same data folder, after a stop or a kill, and waits until it serves.
    pub fn restart(&mut self) {
        self.restart_without_waiting();
        (self.url, self.banner) = await_banner(&mut self.process, self.folder.path());
    }

    /// The same with other flags, from now on.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self.restart();
    }

    /// The same without waiting: it may be anywhere in its start.
    pub fn restart_without_waiting(&mut self) {
        self.kill();
        self.process = spawn(self.folder.path(), &self.arguments, &self.environment);
    }

    /// Runs a command of `eye` against this server's data folder.
    pub fn eye(&self, arguments: &[&str]) -> Output {
        let mut command = eye(self.folder.path());
        command.args(arguments).arg("--data").arg(self.data()).output().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// The binary, in a folder of its own and without settings from outside.
pub fn eye(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eye"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EYE_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn data_of(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn spawn(folder: &Path, arguments: &[String], environment: &[(String, String)]) -> Child {
    let log = File::create(folder.join("stderr.log")).unwrap();
    eye(folder)
        .arg("serve")
        .arg("--data")
        .arg(data_of(folder))
        .args(["--listen", "127.0.0.1:0"])
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Reads what it prints until it serves; the address and the text.
fn await_banner(process: &mut Child, folder: &Path) -> (String, String) {
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut banner = String::new();
    for line in lines.by_ref().map_while(Result::ok) {
        banner.push_str(&line);
        banner.push('\n');
        if line.starts_with(BANNER_END) {
            break;
        }
    }
    let url = banner.lines().next().and_then(|line| line.split_whitespace().find(|word| word.starts_with("http://")));
    let Some(url) = url else {
        let log = std::fs::read_to_string(folder.join("stderr.log")).unwrap_or_default();
        panic!("the server did not start: {:?}\n{banner}{log}", process.try_wait());
    };
    let url = url.to_owned();
    // Keep reading, or it blocks on a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (url, banner)
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, as sent.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }
}

/// One request on a connection of its own. Header values are sent as bytes, one for each character below U+0100.
pub fn http(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
    let (host, path) = split(url);
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n").into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend(value.chars().map(|char| u8::try_from(char).unwrap()));
        head.extend_from_slice(b"\r\n");
    }
    let has_length = headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding"));
    if !has_length && (!body.is_empty() || method == "POST") {
        head.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head.extend_from_slice(body);
    let mut stream = connect(url)?;
    // A server that refuses early may close before all is sent: its answer counts.
    let sent = stream.write_all(&head);
    match read_answer(&mut stream, method == "HEAD") {
        Ok(answer) => Ok(answer),
        Err(error) => Err(sent.err().unwrap_or(error)),
    }
}

/// A raw connection to a server.
pub fn connect(url: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(split(url).0)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn split(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").unwrap();
    rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash))
}

/// Reads one answer.
pub fn read_answer(stream: &mut impl Read, is_head: bool) -> io::Result<Answer> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let unreadable = || io::Error::new(io::ErrorKind::UnexpectedEof, "no whole answer came");
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(unreadable)?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(unreadable());
        }
        let Some((name, value)) = line.trim_end().split_once(": ").or_else(|| line.trim_end().split_once(':')) else {
            break;
        };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if is_head || status == 204 {
        return Ok(answer);
    }
    if answer.header("transfer-encoding").is_some() {
        read_chunks(&mut reader, &mut answer.body)?;
    } else if let Some(length) = answer.header("content-length").map(str::parse) {
        answer.body.resize(length.map_err(|_| unreadable())?, 0);
        reader.read_exact(&mut answer.body)?;
    } else {
        reader.read_to_end(&mut answer.body)?;
    }
    Ok(answer)
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let unreadable = |_| io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut off");
        let length = usize::from_str_radix(line.trim(), 16).map_err(unreadable)?;
        let start = body.len();
        body.resize(start + length, 0);
        reader.read_exact(&mut body[start..])?;
        reader.read_exact(&mut [0; 2])?;
        if length == 0 {
            return Ok(());
        }
    }
}

/// `eye verify` finds nothing wrong with this data folder.
pub fn verify(data: &Path) {
    let output = eye(data.parent().unwrap()).arg("verify").arg("--data").arg(data).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

/// Says that a test, or a part of one, is not run on this machine. Nobody reads what a test prints that passes: it is
/// put on the list that `cargo xtask test` tells at its end, too.
pub fn skip(what: &str, why: &str) {
    println!("skipped: {what}, because {why}");
    if let Some(path) = std::env::var_os("XTASK_SKIPPED") {
        // In one write: other tests add their lines at the same time.
        let mut list = File::options().create(true).append(true).open(path).unwrap();
        list.write_all(format!("{what}, because {why}\n").as_bytes()).unwrap();
    }
}

/// What other people's readers see in the table; `None` if there is no Python with them (`XTASK_PYTHON`).
pub fn read_table(table: &str, options: Option<&str>) -> Option<serde_json::Value> {
    let python = std::env::var_os("XTASK_PYTHON")?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/read_table.py");
    let output = Command::new(python).arg(script).arg(table).args(options).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}
