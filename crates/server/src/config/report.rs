//! What `eye config` prints, and docs/configuration.md, both from the table.

use std::fmt::Write as _;

use super::resolve::{Origin, Resolved};
use super::table::TABLE;

/// Every setting with its value and where it came from, for people.
pub(crate) fn text(resolved: &Resolved) -> String {
    let mut out = String::new();
    match &resolved.file {
        Some(path) => _ = writeln!(out, "# file: {}", path.display()),
        None => out.push_str("# file: none (eye.toml in this folder, or --config, would be read)\n"),
    }
    let width = TABLE.iter().map(|setting| setting.name.len()).max().unwrap_or_default();
    let shown = TABLE.iter().map(|setting| toml_value(&resolved.settings.show(setting.name)));
    let values: Vec<String> = shown.collect();
    let value_width = values.iter().map(String::len).max().unwrap_or_default().min(40);
    let mut section = "";
    for (setting, value) in TABLE.iter().zip(&values) {
        if setting.section != section {
            section = setting.section;
            let _ = write!(out, "\n# {section}\n");
        }
        let origin = origin_text(resolved.origin(setting.name), &setting.variable(), &setting.flag());
        let _ = writeln!(out, "{:width$} = {value:value_width$}  # {origin}", setting.name);
    }
    out
}

/// The same for programs: `{"settings": [{"name", "value", "origin", "default", "kind", "doc"}]}`.
pub(crate) fn json(resolved: &Resolved) -> String {
    let settings: Vec<_> = TABLE
        .iter()
        .map(|setting| {
            let origin = resolved.origin(setting.name);
            let value = resolved.settings.show(setting.name);
            serde_json::json!({
                "name": setting.name,
                "value": value,
                "origin": origin_name(origin),
                "file": if let Origin::File(path) = origin { Some(path.display().to_string()) } else { None },
                "default": setting.default,
                "kind": setting.kind,
                "doc": setting.doc,
            })
        })
        .collect();
    serde_json::json!({ "settings": settings }).to_string()
}

/// docs/configuration.md.
pub(crate) fn markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    let mut section = "";
    for setting in TABLE {
        if setting.section != section {
            section = setting.section;
            let _ = write!(out, "\n## {section}\n\n| setting | kind | default | what it does |\n|---|---|---|---|\n");
        }
        let default = if setting.default.is_empty() { "–".to_owned() } else { format!("`{}`", setting.default) };
        let _ = writeln!(out, "| `{}` | {} | {default} | {} |", setting.name, setting.kind, setting.doc);
    }
    out
}

const INTRODUCTION: &str = "# Configuration

Nothing has to be configured. This page is made from the program's own table (`eye config --markdown`).

One rule names a setting in three places: `flush_age_max` in the file is `--flush-age-max` as a flag and
`EYE_FLUSH_AGE_MAX` in the environment. A flag beats the environment, the environment beats the file, the file beats the
default. The file is TOML: `eye.toml` in the folder where `eye` starts, or the one named by `--config` or `EYE_CONFIG`.
An unknown name or a wrong value stops the start and is named. `eye config` prints what is in force and where each value
came from.

Sizes are written `512KiB`, `64MiB`, `2GiB`; times `500ms`, `60s`, `5m`, `24h`, `7d`.
";

/// JSON's strings are TOML's, but for the one control character that JSON does not escape.
fn toml_value(text: &str) -> String {
    if text.parse::<i64>().is_ok_and(|number| number.to_string() == text) {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn origin_name(origin: &Origin) -> &'static str {
    match origin {
        Origin::Default => "default",
        Origin::File(_) => "file",
        Origin::Environment => "environment",
        Origin::Flag => "flag",
    }
}

fn origin_text(origin: &Origin, variable: &str, flag: &str) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::File(path) => format!("file {}", path.display()),
        Origin::Environment => format!("environment {variable}"),
        Origin::Flag => format!("flag --{flag}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, markdown(), "write it anew: eye config --markdown > docs/configuration.md");
    }

    #[test]
    fn what_is_printed_is_a_file_that_can_be_read() {
        let resolved = super::super::resolve::resolve(&Default::default()).unwrap();
        let table: toml::Table = text(&resolved).parse().unwrap();
        assert_eq!(table.len(), TABLE.len());
    }

    #[test]
    fn every_control_character_is_printed_so_that_it_can_be_read() {
        for character in (0..=0x9f).filter_map(char::from_u32) {
            let text = format!("a{character}b");
            let table: toml::Table = format!("x = {}", toml_value(&text)).parse().unwrap();
            assert_eq!(table["x"].as_str(), Some(&*text));
        }
    }

    #[test]
    fn texts_that_look_like_numbers_are_printed_so_that_they_can_be_read() {
        for (text, printed) in
            [("7", "7"), ("007", "\"007\""), ("+7", "\"+7\""), ("18446744073709551615", "\"18446744073709551615\"")]
        {
            assert_eq!(toml_value(text), printed);
        }
    }
}
