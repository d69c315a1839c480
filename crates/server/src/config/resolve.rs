//! From what was written (file, environment, flags) to the settings in force. Later wins: default, file, environment,
//! flag. Anything unknown or unreadable is an error that names it and the nearest thing there is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::kind::{Kind, Options};
use super::table::{Setting, Settings, TABLE};

/// Environment variables that are not settings: the command line's address and token, and the file's path.
const OTHER_VARIABLES: [&str; 3] = ["EYE_URL", "EYE_TOKEN", "EYE_CONFIG"];
/// What Kubernetes sets for a Service with the name `eye`: no setting of ours begins so.
const KUBERNETES_VARIABLES: [&str; 2] = ["EYE_SERVICE_", "EYE_PORT_"];
const KUBERNETES_PORT: &str = "EYE_PORT";

/// The file that is read if there is one and no other was named.
const DEFAULT_FILE: &str = "eye.toml";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody said anything.
    Default,
    /// The file.
    File(PathBuf),
    /// An environment variable.
    Environment,
    /// A flag.
    Flag,
}

/// Settings with where each came from.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// The values.
    pub(crate) settings: Settings,
    /// Where those came from that were said; the others are defaults.
    pub(crate) origins: BTreeMap<&'static str, Origin>,
    /// The file that was read, if one was.
    pub(crate) file: Option<PathBuf>,
}

/// What a person wrote, before it is understood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    /// Flags that were given: setting name and text.
    pub(crate) flags: Vec<(&'static str, String)>,
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
}

/// Reads file and environment, puts the flags on top.
///
/// # Errors
/// A text for people: which setting is wrong, where it stands, and what to write instead.
pub(crate) fn resolve(written: &Written) -> Result<Resolved, String> {
    let environment = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with("EYE_"))?;
        Some((name, value.to_string_lossy().into_owned()))
    });
    resolve_from(written, environment.collect(), Path::new(DEFAULT_FILE))
}

fn resolve_from(
    written: &Written,
    environment: Vec<(String, String)>,
    default_file: &Path,
) -> Result<Resolved, String> {
    let config = written.config.clone().or_else(|| {
        let variable = environment.iter().find(|(name, _)| name == "EYE_CONFIG");
        variable.map(|(_, path)| PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty())
    });
    let file = config.or_else(|| default_file.is_file().then(|| default_file.to_owned()));
    let text = file.as_deref().map(read_file).transpose()?;
    resolve_text(written, environment, file.zip(text))
}

/// The same with the file as it was read: its path and its text.
pub(crate) fn resolve_text(
    written: &Written,
    environment: Vec<(String, String)>,
    file: Option<(PathBuf, String)>,
) -> Result<Resolved, String> {
    let mut resolved = Resolved {
        settings: Settings::defaults()?,
        origins: BTreeMap::new(),
        file: file.as_ref().map(|file| file.0.clone()),
    };
    if let Some((path, text)) = file {
        for (setting, text) in settings_in(&path, &text)? {
            resolved.set(setting, &text, Origin::File(path.clone()))?;
        }
    }
    for (variable, text) in environment {
        if !is_other(&variable) {
            let setting = setting_of_variable(&variable)?;
            resolved.set(setting, &text, Origin::Environment)?;
        }
    }
    for (name, text) in &written.flags {
        let setting = find(name).ok_or_else(|| format!("there is no flag --{name}"))?;
        resolved.set(setting, text, Origin::Flag)?;
    }
    resolved.settings.check()?;
    Ok(resolved)
}

impl Resolved {
    fn set(&mut self, setting: &'static Setting, text: &str, origin: Origin) -> Result<(), String> {
        let place = match &origin {
            Origin::Default => setting.name.to_owned(),
            Origin::File(path) => format!("{} in {}", setting.name, path.display()),
            Origin::Environment => setting.variable(),
            Origin::Flag => format!("--{}", setting.flag()),
        };
        self.settings.set(setting.name, text).map_err(|wrong| match setting.kind {
            // Its values may be keys.
            Options::NAME => format!("{place} cannot be read: {wrong}"),
            _ => format!("{place} is \"{text}\": {wrong}"),
        })?;
        self.origins.insert(setting.name, origin);
        Ok(())
    }

    /// Where a setting's value came from.
    pub(crate) fn origin(&self, name: &str) -> &Origin {
        self.origins.get(name).unwrap_or(&Origin::Default)
    }
}

/// True for what is no setting, and is not ours to complain about.
fn is_other(variable: &str) -> bool {
    OTHER_VARIABLES.contains(&variable)
        || eye_fault::VARIABLES.contains(&variable)
        || variable == KUBERNETES_PORT
        || KUBERNETES_VARIABLES.iter().any(|start| variable.starts_with(start))
}

fn find(name: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.name == name)
}

fn setting_of_variable(variable: &str) -> Result<&'static Setting, String> {
    TABLE.iter().find(|setting| setting.variable() == variable).ok_or_else(|| {
        let known = TABLE.iter().map(Setting::variable);
        format!("there is no setting {variable}{}: \"eye config\" lists them all", suggestion(variable, known))
    })
}

fn read_file(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read the settings in {}: {error}", path.display()))
}

fn settings_in(path: &Path, text: &str) -> Result<Vec<(&'static Setting, String)>, String> {
    let shown = path.display();
    let table: toml::Table = text.parse().map_err(|error| not_toml(path, text, &error))?;
    table
        .into_iter()
        .map(|(key, value)| {
            let setting = find(&key).ok_or_else(|| {
                let known = TABLE.iter().map(|setting| setting.name.to_owned());
                format!("there is no setting {key} ({shown}){}: \"eye config\" lists them all", suggestion(&key, known))
            })?;
            let text =
                text_of(value).ok_or_else(|| format!("{key} in {shown} has a wrong type: write {}", setting.kind))?;
            Ok((setting, text))
        })
        .collect()
}

