//! A system-call trace (strace), and the order that durability asks of it.
//!
//! A test that only looks at what is left needs luck to see a missing sync: most file systems write more than they were
//! asked to. In a trace nothing is left to luck. The rules:
//!
//! 1. An answer that says `stored` or `duplicate`, a 201 of the seed's API, one that holds a new token, and one that shows an
//!    erasure, each begins after a sync of the segment returned without error, which began after the write that holds the
//!    record had returned: of a repeat the first one's.
//! 2. The segment's name, and the name of every folder above it that the process made, were synced before that too.
//! 3. What an erasure wants is in a file whose bytes and name were synced before an answer shows the erasure.
//! 4. A commit gets its name after its bytes were synced, and after the bytes and names of the files that it adds.
//! 5. A segment is removed after a commit that covers all of it, and that commit's name, were synced.
//!
//! Answers over HTTP/1.1 only: those of HTTP/2 are not read.

use std::collections::{BTreeSet, HashMap};

use crate::oracle::{Findings, Violation};

/// The calls that have to be traced.
pub const CALLS: &str = "openat,pwrite64,write,writev,sendto,sendmsg,fdatasync,fsync,link,linkat,rename,renameat,renameat2,\
                         unlink,unlinkat,mkdir,mkdirat";

/// One call: where in the trace it began and returned, and what it was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The thread that made it.
    pub thread: String,
    /// Its name.
    pub name: String,
    /// What stands between the parentheses.
    pub arguments: String,
    /// What it returned.
    pub result: String,
    /// The line at which it began.
    pub begin: usize,
    /// The line at which it returned.
    pub end: usize,
}

/// Reads the calls that returned, in the order in which they began.
#[must_use]
pub fn parse(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: HashMap<&str, (usize, &str, &str)> = HashMap::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, rest)) = text.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            if let Some((name, arguments)) = begun.split_once('(') {
                open.insert(thread, (line, name, arguments));
            }
            continue;
        }
        let (begin, name, arguments, tail) = if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((begin, name, arguments)) = open.remove(thread) else { continue };
            let Some((_, tail)) = resumed.split_once(" resumed>") else { continue };
            (begin, name, arguments, tail)
        } else {
            let Some((name, tail)) = rest.split_once('(') else { continue };
            (line, name, "", tail)
        };
        let Some(at) = arguments_end(tail) else { continue };
        let result = tail[at..].trim_start_matches(')').trim_start().trim_start_matches("= ").to_owned();
        let arguments = format!("{arguments}{}", &tail[..at]);
        let (thread, name) = (thread.to_owned(), name.to_owned());
        calls.push(Call { thread, name, arguments, result, begin, end: line });
    }
    calls.sort_by_key(|call| call.begin);
    calls
}

/// Where the arguments end: short calls are padded, and words about an error stand in parentheses too.
fn arguments_end(call: &str) -> Option<usize> {
    let mut ends = call.rmatch_indices(')').map(|(at, _)| at);
    let last = ends.clone().next();
    ends.find(|at| call[at + 1..].trim_start().starts_with("= ")).or(last)
}

impl Call {
    /// True if it has one of these names.
    #[must_use]
    pub fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }

    /// True if it was made to fail.
    #[must_use]
    pub fn is_injected(&self) -> bool {
        self.result.contains("(INJECTED)")
    }

    /// True if it did what it was asked.
    fn is_done(&self) -> bool {
        !self.result.starts_with('-') && !self.result.starts_with('?')
    }

    /// The path of the file that its first argument stands for.
    #[must_use]
    pub fn file(&self) -> &str {
        let digits = self.arguments.trim_start_matches(|char: char| char.is_ascii_digit());
        digits.strip_prefix('<').and_then(|rest| rest.split('>').next()).unwrap_or_default()
    }

    /// True if it gives a file that is there another name.
    fn takes_name(&self) -> bool {
        self.is(&["link", "linkat", "rename", "renameat", "renameat2"])
    }

    fn is_sync_of(&self, path: &str) -> bool {
        self.is(&["fsync", "fdatasync"]) && self.result == "0" && self.file() == path
    }

    /// Everything in quotes, as bytes.
    fn texts(&self) -> Vec<Vec<u8>> {
        let mut texts = Vec::new();
        let mut bytes = self.arguments.bytes();
        while let Some(byte) = bytes.next() {
            if byte == b'"' {
                texts.push(unquote(&mut bytes));
            }
        }
        texts
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.texts().concat()).into_owned()
    }

    fn paths(&self) -> Vec<String> {
        self.texts().iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }
}

