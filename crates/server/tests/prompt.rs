//! The prompt of `eye sql` on a terminal: what people type, and what they see.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use common::Server;

/// Types lines on a terminal of its own; prints all that was shown. Behind a line that is whole the next prompt is waited
/// for: it begins with the mark that text may be pasted, which lines that are only drawn again do not have.
const TYPIST: &str = r#"
import os, pty, re, select, sys
lines, command = sys.argv[1].split("|"), sys.argv[2:]
process, terminal = pty.fork()
if process == 0:
    os.execvp(command[0], command)
shown = b""
def read_until(wanted, since):
    global shown
    while not re.search(wanted, shown[since:], re.DOTALL):
        if not select.select([terminal], [], [], 60)[0]:
            sys.exit("nothing more came: " + repr(shown))
        try:
            part = os.read(terminal, 65536)
        except OSError:
            part = b""
        if not part:
            break
        shown += part
prompt = rb"\x1b\[\?2004h.*eye> "
read_until(prompt, 0)
for line in lines:
    is_whole, seen = not line.endswith("…"), len(shown)
    os.write(terminal, line.rstrip("…").replace("<tab>", "\t").replace("<up>", "\x1b[A").encode() + b"\r")
    if is_whole:
        read_until(prompt, seen)
os.write(terminal, b"\x04")
read_until(b"there is no such text", 0)
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"#;

fn typed(server: &Server, state: &std::path::Path, lines: &[&str]) -> String {
    let python = std::env::var_os("XTASK_PYTHON").expect("XTASK_PYTHON is not set: run this through cargo xtask test");
    let output = Command::new(python)
        .args(["-c", TYPIST, &lines.join("|"), env!("CARGO_BIN_EXE_eye"), "sql"])
        .env("EYE_URL", &server.url)
        .env("EYE_TOKEN", server.token())
        .env("XDG_STATE_HOME", state)
        .env("TERM", "xterm")
        .env("PYTHONUTF8", "1")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}\n{}", String::from_utf8_lossy(&output.stderr));
    shown
}

#[test]
fn statements_are_asked_completed_and_remembered_on_a_terminal() {
    let server = Server::start();
    let state = tempfile::tempdir().unwrap();
    let lines = [
        "\\d",
        "\\d rej<tab>",
        "SELECT count(*)…",
        "+ 1234 * 3 AS answer FROM events;",
        " SELECT 'secret';",
        "SELECT nothing;",
        "\\x",
        "\\?",
    ];
    let shown = typed(&server, state.path(), &lines);
    // None of these was typed.
    for wanted in ["problems", "sample", "3702", "1 row", "error: ", "shows what there is", "Tab completes"] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    let history = state.path().join("eye/sql_history");
    let remembered = std::fs::read_to_string(&history).unwrap();
    assert!(remembered.contains("1234 * 3 AS answer"), "{remembered}");
    assert!(!remembered.contains("secret"), "a space keeps a statement out: {remembered}");
    assert_eq!(history.metadata().unwrap().permissions().mode() & 0o077, 0, "others cannot read it");
    let again = typed(&server, state.path(), &["<up><up><up><up>"]);
    assert!(again.contains("3702"), "the statement before comes back: {again}");
}
