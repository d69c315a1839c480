//! A commit of a table, as the call that gave it its name and the writes before it tell.

use super::between;
use super::call::Call;

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Events,
    Rejections,
}

impl Table {
    /// Whose commit this path is, if it is one.
    pub(super) fn of_commit(path: &str) -> Option<Self> {
        let (table, name) = path.rsplit_once("/_delta_log/")?;
        let digits = name.strip_suffix(".json")?;
        let is_commit = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        match table.rsplit('/').next()? {
            "events" if is_commit => Some(Self::Events),
            "rejections" if is_commit => Some(Self::Rejections),
            _ => None,
        }
    }
}

/// One commit.
pub(super) struct Commit<'a> {
    /// Of which table.
    pub(super) table: Table,
    /// The call that gave it its name.
    pub(super) named: &'a Call,
    /// The name under which it was written.
    pub(super) staging: String,
    /// Its name.
    pub(super) path: String,
    /// What was written.
    pub(super) content: String,
}

impl Commit<'_> {
    /// The folder of its table's commits.
    pub(super) fn log(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(log, _)| log)
    }

    /// The files that it makes part of its table.
    pub(super) fn added(&self) -> Vec<String> {
        self.files("\"add\":{")
    }

    /// The files that are no part of its table any more.
    pub(super) fn dropped(&self) -> Vec<String> {
        self.files("\"remove\":{")
    }

    /// Paths in its actions of one kind.
    fn files(&self, action: &str) -> Vec<String> {
        let table = self.path.split("/_delta_log/").next().unwrap_or_default();
        let actions = self.content.split(action).skip(1);
        let paths = actions.filter_map(|action| between(action, "\"path\":\"", "\"").into_iter().next());
        paths.map(|file| format!("{table}/{file}")).collect()
    }

    /// If it is that of a flush: the end of its partition's log folder, and the last offset of it that the table has now.
    pub(super) fn flushed(&self) -> Option<(String, u64)> {
        let transaction = between(&self.content, "\"appId\":\"eye-", "}").into_iter().next()?;
        let (partition, rest) = transaction.split_once('"')?;
        let offset = rest.rsplit_once("\"version\":")?.1;
        let offset = offset.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()?;
        Some((format!("/log/{partition}/"), offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_known_by_their_names() {
        let commit = |table: &str, name: &str| Table::of_commit(&format!("/d/table/{table}/_delta_log/{name}"));
        assert_eq!(commit("events", "00000000000000000042.json"), Some(Table::Events));
        assert_eq!(commit("rejections", "00000000000000000042.json"), Some(Table::Rejections));
        for name in ["42.json", "00000000000000000042.checkpoint.parquet", "00000000000000000042.json#17", "x"] {
            assert_eq!(commit("events", name), None, "{name}");
        }
        assert_eq!(commit("events/_quarantine", "00000000000000000042.json"), None);
        assert_eq!(Table::of_commit("/d/table/events/00000000000000000042.json"), None);
    }
}