/// The bytes of a C string up to its closing quote.
fn unquote(bytes: &mut std::str::Bytes<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    let mut held = None;
    while let Some(byte) = held.take().or_else(|| bytes.next()) {
        match byte {
            b'"' => break,
            b'\\' => match bytes.next() {
                Some(b'n') => text.push(b'\n'),
                Some(b'r') => text.push(b'\r'),
                Some(b't') => text.push(b'\t'),
                Some(b'v') => text.push(0x0b),
                Some(b'f') => text.push(0x0c),
                Some(digit @ b'0'..=b'7') => {
                    let mut value = u32::from(digit - b'0');
                    for _ in 0..2 {
                        match bytes.next() {
                            Some(digit @ b'0'..=b'7') => value = value * 8 + u32::from(digit - b'0'),
                            other => {
                                held = other;
                                break;
                            }
                        }
                    }
                    text.push(value as u8);
                }
                Some(other) => text.push(other),
                None => break,
            },
            other => text.push(other),
        }
    }
    text
}

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Events whose acknowledgement was.
    pub acknowledgements: u64,
    /// Repeats that were told.
    pub duplicates: u64,
    /// Events that the seed's API has taken.
    pub collected: u64,
    /// New tokens.
    pub tokens: u64,
    /// Erasures that were accepted.
    pub erasures: u64,
    /// Names of segments and folders.
    pub names: u64,
    /// Commits.
    pub commits: u64,
    /// Files that they add.
    pub files: u64,
    /// Segments that were removed.
    pub trims: u64,
}

impl Checked {
    /// Adds another trace's.
    pub const fn add(&mut self, other: Self) {
        self.acknowledgements += other.acknowledgements;
        self.duplicates += other.duplicates;
        self.collected += other.collected;
        self.tokens += other.tokens;
        self.erasures += other.erasures;
        self.names += other.names;
        self.commits += other.commits;
        self.files += other.files;
        self.trims += other.trims;
    }

    const fn count(&mut self, promise: Promise) -> &mut u64 {
        match promise {
            Promise::Stored => &mut self.acknowledgements,
            Promise::Duplicate => &mut self.duplicates,
            Promise::Collected => &mut self.collected,
            Promise::Token => &mut self.tokens,
            Promise::Erasure => &mut self.erasures,
        }
    }
}

/// What an answer says is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    Stored,
    Duplicate,
    Collected,
    Token,
    Erasure,
}

/// Holds a trace against the rules. `data` is the data folder.
#[must_use]
pub fn check(calls: &[Call], data: &str) -> (Checked, Findings) {
    let mut trace = Trace { calls, data, checked: Checked::default(), findings: Findings::default() };
    trace.check_answers();
    trace.check_commits();
    trace.check_trims();
    (trace.checked, trace.findings)
}

struct Trace<'a> {
    calls: &'a [Call],
    data: &'a str,
    checked: Checked,
    findings: Findings,
}

impl<'a> Trace<'a> {
    /// True if this file or folder was synced, all of it after `after` and before `before`.
    fn is_synced(&self, path: &str, after: usize, before: usize) -> bool {
        let from = self.calls.partition_point(|call| call.begin <= after);
        let calls = self.calls[from..].iter().take_while(|call| call.begin < before);
        calls.into_iter().any(|call| call.end < before && call.is_sync_of(path))
    }

