//! The server's answers, as far as people are shown them. Unknown fields are skipped, so that an older `eye` reads a newer
//! server; programs get the server's own bytes.

use eye_event::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::client::Client;
use super::failure::Result;
use super::strange_answer;

/// Reads an answer.
pub(crate) fn read<'a, T: Deserialize<'a>>(answer: &'a str) -> Result<T> {
    serde_json::from_str(answer).map_err(|error| strange_answer(&error))
}

/// One event.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) application: String,
    pub(crate) session_id: String,
    pub(crate) category: String,
    pub(crate) name: String,
    pub(crate) timestamp: Timestamp,
    pub(crate) received_at: Timestamp,
    #[serde(default)]
    pub(crate) timestamp_raw: Option<String>,
    #[serde(default)]
    pub(crate) user_id: Option<String>,
    #[serde(default)]
    pub(crate) data: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) problems: Vec<String>,
}

impl Event {
    /// The payload for people: nothing if there is nothing in it.
    pub(crate) fn data_text(&self) -> &str {
        match self.data.as_deref().map(RawValue::get) {
            None | Some("{}" | "null") => "",
            Some(data) => data,
        }
    }
}

/// What `POST /v1/flush` answers.
#[derive(Debug, Deserialize)]
pub(crate) struct Flushed {
    pub(crate) version: u64,
    pub(crate) offset: String,
    pub(crate) rows: u64,
    pub(crate) rejections: u64,
}

/// What `POST /v1/compact` answers.
#[derive(Debug, Deserialize)]
pub(crate) struct Compacted {
    pub(crate) version: u64,
    pub(crate) files_before: u64,
    pub(crate) files_after: u64,
    pub(crate) rows: u64,
    pub(crate) vacuumed_files: u64,
    pub(crate) complete: bool,
}

/// A list that was read page by page, each item in the server's own bytes.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) items: Vec<Box<RawValue>>,
    pub(crate) next: Option<String>,
    version: Box<RawValue>,
    offset: Box<RawValue>,
}

/// Reads up to `limit` items of `name` (all if `None`), page by page.
pub(crate) fn list(
    client: &Client,
    path: &str,
    query: &[(&str, String)],
    name: &str,
    page_max: usize,
    limit: Option<usize>,
) -> Result<List> {
    pages(client, path, query, name, page_max, limit, false)
}

/// The same, every page as of the first one's answer.
pub(crate) fn list_at_once(
    client: &Client,
    path: &str,
    query: &[(&str, String)],
    name: &str,
    page_max: usize,
    limit: usize,
) -> Result<List> {
    pages(client, path, query, name, page_max, Some(limit), true)
}

fn pages(
    client: &Client,
    path: &str,
    query: &[(&str, String)],
    name: &str,
    page_max: usize,
    limit: Option<usize>,
    is_at_once: bool,
) -> Result<List> {
    let mut items: Vec<Box<RawValue>> = Vec::new();
    let (mut cursor, mut at) = (None, None);
    loop {
        let left = limit.map_or(page_max, |limit| limit - items.len()).min(page_max);
        let mut query = query.to_vec();
        query.push(("limit", left.to_string()));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        query.extend(at.clone().map(|at| ("at", at)));
        let answer = client.get(path, &query)?;
        let mut page: std::collections::BTreeMap<String, Box<RawValue>> = read(&answer)?;
        let mut take = |name: &str| page.remove(name).map_or_else(|| RawValue::from_string("null".to_owned()), Ok);
        let read_page: Vec<Box<RawValue>> = read(take(name).map_err(|error| strange_answer(&error))?.get())?;
        let next: Option<String> = read(take("next").map_err(|error| strange_answer(&error))?.get())?;
        let [version, offset] = ["version", "offset"].map(&mut take);
        items.extend(read_page);
        let strange = |error| strange_answer(&error);
        let (version, offset) = (version.map_err(strange)?, offset.map_err(strange)?);
        let is_done = next.is_none() || limit.is_some_and(|limit| items.len() >= limit);
        if is_done {
            return Ok(List { items, next, version, offset });
        }
        if is_at_once && at.is_none() {
            at = Some(format!("{}:{}", version.get(), read::<String>(offset.get())?));
        }
        cursor = next;
    }
}

impl List {
    /// The items as read.
    pub(crate) fn views<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        self.items.iter().map(|item| read(item.get())).collect()
    }

    /// One document, as if the server had answered everything at once. `before` is put in front of the items.
    pub(crate) fn document(&self, before: &str, name: &str) -> Result<String> {
        let mut json = format!("{{{before}\"{name}\":[");
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            json.push_str(item.get());
        }
        let next = serde_json::to_string(&self.next).map_err(|error| strange_answer(&error))?;
        json.push_str(&format!(
            "],\"next\":{next},\"version\":{},\"offset\":{}}}",
            self.version.get(),
            self.offset.get()
        ));
        Ok(json)
    }
}
