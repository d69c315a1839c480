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
//! 4. A commit, of events as of rejections, gets its name after its bytes were synced, and after the bytes and names of
//!    the files that it adds. It gets it by a link or a rename of the file that it was written to, and in no other way.
//! 5. A segment is removed after a commit of the events that covers all of it, and that commit's name, were synced; if
//!    it holds rejections, after one of the rejections that covers the last of them, too.
//! 6. A data file that a commit has added is removed after a commit that drops it, and that commit's name, were synced.
//!
//! What was there before the trace is not known: not what a segment holds, nor whether a table lists a file. Answers over
//! HTTP/1.1 only: those of HTTP/2 are not read.
//!
//! | module | what it holds |
//! |---|---|
//! | `call` | the calls of a trace |
//! | `commit` | a commit, as calls make it |
//! | `records` | what a write to the log holds |

mod call;
mod commit;
mod records;

use std::collections::{BTreeSet, HashMap};
use std::fmt;

pub use call::{Call, parse};
use commit::{Commit, Table};

use crate::oracle::{Findings, Violation};

/// The calls that have to be traced.
pub const CALLS: &str = "openat,pwrite64,write,writev,sendto,sendmsg,fdatasync,fsync,link,linkat,rename,renameat,renameat2,\
                         unlink,unlinkat,mkdir,mkdirat";

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
    /// Commits of the events.
    pub commits: u64,
    /// Files that they add.
    pub files: u64,
    /// Commits of the rejections.
    pub rejection_commits: u64,
    /// Files that they add.
    pub rejection_files: u64,
    /// Segments that were removed.
    pub trims: u64,
    /// Those of them that held rejections.
    pub rejection_trims: u64,
    /// Data files that were removed.
    pub removals: u64,
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
        self.rejection_commits += other.rejection_commits;
        self.rejection_files += other.rejection_files;
        self.trims += other.trims;
        self.rejection_trims += other.rejection_trims;
        self.removals += other.removals;
    }

    /// True if one of the rules was not at work.
    #[must_use]
    pub fn lacks_some(&self) -> bool {
        self.counts().iter().any(|(count, _)| *count == 0)
    }

    /// Each with what it counts.
    const fn counts(&self) -> [(u64, &'static str); 13] {
        [
            (self.acknowledgements, "acknowledgements"),
            (self.duplicates, "duplicates"),
            (self.collected, "of the seed's API"),
            (self.tokens, "tokens"),
            (self.erasures, "erasures"),
            (self.names, "names"),
            (self.commits, "commits"),
            (self.files, "files"),
            (self.rejection_commits, "commits of rejections"),
            (self.rejection_files, "files of them"),
            (self.trims, "trims"),
            (self.rejection_trims, "trims of rejections"),
            (self.removals, "replaced files removed"),
        ]
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

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts().map(|(count, what)| format!("{count} {what}"));
        f.write_str(&counts.join(", "))
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
    let commits = trace.commits();
    trace.check_commits(&commits);
    trace.check_trims(&commits);
    trace.check_removals(&commits);
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
        let [staging, wanted] = &paths[..] else {
            self.findings.add(Violation::NotDurable, format!("{id} gets its name by {}", call.name));
            return;
        };
        self.check_content(staging, call.begin, wanted);
        self.check_name(wanted, before);
    }

    /// The name of a file and those of the folders above it, as far as they were made in this trace.
    fn check_name(&mut self, path: &str, before: usize) {
        let mut path = path;
        while path.starts_with(self.data) {
            let made = self.calls.iter().filter(|call| call.is_done() && call.begin < before).rfind(|call| {
                (call.creates() || call.takes_name() || call.is(&["mkdir", "mkdirat"]))
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

    /// The commits of both tables, as far as they got their names in the way that they must.
    fn commits(&mut self) -> Vec<Commit<'a>> {
        let mut commits = Vec::new();
        for named in self.calls.iter().filter(|call| call.is_done() && (call.creates() || call.takes_name())) {
            let paths = named.paths();
            let Some(table) = paths.last().and_then(|path| Table::of_commit(path)) else { continue };
            match <[String; 2]>::try_from(paths) {
                Ok([staging, path]) if named.takes_name() => {
                    let content = self.content(&staging, named.begin);
                    commits.push(Commit { table, named, staging, path, content });
                }
                _ => {
                    let detail =
                        format!("line {}: a commit of the {table:?} gets its name by {}", named.begin, named.name);
                    self.findings.add(Violation::NotDurable, detail);
                }
            }
        }
        commits
    }

    fn check_commits(&mut self, commits: &[Commit<'_>]) {
        for commit in commits {
            let Commit { table, named, staging, path, .. } = commit;
            let added = commit.added();
            let (commits, files) = match table {
                Table::Events => (&mut self.checked.commits, &mut self.checked.files),
                Table::Rejections => (&mut self.checked.rejection_commits, &mut self.checked.rejection_files),
            };
            *commits += 1;
            *files += added.len() as u64;
            self.check_content(staging, named.begin, path);
            for file in added {
                self.check_added(&file, named.begin, path);
            }
        }
    }

    /// The bytes and the name of a file that a commit adds.
    fn check_added(&mut self, file: &str, before: usize, commit: &str) {
        let mut earlier = self.calls.iter().filter(|call| call.end < before && call.takes_name()).map(Call::paths);
        let named = earlier.find(|paths| paths.last().is_some_and(|path| plain(path) == file));
        let Some([source, path]) = named.as_deref() else {
            self.findings.add(Violation::NotDurable, format!("{commit} adds {file}, which has no name"));
            return;
        };
        self.check_content(source, before, commit);
        self.check_name(path, before);
    }

    /// True if the commit, and its name, were synced before this line.
    fn is_durable(&self, commit: &Commit<'_>, before: usize) -> bool {
        commit.named.end < before && self.is_synced(commit.log(), commit.named.end, before)
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

    fn check_trims(&mut self, commits: &[Commit<'_>]) {
        let mut firsts: BTreeSet<(String, u64)> = BTreeSet::new();
        for call in self.calls.iter().filter(|call| call.is_done()) {
            // Those that were there before the trace are opened.
            if call.name == "openat" {
                firsts.extend(call.paths().last().and_then(|path| segment(path)));
            }
        }
        let rejections = self.last_rejections();
        for (removed, path) in self.removed() {
            let Some((folder, first)) = segment(&path).filter(|(folder, _)| folder.contains("/log/")) else { continue };
            let next = firsts.iter().find(|(other, offset)| *other == folder && *offset > first);
            let Some((_, next)) = next else { continue };
            self.checked.trims += 1;
            let mut wanted = vec![(Table::Events, next.saturating_sub(1))];
            if let Some(last) = rejections.get(path.as_str()) {
                self.checked.rejection_trims += 1;
                wanted.push((Table::Rejections, *last));
            }
            for (table, last) in wanted {
                let covers = |commit: &Commit<'_>| {
                    let is_up_to = |(log, flushed): (String, u64)| folder.ends_with(&log) && flushed >= last;
                    commit.table == table && commit.flushed().is_some_and(is_up_to)
                };
                if !commits.iter().any(|commit| covers(commit) && self.is_durable(commit, removed.begin)) {
                    let detail =
                        format!("{path} was removed, and no durable commit of the {table:?} had offset {last}");
                    self.findings.add(Violation::NotDurable, detail);
                }
            }
        }
    }

    /// The last rejection in each segment of a log, of those that hold any: its offset.
    fn last_rejections(&self) -> HashMap<&'a str, u64> {
        let mut last = HashMap::new();
        let writes = self.calls.iter().filter(|call| call.name == "pwrite64" && call.is_done());
        for write in writes.filter(|call| segment(call.file()).is_some_and(|(folder, _)| folder.contains("/log/"))) {
            if let Some(offset) = records::rejections(&write.texts().concat()).pop() {
                let last = last.entry(write.file()).or_default();
                *last = offset.max(*last);
            }
        }
        last
    }

    /// A file that no commit of the trace has added is left over, or is older than the trace.
    fn check_removals(&mut self, commits: &[Commit<'_>]) {
        let added: BTreeSet<String> = commits.iter().flat_map(Commit::added).collect();
        let mut drops: HashMap<String, Vec<&Commit<'_>>> = HashMap::new();
        for commit in commits {
            commit.dropped().into_iter().for_each(|file| drops.entry(file).or_default().push(commit));
        }
        for (removed, path) in self.removed() {
            let file = plain(&path);
            let drops = drops.get(&file).map(Vec::as_slice).unwrap_or_default();
            if drops.is_empty() && !added.contains(&file) {
                continue;
            }
            self.checked.removals += 1;
            if !drops.iter().any(|commit| self.is_durable(commit, removed.begin)) {
                let detail = format!("{path} was removed, and no durable commit had dropped it");
                self.findings.add(Violation::NotDurable, detail);
            }
        }
    }

    /// Calls that took a name away, and the name.
    fn removed(&self) -> Vec<(&'a Call, String)> {
        let unlinks = self.calls.iter().filter(|call| call.is(&["unlink", "unlinkat"]) && call.is_done());
        unlinks.filter_map(|call| Some((call, call.paths().pop()?))).collect()
    }
}

/// The path of a data file as commits write it.
fn plain(path: &str) -> String {
    path.replace("%3D", "=")
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
        assert_eq!((checked.rejection_commits, checked.rejection_trims, checked.removals), (0, 0, 0));
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

    #[test]
    fn a_commit_that_gets_its_name_in_another_way_is_named() {
        let linked = r#"link("/d/data/t/events/_delta_log/.c", "#;
        assert!(COMMIT.contains(linked));
        let made =
            COMMIT.replace(linked, r#"openat(AT_FDCWD</w>, "#).replace("001.json\")", "001.json\", O_WRONLY|O_CREAT)");
        assert_eq!(verdict(&made).1, "NotDurable 2", "made in place, so that nothing is sure of the segment either");
        let odd = COMMIT.replace(linked, r#"renameat2("/d/data", "/d/data/t/events/_delta_log/.c", "#);
        assert_eq!(verdict(&odd).1, "NotDurable 2");
        let opened = format!("{COMMIT}{}\n", made.lines().nth(8).unwrap().replace("O_WRONLY|O_CREAT", "O_RDONLY"));
        assert_eq!(verdict(&opened).1, "", "whoever reads it makes no name");
    }

    /// The same with a segment that holds rejections, at offsets 2 and 3, and their commit.
    fn with_rejections() -> String {
        let commit: Vec<String> = COMMIT.lines().map(str::to_owned).collect();
        let [begun, flushed @ .., removed] = &commit[..] else { panic!("{commit:?}") };
        let written: String = records::group(2, 2).iter().map(|byte| format!("\\{byte:03o}")).collect();
        let write = format!("20 pwrite64(4</d/data/log/0/1.seg>, \"{written}\", 99, 64) = 99");
        let (newer, flushed) = flushed.split_first().unwrap();
        let rejections = flushed.iter().map(|line| line.replace("t/events", "t/rejections"));
        let rejections = rejections.map(|line| line.replace("\\\"version\\\":4", "\\\"version\\\":3"));
        let lines = [begun.clone(), newer.clone(), write].into_iter().chain(rejections);
        lines.chain(flushed.iter().cloned()).chain([removed.clone()]).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn rejections_are_held_to_the_same() {
        let right = with_rejections();
        let (checked, names) = verdict(&right);
        assert_eq!(names, "");
        assert_eq!((checked.rejection_commits, checked.rejection_files), (1, 1));
        assert_eq!((checked.commits, checked.files, checked.trims, checked.rejection_trims), (1, 1, 1, 1));
        let lines: Vec<&str> = right.lines().collect();
        for (missing, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("sync(")) {
            let rest = [&lines[..missing], &lines[missing + 1..]].concat().join("\n");
            assert!(verdict(&rest).1.starts_with("NotDurable"), "without {line}");
        }
        let short = right.replace("\\\"version\\\":3", "\\\"version\\\":2");
        assert_eq!(verdict(&short).1, "NotDurable 1", "the last rejection is in no commit");
        let none: Vec<&str> = lines.iter().copied().filter(|line| !line.contains("t/rejections")).collect();
        assert_eq!(verdict(&none.join("\n")).1, "NotDurable 1", "no rejection is");
    }

    #[test]
    fn a_data_file_that_goes_before_it_is_dropped_is_named() {
        let dropped = r#"22 write(8</d/data/t/events/_delta_log/.e>, "{\"remove\":{\"path\":\"x/f.parquet\"}}", 50) = 50
22 fsync(8</d/data/t/events/_delta_log/.e>) = 0
22 link("/d/data/t/events/_delta_log/.e", "/d/data/t/events/_delta_log/00000000000000000002.json") = 0
22 fsync(9</d/data/t/events/_delta_log>) = 0
"#;
        let gone = "22 unlink(\"/d/data/t/events/x/f.parquet\") = 0\n";
        let (checked, names) = verdict(&format!("{COMMIT}{dropped}{gone}"));
        assert_eq!((checked.removals, checked.commits, names.as_str()), (1, 2, ""));
        let unsynced: Vec<&str> = dropped.lines().take(3).collect();
        for early in [
            format!("{COMMIT}{gone}"),
            format!("{COMMIT}{}\n{gone}", unsynced.join("\n")),
            format!("{COMMIT}{gone}{dropped}"),
        ] {
            let (checked, names) = verdict(&early);
            assert_eq!((checked.removals, names.as_str()), (1, "NotDurable 1"), "{early}");
        }
        let left_over = gone.replace("f.parquet", "g.parquet");
        let (checked, names) = verdict(&format!("{COMMIT}{left_over}"));
        assert_eq!((checked.removals, names.as_str()), (0, ""), "it was never added");
    }
}