/// Names the line and does not repeat it: it may hold the key of an object store.
fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
    format!("{} is not TOML at line {line}: {}", path.display(), error.message())
}

/// A TOML value as the text a flag would have. A table is `name=value,…`.
fn text_of(value: toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Table(table) => {
            let pairs = table.into_iter().map(|(name, value)| Some(format!("{name}={}", text_of(value)?)));
            pairs.collect::<Option<Vec<_>>>().map(|pairs| pairs.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Array(_) => None,
    }
}

/// `; did you mean x?`, if something there is near.
fn suggestion(wrong: &str, known: impl Iterator<Item = String>) -> String {
    let nearest = known.map(|name| (distance(wrong, &name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= wrong.len().div_ceil(2) => format!("; did you mean {name}?"),
        _ => String::new(),
    }
}

/// Edits between two texts (Levenshtein), in one row of memory.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, left_byte) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, right_byte) in right.bytes().enumerate() {
            let substituted = diagonal + usize::from(left_byte != right_byte);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Resolved, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eye.toml");
        if !file.is_empty() {
            std::fs::write(&path, file).unwrap();
        }
        let written =
            Written { flags: flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect(), config: None };
        let environment = environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        resolve_from(&written, environment, &path)
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file() {
        let file = "flush_age_max = \"1s\"\nevents_max = 7\nhot_bytes_max = \"1GiB\"\n";
        let environment = [("EYE_FLUSH_AGE_MAX", "2s"), ("EYE_EVENTS_MAX", "8"), ("EYE_TOKEN", "x")];
        let resolved = from(file, &environment, &[("events_max", "9")]).unwrap();
        assert_eq!(resolved.settings.flush_age_max.as_secs(), 2);
        assert_eq!(resolved.settings.events_max, 9);
        assert_eq!(resolved.settings.hot_bytes_max, 1 << 30);
        assert_eq!(resolved.origin("events_max"), &Origin::Flag);
        assert_eq!(resolved.origin("flush_age_max"), &Origin::Environment);
        assert!(matches!(resolved.origin("hot_bytes_max"), Origin::File(_)));
        assert_eq!(resolved.origin("data"), &Origin::Default);
    }

    #[test]
    fn an_unknown_setting_is_named_with_the_nearest_one() {
        let error = from("flush_age = \"1s\"", &[], &[]).unwrap_err();
        assert!(error.contains("flush_age ") && error.contains("did you mean flush_age_max?"), "{error}");
        let error = from("", &[("EYE_LISTN", "x")], &[]).unwrap_err();
        assert!(error.contains("EYE_LISTN") && error.contains("did you mean EYE_LISTEN?"), "{error}");
        let error = from("", &[("EYE_QQQQQQQQQQQQQ", "x")], &[]).unwrap_err();
        assert!(!error.contains("did you mean"), "{error}");
    }

    #[test]
    fn variables_of_a_kubernetes_service_are_passed_over() {
        let variables = [
            ("EYE_SERVICE_HOST", "10.0.0.7"),
            ("EYE_SERVICE_PORT", "7070"),
            ("EYE_SERVICE_PORT_HTTP", "7070"),
            ("EYE_PORT", "tcp://10.0.0.7:7070"),
            ("EYE_PORT_7070_TCP", "tcp://10.0.0.7:7070"),
            ("EYE_PORT_7070_TCP_ADDR", "10.0.0.7"),
        ];
        assert!(from("", &variables, &[]).unwrap().origins.is_empty());
        assert!(from("", &[("EYE_PORTS", "1")], &[]).is_err());
        assert!(TABLE.iter().all(|setting| !is_other(&setting.variable())));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_place() {
        let error = from("", &[("EYE_HOT_BYTES_MAX", "lots")], &[]).unwrap_err();
        assert!(error.contains("EYE_HOT_BYTES_MAX") && error.contains("64MiB"), "{error}");
        let error = from("", &[], &[("listen", "7070")]).unwrap_err();
        assert!(error.contains("--listen") && error.contains("127.0.0.1:7070"), "{error}");
        let error = from("events_max = [1]", &[], &[]).unwrap_err();
        assert!(error.contains("events_max in") && error.contains("wrong type"), "{error}");
        let error = from("events_max = 7\nlisten = ", &[], &[]).unwrap_err();
        assert!(error.contains("is not TOML at line 2: "), "{error}");
    }

    #[test]
    fn a_wrong_option_of_the_table_is_named_without_its_value() {
        let wrong = "aws_secret_access_key=planted,more";
        for error in [
            from("", &[("EYE_TABLE_OPTION", wrong)], &[]).unwrap_err(),
            from("", &[], &[("table_option", wrong)]).unwrap_err(),
            from(&format!("table_option = \"{wrong}\""), &[], &[]).unwrap_err(),
            from(&format!("table_option = \"{wrong}"), &[], &[]).unwrap_err(),
            from("[table_option]\naws_secret_access_key = planted", &[], &[]).unwrap_err(),
        ] {
            assert!(!error.contains("planted"), "{error}");
        }
    }

    #[test]
    fn table_options_may_be_a_table() {
        let resolved = from("[table_option]\naws_region = \"x\"\n", &[], &[]).unwrap();
        assert_eq!(resolved.settings.table_option["aws_region"], "x");
    }

    #[test]
    fn the_distance_counts_edits() {
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("listn", "listen"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