    fn check_answers(&mut self) {
        let writes = self.records();
        let (mut named, mut erasures) = (BTreeSet::new(), BTreeSet::new());
        for answer in self.calls.iter().filter(|call| call.is(&["write", "writev", "sendto", "sendmsg"])) {
            if !answer.file().starts_with("socket:") && !answer.file().starts_with("TCP:") {
                continue;
            }
            for (promise, id) in promises(&answer.text()) {
                // Later answers show an erasure again.
                if promise == Promise::Erasure && !erasures.insert(id.clone()) {
                    continue;
                }
                *self.checked.count(promise) += 1;
                let Some(write) = writes.get(id.as_str()) else {
                    self.findings.add(Violation::AckedEarly, format!("{id} was acknowledged and never written"));
                    continue;
                };
                if !self.is_synced(write.file(), write.end, answer.begin) {
                    let detail =
                        format!("{id}: the answer at line {} follows no sync of {}", answer.begin, write.file());
                    self.findings.add(Violation::AckedEarly, detail);
                }
                if named.insert(write.file().to_owned()) {
                    self.check_name(write.file(), answer.begin);
                }
                if promise == Promise::Erasure {
                    self.check_wanted(&id, answer.begin);
                }
            }
        }
    }

    /// The first write of each record, by the id in it: of an event in its payload.
    fn records(&self) -> HashMap<String, &'a Call> {
        let mut writes = HashMap::new();
        for write in self.calls.iter().filter(|call| call.name == "pwrite64" && call.file().ends_with(".seg")) {
            if write.is_done() {
                for id in between(&write.text(), "\"id\":\"", "\"") {
                    writes.entry(id).or_insert(write);
                }
            }
        }
        writes
    }

    /// What an erasure wants is in a file of its own.
    fn check_wanted(&mut self, id: &str, before: usize) {
        let end = format!("/_erasures/{id}.wanted");
        let earlier = self.calls.iter().filter(|call| call.end < before && call.takes_name() && call.is_done());
        let mut named = earlier.map(|call| (call, call.paths()));
        let named = named.find(|(_, paths)| paths.last().is_some_and(|path| path.ends_with(&end)));
        let Some((call, paths)) = named else {
            self.findings.add(Violation::AckedEarly, format!("{id} was accepted, and what it wants is in no file"));
            return;
        };
        if let [staging, wanted] = &paths[..] {
            self.check_content(staging, call.begin, wanted);
            self.check_name(wanted, before);
        }
    }

    /// The name of a file and those of the folders above it, as far as they were made in this trace.
    fn check_name(&mut self, path: &str, before: usize) {
        let mut path = path;
        while path.starts_with(self.data) {
            let made = self.calls.iter().filter(|call| call.is_done() && call.begin < before).rfind(|call| {
                let creates = call.name == "openat" && call.arguments.contains("O_CREAT");
                (creates || call.takes_name() || call.is(&["mkdir", "mkdirat"]))
                    && call.paths().last().is_some_and(|made| made == path)
            });
            let Some((parent, _)) = path.rsplit_once('/') else { break };
            if let Some(made) = made {
                self.checked.names += 1;
                if !self.is_synced(parent, made.end, before) {
                    let detail =
                        format!("line {before} relies on the name of {path}, which was not synced in {parent}");
                    self.findings.add(Violation::NotDurable, detail);
                }
            }
            path = parent;
        }
    }

    fn check_commits(&mut self) {
        for named in self.commits() {
            let [staging, commit] = &named.paths()[..] else { continue };
            let (staging, commit) = (staging.clone(), commit.clone());
            self.checked.commits += 1;
            self.check_content(&staging, named.begin, &commit);
            let table = commit.split("/_delta_log/").next().unwrap_or_default().to_owned();
            let content = self.content(&staging, named.begin);
            for added in content.split("\"add\":{").skip(1) {
                let Some(file) = between(added, "\"path\":\"", "\"").into_iter().next() else { continue };
                self.checked.files += 1;
                let path = format!("{table}/{file}");
                let is_named = |call: &&Call| {
                    call.takes_name() && call.paths().last().is_some_and(|to| to.replace("%3D", "=") == path)
                };
                let before = self.calls.iter().filter(|call| call.end < named.begin);
                let Some(source) = before.into_iter().find(is_named).and_then(|call| call.paths().into_iter().next())
                else {
                    self.findings.add(Violation::NotDurable, format!("{commit} adds {path}, which has no name"));
                    continue;
                };
                self.check_content(&source, named.begin, &commit);
                self.check_name(&path, named.begin);
            }
        }
    }

    /// Calls that give a commit of the events its name.
    fn commits(&self) -> Vec<Call> {
        let is_commit = |path: &String| {
            path.rsplit_once("/events/_delta_log/")
                .and_then(|(_, name)| name.strip_suffix(".json"))
                .is_some_and(|name| name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let all = self.calls.iter().filter(|call| call.takes_name() && call.is_done());
        all.filter(|call| call.paths().last().is_some_and(is_commit)).cloned().collect()
    }

    /// What was written to this path before, as text.
    fn content(&self, path: &str, before: usize) -> String {
        let writes = self.calls.iter().filter(|call| call.is(&["write", "pwrite64", "writev"]) && call.end < before);
        writes.filter(|call| call.file() == path).map(Call::text).collect()
    }

    /// The bytes of a file were synced after the last write to it.
    fn check_content(&mut self, path: &str, before: usize, relied_on_by: &str) {
        let writes = self.calls.iter().filter(|call| call.is(&["write", "pwrite64", "writev"]) && call.end < before);
        let last = writes.filter(|call| call.file() == path).map(|call| call.end).max();
        if last.is_none_or(|last| !self.is_synced(path, last, before)) {
            self.findings.add(Violation::NotDurable, format!("{relied_on_by} relies on {path}, which was not synced"));
        }
    }

    fn check_trims(&mut self) {
        let mut firsts: BTreeSet<(String, u64)> = BTreeSet::new();
        for call in self.calls.iter().filter(|call| call.is_done()) {
            // Those that were there before the trace are opened.
            if call.name == "openat" {
                firsts.extend(call.paths().last().and_then(|path| segment(path)));
            }
        }
        let commits: Vec<(Call, String, u64)> = self
            .commits()
            .into_iter()
            .filter_map(|named| {
                let content = self.content(named.paths().first()?, named.begin);
                let txn = between(&content, "\"appId\":\"eye-", "}").into_iter().next()?;
                let (partition, rest) = txn.split_once('"')?;
                let offset = rest.rsplit_once("\"version\":")?.1;
                let offset = offset.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()?;
                Some((named, format!("/log/{partition}/"), offset))
            })
            .collect();
        for removed in self.calls.iter().filter(|call| call.is(&["unlink", "unlinkat"]) && call.is_done()) {
            let Some(path) = removed.paths().into_iter().next_back() else { continue };
            let Some((folder, first)) = segment(&path).filter(|(folder, _)| folder.contains("/log/")) else { continue };
            let next = firsts.iter().find(|(other, offset)| *other == folder && *offset > first);
            let Some((_, next)) = next else { continue };
            self.checked.trims += 1;
            let is_covered = commits.iter().any(|(named, partition, flushed)| {
                let log = named.paths().last().and_then(|path| path.rsplit_once('/').map(|(log, _)| log.to_owned()));
                folder.contains(partition.as_str())
                    && flushed + 1 >= *next
                    && named.end < removed.begin
                    && log.is_some_and(|log| self.is_synced(&log, named.end, removed.begin))
            });
            if !is_covered {
                let detail = format!("{path} was removed, and no durable commit had everything below offset {next}");
                self.findings.add(Violation::NotDurable, detail);
            }
        }
    }
}

/// Folder (with its slash) and first offset of a segment.
fn segment(path: &str) -> Option<(String, u64)> {
    let (folder, name) = path.rsplit_once('/')?;
    Some((format!("{folder}/"), name.strip_suffix(".seg")?.parse().ok()?))
}

/// All that an answer says is there, by the ids in the records.
fn promises(answer: &str) -> Vec<(Promise, String)> {
    let mut promises = Vec::new();
    if answer.starts_with("HTTP/1.1 200") {
        if answer.contains("{\"results\":[") {
            promises.extend(told_ids(answer, "\"stored\"").into_iter().map(|id| (Promise::Stored, id)));
            promises.extend(told_ids(answer, "\"duplicate\"").into_iter().map(|id| (Promise::Duplicate, id)));
        }
        let erasures = between(answer, "{\"id\":\"era_", "\"");
        promises.extend(erasures.into_iter().map(|id| (Promise::Erasure, format!("era_{id}"))));
    }
    if answer.starts_with("HTTP/1.1 201") {
        let collected = between(answer, "\"data\":{\"id\":\"", "\"");
        promises.extend(collected.into_iter().map(|id| (Promise::Collected, id)));
        if answer.contains("\"token\":\"") {
            let tokens = between(answer, "\"id\":\"tok_", "\"");
            promises.extend(tokens.into_iter().map(|id| (Promise::Token, format!("tok_{id}"))));
        }
    }
    promises
}

/// The ids of which an answer says this.
fn told_ids(answer: &str, status: &str) -> Vec<String> {
    let results = answer.split("{\"status\":").skip(1).filter(|result| result.starts_with(status));
    results.filter_map(|result| between(result, "\"event_id\":\"", "\"").into_iter().next()).collect()
}

/// Everything between these two, each time.
fn between(text: &str, start: &str, end: &str) -> Vec<String> {
    text.split(start).skip(1).filter_map(|rest| rest.split(end).next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"10 mkdir("/d/data", 0777) = 0
10 openat(AT_FDCWD</w>, "/d", O_RDONLY|O_CLOEXEC) = 5</d>
10 fsync(5</d>) = 0
10 openat(AT_FDCWD</w>, "/d/data/1.seg", O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0666) = 9</d/data/1.seg>
10 fsync(6</d/data>) = 0
11 pwrite64(9</d/data/1.seg>, "\1{\"id\":\"a\",\"n\":1}", 17, 64) = 17
11 fdatasync(9</d/data/1.seg> <unfinished ...>
12 epoll_wait(3</x>, [], 1) = 0
11 <... fdatasync resumed>) = 0
12 writev(7<socket:[8]>, [{iov_base="HTTP/1.1 200 OK\r\n\r\n", iov_len=19}, {iov_base="{\"results\":[{\"status\":\"stored\",\"event_id\":\"a\"}]}", iov_len=9}], 2) = 28
"#;

    fn verdict(trace: &str) -> (Checked, String) {
        let (checked, findings) = check(&parse(trace), "/d/data");
        (checked, findings.names())
    }

    #[test]
    fn calls_are_read_whole_or_in_two_halves() {
        let calls = parse(GOOD);
        let sync = calls.iter().find(|call| call.name == "fdatasync").unwrap();
        assert_eq!((sync.begin, sync.end, sync.result.as_str(), sync.file()), (6, 8, "0", "/d/data/1.seg"));
        let write = calls.iter().find(|call| call.name == "pwrite64").unwrap();
        assert_eq!(write.text(), "\u{1}{\"id\":\"a\",\"n\":1}");
        let failed = parse("10 fsync(5</d>)     = -1 EIO (Input/output error) (INJECTED)");
        let [failed] = &failed[..] else { panic!("{failed:?}") };
        assert_eq!((failed.file(), failed.is_done(), failed.is_injected()), ("/d", false, true));
        assert_eq!(unquote(&mut "\\377\\0a\\\"b\" rest".bytes()), b"\xff\0a\"b");
    }

    #[test]
    fn an_answer_after_its_sync_is_right() {
        let (checked, names) = verdict(GOOD);
        assert_eq!((checked.acknowledgements, checked.names, names.as_str()), (1, 2, ""));
    }

    #[test]
    fn an_answer_before_its_sync_is_named() {
        let lines: Vec<&str> = GOOD.lines().collect();
        for order in [[0, 1, 2, 3, 4, 5, 6, 9, 8], [0, 1, 2, 3, 4, 6, 8, 5, 9], [0, 1, 2, 3, 4, 5, 9, 6, 8]] {
            let trace: Vec<&str> = order.iter().map(|line| lines[*line]).collect();
            assert_eq!(verdict(&trace.join("\n")).1, "AckedEarly 1", "{order:?}");
        }
        let failed = GOOD.replace("resumed>) = 0", "resumed>) = -1 EIO (Input/output error)");
        assert_eq!(verdict(&failed).1, "AckedEarly 1");
    }

    #[test]
    fn the_other_answers_are_held_to_the_same() {
        let counts = |checked: Checked| [checked.duplicates, checked.collected, checked.tokens, checked.erasures];
        let early = |trace: &str| {
            let lines: Vec<&str> = trace.lines().collect();
            let [before @ .., sync, resumed, answer] = &lines[..] else { panic!("{trace}") };
            let late = [*answer, *sync, *resumed];
            verdict(&[before, &late[..]].concat().join("\n"))
        };
        let answers = [
            (r#"HTTP/1.1 200 OK\r\n\r\n{\"results\":[{\"status\":\"duplicate\",\"event_id\":\"a\"}]}"#, [1, 0, 0, 0]),
            (r#"HTTP/1.1 201 Created\r\n\r\n{\"session_id\":\"s\",\"data\":{\"id\":\"a\",\"n\":1}}"#, [0, 1, 0, 0]),
        ];
        let lines: Vec<&str> = GOOD.lines().filter(|line| !line.contains("epoll_wait")).collect();
        let (_, before) = lines.split_last().unwrap();
        for (answer, expected) in answers {
            let trace = format!("{}\n12 sendto(7<socket:[8]>, \"{answer}\", 28, 0, NULL, 0) = 28", before.join("\n"));
            let (checked, names) = verdict(&trace);
            assert_eq!((counts(checked), names.as_str()), (expected, ""), "{answer}");
            assert_eq!(early(&trace).1, "AckedEarly 1", "{answer}");
        }
        let token = r#"HTTP/1.1 201 Created\r\n\r\n{\"id\":\"tok_1\",\"name\":\"n\",\"token\":\"eye_x\"}"#;
        let trace = format!("{}\n12 sendto(7<socket:[8]>, \"{token}\", 28, 0, NULL, 0) = 28", before.join("\n"));
        assert_eq!(verdict(&trace).1, "AckedEarly 1", "it was never written");
        let trace = trace.replace(r#"{\"id\":\"a\",\"n\":1}"#, r#"{\"v\":1,\"id\":\"tok_1\"}"#);
        let (checked, names) = verdict(&trace);
        assert_eq!((counts(checked), names.as_str()), ([0, 0, 1, 0], ""));
        assert_eq!(early(&trace).1, "AckedEarly 1");
    }

    const ERASURE: &str = r#"10 pwrite64(9</d/data/registry/1.seg>, "\1{\"v\":1,\"id\":\"era_1\"}", 17, 64) = 17
10 fdatasync(9</d/data/registry/1.seg>) = 0
11 write(8</d/data/t/events/_erasures/.w>, "x", 1) = 1
11 fsync(8</d/data/t/events/_erasures/.w>) = 0
11 link("/d/data/t/events/_erasures/.w", "/d/data/t/events/_erasures/era_1.wanted") = 0
11 fsync(9</d/data/t/events/_erasures>) = 0
12 writev(7<socket:[8]>, [{iov_base="HTTP/1.1 200 OK\r\n\r\n", iov_len=19}, {iov_base="{\"id\":\"era_1\",\"state\":\"running\"}", iov_len=9}], 2) = 28
12 writev(7<socket:[8]>, [{iov_base="HTTP/1.1 200 OK\r\n\r\n", iov_len=19}, {iov_base="{\"erasures\":[{\"id\":\"era_1\"}]}", iov_len=9}], 2) = 28
"#;

    #[test]
    fn an_erasure_is_shown_when_it_is_durable() {
        let (checked, names) = verdict(ERASURE);
        assert_eq!((checked.erasures, names.as_str()), (1, ""), "shown twice, accepted once");
        for (missing, expected) in
            [(0, "AckedEarly 1"), (1, "AckedEarly 1"), (3, "NotDurable 1"), (4, "AckedEarly 1"), (5, "NotDurable 1")]
        {
            let lines = ERASURE.lines().enumerate().filter(|(line, _)| *line != missing).map(|(_, line)| line);
            let trace = lines.collect::<Vec<_>>().join("\n");
            assert_eq!(verdict(&trace).1, expected, "without line {missing}");
        }
    }

    #[test]
    fn a_name_that_was_not_synced_is_named() {
        assert_eq!(verdict(&GOOD.replace("fsync(6</d/data>)", "fsync(6</other>)")).1, "NotDurable 1");
        assert_eq!(
            verdict(&GOOD.replace("fsync(5</d>)", "fsync(5</other>)")).1,
            "NotDurable 1",
            "the folder's own name"
        );
    }

    const COMMIT: &str = r#"20 openat(AT_FDCWD</w>, "/d/data/log/0/1.seg", O_RDWR|O_CREAT|O_EXCL, 0666) = 4</d/data/log/0/1.seg>
20 openat(AT_FDCWD</w>, "/d/data/log/0/5.seg", O_RDWR|O_CREAT|O_EXCL, 0666) = 4</d/data/log/0/5.seg>
21 write(8</d/data/t/events/x/.f>, "PAR1", 4) = 4
21 fsync(8</d/data/t/events/x/.f>) = 0
21 link("/d/data/t/events/x/.f", "/d/data/t/events/x/f.parquet") = 0
21 fsync(9</d/data/t/events/x>) = 0
21 write(8</d/data/t/events/_delta_log/.c>, "{\"txn\":{\"appId\":\"eye-0\",\"version\":4}}\n{\"add\":{\"partitionValues\":{\"d\":\"x\"},\"path\":\"x/f.parquet\"}}", 50) = 50
21 fsync(8</d/data/t/events/_delta_log/.c>) = 0
21 link("/d/data/t/events/_delta_log/.c", "/d/data/t/events/_delta_log/00000000000000000001.json") = 0
21 fsync(9</d/data/t/events/_delta_log>) = 0
21 unlink("/d/data/log/0/1.seg") = 0
"#;

    #[test]
    fn a_commit_and_a_trim_in_order_are_right() {
        let (checked, names) = verdict(COMMIT);
        assert_eq!((checked.commits, checked.files, checked.trims, names.as_str()), (1, 1, 1, ""));
    }

    #[test]
    fn segments_that_were_there_before_the_trace_are_known() {
        let later = COMMIT.replace("O_RDWR|O_CREAT|O_EXCL, 0666", "O_RDWR");
        let newer = r#"21 openat(AT_FDCWD</w>, "/d/data/log/0/9.seg", O_RDWR|O_CREAT, 0666) = 4</d/data/log/0/9.seg>"#;
        let (checked, names) = verdict(&format!("{later}{newer}\n"));
        assert_eq!((checked.trims, names.as_str()), (1, ""), "1.seg ends where 5.seg begins, not where 9.seg does");
    }

    #[test]
    fn every_missing_sync_of_a_commit_is_named() {
        for missing in [3, 5, 7, 9] {
            let lines = COMMIT.lines().enumerate().filter(|(line, _)| *line != missing).map(|(_, line)| line);
            let trace = lines.collect::<Vec<_>>().join("\n");
            assert!(verdict(&trace).1.starts_with("NotDurable"), "without line {missing}");
        }
        let too_early = COMMIT.replace("\\\"version\\\":4", "\\\"version\\\":3");
        assert_eq!(verdict(&too_early).1, "NotDurable 1", "the commit does not cover the segment");
    }
}
