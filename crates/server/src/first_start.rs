//! The first start: an application with its token, a token for the command line, a link for the first administrator,
//! and what is printed so that a person sends the first event within a minute.
//!
//! There is no default account and no default password. The secrets are printed once; what is kept is their hash, and
//! the command line's own token in a file that only the owner reads.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use eye_event::Timestamp;
use eye_fault::{CrashPoint, crash_point};
use eye_registry::{Actor, NewToken, Registry, Scopes, TokenKind};

use crate::config::Settings;

/// The application that the first start makes.
pub(crate) const FIRST_APPLICATION: &str = "default";
/// Names of the tokens that the server makes by itself.
const FIRST_TOKEN: &str = "first";
const CLI_TOKEN: &str = "command line";

/// What the first start made, to be shown once.
pub(crate) struct FirstStart {
    /// The secret token of the first application.
    token: String,
    /// The code of the set-up link.
    setup_code: String,
}

/// Makes the first application and its token, if there is no application yet. Durable when it returns.
///
/// # Errors
/// Why the registry took nothing.
pub(crate) fn prepare(registry: &Registry, now: Timestamp) -> eye_registry::Result<Option<FirstStart>> {
    if !registry.state().applications().is_empty() {
        return Ok(None);
    }
    registry.create_application(&Actor::System, now, FIRST_APPLICATION, None)?;
    crash_point(CrashPoint::FirstApplicationMade);
    let new =
        NewToken { application: Some(FIRST_APPLICATION.to_owned()), ..NewToken::new(FIRST_TOKEN, TokenKind::Secret) };
    let (_, token) = registry.create_token(&Actor::System, now, new)?;
    crash_point(CrashPoint::FirstTokenMade);
    let code = registry.create_setup_code(now)?;
    Ok(Some(FirstStart { token: token.reveal().to_owned(), setup_code: code.reveal().to_owned() }))
}

/// Makes sure that the command line on this machine has a working administrator's token in its file.
///
/// # Errors
/// What could not be made or written, for people.
pub(crate) fn ensure_cli_token(registry: &Registry, settings: &Settings, now: Timestamp) -> Result<(), String> {
    let path = settings.cli_token_path();
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let works = |grant: std::sync::Arc<eye_registry::Grant>| grant.scopes.admin;
    if registry.authenticate(kept.trim(), now).is_ok_and(works) {
        return Ok(());
    }
    let failed = |error: &dyn std::fmt::Display| format!("cannot make the command line's token: {error}");
    // A token whose file is gone opens nothing for us any more: its name is needed for the new one.
    let lost = registry.state().find_token(CLI_TOKEN).map(|token| token.id.clone());
    if let Some(lost) = lost {
        registry.revoke_token(&Actor::LocalCli, now, &lost).map_err(|error| failed(&error))?;
    }
    let application = registry.state().applications().first().map(|application| application.name.to_string());
    let new = NewToken {
        application,
        scopes: Some(Scopes::ALL),
        reads_all: true,
        ..NewToken::new(CLI_TOKEN, TokenKind::Secret)
    };
    let (_, secret) = registry.create_token(&Actor::LocalCli, now, new).map_err(|error| failed(&error))?;
    crash_point(CrashPoint::CliTokenMade);
    write_secret(&path, secret.reveal()).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Writes a file that only its owner can read. Replaces what is there as a whole.
fn write_secret(path: &Path, secret: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    crash_point(CrashPoint::CliTokenStaged);
    fs::rename(&new, path)
}

/// What the first start prints.
pub(crate) fn welcome(first: &FirstStart, settings: &Settings, url: &str, now: Timestamp) -> String {
    let FirstStart { token, setup_code } = first;
    let eye = program();
    let data = if settings.data == Path::new("./eye-data") {
        String::new()
    } else {
        format!(" --data {}", shell_word(&settings.data.display().to_string()))
    };
    format!(
        "The Eye is running at {url}

Application \"{FIRST_APPLICATION}\" has this token. It is shown only now:

  {token}

Send an event:

  curl -X POST {url}/v1/events \\
    -H 'Authorization: Token {token}' \\
    -H 'Content-Type: application/json' \\
    -d '{{\"session_id\":\"first-visit\",\"category\":\"page\",\"name\":\"view\",\"timestamp\":\"{now}\",\"data\":{{\"path\":\"/\"}}}}'

See its session:

  {eye} session first-visit{data}

First administrator (works once, within 24 hours): {url}/setup#{setup_code}
API and documentation: {url}/docs
Stop with Ctrl-C.
"
    )
}

/// What later starts print.
pub(crate) fn banner(url: &str, replayed_records: u64) -> String {
    let replayed =
        if replayed_records == 0 { String::new() } else { format!(" ({replayed_records} log entries replayed)") };
    format!("The Eye is running at {url}{replayed}\nAPI and documentation: {url}/docs\n")
}

/// How the program was called, so that what is printed works when pasted.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    if called.is_empty() || which_eye_is(&called) { "eye".to_owned() } else { shell_word(&called) }
}

/// True if `eye` was found through the PATH: then it will be again.
fn which_eye_is(called: &str) -> bool {
    !called.contains('/')
}

/// A word as a shell reads it.
fn shell_word(word: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "/._-+=:@%".contains(char);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(shell_word("target/release/eye"), "target/release/eye");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }

    #[test]
    fn what_is_printed_holds_the_token_once_for_reading_and_once_for_pasting() {
        let first = FirstStart { token: "eye_sk_x".to_owned(), setup_code: "eye_setup_y".to_owned() };
        let text = welcome(&first, &Settings::defaults().unwrap(), "http://127.0.0.1:7070", Timestamp::from_micros(0));
        assert_eq!(text.matches("eye_sk_x").count(), 2);
        assert!(text.contains("http://127.0.0.1:7070/setup#eye_setup_y"));
    }

    #[test]
    fn a_secret_file_is_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cli-token");
        for secret in ["a", "b"] {
            write_secret(&path, secret).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap().trim(), secret);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
