//! The prompt of `eye sql` on a terminal: what people type, and what they see.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use common::Server;

/// Types lines on a terminal of its own, each when the prompt is there; prints all that was shown.
const TYPIST: &str = r#"
import os, pty, select, sys
lines, command = sys.argv[1].split("|"), sys.argv[2:]
process, terminal = pty.fork()
if process == 0:
    os.execvp(command[0], command)
shown = b""
def read_until(wanted):
    global shown
    seen = len(shown)
    while wanted not in shown[seen:]:
        if not select.select([terminal], [], [], 60)[0]:
            sys.exit("nothing more came: " + shown.decode(errors="replace"))
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
read_until(b"eye> ")
for line in lines:
    os.write(terminal, line.replace("<tab>", "\t").encode() + b"\n")
    read_until(b"\neye> " if line.endswith(";") or line.startswith("\\") else b"\n")
os.write(terminal, b"\x04")
read_until(b"there is no such text")
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
    let lines =
        ["\\d", "\\d eve<tab>", "SELECT count(*)", "+ 41 AS answer FROM eve<tab>nts;", "SELECT nothing;", "\\x", "\\?"];
    let shown = typed(&server, state.path(), &lines);
    for wanted in ["rejections", "session_id", "answer", "41", "error: ", "nothing", "there is no \\x", "Tab completes"]
    {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    let history = state.path().join("eye/sql_history");
    let remembered = std::fs::read_to_string(&history).unwrap();
    assert!(remembered.contains("41 AS answer FROM"), "{remembered}");
    assert_eq!(history.metadata().unwrap().permissions().mode() & 0o077, 0, "others cannot read it");
    let again = typed(&server, state.path(), &["\u{1b}[A\u{1b}[A\u{1b}[A\u{1b}[A"]);
    assert!(again.contains("answer"), "the statement before comes back: {again}");
}
