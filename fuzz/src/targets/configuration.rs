//! Settings from a file, the environment and flags: understood or refused in words; what is in force obeys every rule,
//! is shown as text that is understood again, and no option of the object store is ever repeated.

use std::path::PathBuf;

use crate::memory::within;
use crate::server::config::report;
use crate::server::config::resolve::{Written, resolve_text};
use crate::server::config::table::TABLE;

const SECRET: &str = "hunter22";
const PLANTED: &str = "=hunter22";

/// Runs the target on one input: a file, then after a NUL lines such as `EYE_X=1` (environment) and `x=1` (flags).
/// Where options are set, `=@` stands for the secret.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (file, lines) = text.split_once('\0').unwrap_or((&text, ""));
    let mut written = Written::default();
    let mut environment = Vec::new();
    for (name, value) in lines.lines().filter_map(|line| line.split_once('=')) {
        let is_option = name == "table_option" || name == "EYE_TABLE_OPTION";
        let value = if is_option { value.replace("=@", PLANTED) } else { value.to_owned() };
        if let Some(setting) = TABLE.iter().find(|setting| setting.name == name) {
            written.flags.push((setting.name, value));
        } else if name.starts_with("EYE_") {
            environment.push((name.to_owned(), value));
        }
    }
    let file = (!file.is_empty()).then(|| (PathBuf::from("eye.toml"), planted(file)));
    // Two bytes of a key are a table inside a table, read twice: as TOML has it, and as a value.
    match within(256 * 1024 + 4096 * data.len(), || resolve_text(&written, environment, file)) {
        Ok(resolved) => {
            resolved.settings.check().expect("the rules were checked");
            let shown = [report::text(&resolved), report::json(&resolved)];
            assert!(!shown.iter().any(|text| text.contains(SECRET)), "a secret is shown");
            let table: toml::Table = shown[0].parse().expect("what is shown is a file");
            assert_eq!(table.len(), TABLE.len());
            let file = Some((PathBuf::from("again.toml"), shown[0].clone()));
            let again = resolve_text(&Written::default(), Vec::new(), file).expect("what is shown is in force again");
            for setting in TABLE {
                assert_eq!(again.settings.show(setting.name), resolved.settings.show(setting.name), "{}", setting.name);
            }
            let _ = (resolved.settings.limits(), resolved.settings.table_url());
        }
        Err(message) => assert!(!message.is_empty() && !message.contains(SECRET), "{message}"),
    }
}

/// The file with its secrets, which stand only in lines that set options.
fn planted(file: &str) -> String {
    let has_long_strings = file.contains("\"\"\"") || file.contains("'''");
    let line = |line: &str| match line.split_once('=') {
        Some(("table_option" | "table_option ", _)) if !has_long_strings => line.replace("=@", PLANTED),
        _ => line.to_owned(),
    };
    file.split('\n').map(line).collect::<Vec<_>>().join("\n")
}
